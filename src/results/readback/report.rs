//! A report against the prediction: every number and its unit, every reference, every tracking identifier.

use std::collections::BTreeSet;

use bytes::Bytes;
use dicom_dictionary_std::tags;

use super::super::ResultError;
use super::super::identifiers::Identifiers;
use super::super::request::ResultRequest;
use super::super::segmentation::Plan;
use super::{Checked, code_of, ensure, of, open};
use crate::dicom::code::CodedConcept;
use crate::dicom::data_set::DataSet;
use crate::inference::prediction::{Measurement, MeasurementGroup};

/// Reads a report back and compares.
pub(in super::super) fn report(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    segmentation: Option<&Plan<'_>>,
    bytes: &Bytes,
) -> Result<(), ResultError> {
    compare(request, identifiers, segmentation, bytes).map_err(of("report"))
}

fn compare(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    segmentation: Option<&Plan<'_>>,
    bytes: &Bytes,
) -> Checked {
    let object = open(request, bytes)?;
    check_evidence(request, identifiers, segmentation, &object)?;
    let written = groups(&object);
    let expected = request.groups();
    ensure(written.len() == expected.len(), || format!("{} groups, {} were measured", written.len(), expected.len()))?;
    for (written, expected) in written.into_iter().zip(expected) {
        check_group(identifiers, segmentation, written, expected).map_err(|e| format!("«{}»: {e}", expected.label))?;
    }
    let reason = request.outcome.reason();
    let comments: Vec<String> = all_of_type(&object, "TEXT").filter_map(|item| item.text(tags::TEXT_VALUE)).collect();
    let code = reason.map(|r| format!("[{}]", super::super::plain_text::plain(r.code, 64)));
    ensure(code.is_none_or(|code| comments.iter().any(|c| c.ends_with(&code))), || "the reason is missing".into())
}

/// The evidence is the source and the segmentation, and the content refers to nothing else.
fn check_evidence(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    segmentation: Option<&Plan<'_>>,
    object: &DataSet,
) -> Checked {
    let mut expected: BTreeSet<String> =
        request.source.instances.iter().map(|(_, uid)| uid.as_str().to_owned()).collect();
    let in_source = expected.clone();
    if segmentation.is_some() {
        expected.insert(identifiers.segmentation.as_str().to_owned());
    }
    let evidence: BTreeSet<String> = object
        .items(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE)
        .iter()
        .flat_map(|study| study.items(tags::REFERENCED_SERIES_SEQUENCE))
        .flat_map(|series| series.items(tags::REFERENCED_SOP_SEQUENCE))
        .filter_map(|instance| instance.text(tags::REFERENCED_SOP_INSTANCE_UID))
        .collect();
    ensure(evidence == expected, || "the evidence is not the source with its segmentation".into())?;
    let referenced: BTreeSet<String> = all_of_type(object, "IMAGE")
        .flat_map(|item| item.items(tags::REFERENCED_SOP_SEQUENCE))
        .filter_map(|reference| reference.text(tags::REFERENCED_SOP_INSTANCE_UID))
        .collect();
    ensure(referenced.is_subset(&evidence), || "an image is referenced that is no evidence".into())?;
    ensure(in_source.is_subset(&referenced), || "the image library is not complete".into())
}

fn check_group(
    identifiers: &Identifiers,
    segmentation: Option<&Plan<'_>>,
    written: &DataSet,
    expected: &MeasurementGroup,
) -> Checked {
    let children = written.items(tags::CONTENT_SEQUENCE);
    let tracking = children.iter().filter(|item| is_type(item, "UIDREF")).find_map(|item| item.text(tags::UID));
    ensure(tracking.as_deref() == Some(identifiers.tracking(&expected.label).as_str()), || {
        "it is tracked otherwise".into()
    })?;
    let numbers: Vec<&DataSet> = children.iter().filter(|item| is_type(item, "NUM")).collect();
    ensure(numbers.len() == expected.measurements.len(), || format!("{} numbers", numbers.len()))?;
    for (written, expected) in numbers.into_iter().zip(&expected.measurements) {
        check_number(written, expected).map_err(|e| format!("{}: {e}", expected.label))?;
    }
    let segments = segmentation.map_or(&[][..], |plan| &plan.segments);
    let about = segments.iter().filter(|segment| expected.segment_numbers.contains(&u16::from(segment.label)));
    let about: Vec<f64> = about.map(|segment| f64::from(segment.number)).collect();
    let referenced: Vec<f64> = children
        .iter()
        .flat_map(|item| item.items(tags::REFERENCED_SOP_SEQUENCE))
        .flat_map(|reference| reference.numbers(tags::REFERENCED_SEGMENT_NUMBER))
        .collect();
    ensure(referenced == about, || "it refers to other segments".into())
}

fn check_number(written: &DataSet, expected: &Measurement) -> Checked {
    let is = |found: Option<(String, String)>, code: &CodedConcept| {
        found.is_some_and(|(value, scheme)| value == code.value && scheme == code.scheme)
    };
    let concept = code_of(written, tags::CONCEPT_NAME_CODE_SEQUENCE);
    ensure(is(concept, &expected.concept), || "it is another concept".into())?;
    let measured = written.items(tags::MEASURED_VALUE_SEQUENCE).first();
    let Some(value) = expected.value.filter(|v| v.is_finite()) else {
        return ensure(measured.is_none(), || "it has a value".into());
    };
    let measured = measured.ok_or("it has no value")?;
    let exact = measured.number(tags::FLOATING_POINT_VALUE).map(f64::to_bits);
    ensure(exact == Some(value.to_bits()), || "the exact value differs".into())?;
    let shown = measured.number(tags::NUMERIC_VALUE).ok_or("it has no value to show")?;
    ensure((shown - value).abs() <= value.abs() * 1e-5, || format!("{shown} is shown for {value}"))?;
    ensure(is(code_of(measured, tags::MEASUREMENT_UNITS_CODE_SEQUENCE), &expected.unit), || "the unit differs".into())
}

/// The Measurement Groups below Imaging Measurements, in order.
fn groups(object: &DataSet) -> Vec<&DataSet> {
    object
        .items(tags::CONTENT_SEQUENCE)
        .iter()
        .filter(|item| code_of(item, tags::CONCEPT_NAME_CODE_SEQUENCE).is_some_and(|(value, _)| value == "126010"))
        .flat_map(|container| container.items(tags::CONTENT_SEQUENCE))
        .collect()
}

/// All content items of a value type, at any depth.
fn all_of_type<'a>(item: &'a DataSet, value_type: &'a str) -> Box<dyn Iterator<Item = &'a DataSet> + 'a> {
    let children = item.items(tags::CONTENT_SEQUENCE).iter();
    Box::new(children.flat_map(move |child| {
        let itself = is_type(child, value_type).then_some(child);
        itself.into_iter().chain(all_of_type(child, value_type))
    }))
}

fn is_type(item: &DataSet, value_type: &str) -> bool {
    item.text(tags::VALUE_TYPE).as_deref() == Some(value_type)
}
