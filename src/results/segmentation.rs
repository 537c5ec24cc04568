//! Segmentation (PS3.3 A.51): BINARY, one segment for each label that occurs, one frame for each slice it occurs in.
//!
//! Slices that the grid has and the source has not (gaps) get no frame: there is no source frame whose place could be
//! copied.

use bytes::Bytes;
use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::equipment::{ResultSeries, put_equipment, put_series, untrained_prefix};
use super::frames::{BitWriter, PlannedFrame, labels_in};
use super::identifiers::Identifiers;
use super::plain_text::{plain, plain_name};
use super::request::{ResultRequest, SourceGrid};
use super::{
    ResultError, algorithm, codes, coding_schemes, colour, dates, evidence, file, functional_groups as groups,
};
use crate::dicom::data_set::DataSet;
use crate::dicom::uid::OtherUid;
use crate::inference::prediction::Segment;
use crate::volume::SourceFrame;

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

/// Decides on segments and frames; nothing where the label map is empty.
pub(super) fn plan<'a>(
    request: &ResultRequest<'a>,
    identifiers: &Identifiers,
) -> Result<Option<Plan<'a>>, ResultError> {
    let Some((grid, map, prediction)) = request.labelled_grid() else { return Ok(None) };
    let slice_size = map.shape[1] * map.shape[2];
    if slice_size == 0 {
        return Ok(None);
    }
    let occurring: Vec<[bool; 256]> = map.labels.chunks(slice_size).map(labels_in).collect();
    let highest = (0..256).rev().find(|l| occurring.iter().any(|slice| slice[*l])).unwrap_or(0);
    if highest > prediction.segments.len() {
        return Err(ResultError::Prediction(format!("label {highest} occurs, but no segment {highest} is described")));
    }
    let in_source = |slice: &usize| grid.slices[*slice].is_some();
    let used: Vec<usize> = (0..occurring.len())
        .filter(in_source)
        .filter(|s| request.options.keep_empty_frames || occurring[*s][1..].contains(&true))
        .collect();
    let mut plan = Plan { segments: Vec::new(), frames: Vec::new() };
    for (description, label) in prediction.segments.iter().zip(1_u8..) {
        let occurs = |slice: &usize| occurring[*slice][usize::from(label)];
        if !used.iter().any(occurs) {
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
    Ok((!plan.segments.is_empty()).then_some(plan))
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
    let length = u32::try_from(bytes + bytes % 2)
        .ok()
        .filter(|length| *length < u32::MAX - 1)
        .ok_or_else(|| ResultError::Prediction("the segmentation has more than 4 GB of bits".into()))?;
    let object = data_set(request, identifiers, plan, grid)?;
    let mut out = file::begin(&object, &file::segmentation_storage()?, &identifiers.segmentation, Some(length))?;
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
    put_frame_of_reference(&mut object, request, identifiers);
    put_image(&mut object, request, plan, grid.geometry.shape)?;
    groups::put_dimensions(&mut object, identifiers);
    put_functional_groups(&mut object, plan, grid)?;
    let segments = plan.segments.iter().map(|segment| segment_item(request, segment)).collect();
    object.put_items(tags::SEGMENT_SEQUENCE, segments);
    put_references(&mut object, request);
    coding_schemes::declare(&mut object, request);
    Ok(object)
}

/// Frame of Reference Module (PS3.3 C.7.4.1).
fn put_frame_of_reference(object: &mut DataSet, request: &ResultRequest<'_>, identifiers: &Identifiers) {
    object.put_uid(tags::FRAME_OF_REFERENCE_UID, identifiers.frame_of_reference.as_str());
    let indicator = request.source.header.bytes(tags::POSITION_REFERENCE_INDICATOR).cloned();
    object.put_bytes(tags::POSITION_REFERENCE_INDICATOR, VR::LO, indicator.unwrap_or_default());
}

/// General Image, Image Pixel and Segmentation Image modules (PS3.3 C.7.6.1, C.7.6.3, C.8.20.2).
fn put_image(
    object: &mut DataSet,
    request: &ResultRequest<'_>,
    plan: &Plan<'_>,
    shape: [usize; 3],
) -> Result<(), ResultError> {
    let sixteen_bits = |size: usize| {
        u16::try_from(size)
            .map_err(|_| ResultError::Source(format!("{size} rows or columns are more than an image has")))
    };
    object.put_text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\PRIMARY");
    object.put_us(tags::SAMPLES_PER_PIXEL, &[1]);
    object.put_text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    object.put_text(tags::NUMBER_OF_FRAMES, VR::IS, &plan.frames.len().to_string());
    object.put_us(tags::ROWS, &[sixteen_bits(shape[1])?]);
    object.put_us(tags::COLUMNS, &[sixteen_bits(shape[2])?]);
    object.put_us(tags::BITS_ALLOCATED, &[1]);
    object.put_us(tags::BITS_STORED, &[1]);
    object.put_us(tags::HIGH_BIT, &[0]);
    object.put_us(tags::PIXEL_REPRESENTATION, &[0]);
    object.put_text(tags::BURNED_IN_ANNOTATION, VR::CS, "NO");
    let header = &request.source.header;
    if header.text(tags::LOSSY_IMAGE_COMPRESSION).as_deref() == Some("01") {
        object.put_text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01");
        object.copy(header, tags::LOSSY_IMAGE_COMPRESSION_RATIO);
        object.copy(header, tags::LOSSY_IMAGE_COMPRESSION_METHOD);
    } else {
        object.put_text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00");
    }
    object.put_text(tags::SEGMENTATION_TYPE, VR::CS, "BINARY");
    object.put_text(tags::SEGMENTS_OVERLAP, VR::CS, "NO");
    object.put_text(tags::CONTENT_LABEL, VR::CS, "SEGMENTATION");
    let description = format!("{}{}", untrained_prefix(request), request.algorithm.title);
    object.put_text(tags::CONTENT_DESCRIPTION, VR::LO, &plain(&description, 64));
    // A caret makes it a family name; without one it is the retired free form.
    let creator = format!("{}^", plain_name(&request.equipment.model_name));
    object.put_text(tags::CONTENT_CREATOR_NAME, VR::PN, &creator);
    Ok(())
}

fn put_functional_groups(object: &mut DataSet, plan: &Plan<'_>, grid: SourceGrid<'_>) -> Result<(), ResultError> {
    let source = |frame: &PlannedFrame| grid.slices[frame.slice].as_ref();
    let sources: Vec<&SourceFrame> = plan.frames.iter().filter_map(source).collect();
    let (Some(&first), true) = (sources.first(), sources.len() == plan.frames.len()) else {
        return Err(ResultError::Source("a slice without a source frame was to be written".into()));
    };
    let shared = groups::shared(sources.iter().copied());
    let frames = plan.frames.iter().zip(&sources);
    let items = frames.map(|(frame, source)| groups::frame_item(frame, source, shared, grid.geometry)).collect();
    object.put_items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![groups::shared_item(shared, first, grid.geometry)]);
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

/// Common Instance Reference Module (PS3.3 C.12.2): viewers find the source series by it.
fn put_references(object: &mut DataSet, request: &ResultRequest<'_>) {
    let mut series = DataSet::new();
    series.put_uid(tags::SERIES_INSTANCE_UID, request.source.series_instance_uid.as_str());
    series.put_items(tags::REFERENCED_INSTANCE_SEQUENCE, evidence::source_references(request));
    object.put_items(tags::REFERENCED_SERIES_SEQUENCE, vec![series]);
}
