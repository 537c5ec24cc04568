//! Functional groups of a Segmentation (PS3.3 C.7.6.16, A.51.5): the place of each frame, copied from its source as text.

use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::codes;
use super::evidence::instance_reference;
use super::frames::PlannedFrame;
use super::identifiers::Identifiers;
use crate::dicom::data_set::DataSet;
use crate::volume::{Geometry, SourceFrame};

/// Measures and orientation that all frames have in common, where they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) measures: bool,
    pub(super) orientation: bool,
}

/// What the source frames of a Segmentation share, by their texts.
pub(super) fn shared<'a>(mut frames: impl Iterator<Item = &'a SourceFrame>) -> Shared {
    let Some(first) = frames.next() else { return Shared { measures: true, orientation: true } };
    frames.fold(Shared { measures: true, orientation: true }, |so_far, frame| Shared {
        measures: so_far.measures
            && frame.pixel_spacing == first.pixel_spacing
            && frame.slice_thickness == first.slice_thickness,
        orientation: so_far.orientation && frame.image_orientation_patient == first.image_orientation_patient,
    })
}

/// Shared Functional Groups Sequence.
pub(super) fn shared_item(shared: Shared, first: &SourceFrame, geometry: &Geometry) -> DataSet {
    let mut item = DataSet::new();
    if shared.measures {
        item.put_items(tags::PIXEL_MEASURES_SEQUENCE, vec![pixel_measures(first, geometry)]);
    }
    if shared.orientation {
        item.put_items(tags::PLANE_ORIENTATION_SEQUENCE, vec![plane_orientation(first)]);
    }
    item
}

/// One item of the Per-Frame Functional Groups Sequence.
pub(super) fn frame_item(frame: &PlannedFrame, source: &SourceFrame, shared: Shared, geometry: &Geometry) -> DataSet {
    let mut item = DataSet::new();
    if !shared.measures {
        item.put_items(tags::PIXEL_MEASURES_SEQUENCE, vec![pixel_measures(source, geometry)]);
    }
    if !shared.orientation {
        item.put_items(tags::PLANE_ORIENTATION_SEQUENCE, vec![plane_orientation(source)]);
    }
    let mut content = DataSet::new();
    content.put_ul(tags::DIMENSION_INDEX_VALUES, &[u32::from(frame.segment_number), frame.position_index]);
    item.put_items(tags::FRAME_CONTENT_SEQUENCE, vec![content]);

    let mut position = DataSet::new();
    position.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, &source.image_position_patient);
    item.put_items(tags::PLANE_POSITION_SEQUENCE, vec![position]);

    let mut segment = DataSet::new();
    segment.put_us(tags::REFERENCED_SEGMENT_NUMBER, &[frame.segment_number]);
    item.put_items(tags::SEGMENT_IDENTIFICATION_SEQUENCE, vec![segment]);

    item.put_items(tags::DERIVATION_IMAGE_SEQUENCE, vec![derivation(source)]);
    item
}

/// Multi-frame Dimension Module (PS3.3 C.7.6.17): segment first, then position.
pub(super) fn put_dimensions(object: &mut DataSet, identifiers: &Identifiers) {
    let organization = identifiers.dimension_organization.as_str();
    let mut item = DataSet::new();
    item.put_uid(tags::DIMENSION_ORGANIZATION_UID, organization);
    object.put_items(tags::DIMENSION_ORGANIZATION_SEQUENCE, vec![item]);

    let dimensions = [
        (tags::REFERENCED_SEGMENT_NUMBER, tags::SEGMENT_IDENTIFICATION_SEQUENCE, "Segment Number"),
        (tags::IMAGE_POSITION_PATIENT, tags::PLANE_POSITION_SEQUENCE, "Image Position Patient"),
    ];
    let items = dimensions.map(|(pointer, group, label)| {
        let tag_value = |tag: dicom_core::Tag| [tag.group().to_le_bytes(), tag.element().to_le_bytes()].concat();
        let mut item = DataSet::new();
        item.put_uid(tags::DIMENSION_ORGANIZATION_UID, organization);
        item.put_bytes(tags::DIMENSION_INDEX_POINTER, VR::AT, tag_value(pointer));
        item.put_bytes(tags::FUNCTIONAL_GROUP_POINTER, VR::AT, tag_value(group));
        item.put_text(tags::DIMENSION_DESCRIPTION_LABEL, VR::LO, label);
        item
    });
    object.put_items(tags::DIMENSION_INDEX_SEQUENCE, items.into());
}

/// Pixel Measures Macro. Between slices there is no text to copy that could be trusted: the grid says how far they are.
fn pixel_measures(source: &SourceFrame, geometry: &Geometry) -> DataSet {
    let mut item = DataSet::new();
    item.put_text(tags::PIXEL_SPACING, VR::DS, &source.pixel_spacing);
    match &source.slice_thickness {
        Some(thickness) => item.put_text(tags::SLICE_THICKNESS, VR::DS, thickness),
        None => item.put_decimals(tags::SLICE_THICKNESS, &[geometry.spacing[0]]),
    }
    if geometry.shape[0] > 1 {
        item.put_decimals(tags::SPACING_BETWEEN_SLICES, &[geometry.spacing[0]]);
    }
    item
}

fn plane_orientation(source: &SourceFrame) -> DataSet {
    let mut item = DataSet::new();
    item.put_text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &source.image_orientation_patient);
    item
}

/// Derivation Image Macro: the source frame on whose pixels the segment's pixels lie.
fn derivation(source: &SourceFrame) -> DataSet {
    let mut image = instance_reference(&source.sop_class_uid, &source.sop_instance_uid);
    if let Some(number) = source.frame_number {
        image.put_text(tags::REFERENCED_FRAME_NUMBER, VR::IS, &number.to_string());
    }
    image.put_text(tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "YES");
    image.put_items(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, vec![codes::item(&codes::SOURCE_IMAGE)]);
    let mut item = DataSet::new();
    item.put_items(tags::DERIVATION_CODE_SEQUENCE, vec![codes::item(&codes::SEGMENTATION)]);
    item.put_items(tags::SOURCE_IMAGE_SEQUENCE, vec![image]);
    item
}
