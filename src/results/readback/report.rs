//! A report against the prediction: every number and its unit, every reference, every tracking identifier.

use std::collections::BTreeSet;

use bytes::Bytes;
use dicom_dictionary_std::{tags, uids};

use super::super::ResultError;
use super::super::codes;
use super::super::identifiers::Identifiers;
use super::super::plain_text::plain;
use super::super::plans::Plans;
use super::super::request::ResultRequest;
use super::super::templates::undefined;
use super::tree::{all_of_type, children, groups, is_code, named, of_type, tracking};
use super::{Checked, ensure, findings, of, open, regions, words};
use crate::dicom::data_set::DataSet;
use crate::inference::prediction::{Measurement, MeasurementGroup};
use crate::volume::source::is_image_storage;

/// Reads a report back and compares.
pub(in super::super) fn report(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    plans: &Plans<'_>,
    bytes: &Bytes,
) -> Result<(), ResultError> {
    compare(request, identifiers, plans, bytes).map_err(of("report"))
}

fn compare(request: &ResultRequest<'_>, identifiers: &Identifiers, plans: &Plans<'_>, bytes: &Bytes) -> Checked {
    let object = open(request, bytes)?;
    check_evidence(request, identifiers, plans, &object)?;
    let written = groups(&object);
    for expected in request.groups() {
        let uid = identifiers.tracking(&expected.label);
        let group = written.iter().find(|group| tracking(group).as_deref() == Some(uid.as_str()));
        let group = group.ok_or_else(|| format!("«{}» is not in the report", expected.label))?;
        check_group(plans, group, expected).map_err(|e| format!("«{}»: {e}", expected.label))?;
    }
    let others =
        findings::check(request, identifiers, &object)? + regions::check(request, identifiers, plans, &object)?;
    let expected = request.groups().len() + others;
    ensure(written.len() == expected, || format!("{} groups, {expected} were predicted", written.len()))?;
    words::check(request, &object)?;
    let reason = request.outcome.reason();
    let comments: Vec<String> = all_of_type(&object, "TEXT").filter_map(|item| item.text(tags::TEXT_VALUE)).collect();
    let code = reason.map(|r| format!("[{}]", plain(r.code, 64)));
    ensure(code.is_none_or(|code| comments.iter().any(|c| c.ends_with(&code))), || "the reason is missing".into())
}

/// The evidence is the source and the objects made from it, and the content refers to nothing else.
fn check_evidence(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    plans: &Plans<'_>,
    object: &DataSet,
) -> Checked {
    let mut expected: BTreeSet<String> =
        request.source.instances.iter().map(|(_, uid)| uid.as_str().to_owned()).collect();
    let images = request.source.instances.iter().filter(|(class, _)| is_image_storage(class));
    let images: BTreeSet<String> = images.map(|(_, uid)| uid.as_str().to_owned()).collect();
    if plans.segmentation.is_some() {
        expected.insert(identifiers.segmentation.as_str().to_owned());
    }
    if plans.parametric_map.is_some() {
        expected.insert(identifiers.parametric_map.as_str().to_owned());
    }
    let evidence: BTreeSet<String> = object
        .items(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE)
        .iter()
        .flat_map(|study| study.items(tags::REFERENCED_SERIES_SEQUENCE))
        .flat_map(|series| series.items(tags::REFERENCED_SOP_SEQUENCE))
        .filter_map(|instance| instance.text(tags::REFERENCED_SOP_INSTANCE_UID))
        .collect();
    ensure(evidence == expected, || "the evidence is not the source with what was made from it".into())?;
    let referenced: BTreeSet<String> = all_of_type(object, "IMAGE")
        .flat_map(|item| item.items(tags::REFERENCED_SOP_SEQUENCE))
        .filter_map(|reference| reference.text(tags::REFERENCED_SOP_INSTANCE_UID))
        .collect();
    ensure(referenced.is_subset(&evidence), || "an image is referenced that is no evidence".into())?;
    ensure(images.is_subset(&referenced), || "the image library is not complete".into())
}

fn check_group(plans: &Plans<'_>, written: &DataSet, expected: &MeasurementGroup) -> Checked {
    let numbers: Vec<&DataSet> = of_type(written, "NUM").collect();
    let defined: Vec<&Measurement> = expected.measurements.iter().filter(|m| m.defined().is_some()).collect();
    ensure(numbers.len() == defined.len(), || format!("{} numbers", numbers.len()))?;
    let comment = named(written, &codes::COMMENT).first().and_then(|comment| comment.text(tags::TEXT_VALUE));
    let undefined = undefined(expected).map(|sentence| plain(&sentence, 4096));
    ensure(comment == undefined, || "it does not say which numbers it lacks".into())?;
    for (written, expected) in numbers.into_iter().zip(defined) {
        check_number(written, expected).map_err(|e| format!("{}: {e}", expected.label))?;
    }
    let segments = plans.segments().iter();
    let about = segments.filter(|segment| expected.segment_numbers.contains(&u16::from(segment.label)));
    let about: Vec<i64> = about.map(|segment| i64::from(segment.number)).collect();
    let references = children(written).iter().flat_map(|item| item.items(tags::REFERENCED_SOP_SEQUENCE));
    let class = |reference: &&DataSet| {
        reference.text(tags::REFERENCED_SOP_CLASS_UID).as_deref() == Some(uids::SEGMENTATION_STORAGE)
    };
    let referenced: Vec<i64> = references.filter(class).flat_map(|r| segments_of(plans, r)).collect();
    ensure(referenced == about, || "it refers to other segments".into())
}

/// The segments that a reference to the Segmentation names: by their numbers, or by the frame of one.
fn segments_of(plans: &Plans<'_>, reference: &DataSet) -> Vec<i64> {
    let frames = plans.segmentation.as_ref().map_or(&[][..], |plan| &plan.frames);
    let number = reference.integer(tags::REFERENCED_FRAME_NUMBER).and_then(|n| usize::try_from(n - 1).ok());
    if let Some(frame) = number.and_then(|at| frames.get(at)) {
        return vec![i64::from(frame.segment_number)];
    }
    #[expect(clippy::cast_possible_truncation, reason = "sixteen-bit numbers")]
    let numbers = reference.numbers(tags::REFERENCED_SEGMENT_NUMBER).into_iter().map(|n| n as i64).collect();
    numbers
}

fn check_number(written: &DataSet, expected: &Measurement) -> Checked {
    let concept = written.items(tags::CONCEPT_NAME_CODE_SEQUENCE);
    ensure(is_code(concept, &expected.concept), || "it is another concept".into())?;
    let measured = written.items(tags::MEASURED_VALUE_SEQUENCE).first();
    let value = expected.defined().ok_or("it has no value to write")?;
    let measured = measured.ok_or("it has no value")?;
    let exact = measured.number(tags::FLOATING_POINT_VALUE).map(f64::to_bits);
    ensure(exact == Some(value.to_bits()), || "the exact value differs".into())?;
    let shown = measured.number(tags::NUMERIC_VALUE).ok_or("it has no value to show")?;
    ensure((shown - value).abs() <= value.abs() * 1e-5, || format!("{shown} is shown for {value}"))?;
    let unit = measured.items(tags::MEASUREMENT_UNITS_CODE_SEQUENCE);
    ensure(is_code(unit, &expected.unit), || "the unit differs".into())
}
