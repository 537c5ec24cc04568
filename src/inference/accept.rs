//! Whether a model reads a series: decided from the series' facts alone, before anything is decoded.

use crate::dicom::uid::SopClassUid;
use crate::inference::manifest::{Accepts, Manifest};
use crate::volume::facts::StackFacts;
use crate::volume::{SeriesFacts, SeriesKind};

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
    /// The first reason why not; where the series is no volume although the model needs one, the reason for that.
    pub fn accepts(&self, facts: &SeriesFacts) -> Result<(), NotAccepted> {
        let SeriesFacts { modality, sop_class_uids, image_types, .. } = facts.clone();
        self.accepts_kind(&SeriesKind { modality, sop_class_uids, image_types })?;
        body_part(&self.accepts, facts)?;
        if self.input.is_image() {
            return Ok(());
        }
        match &facts.stack {
            Ok(stack) => grid(&self.accepts, stack),
            Err(refusal) => refuse(refusal.code(), refusal.to_string()),
        }
    }

    /// Whether the model looks at series of this kind at all: by modality, SOP class and Image Type. Pure.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn accepts_kind(&self, series: &SeriesKind) -> Result<(), NotAccepted> {
        kind(&self.accepts, series)
    }
}

fn kind(accepts: &Accepts, facts: &SeriesKind) -> Result<(), NotAccepted> {
    let wanted = accepts.modality.join(" or ");
    match &facts.modality {
        None => return refuse("modality", format!("The series names no modality, the model reads {wanted}.")),
        Some(modality) if !accepts.modality.contains(modality) => {
            return refuse("modality", format!("The series is {modality}, the model reads {wanted}."));
        }
        Some(_) => {}
    }
    // A series may hold other objects beside its slices: the volume is made without them.
    let read = |class: &SopClassUid| accepts.sop_classes.contains(class);
    if !accepts.sop_classes.is_empty() && !facts.sop_class_uids.iter().any(read) {
        let classes: Vec<_> = facts.sop_class_uids.iter().map(SopClassUid::as_str).collect();
        return refuse("sop-class", format!("The model does not read objects of SOP class {}.", classes.join(", ")));
    }
    let excluded = |value: &str| accepts.exclude_image_types.iter().any(|excluded| excluded == value);
    if !facts.image_types.is_empty() && facts.image_types.iter().all(|values| values.split('\\').any(excluded)) {
        let types: Vec<_> = facts.image_types.iter().map(String::as_str).collect();
        return refuse("image-type", format!("The model does not read images of type {}.", types.join(", ")));
    }
    Ok(())
}

fn body_part(accepts: &Accepts, facts: &SeriesFacts) -> Result<(), NotAccepted> {
    let part = facts.body_part_examined.as_deref().unwrap_or_default().trim();
    let known = accepts.body_parts.iter().any(|name| name.eq_ignore_ascii_case(part));
    if known || part.is_empty() || accepts.body_parts.is_empty() {
        return Ok(());
    }
    refuse(
        "body-part",
        format!("The series is of body part {part}, the model reads {}.", accepts.body_parts.join(", ")),
    )
}

