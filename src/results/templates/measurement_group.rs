//! Measurement Groups: TID 1411 about one segment, TID 1501 about several segments or none; TID 4108, 1419, 4019 in them.
//!
//! TID 1411 refers to exactly one segment (row 7; readers take the first and drop the others). A group about two lungs is
//! therefore TID 1501, whose Source of Measurement is the Segmentation with both segment numbers.

use super::super::codes;
use super::super::content::{Relationship, code, container, image, number, text, uid_reference, with_children};
use super::super::identifiers::Identifiers;
use super::super::plain_text::plain;
use super::super::request::ResultRequest;
use super::super::segmentation::Plan;
use super::super::{algorithm, file};
use crate::dicom::data_set::DataSet;
use crate::inference::prediction::{Measurement, MeasurementGroup};

pub(super) fn measurement_group(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    segmentation: Option<&Plan<'_>>,
    group: &MeasurementGroup,
) -> DataSet {
    let numbers = segment_numbers(segmentation, group);
    let about_one = group.segment_numbers.len() == 1 && numbers.len() == 1;
    let mut items = tracking(identifiers, group);
    items.extend(finding(request, group));
    items.extend(algorithm_identification(request));
    items.extend(references(request, identifiers, &numbers, about_one));
    items.extend(group.measurements.iter().map(measurement));
    let template = if about_one { "1411" } else { "1501" };
    container(Relationship::Contains, &codes::MEASUREMENT_GROUP, Some(template), items)
}

/// Segment Numbers in the Segmentation of those segments of the group that have voxels.
pub(in super::super) fn segment_numbers(segmentation: Option<&Plan<'_>>, group: &MeasurementGroup) -> Vec<u16> {
    let segments = segmentation.map_or(&[][..], |plan| &plan.segments);
    let of_group = |label: u8| group.segment_numbers.contains(&u16::from(label));
    segments.iter().filter(|segment| of_group(segment.label)).map(|segment| segment.number).collect()
}

/// TID 4108, Tracking Identifier.
fn tracking(identifiers: &Identifiers, group: &MeasurementGroup) -> Vec<DataSet> {
    let context = Relationship::HasObsContext;
    vec![
        text(context, &codes::TRACKING_IDENTIFIER, &plain(&group.label, 64)),
        uid_reference(context, &codes::TRACKING_UNIQUE_IDENTIFIER, identifiers.tracking(&group.label).as_str()),
    ]
}

fn finding(request: &ResultRequest<'_>, group: &MeasurementGroup) -> Vec<DataSet> {
    let category = request.outcome.reading().and_then(|prediction| {
        let first = group.segment_numbers.first()?.checked_sub(1)?;
        prediction.segments.get(usize::from(first)).map(|segment| &segment.category)
    });
    let mut items: Vec<DataSet> =
        category.map(|c| code(Relationship::Contains, &codes::FINDING_CATEGORY, c)).into_iter().collect();
    items.push(code(Relationship::Contains, &codes::FINDING, &group.finding));
    if let Some(site) = &group.finding_site {
        let laterality = group.laterality.iter();
        let laterality = laterality.map(|side| code(Relationship::HasConceptMod, &codes::LATERALITY, side)).collect();
        items.push(with_children(code(Relationship::HasConceptMod, &codes::FINDING_SITE, site), laterality));
    }
    items
}

/// TID 4019, Algorithm Identification.
fn algorithm_identification(request: &ResultRequest<'_>) -> Vec<DataSet> {
    let modifier = Relationship::HasConceptMod;
    let identity = request.algorithm;
    let mut items = vec![
        text(modifier, &codes::ALGORITHM_NAME, &plain(&identity.name, 64)),
        text(modifier, &codes::ALGORITHM_VERSION, &identity.version),
        text(modifier, &codes::ALGORITHM_MANUFACTURER, &identity.manufacturer),
    ];
    let parameters = algorithm::parameters(request);
    items.extend(parameters.iter().map(|parameter| text(modifier, &codes::ALGORITHM_PARAMETERS, parameter)));
    items.push(code(modifier, &codes::ALGORITHM_FAMILY, &identity.family));
    items
}

fn references(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    numbers: &[u16],
    about_one: bool,
) -> Vec<DataSet> {
    let (false, Ok(class)) = (numbers.is_empty(), file::segmentation_storage()) else { return Vec::new() };
    if !about_one {
        return vec![image(&codes::SOURCE_OF_MEASUREMENT, &class, &identifiers.segmentation, numbers)];
    }
    let series = request.source.series_instance_uid.as_str();
    vec![
        image(&codes::REFERENCED_SEGMENT, &class, &identifiers.segmentation, numbers),
        uid_reference(Relationship::Contains, &codes::SOURCE_SERIES_FOR_SEGMENTATION, series),
    ]
}

/// TID 1419 row 5, with its derivation.
fn measurement(measurement: &Measurement) -> DataSet {
    let derivation = measurement.derivation.iter();
    let derivation = derivation.map(|how| code(Relationship::HasConceptMod, &codes::DERIVATION, how)).collect();
    number(Relationship::Contains, &measurement.concept, measurement.value, &measurement.unit, derivation)
}
