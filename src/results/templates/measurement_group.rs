//! Measurement Groups: TID 1411 about one segment, TID 1410 about one of a radiograph, TID 1501 about several segments or
//! none; TID 1419 in them.
//!
//! TID 1411 refers to exactly one segment (row 7; readers take the first and drop the others). A group about two lungs is
//! therefore TID 1501, whose Source of Measurement is the Segmentation with both segment numbers.

use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::super::algorithm;
use super::super::codes;
use super::super::content::{Relationship, code, frame_reference, image, number, text, uid_reference};
use super::super::evidence::instance_reference;
use super::super::file;
use super::super::grid::FrameReference;
use super::super::identifiers::Identifiers;
use super::super::plans::Plans;
use super::super::request::ResultRequest;
use super::super::segmentation::PlannedSegment;
use super::group_context::{algorithm_identification, finding_site, group as group_of, tracking};
use crate::dicom::data_set::DataSet;
use crate::inference::prediction::{Measurement, MeasurementGroup};

pub(super) fn measurement_group(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    plans: &Plans<'_>,
    group: &MeasurementGroup,
) -> DataSet {
    let about: Vec<&PlannedSegment<'_>> =
        plans.segments().iter().filter(|s| group.segment_numbers.contains(&u16::from(s.label))).collect();
    let mut items = tracking(&group.label, &identifiers.tracking(&group.label));
    items.extend(finding(request, group));
    items.extend(algorithm_identification(request, &algorithm::parameters(request)));
    let radiograph = request.grid.filter(|grid| grid.stack().is_none()).and_then(|grid| grid.reference(0));
    let template = match (&about[..], group.segment_numbers.len(), radiograph) {
        ([segment], 1, Some(source)) => {
            items.extend(planar_references(identifiers, plans, segment, source));
            "1410"
        }
        ([segment], 1, None) => {
            items.extend(volumetric_references(request, identifiers, segment));
            "1411"
        }
        (several, ..) => {
            let numbers: Vec<u16> = several.iter().map(|segment| segment.number).collect();
            items.extend(segmentation_source(identifiers, &numbers));
            "1501"
        }
    };
    items.extend(group.measurements.iter().filter_map(measurement));
    items.extend(undefined(group).map(|sentence| text(Relationship::Contains, &codes::COMMENT, &sentence)));
    group_of(template, items)
}

/// Source of Measurement: segments of the Segmentation, where there are any.
pub(super) fn segmentation_source(identifiers: &Identifiers, numbers: &[u16]) -> Option<DataSet> {
    let reference = (!numbers.is_empty()).then(|| segment_reference(identifiers, numbers))??;
    Some(image(Relationship::Contains, &codes::SOURCE_OF_MEASUREMENT, reference))
}

fn finding(request: &ResultRequest<'_>, group: &MeasurementGroup) -> Vec<DataSet> {
    let category = request.outcome.reading().and_then(|prediction| {
        let first = group.segment_numbers.first()?.checked_sub(1)?;
        prediction.segments.get(usize::from(first)).map(|segment| &segment.category)
    });
    let mut items: Vec<DataSet> =
        category.map(|c| code(Relationship::Contains, &codes::FINDING_CATEGORY, c)).into_iter().collect();
    items.push(code(Relationship::Contains, &codes::FINDING, &group.finding));
    items.extend(group.finding_site.as_ref().map(|site| finding_site(site, group.laterality.as_ref())));
    items
}

/// TID 1411: the segment, and the series that it was found in.
fn volumetric_references(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    segment: &PlannedSegment<'_>,
) -> Vec<DataSet> {
    let Some(reference) = segment_reference(identifiers, &[segment.number]) else { return Vec::new() };
    let series = request.source.series_instance_uid.as_str();
    vec![
        image(Relationship::Contains, &codes::REFERENCED_SEGMENT, reference),
        uid_reference(Relationship::Contains, &codes::SOURCE_SERIES_FOR_SEGMENTATION, series),
    ]
}

/// TID 1410: the one frame of the segment, and the image that it was found in. A frame has one segment, whose number may
/// not stand beside its own (PS3.3 Table C.18.4-1).
fn planar_references(
    identifiers: &Identifiers,
    plans: &Plans<'_>,
    segment: &PlannedSegment<'_>,
    source: FrameReference<'_>,
) -> Vec<DataSet> {
    let frames = plans.segmentation.as_ref().map_or(&[][..], |plan| &plan.frames);
    let at = frames.iter().position(|frame| frame.segment_number == segment.number);
    let (Some(at), Ok(class)) = (at, file::segmentation_storage()) else { return Vec::new() };
    let mut reference = instance_reference(&class, &identifiers.segmentation);
    reference.put_text(tags::REFERENCED_FRAME_NUMBER, VR::IS, &(at + 1).to_string());
    let contains = Relationship::Contains;
    vec![
        image(contains, &codes::REFERENCED_SEGMENTATION_FRAME, reference),
        image(contains, &codes::SOURCE_IMAGE_FOR_SEGMENTATION, frame_reference(source)),
    ]
}

fn segment_reference(identifiers: &Identifiers, numbers: &[u16]) -> Option<DataSet> {
    let mut reference = instance_reference(&file::segmentation_storage().ok()?, &identifiers.segmentation);
    reference.put_us(tags::REFERENCED_SEGMENT_NUMBER, numbers);
    Some(reference)
}

/// TID 1419 row 5, with its derivation; nothing where there is no number.
fn measurement(measurement: &Measurement) -> Option<DataSet> {
    let value = measurement.defined()?;
    let derivation = measurement.derivation.iter();
    let derivation = derivation.map(|how| code(Relationship::HasConceptMod, &codes::DERIVATION, how)).collect();
    Some(number(Relationship::Contains, &measurement.concept, value, &measurement.unit, derivation))
}

/// Which of its measurements are no numbers, in words, where some are: an empty lung has no density.
pub(in super::super) fn undefined(group: &MeasurementGroup) -> Option<String> {
    let undefined = group.measurements.iter().filter(|measurement| measurement.defined().is_none());
    let labels: Vec<&str> = undefined.map(|measurement| measurement.label.as_str()).collect();
    (!labels.is_empty()).then(|| format!("Not defined here: {}.", labels.join(", ")))
}
