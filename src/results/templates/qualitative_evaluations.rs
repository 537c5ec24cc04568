//! Qualitative Evaluations of TID 1500 (rows 12 to 14): what became of the analysis, in codes for machines (CID 6042,
//! CID 6047, CID 240) and in sentences for people. Only CODE and TEXT may stand here.

use super::super::algorithm::{UNTRAINED, parameters};
use super::super::content::{Relationship, code, container, text, text_bytes, with_children};
use super::super::plain_text::plain;
use super::super::plans::Plans;
use super::super::request::{Outcome, ResultRequest};
use super::super::segmentation::PlannedSegment;
use super::super::{acquisition, codes, conclusion, generated_text};
use super::finding_group::answer;
use super::{attention, region_groups, slice_scores};
use crate::dicom::code::CodedConcept;
use crate::dicom::data_set::DataSet;
use crate::inference::prediction::{Decision, Segment};

pub(super) fn qualitative_evaluations(request: &ResultRequest<'_>, plans: &Plans<'_>) -> DataSet {
    let mut items = Vec::new();
    if request.algorithm.untrained {
        items.push(comment(UNTRAINED));
    }
    let (status, summary) = status(request, plans);
    if request.options.status_codes {
        items.push(code(Relationship::Contains, &codes::SUMMARY_OF_ANALYSES, &status));
        items.push(code(Relationship::Contains, &codes::FINDINGS_SUMMARY, &summary));
    }
    let findings = request.findings();
    items.extend(
        conclusion::sentences(&findings, summary == codes::WITHOUT_FINDINGS).iter().map(|sentence| comment(sentence)),
    );
    items.extend(slice_scores::sentence(request).iter().map(|sentence| comment(sentence)));
    if plans.parametric_map.is_some() {
        items.extend(attention::sentence(request).iter().map(|sentence| comment(sentence)));
    }
    items.extend(findings.iter().map(|finding| answer(finding)));
    if summary == codes::WITHOUT_FINDINGS {
        items.extend(absent(request, plans));
    }
    items.extend(generated_text(request));
    if let Some(reason) = request.outcome.reason() {
        let verb = if request.outcome.is_failure() { "The analysis failed" } else { "Not suitable for this analysis" };
        items.push(comment(&format!("{verb}: {} [{}]", plain(reason.text, 2000), plain(reason.code, 64))));
    }
    items.push(comment(&acquisition::facts(request).sentence()));
    // Measurement groups carry the parameters that their numbers depend on; a list of findings would repeat them for each.
    if request.groups().is_empty() && request.outcome.reading().is_some() {
        items.push(comment(&format!("Parameters: {}.", parameters(request).join("; "))));
    }
    items.extend(warnings(request, plans).iter().map(|warning| comment(&format!("Note: {warning}"))));
    container(Relationship::Contains, &codes::QUALITATIVE_EVALUATIONS, None, items)
}

/// The words that a model wrote, with what they are as a modifier and above them (TID 1500 row 14).
fn generated_text(request: &ResultRequest<'_>) -> Option<DataSet> {
    let wording = generated_text::wording(request)?;
    let algorithm = request.algorithm;
    let modifier = Relationship::HasConceptMod;
    let modifiers = vec![
        text(modifier, &codes::COMMENT, generated_text::HEADING),
        text(modifier, &codes::ALGORITHM_NAME, &plain(&algorithm.name, 64)),
        text(modifier, &codes::ALGORITHM_VERSION, &algorithm.version),
    ];
    Some(with_children(text_bytes(Relationship::Contains, &codes::FINDING, wording.bytes), modifiers))
}

