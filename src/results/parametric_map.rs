//! Parametric Map (PS3.3 A.75): the attention map, one frame for each slice on which it is not zero.
//!
//! Sixteen bits with a Real World Value Mapping and not Float Pixel Data: what shows grey multi-frame images shows these,
//! and the object is never larger than the pixels of its source. The step is 1/65535.
//!
//! Frames of a Parametric Map must have a place in the patient: there is none of a radiograph.

use bytes::Bytes;
use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::derived_image::{pixel_length, put_content, put_frame_of_reference, put_pixel_description, put_references};
use super::equipment::{ResultSeries, put_equipment, put_series};
use super::functional_groups::{Dimension, Placement, put_dimensions};
use super::grid::SourceGrid;
use super::identifiers::Identifiers;
use super::plain_text::plain;
use super::request::ResultRequest;
use super::{ResultError, codes, coding_schemes, dates, evidence, file};
use crate::dicom::data_set::DataSet;
use crate::inference::prediction::AttentionMap;

/// The stored value that stands for 1.
pub(super) const FULL: u16 = u16::MAX;
/// Value 3 and 4 of Image Type: of a volume, a quantity (PS3.3 C.8.32.2.1).
const IMAGE_TYPE: &str = "DERIVED\\PRIMARY\\VOLUME\\QUANTITY";

/// What the object will hold.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Slices of the source, one for each frame, in their order.
    pub(super) slices: Vec<usize>,
    /// The largest stored value.
    largest: u16,
}

impl Plan {
    /// The frame, from 1, that was made from a slice.
    pub(super) fn frame_of(&self, slice: usize) -> Option<u32> {
        let at = self.slices.binary_search(&slice).ok()?;
        u32::try_from(at + 1).ok()
    }
}

/// Decides on frames; nothing where the map is zero wherever the source has a slice, and nothing of a radiograph.
pub(super) fn plan(request: &ResultRequest<'_>) -> Option<Plan> {
    let (grid, attention) = request.attention()?;
    grid.stack()?;
    let slice_size = grid.slice_size();
    let in_source = |slice: &usize| grid.reference(*slice).is_some();
    let largest_in = |slice: usize| {
        let values = attention.values[slice * slice_size..][..slice_size].iter();
        stored(values.copied().fold(0.0, f32::max))
    };
    let largest: Vec<(usize, u16)> =
        (0..attention.shape[0]).filter(in_source).map(|slice| (slice, largest_in(slice))).collect();
    let overall = largest.iter().map(|(_, largest)| *largest).max().filter(|largest| *largest > 0)?;
    let keep = |entry: &&(usize, u16)| request.options.keep_empty_frames || entry.1 > 0;
    Some(Plan { slices: largest.iter().filter(keep).map(|(slice, _)| *slice).collect(), largest: overall })
}

/// The stored value of a map value from 0 to 1, to the nearest.
pub(super) fn stored(value: f32) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the range, and meant to be cut"
    )]
    let stored = (f64::from(value.clamp(0.0, 1.0)) * f64::from(FULL) + 0.5) as u16;
    stored
}

/// The object as a Part 10 file.
pub(super) fn encode(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    plan: &Plan,
) -> Result<Bytes, ResultError> {
    let Some((grid, attention)) = request.attention() else {
        return Err(ResultError::Prediction("it has no attention map".into()));
    };
    let slice_size = grid.slice_size();
    let length = pixel_length(plan.slices.len() * slice_size * 2)?;
    let object = data_set(request, identifiers, plan, grid, attention)?;
    let class = file::parametric_map_storage()?;
    let mut out = file::begin(&object, &class, &identifiers.parametric_map, Some((VR::OW, length)))?;
    let begin = out.len();
    out.resize(begin + length as usize, 0);
    let frames = out[begin..].as_chunks_mut::<2>().0.chunks_mut(slice_size);
    for (slice, frame) in plan.slices.iter().zip(frames) {
        let values = &attention.values[slice * slice_size..][..slice_size];
        frame.iter_mut().zip(values).for_each(|(pixel, value)| *pixel = stored(*value).to_le_bytes());
    }
    Ok(out.into())
}

fn data_set(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    plan: &Plan,
    grid: SourceGrid<'_>,
    attention: &AttentionMap,
) -> Result<DataSet, ResultError> {
    let time = dates::content_time(request);
    let mut object = evidence::begin(request);
    evidence::put_instance(&mut object, &file::parametric_map_storage()?, &identifiers.parametric_map, &time);
    let series = ResultSeries {
        modality: "OT",
        uid: identifiers.parametric_map_series.as_str(),
        number: request.options.series_number_base.saturating_add(2),
        noun: "attention map",
        code: &codes::VISUAL_EXPLANATION,
    };
    put_series(&mut object, request, &series);
    put_equipment(&mut object, request, identifiers, &time);
    put_frame_of_reference(&mut object, request, identifiers.frame_of_reference.as_str());
    // Type 2C, of a paired body part: as the source says, which mostly is nothing.
    let laterality = request.source.header.bytes(tags::LATERALITY).cloned();
    object.put_bytes(tags::LATERALITY, VR::CS, laterality.unwrap_or_default());
    put_image(&mut object, request, plan, attention)?;
    put_dimensions(&mut object, identifiers.parametric_map_dimensions.as_str(), &[Dimension::Position]);
    // Type 2: how the source was acquired is said in the source.
    object.put_items(tags::ACQUISITION_CONTEXT_SEQUENCE, Vec::new());
    put_functional_groups(&mut object, plan, grid, attention)?;
    put_references(&mut object, request);
    coding_schemes::declare(&mut object, request);
    Ok(object)
}

