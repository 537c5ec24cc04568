//! Segmentation (PS3.3 A.51): BINARY, one segment for each label that occurs, one frame for each slice it occurs in; of
//! a radiograph one frame for each segment.
//!
//! Slices that the grid has and the source has not (gaps) get no frame: there is no source frame whose place could be
//! copied.

use bytes::Bytes;
use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::derived_image::{
    pixel_length, put_content, put_frame_of_reference, put_patient_orientation, put_pixel_description, put_references,
};
use super::equipment::{ResultSeries, put_equipment, put_series};
use super::frames::{BitWriter, PlannedFrame, labels_in};
use super::functional_groups::{Dimension, Placement, put_dimensions};
use super::grid::SourceGrid;
use super::identifiers::Identifiers;
use super::plain_text::plain;
use super::request::ResultRequest;
use super::{ResultError, algorithm, codes, coding_schemes, colour, dates, evidence, file};
use crate::dicom::data_set::DataSet;
use crate::dicom::uid::OtherUid;
use crate::inference::prediction::Segment;

/// What the object will hold.
#[derive(Debug, Clone)]
pub(super) struct Plan<'a> {
    /// In the order of their Segment Numbers.
    pub(super) segments: Vec<PlannedSegment<'a>>,
    pub(super) frames: Vec<PlannedFrame>,
}

/// One segment that has at least one voxel.
#[derive(Debug, Clone)]
pub(super) struct PlannedSegment<'a> {
    /// In the label map, and in [`crate::inference::prediction::MeasurementGroup::segment_numbers`].
    pub(super) label: u8,
    /// In the object: from 1 without holes, also where an earlier label does not occur.
    pub(super) number: u16,
    pub(super) description: &'a Segment,
    /// The same pair as in the measurement group about this segment alone.
    pub(super) tracking_identifier: String,
    pub(super) tracking_uid: OtherUid,
}

/// Decides on segments and frames, nothing where the label map is empty; and which segments occur on slices alone of which the source
/// has no frame.
pub(super) fn plan<'a>(
    request: &ResultRequest<'a>,
    identifiers: &Identifiers,
) -> Result<(Option<Plan<'a>>, Vec<&'a Segment>), ResultError> {
    let Some((grid, map, prediction)) = request.labelled_grid() else { return Ok((None, Vec::new())) };
    let slice_size = map.shape[1] * map.shape[2];
    if slice_size == 0 {
        return Ok((None, Vec::new()));
    }
    let occurring: Vec<[bool; 256]> = map.labels.chunks(slice_size).map(labels_in).collect();
    let highest = (0..256).rev().find(|l| occurring.iter().any(|slice| slice[*l])).unwrap_or(0);
    if highest > prediction.segments.len() {
        return Err(ResultError::Prediction(format!("label {highest} occurs, but no segment {highest} is described")));
    }
    let in_source = |slice: &usize| grid.reference(*slice).is_some();
    let used: Vec<usize> = (0..occurring.len())
        .filter(in_source)
        .filter(|s| request.options.keep_empty_frames || occurring[*s][1..].contains(&true))
        .collect();
    let mut plan = Plan { segments: Vec::new(), frames: Vec::new() };
    let mut unseen = Vec::new();
    for (description, label) in prediction.segments.iter().zip(1..=u8::MAX) {
        let occurs = |slice: &usize| occurring[*slice][usize::from(label)];
        if !used.iter().any(occurs) {
            unseen.extend((0..occurring.len()).any(|slice| occurs(&slice)).then_some(description));
            continue;
        }
        let number = u16::try_from(plan.segments.len() + 1).unwrap_or(u16::MAX);
        let ranked = used.iter().zip(1_u32..).filter(|(slice, _)| request.options.keep_empty_frames || occurs(slice));
        plan.frames.extend(ranked.map(|(&slice, position_index)| PlannedFrame {
            slice,
            label,
            segment_number: number,
            position_index,
        }));
        plan.segments.push(planned_segment(request, identifiers, description, label, number));
    }
    Ok(((!plan.segments.is_empty()).then_some(plan), unseen))
}

fn planned_segment<'a>(
    request: &ResultRequest<'a>,
    identifiers: &Identifiers,
    description: &'a Segment,
    label: u8,
    number: u16,
) -> PlannedSegment<'a> {
    let about_it = request.groups().iter().find(|group| group.segment_numbers == [u16::from(label)]);
    let tracked = about_it.map_or(description.label.as_str(), |group| group.label.as_str());
    PlannedSegment {
        label,
        number,
        description,
        tracking_identifier: plain(tracked, 64),
        tracking_uid: identifiers.tracking(tracked),
    }
}

/// The object as a Part 10 file. The bits are packed straight into the file's buffer.
pub(super) fn encode(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    plan: &Plan<'_>,
) -> Result<Bytes, ResultError> {
    let Some((grid, map, _)) = request.labelled_grid() else {
        return Err(ResultError::Prediction("it has no label map".into()));
    };
    let slice_size = map.shape[1] * map.shape[2];
    let bytes = (plan.frames.len() * slice_size).div_ceil(8);
    let length = pixel_length(bytes)?;
    let object = data_set(request, identifiers, plan, grid)?;
    let mut out =
        file::begin(&object, &file::segmentation_storage()?, &identifiers.segmentation, Some((VR::OB, length)))?;
    let begin = out.len();
    let mut writer = BitWriter::new(&mut out);
    for frame in &plan.frames {
        writer.push_frame(&map.labels[frame.slice * slice_size..][..slice_size], frame.label);
    }
    writer.finish();
    out.resize(begin + length as usize, 0);
    Ok(out.into())
}

