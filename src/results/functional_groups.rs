//! Functional groups of multi-frame objects (PS3.3 C.7.6.16, A.51.5, A.75.4): the place of each frame, copied from its
//! source as text. Frames on a radiograph have no place in the patient: their source image says where they lie.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::evidence::instance_reference;
use super::grid::{FrameReference, SourceGrid, StackGrid};
use super::{ResultError, codes};
use crate::dicom::code::CodedConcept;
use crate::dicom::data_set::DataSet;
use crate::volume::SourceFrame;

/// What frames are told apart by (PS3.3 C.7.6.17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dimension {
    Segment,
    /// Image Position (Patient): of stacks only.
    Position,
}

/// The places of the frames of one object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement<'a> {
    grid: SourceGrid<'a>,
    shared: Option<Shared<'a>>,
}

/// What all frames of a stack have in common, where they do.
#[derive(Debug, Clone, Copy)]
struct Shared<'a> {
    stack: StackGrid<'a>,
    first: &'a SourceFrame,
    measures: bool,
    orientation: bool,
}

impl<'a> Placement<'a> {
    /// Of frames on these slices, each of which the source must have.
    pub(super) fn of(grid: SourceGrid<'a>, slices: impl Iterator<Item = usize>) -> Result<Self, ResultError> {
        let Some(stack) = grid.stack() else { return Ok(Self { grid, shared: None }) };
        let frames = slices.map(|slice| stack.slices.get(slice)?.as_ref()).collect::<Option<Vec<_>>>();
        let Some(frames) = frames else {
            return Err(ResultError::Source("a slice without a source frame was to be written".into()));
        };
        let Some(&first) = frames.first() else {
            return Err(ResultError::Source("an object without frames was to be written".into()));
        };
        let same_measures = |frame: &&SourceFrame| {
            frame.pixel_spacing == first.pixel_spacing && frame.slice_thickness == first.slice_thickness
        };
        let same_orientation =
            |frame: &&SourceFrame| frame.image_orientation_patient == first.image_orientation_patient;
        let (measures, orientation) = (frames.iter().all(same_measures), frames.iter().all(same_orientation));
        Ok(Self { grid, shared: Some(Shared { stack, first, measures, orientation }) })
    }

    /// The item of the Shared Functional Groups Sequence.
    pub(super) fn shared_item(&self) -> DataSet {
        let mut item = DataSet::new();
        let Some(shared) = self.shared else { return item };
        if shared.measures {
            item.put_items(tags::PIXEL_MEASURES_SEQUENCE, vec![pixel_measures(shared.first, &shared.stack)]);
        }
        if shared.orientation {
            item.put_items(tags::PLANE_ORIENTATION_SEQUENCE, vec![plane_orientation(shared.first)]);
        }
        item
    }

    /// One item of the Per-Frame Functional Groups Sequence: a frame made from `slice`, with its value in each dimension.
    pub(super) fn frame_item(
        &self,
        slice: usize,
        dimension_indices: &[u32],
        derivation: &CodedConcept,
    ) -> Result<DataSet, ResultError> {
        let without = || ResultError::Source("a slice without a source frame was to be written".into());
        let reference = self.grid.reference(slice).ok_or_else(without)?;
        let mut item = DataSet::new();
        let mut content = DataSet::new();
        content.put_ul(tags::DIMENSION_INDEX_VALUES, dimension_indices);
        item.put_items(tags::FRAME_CONTENT_SEQUENCE, vec![content]);
        item.put_items(tags::DERIVATION_IMAGE_SEQUENCE, vec![derivation_image(reference, derivation)]);
        let Some(shared) = self.shared else { return Ok(item) };
        let source = shared.stack.slices.get(slice).and_then(Option::as_ref).ok_or_else(without)?;
        if !shared.measures {
            item.put_items(tags::PIXEL_MEASURES_SEQUENCE, vec![pixel_measures(source, &shared.stack)]);
        }
        if !shared.orientation {
            item.put_items(tags::PLANE_ORIENTATION_SEQUENCE, vec![plane_orientation(source)]);
        }
        let mut position = DataSet::new();
        position.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, &source.image_position_patient);
        item.put_items(tags::PLANE_POSITION_SEQUENCE, vec![position]);
        Ok(item)
    }
}

