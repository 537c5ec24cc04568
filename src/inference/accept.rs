//! Whether a model reads a series: decided from the series' facts alone, before anything is decoded.

use super::body_part::BodyPart;
use crate::dicom::uid::SopClassUid;
use crate::inference::manifest::{Accepts, Manifest};
use crate::volume::facts::StackFacts;
use crate::volume::{AssembleOptions, SeriesFacts, SeriesKind};

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
    /// Whether the model reads the series. Pure. What the facts leave to its pixels comes as a remark for the reader of the result,
    /// one sentence.
    ///
    /// # Errors
    /// The first reason why not; where the series is no volume although the model needs one, the reason for that.
    pub fn accepts(&self, facts: &SeriesFacts) -> Result<Option<String>, NotAccepted> {
        let SeriesFacts { modality, sop_class_uids, image_types, .. } = facts.clone();
        self.accepts_kind(&SeriesKind { modality, sop_class_uids, image_types })?;
        let remark = body_part(&self.accepts, self.looks(), facts)?;
        if self.input.is_image() {
            return Ok(remark);
        }
        match &facts.stack {
            Ok(stack) => grid(&self.accepts, stack)?,
            Err(refusal) => refuse(refusal.code(), refusal.to_string())?,
        }
        Ok(remark)
    }

    /// By what a series becomes the facts and the volume that the model is asked about and run on.
    #[must_use]
    pub fn assemble_options(&self) -> AssembleOptions {
        AssembleOptions {
            min_slices: self.accepts.least_slices.max(1),
            max_missing_share: self.accepts.largest_missing_share,
            uneven_slices: self.accepts.uneven_slices,
            ..AssembleOptions::default()
        }
    }

    /// As [`Self::assemble_options`], where this is the gate of `model` or the model itself: slices at unequal distances are the
    /// model's to read or not, for a gate sees the volume that the model gets.
    #[must_use]
    pub fn assemble_options_for(&self, model: &Self) -> AssembleOptions {
        AssembleOptions { uneven_slices: model.accepts.uneven_slices, ..self.assemble_options() }
    }

    /// Whether it is decided by the pixels too what the model reads: by its gate, or by itself.
    fn looks(&self) -> bool {
        self.accepts.gate.is_some() || self.output.verdict.is_some()
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

/// `looks`: whether the pixels are asked too. Then what does not speak for the series speaks against it only where it is plain: the word
/// is often a protocol's, or a department's own.
fn body_part(accepts: &Accepts, looks: bool, facts: &SeriesFacts) -> Result<Option<String>, NotAccepted> {
    let part = facts.body_part_examined.as_deref().unwrap_or_default().trim();
    if part.is_empty() || accepts.body_parts.is_empty() {
        return Ok(None);
    }
    let named = accepts.body_parts.join(", ");
    match BodyPart::of(part, &accepts.body_parts) {
        BodyPart::Named => Ok(None),
        BodyPart::Unclear if looks => Ok(Some(format!(
            "The series is of body part {part}, which is none of those that the model names ({named}): whether it is \
             suitable was decided by its pixels alone."
        ))),
        BodyPart::Unclear | BodyPart::Elsewhere => {
            let reason = format!("The series is of body part {part}, the model reads {named}.");
            Err(NotAccepted { code: "body-part", reason })
        }
    }
}

fn grid(accepts: &Accepts, stack: &StackFacts) -> Result<(), NotAccepted> {
    if let Some(wanted) = accepts.orientation
        && stack.orientation != wanted
    {
        let (found, wanted) = (stack.orientation.as_str(), wanted.as_str());
        return refuse("orientation", format!("The slices are {found}, the model reads {wanted} ones."));
    }
    let present = stack.present();
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
        assert_eq!(model().accepts(&chest()), Ok(None));
        let unnamed = SeriesFacts { body_part_examined: None, ..chest() };
        assert_eq!(model().accepts(&unnamed), Ok(None));
        let mut mixed = chest();
        mixed.image_types.insert("ORIGINAL\\PRIMARY\\LOCALIZER".to_owned());
        assert_eq!(model().accepts(&mixed), Ok(None), "a localizer among the slices");
        let blank = SeriesFacts { body_part_examined: Some(" ".to_owned()), ..chest() };
        assert_eq!(model().accepts(&blank), Ok(None));
    }

    #[test]
    fn a_body_part_that_is_not_named_is_left_to_the_pixels_where_they_are_asked_but_for_the_head_and_limbs() {
        let text = include_str!("manifest/example.toml");
        let verdict = &text[text.find("[output.verdict]").unwrap()..text.find("[golden]").unwrap()];
        let blind = text.replace(verdict, "").replace("gate = ", "# gate = ");
        let (looks, blind) = (model(), Manifest::parse(&blind).unwrap());
        assert!(looks.looks() && !blind.looks());
        let of = |part: &str| SeriesFacts { body_part_examined: Some(part.to_owned()), ..chest() };
        for part in ["ABDOMEN", "CAP", "Brustkorb"] {
            let remark = looks.accepts(&of(part)).unwrap().unwrap();
            assert!(remark.contains(part) && remark.contains("decided by its pixels alone"), "{remark}");
            assert_eq!(blind.accepts(&of(part)).unwrap_err().code, "body-part");
        }
        for part in ["PORT CHEST", "chest_to_pelvis"] {
            assert_eq!((looks.accepts(&of(part)), blind.accepts(&of(part))), (Ok(None), Ok(None)), "{part}");
        }
        assert_eq!(looks.accepts(&of("HEAD")).unwrap_err().code, "body-part");
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
    fn the_radiograph_package_reads_every_grey_class_that_becomes_an_image_and_no_capture_of_any_other_kind() {
        const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";
        let model = Manifest::parse(include_str!("../../models/cxr-vit/model.toml")).unwrap();
        let series = |modality: &str, class: &str| SeriesFacts {
            modality: Some(modality.to_owned()),
            sop_class_uids: [SopClassUid::parse(class).unwrap()].into(),
            stack: Err(Refusal::NoGeometry),
            ..chest()
        };
        for class in ["1", "1.1", "1.1.1", "7", "7.2", "7.3"] {
            let class = format!("1.2.840.10008.5.1.4.1.1.{class}");
            assert_eq!(model.accepts(&series("DX", &class)), Ok(None), "{class}");
        }
        assert_eq!(model.accepts(&series("OT", SECONDARY_CAPTURE)).unwrap_err().code, "modality");
        let colour = format!("{SECONDARY_CAPTURE}.4");
        assert_eq!(model.accepts(&series("DX", &colour)).unwrap_err().code, "sop-class");
    }

    #[test]
    fn what_is_no_volume_is_refused_with_the_volumes_reason() {
        let refusal = Refusal::NoGeometry;
        let refused = model().accepts(&SeriesFacts { stack: Err(refusal.clone()), ..chest() }).unwrap_err();
        assert_eq!((refused.code, refused.reason), (refusal.code(), refusal.to_string()));
    }
}
