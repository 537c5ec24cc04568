//! Whether a model reads a series: decided from the series' facts alone, before anything is computed.

use crate::dicom::uid::SopClassUid;
use crate::inference::manifest::{Accepts, Manifest, Plane};
use crate::volume::Geometry;

/// What is known of a series before its voxels are looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesFacts {
    /// Modality (0008,0060).
    pub modality: String,
    /// SOP classes of the instances, each once.
    pub sop_classes: Vec<SopClassUid>,
    /// Values of Image Type (0008,0008) that any instance carries, each once.
    pub image_types: Vec<String>,
    /// Body Part Examined (0018,0015), where the series names one.
    pub body_part: Option<String>,
    /// The grid of the volume.
    pub geometry: Geometry,
    /// Slices that are there (the grid may have more).
    pub slices: usize,
    /// Missing slices as a share of all that the grid has.
    pub missing_share: f64,
}

/// Why a model does not read a series. This is a result and not a failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotAccepted {
    /// Short stable word.
    pub code: &'static str,
    /// One sentence for the radiologist.
    pub reason: String,
}

fn refuse(code: &'static str, reason: String) -> Result<(), NotAccepted> {
    Err(NotAccepted { code, reason })
}

impl Manifest {
    /// Whether the model reads the series. Pure.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn accepts(&self, facts: &SeriesFacts) -> Result<(), NotAccepted> {
        kind(&self.accepts, facts)?;
        extent(&self.accepts, facts)
    }
}

fn kind(accepts: &Accepts, facts: &SeriesFacts) -> Result<(), NotAccepted> {
    if !accepts.modality.contains(&facts.modality) {
        let wanted = accepts.modality.join(" or ");
        return refuse("modality", format!("The series is {}, the model reads {wanted}.", facts.modality));
    }
    if !accepts.sop_classes.is_empty()
        && let Some(class) = facts.sop_classes.iter().find(|class| !accepts.sop_classes.contains(class))
    {
        return refuse("sop-class", format!("The model does not read objects of SOP class {class}."));
    }
    if let Some(value) = facts.image_types.iter().find(|value| accepts.exclude_image_types.contains(value)) {
        return refuse("image-type", format!("The model does not read images of type {value}."));
    }
    let Some(part) = &facts.body_part else { return Ok(()) };
    let known =
        accepts.body_parts.is_empty() || accepts.body_parts.iter().any(|name| name.eq_ignore_ascii_case(part.trim()));
    if known || part.trim().is_empty() {
        return Ok(());
    }
    refuse(
        "body-part",
        format!("The series is of body part {part}, the model reads {}.", accepts.body_parts.join(", ")),
    )
}

fn extent(accepts: &Accepts, facts: &SeriesFacts) -> Result<(), NotAccepted> {
    let geometry = &facts.geometry;
    if let Some(plane) = accepts.orientation
        && plane_of(geometry) != plane
    {
        return refuse(
            "orientation",
            format!("The slices are {:?}, the model reads {plane:?} ones.", plane_of(geometry)),
        );
    }
    if facts.slices < accepts.least_slices {
        let (found, least) = (facts.slices, accepts.least_slices);
        return refuse("too-few-slices", format!("The series has {found} slices, the model needs {least}."));
    }
    if facts.missing_share > accepts.largest_missing_share {
        let (missing, most) = (facts.missing_share * 100.0, accepts.largest_missing_share * 100.0);
        return refuse("missing-slices", format!("{missing:.1} % of the slices are missing, at most {most:.1} % may."));
    }
    let [between_slices, between_rows, between_columns] = geometry.spacing;
    let length = between_slices * geometry.shape[0].saturating_sub(1) as f64;
    for (code, what, value, range) in [
        ("slice-spacing", "The distance between slices", between_slices, accepts.slice_spacing_mm),
        ("pixel-spacing", "The distance between rows", between_rows, accepts.pixel_spacing_mm),
        ("pixel-spacing", "The distance between columns", between_columns, accepts.pixel_spacing_mm),
        ("extent", "The length that the slices cover", length, accepts.extent_mm),
    ] {
        if let Some([least, largest]) = range
            && !(least..=largest).contains(&value)
        {
            return refuse(code, format!("{what} is {value:.2} mm, the model reads {least} to {largest} mm."));
        }
    }
    Ok(())
}

/// The plane that the slices lie nearest to.
fn plane_of(geometry: &Geometry) -> Plane {
    let [x, y, z] = geometry.slice_direction.map(f64::abs);
    if z >= x && z >= y {
        Plane::Axial
    } else if y >= x {
        Plane::Coronal
    } else {
        Plane::Sagittal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Manifest {
        Manifest::parse(include_str!("manifest/example.toml")).unwrap()
    }

    fn chest() -> SeriesFacts {
        SeriesFacts {
            modality: "CT".to_owned(),
            sop_classes: vec![SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap()],
            image_types: ["ORIGINAL", "PRIMARY", "AXIAL"].map(str::to_owned).to_vec(),
            body_part: Some("CHEST".to_owned()),
            geometry: Geometry {
                shape: [120, 512, 512],
                origin: [0.0; 3],
                slice_direction: [0.0, 0.0, 1.0],
                row_direction: [0.0, 1.0, 0.0],
                column_direction: [1.0, 0.0, 0.0],
                spacing: [2.5, 0.7, 0.7],
            },
            slices: 120,
            missing_share: 0.0,
        }
    }

    fn refused(change: impl FnOnce(&mut SeriesFacts)) -> &'static str {
        let mut facts = chest();
        change(&mut facts);
        model().accepts(&facts).unwrap_err().code
    }

    #[test]
    fn a_chest_ct_is_read_with_and_without_a_body_part() {
        assert_eq!(model().accepts(&chest()), Ok(()));
        let unnamed = SeriesFacts { body_part: None, ..chest() };
        assert_eq!(model().accepts(&unnamed), Ok(()));
        let blank = SeriesFacts { body_part: Some(" ".to_owned()), ..chest() };
        assert_eq!(model().accepts(&blank), Ok(()));
    }

    #[test]
    fn every_rule_has_its_own_code() {
        assert_eq!(refused(|f| f.modality = "MR".to_owned()), "modality");
        assert_eq!(
            refused(|f| f.sop_classes.push(SopClassUid::parse("1.2.840.10008.5.1.4.1.1.7").unwrap())),
            "sop-class"
        );
        assert_eq!(refused(|f| f.image_types.push("LOCALIZER".to_owned())), "image-type");
        assert_eq!(refused(|f| f.body_part = Some("HEAD".to_owned())), "body-part");
        assert_eq!(refused(|f| f.geometry.slice_direction = [0.0, 0.8, 0.6]), "orientation");
        assert_eq!(refused(|f| f.slices = 19), "too-few-slices");
        assert_eq!(refused(|f| f.missing_share = 0.06), "missing-slices");
        assert_eq!(refused(|f| f.geometry.spacing[0] = 6.0), "slice-spacing");
        assert_eq!(refused(|f| f.geometry.spacing[2] = 2.1), "pixel-spacing");
        assert_eq!(refused(|f| f.geometry.shape[0] = 30), "extent");
        assert_eq!(refused(|f| f.geometry.spacing[1] = f64::NAN), "pixel-spacing");
    }
}