/// Status of the analysis (CID 6042) and summary of its findings (CID 6047).
fn status(request: &ResultRequest<'_>, plans: &Plans<'_>) -> (CodedConcept, CodedConcept) {
    if matches!(request.outcome, Outcome::Failed { .. }) {
        return (codes::FAILED, codes::NONE_SUCCEEDED);
    }
    let Some(prediction) = request.outcome.reading() else {
        return (codes::NOT_ATTEMPTED, codes::NONE_SUCCEEDED);
    };
    let found = if prediction.findings.is_empty() {
        let mut measurements = prediction.measurement_groups.iter().flat_map(|group| &group.measurements);
        !(plans.segments().is_empty() && plans.unseen.is_empty())
            || measurements.any(|measurement| measurement.defined().is_some())
    } else {
        // Where a model answers for findings, segments and numbers of organs are none. What is undetermined is to be
        // looked at: it must not be filtered out as «without findings».
        let findings = request.findings();
        let unasked = |s: &PlannedSegment<'_>| {
            let organ = codes::same(&s.description.category, &codes::ANATOMICAL_STRUCTURE);
            !organ && region_groups::answered(&findings, s).is_none()
        };
        let is_finding = |unseen: &&Segment| !codes::same(&unseen.category, &codes::ANATOMICAL_STRUCTURE);
        findings.iter().any(|f| f.decision != Decision::Absent)
            || plans.segments().iter().any(unasked)
            || plans.unseen.iter().any(is_finding)
    };
    (codes::SUCCEEDED, if found { codes::WITH_FINDINGS } else { codes::WITHOUT_FINDINGS })
}

/// «Absent» for each kind of thing that was to be segmented and is nowhere.
fn absent(request: &ResultRequest<'_>, plans: &Plans<'_>) -> Vec<DataSet> {
    let mut known: Vec<&CodedConcept> =
        plans.segments().iter().map(|segment| &segment.description.property_type).collect();
    known.extend(plans.unseen.iter().map(|segment| &segment.property_type));
    known.extend(request.findings().into_iter().map(|finding| &finding.concept));
    let mut items = Vec::new();
    for segment in request.outcome.reading().map_or(&[][..], |prediction| &prediction.segments) {
        let target = &segment.property_type;
        if !known.iter().any(|k| codes::same(k, target)) {
            known.push(target);
            items.push(code(Relationship::Contains, target, &codes::ABSENT));
        }
    }
    items
}

fn warnings(request: &ResultRequest<'_>, plans: &Plans<'_>) -> Vec<String> {
    let mut warnings: Vec<String> = request.grid.map_or(&[][..], |grid| grid.warnings()).to_vec();
    warnings.extend_from_slice(request.outcome.warnings());
    let (missing, slices) = request.grid.map_or((0, 0), |grid| grid.missing_slices());
    if missing > 0 {
        #[expect(clippy::cast_precision_loss, reason = "numbers of slices")]
        let percent = missing as f64 / slices as f64 * 100.0;
        warnings.push(format!(
            "{missing} of {slices} slices are missing in the source ({percent:.1} %); they are interpolated in the measurements \
             and have no frame in the objects"
        ));
    }
    let empty = request.groups().iter().filter(|g| g.measurements.iter().any(|m| m.defined().is_none()));
    warnings.extend(empty.map(|group| format!("{}: some values could not be computed", group.label)));
    warnings.extend(plans.unseen.iter().map(|segment| {
        format!("{} lies between slices of the source alone: no frame shows it", plain(&segment.label, 64))
    }));
    warnings.extend(region_groups::unmarked(request, plans));
    if request.attention().is_some_and(|(grid, _)| grid.stack().is_none()) {
        warnings.push("the attention map is not sent: of a radiograph there is no object for it".to_owned());
    }
    if let Some(wording) = generated_text::wording(request).filter(|wording| wording.lost > 0) {
        let lost = wording.lost;
        warnings.push(format!("{lost} characters of the generated text are not in the character set of the study"));
    }
    if request.outcome.reading().and_then(|p| p.text.as_ref()).is_some() && generated_text::wording(request).is_none() {
        warnings.push("the model wrote no text".to_owned());
    }
    warnings
}

fn comment(sentence: &str) -> DataSet {
    text(Relationship::Contains, &codes::COMMENT, sentence)
}