fn data_set(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    plan: &Plan<'_>,
    grid: SourceGrid<'_>,
) -> Result<DataSet, ResultError> {
    let time = dates::content_time(request);
    let mut object = evidence::begin(request);
    evidence::put_instance(&mut object, &file::segmentation_storage()?, &identifiers.segmentation, &time);
    let series = ResultSeries {
        modality: "SEG",
        uid: identifiers.segmentation_series.as_str(),
        number: request.options.series_number_base.saturating_add(1),
        noun: "segmentation",
        code: &codes::SEGMENTATION,
    };
    put_series(&mut object, request, &series);
    put_equipment(&mut object, request, identifiers, &time);
    // A radiograph without a frame of reference has frames that lie on its pixels and nowhere in the patient.
    if grid.stack().is_some() || request.source.frame_of_reference_uid.is_some() {
        put_frame_of_reference(&mut object, request, identifiers.frame_of_reference.as_str());
    }
    if grid.stack().is_none() {
        put_patient_orientation(&mut object, request);
    }
    put_image(&mut object, request, plan, grid.shape())?;
    let dimensions = [Dimension::Segment, Dimension::Position];
    let dimensions = if grid.stack().is_some() { &dimensions[..] } else { &dimensions[..1] };
    put_dimensions(&mut object, identifiers.segmentation_dimensions.as_str(), dimensions);
    put_functional_groups(&mut object, plan, grid)?;
    let segments = plan.segments.iter().map(|segment| segment_item(request, segment)).collect();
    object.put_items(tags::SEGMENT_SEQUENCE, segments);
    put_references(&mut object, request);
    coding_schemes::declare(&mut object, request);
    Ok(object)
}

/// General Image, Image Pixel and Segmentation Image modules (PS3.3 C.7.6.1, C.7.6.3, C.8.20.2).
fn put_image(
    object: &mut DataSet,
    request: &ResultRequest<'_>,
    plan: &Plan<'_>,
    shape: [usize; 3],
) -> Result<(), ResultError> {
    object.put_text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\PRIMARY");
    put_pixel_description(object, request, plan.frames.len(), shape, 1)?;
    object.put_text(tags::SEGMENTATION_TYPE, VR::CS, "BINARY");
    object.put_text(tags::SEGMENTS_OVERLAP, VR::CS, "NO");
    put_content(object, request, "SEGMENTATION", &request.algorithm.title);
    Ok(())
}

fn put_functional_groups(object: &mut DataSet, plan: &Plan<'_>, grid: SourceGrid<'_>) -> Result<(), ResultError> {
    let placement = Placement::of(grid, plan.frames.iter().map(|frame| frame.slice))?;
    let item = |frame: &PlannedFrame| {
        let indices = [u32::from(frame.segment_number), frame.position_index];
        let indices = if grid.stack().is_some() { &indices[..] } else { &indices[..1] };
        let mut item = placement.frame_item(frame.slice, indices, &codes::SEGMENTATION)?;
        let mut segment = DataSet::new();
        segment.put_us(tags::REFERENCED_SEGMENT_NUMBER, &[frame.segment_number]);
        item.put_items(tags::SEGMENT_IDENTIFICATION_SEQUENCE, vec![segment]);
        Ok(item)
    };
    let items = plan.frames.iter().map(item).collect::<Result<Vec<_>, ResultError>>()?;
    object.put_items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![placement.shared_item()]);
    object.put_items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, items);
    Ok(())
}

/// Segment Description Macro (PS3.3 Table C.8.20-4).
fn segment_item(request: &ResultRequest<'_>, segment: &PlannedSegment<'_>) -> DataSet {
    let description = segment.description;
    let mut item = DataSet::new();
    item.put_us(tags::SEGMENT_NUMBER, &[segment.number]);
    item.put_text(tags::SEGMENT_LABEL, VR::LO, &plain(&description.label, 64));
    if request.algorithm.untrained {
        item.put_text(tags::SEGMENT_DESCRIPTION, VR::ST, algorithm::UNTRAINED);
    }
    item.put_text(tags::SEGMENT_ALGORITHM_TYPE, VR::CS, "AUTOMATIC");
    algorithm::put_name(&mut item, tags::SEGMENT_ALGORITHM_NAME, request.algorithm);
    let identification = vec![algorithm::identification(request)];
    item.put_items(tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE, identification);
    let laterality = || description.laterality.iter().map(codes::item).collect::<Vec<_>>();
    item.put_items(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, vec![codes::item(&description.category)]);
    let mut property = codes::item(&description.property_type);
    if description.laterality.is_some() {
        property.put_items(tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE, laterality());
    }
    item.put_items(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, vec![property]);
    if let Some(region) = &description.region {
        let mut region = codes::item(region);
        if description.laterality.is_some() {
            region.put_items(tags::ANATOMIC_REGION_MODIFIER_SEQUENCE, laterality());
        }
        item.put_items(tags::ANATOMIC_REGION_SEQUENCE, vec![region]);
    }
    item.put_us(tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE, &colour::cielab(description.colour));
    item.put_text(tags::TRACKING_ID, VR::UT, &segment.tracking_identifier);
    item.put_uid(tags::TRACKING_UID, segment.tracking_uid.as_str());
    item
}