fn grid(accepts: &Accepts, stack: &StackFacts) -> Result<(), NotAccepted> {
    if let Some(wanted) = accepts.orientation
        && stack.orientation != wanted
    {
        let (found, wanted) = (stack.orientation.as_str(), wanted.as_str());
        return refuse("orientation", format!("The slices are {found}, the model reads {wanted} ones."));
    }
    let present = (stack.slices as f64 * (1.0 - stack.missing_share)).round() as usize;
    if present < accepts.least_slices {
        let least = accepts.least_slices;
        return refuse("too-few-slices", format!("The series has {present} slices, the model needs {least}."));
    }
    if stack.missing_share > accepts.largest_missing_share {
        let (missing, most) = (stack.missing_share * 100.0, accepts.largest_missing_share * 100.0);
        return refuse("missing-slices", format!("{missing:.1} % of the slices are missing, at most {most:.1} % may."));
    }
    let [between_slices, between_rows, between_columns] = stack.spacing;
    for (code, what, value, range) in [
        ("slice-spacing", "The distance between slices", between_slices, accepts.slice_spacing_mm),
        ("pixel-spacing", "The distance between rows", between_rows, accepts.pixel_spacing_mm),
        ("pixel-spacing", "The distance between columns", between_columns, accepts.pixel_spacing_mm),
        ("extent", "The length that the slices cover", stack.extent, accepts.extent_mm),
    ] {
        if let Some([least, largest]) = range
            && !(least..=largest).contains(&value)
        {
            return refuse(code, format!("{what} is {value:.2} mm, the model reads {least} to {largest} mm."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Refusal;
    use crate::volume::facts::Orientation;

    fn model() -> Manifest {
        Manifest::parse(include_str!("manifest/example.toml")).unwrap()
    }

    fn stack() -> StackFacts {
        StackFacts {
            orientation: Orientation::Axial,
            spacing: [2.5, 0.7, 0.7],
            size: [512, 512],
            slices: 120,
            missing_share: 0.0,
            extent: 297.5,
        }
    }

    fn chest() -> SeriesFacts {
        SeriesFacts {
            modality: Some("CT".to_owned()),
            sop_class_uids: [SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap()].into(),
            instances: 120,
            image_types: ["ORIGINAL\\PRIMARY\\AXIAL".to_owned()].into(),
            body_part_examined: Some("CHEST".to_owned()),
            study_description: None,
            series_description: None,
            protocol_name: None,
            patient_position: None,
            kernels: std::collections::BTreeSet::new(),
            slice_thickness: None,
            contrast_agent: None,
            kvp: None,
            manufacturer: None,
            manufacturer_model_name: None,
            lossy: false,
            pixel_padding: false,
            stack: Ok(stack()),
        }
    }

    fn refused(change: impl FnOnce(&mut SeriesFacts)) -> &'static str {
        let mut facts = chest();
        change(&mut facts);
        model().accepts(&facts).unwrap_err().code
    }

    fn refused_stack(change: impl FnOnce(&mut StackFacts)) -> &'static str {
        let mut stack = stack();
        change(&mut stack);
        refused(|facts| facts.stack = Ok(stack))
    }

    #[test]
    fn a_chest_ct_is_read_with_and_without_a_body_part() {
        assert_eq!(model().accepts(&chest()), Ok(()));
        let unnamed = SeriesFacts { body_part_examined: None, ..chest() };
        assert_eq!(model().accepts(&unnamed), Ok(()));
        let mut mixed = chest();
        mixed.image_types.insert("ORIGINAL\\PRIMARY\\LOCALIZER".to_owned());
        assert_eq!(model().accepts(&mixed), Ok(()), "a localizer among the slices");
        let blank = SeriesFacts { body_part_examined: Some(" ".to_owned()), ..chest() };
        assert_eq!(model().accepts(&blank), Ok(()));
    }

    #[test]
    fn every_rule_has_its_own_code() {
        assert_eq!(refused(|f| f.modality = Some("MR".to_owned())), "modality");
        assert_eq!(refused(|f| f.modality = None), "modality");
        let capture = SopClassUid::parse("1.2.840.10008.5.1.4.1.1.7").unwrap();
        assert_eq!(refused(|f| f.sop_class_uids = [capture].into()), "sop-class");
        assert_eq!(refused(|f| f.image_types = ["DERIVED\\LOCALIZER".to_owned()].into()), "image-type");
        assert_eq!(refused(|f| f.body_part_examined = Some("HEAD".to_owned())), "body-part");
        assert_eq!(refused_stack(|s| s.orientation = Orientation::Oblique), "orientation");
        assert_eq!(refused_stack(|s| s.slices = 19), "too-few-slices");
        assert_eq!(refused_stack(|s| s.missing_share = 0.06), "missing-slices");
        assert_eq!(refused_stack(|s| s.spacing[0] = 6.0), "slice-spacing");
        assert_eq!(refused_stack(|s| s.spacing[2] = 2.1), "pixel-spacing");
        assert_eq!(refused_stack(|s| s.spacing[1] = f64::NAN), "pixel-spacing");
        assert_eq!(refused_stack(|s| s.extent = 72.5), "extent");
    }

    #[test]
    fn what_is_no_volume_is_refused_with_the_volumes_reason() {
        let refusal = Refusal::NoGeometry;
        let refused = model().accepts(&SeriesFacts { stack: Err(refusal.clone()), ..chest() }).unwrap_err();
        assert_eq!((refused.code, refused.reason), (refusal.code(), refusal.to_string()));
    }
}
