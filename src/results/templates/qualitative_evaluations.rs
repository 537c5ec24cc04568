//! Qualitative Evaluations of TID 1500 (rows 12 to 14): what became of the analysis, in codes for machines (CID 6042,
//! CID 6047, CID 240) and in sentences for people. Only CODE and TEXT may stand here.

use super::super::acquisition;
use super::super::algorithm::UNTRAINED;
use super::super::codes;
use super::super::content::{Relationship, code, container, text};
use super::super::plain_text::plain;
use super::super::request::{Outcome, ResultRequest};
use super::super::segmentation::Plan;
use crate::dicom::code::CodedConcept;
use crate::dicom::data_set::DataSet;

pub(super) fn qualitative_evaluations(request: &ResultRequest<'_>, segmentation: Option<&Plan<'_>>) -> DataSet {
    let mut items = Vec::new();
    if request.algorithm.untrained {
        items.push(comment(UNTRAINED));
    }
    let (status, summary) = status(request, segmentation);
    if request.options.status_codes {
        items.push(code(Relationship::Contains, &codes::SUMMARY_OF_ANALYSES, &status));
        items.push(code(Relationship::Contains, &codes::FINDINGS_SUMMARY, &summary));
    }
    if summary == codes::WITHOUT_FINDINGS {
        items.extend(absent(request));
    }
    if let Some(reason) = request.outcome.reason() {
        let verb = if request.outcome.is_failure() { "The analysis failed" } else { "Not suitable for this analysis" };
        items.push(comment(&format!("{verb}: {} [{}]", plain(reason.text, 2000), plain(reason.code, 64))));
    }
    items.push(comment(&acquisition::facts(request).sentence()));
    items.extend(warnings(request).iter().map(|warning| comment(&format!("Note: {warning}"))));
    container(Relationship::Contains, &codes::QUALITATIVE_EVALUATIONS, None, items)
}

/// Status of the analysis (CID 6042) and summary of its findings (CID 6047).
fn status(request: &ResultRequest<'_>, segmentation: Option<&Plan<'_>>) -> (CodedConcept, CodedConcept) {
    if matches!(request.outcome, Outcome::Failed { .. }) {
        return (codes::FAILED, codes::NONE_SUCCEEDED);
    }
    if request.outcome.reading().is_none() {
        return (codes::NOT_ATTEMPTED, codes::NONE_SUCCEEDED);
    }
    let measured = request.groups().iter().flat_map(|g| &g.measurements).any(|m| m.value.is_some_and(f64::is_finite));
    let found = segmentation.is_some() || measured;
    (codes::SUCCEEDED, if found { codes::WITH_FINDINGS } else { codes::WITHOUT_FINDINGS })
}

/// «Absent» for each kind of thing that was looked for.
fn absent(request: &ResultRequest<'_>) -> Vec<DataSet> {
    let mut targets: Vec<&CodedConcept> = Vec::new();
    for segment in request.outcome.reading().map_or(&[][..], |prediction| &prediction.segments) {
        if !targets.contains(&&segment.property_type) {
            targets.push(&segment.property_type);
        }
    }
    targets.into_iter().map(|target| code(Relationship::Contains, target, &codes::ABSENT)).collect()
}

fn warnings(request: &ResultRequest<'_>) -> Vec<String> {
    let mut warnings: Vec<String> = request.grid.map_or(&[][..], |grid| grid.warnings).to_vec();
    warnings.extend_from_slice(request.outcome.warnings());
    let missing = request.grid.map_or(0, |grid| grid.slices.iter().filter(|slice| slice.is_none()).count());
    if missing > 0 {
        warnings.push(format!(
            "{missing} slices are missing in the source; they are interpolated in the measurements and have no frame in the segmentation"
        ));
    }
    let empty = request.groups().iter().filter(|g| g.measurements.iter().any(|m| m.value.is_none()));
    warnings.extend(empty.map(|group| format!("{}: some values could not be computed", group.label)));
    warnings
}

fn comment(sentence: &str) -> DataSet {
    text(Relationship::Contains, &codes::COMMENT, sentence)
}