/// Parametric Map Image Module (PS3.3 C.8.32.2). What software has found out is qualified as research, never as product.
fn put_image(
    object: &mut DataSet,
    request: &ResultRequest<'_>,
    plan: &Plan,
    attention: &AttentionMap,
) -> Result<(), ResultError> {
    object.put_text(tags::IMAGE_TYPE, VR::CS, IMAGE_TYPE);
    put_pixel_description(object, request, plan.slices.len(), attention.shape, 16)?;
    object.put_text(tags::PIXEL_PRESENTATION, VR::CS, "MONOCHROME");
    object.put_text(tags::PRESENTATION_LUT_SHAPE, VR::CS, "IDENTITY");
    object.put_text(tags::CONTENT_QUALIFICATION, VR::CS, "RESEARCH");
    object.put_text(tags::RECOGNIZABLE_VISUAL_FEATURES, VR::CS, "NO");
    put_content(object, request, "ATTENTION", &attention.label);
    Ok(())
}

fn put_functional_groups(
    object: &mut DataSet,
    plan: &Plan,
    grid: SourceGrid<'_>,
    attention: &AttentionMap,
) -> Result<(), ResultError> {
    let placement = Placement::of(grid, plan.slices.iter().copied())?;
    let items = plan.slices.iter().zip(1_u32..);
    let items = items.map(|(slice, index)| placement.frame_item(*slice, &[index], &codes::VISUAL_EXPLANATION));
    let items = items.collect::<Result<Vec<_>, ResultError>>()?;
    let mut shared = placement.shared_item();
    shared.put_items(tags::PARAMETRIC_MAP_FRAME_TYPE_SEQUENCE, vec![frame_type()]);
    shared.put_items(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, vec![identity()]);
    shared.put_items(tags::FRAME_VOILUT_SEQUENCE, vec![window(plan)]);
    shared.put_items(tags::REAL_WORLD_VALUE_MAPPING_SEQUENCE, vec![real_world_values(attention)]);
    object.put_items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
    object.put_items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, items);
    Ok(())
}

fn frame_type() -> DataSet {
    let mut item = DataSet::new();
    item.put_text(tags::FRAME_TYPE, VR::CS, IMAGE_TYPE);
    item
}

/// Identity Pixel Value Transformation Macro (PS3.3 C.7.6.16.2.9).
fn identity() -> DataSet {
    let mut item = DataSet::new();
    item.put_text(tags::RESCALE_INTERCEPT, VR::DS, "0");
    item.put_text(tags::RESCALE_SLOPE, VR::DS, "1");
    item.put_text(tags::RESCALE_TYPE, VR::LO, "US");
    item
}

/// Frame VOI LUT Macro (PS3.3 C.7.6.16.2.10): from black for 0 to white for the largest value.
fn window(plan: &Plan) -> DataSet {
    let width = f64::from(plan.largest) + 1.0;
    let mut item = DataSet::new();
    item.put_decimals(tags::WINDOW_CENTER, &[width / 2.0]);
    item.put_decimals(tags::WINDOW_WIDTH, &[width]);
    item
}

/// Real World Value Mapping Macro (PS3.3 C.7.6.16.2.11).
fn real_world_values(attention: &AttentionMap) -> DataSet {
    let mut quantity = DataSet::new();
    quantity.put_text(tags::VALUE_TYPE, VR::CS, "CODE");
    quantity.put_items(tags::CONCEPT_NAME_CODE_SEQUENCE, vec![codes::item(&codes::QUANTITY)]);
    quantity.put_items(tags::CONCEPT_CODE_SEQUENCE, vec![codes::item(&codes::SALIENCY)]);
    let mut item = DataSet::new();
    item.put_text(tags::LUT_EXPLANATION, VR::LO, &plain(&attention.label, 64));
    item.put_text(tags::LUT_LABEL, VR::SH, "ATTENTION");
    item.put_items(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, vec![codes::item(&codes::NO_UNITS)]);
    item.put_us(tags::REAL_WORLD_VALUE_FIRST_VALUE_MAPPED, &[0]);
    item.put_us(tags::REAL_WORLD_VALUE_LAST_VALUE_MAPPED, &[FULL]);
    item.put_fd(tags::REAL_WORLD_VALUE_INTERCEPT, &[0.0]);
    item.put_fd(tags::REAL_WORLD_VALUE_SLOPE, &[1.0 / f64::from(FULL)]);
    item.put_items(tags::QUANTITY_DEFINITION_SEQUENCE, vec![quantity]);
    item
}