/// Multi-frame Dimension Module (PS3.3 C.7.6.17).
pub(super) fn put_dimensions(object: &mut DataSet, organization: &str, dimensions: &[Dimension]) {
    let mut item = DataSet::new();
    item.put_uid(tags::DIMENSION_ORGANIZATION_UID, organization);
    object.put_items(tags::DIMENSION_ORGANIZATION_SEQUENCE, vec![item]);
    let items = dimensions.iter().map(|dimension| {
        let (pointer, group, label) = dimension.pointers();
        let tag_value = |tag: Tag| [tag.group().to_le_bytes(), tag.element().to_le_bytes()].concat();
        let mut item = DataSet::new();
        item.put_uid(tags::DIMENSION_ORGANIZATION_UID, organization);
        item.put_bytes(tags::DIMENSION_INDEX_POINTER, VR::AT, tag_value(pointer));
        item.put_bytes(tags::FUNCTIONAL_GROUP_POINTER, VR::AT, tag_value(group));
        item.put_text(tags::DIMENSION_DESCRIPTION_LABEL, VR::LO, label);
        item
    });
    object.put_items(tags::DIMENSION_INDEX_SEQUENCE, items.collect());
}

impl Dimension {
    /// Dimension Index Pointer, Functional Group Pointer, Dimension Description Label.
    const fn pointers(self) -> (Tag, Tag, &'static str) {
        match self {
            Self::Segment => (tags::REFERENCED_SEGMENT_NUMBER, tags::SEGMENT_IDENTIFICATION_SEQUENCE, "Segment Number"),
            Self::Position => (tags::IMAGE_POSITION_PATIENT, tags::PLANE_POSITION_SEQUENCE, "Image Position Patient"),
        }
    }
}

/// Pixel Measures Macro. Between slices there is no text to copy that could be trusted: the grid says how far they are, where they
/// all are as far.
fn pixel_measures(source: &SourceFrame, stack: &StackGrid<'_>) -> DataSet {
    let mut item = DataSet::new();
    item.put_text(tags::PIXEL_SPACING, VR::DS, &source.pixel_spacing);
    match &source.slice_thickness {
        Some(thickness) => item.put_text(tags::SLICE_THICKNESS, VR::DS, thickness),
        None => item.put_decimals(tags::SLICE_THICKNESS, &[stack.nearest()]),
    }
    if let Some(spacing) = stack.slice_spacing() {
        item.put_decimals(tags::SPACING_BETWEEN_SLICES, &[spacing]);
    }
    item
}

fn plane_orientation(source: &SourceFrame) -> DataSet {
    let mut item = DataSet::new();
    item.put_text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &source.image_orientation_patient);
    item
}

/// Derivation Image Macro: the source frame on whose pixels the frame's pixels lie.
fn derivation_image(source: FrameReference<'_>, derivation: &CodedConcept) -> DataSet {
    let mut image = instance_reference(source.sop_class_uid, source.sop_instance_uid);
    if let Some(number) = source.frame_number {
        image.put_text(tags::REFERENCED_FRAME_NUMBER, VR::IS, &number.to_string());
    }
    image.put_text(tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "YES");
    image.put_items(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, vec![codes::item(&codes::SOURCE_IMAGE)]);
    let mut item = DataSet::new();
    item.put_items(tags::DERIVATION_CODE_SEQUENCE, vec![codes::item(derivation)]);
    item.put_items(tags::SOURCE_IMAGE_SEQUENCE, vec![image]);
    item
}
