//! A finding scored slice by slice, as TID 1501: the slice with the largest probability in a group of its own, and a group
//! with one number for each slice on which the finding is not absent. The slices on which it is absent are only counted:
//! a report of hundreds of them is not read.

use super::super::codes;
use super::super::content::{Relationship, frame_reference, image, text};
use super::super::grid::SourceGrid;
use super::super::identifiers::Identifiers;
use super::super::request::ResultRequest;
use super::finding_group::{band, evaluated, probability};
use super::group_context::{algorithm_identification, finding_site, group, tracking};
use crate::dicom::data_set::DataSet;
use crate::inference::prediction::{Decision, Finding, SliceScores};

/// No group where slices were not scored.
pub(super) fn slice_scores(request: &ResultRequest<'_>, identifiers: &Identifiers) -> Vec<DataSet> {
    let Some((grid, scores, finding)) = scored(request) else { return Vec::new() };
    let decide = |score: f64| Decision::of(score, finding.threshold, finding.uncertain);
    let notable = notable(scores, finding);
    let mut groups = Vec::new();
    if let Some((slice, score)) = scores.scores.iter().copied().find(|(slice, _)| *slice == scores.peak) {
        let mut items = begin(request, identifiers, finding, "peak slice", decide(score));
        let source = grid.reference(slice).map(frame_reference);
        items.extend(source.map(|s| image(Relationship::Contains, &codes::SOURCE_OF_MEASUREMENT, s)));
        items.push(probability(finding, score, Relationship::Contains, Vec::new()));
        items.extend(sentence(request).map(|sentence| text(Relationship::Contains, &codes::COMMENT, &sentence)));
        groups.push(group("1501", items));
    }
    if !notable.is_empty() {
        let decision = if notable.iter().any(|(_, score)| decide(*score) == Decision::Present) {
            Decision::Present
        } else {
            Decision::Uncertain
        };
        let mut items = begin(request, identifiers, finding, "by slice", decision);
        items.extend(notable.into_iter().map(|(slice, score)| {
            let source = grid.reference(slice).map(frame_reference);
            let source = source.map(|s| image(Relationship::InferredFrom, &codes::SOURCE_OF_MEASUREMENT, s));
            probability(finding, score, Relationship::Contains, source.into_iter().collect())
        }));
        groups.push(group("1501", items));
    }
    groups
}

fn scored<'a>(request: &ResultRequest<'a>) -> Option<(SourceGrid<'a>, &'a SliceScores, &'a Finding)> {
    let prediction = request.outcome.reading()?;
    let scores = prediction.slice_scores.as_ref()?;
    let finding = prediction.findings.iter().find(|finding| finding.label == scores.label)?;
    Some((request.grid?, scores, finding))
}

/// The slices on which the finding is not absent.
fn notable(scores: &SliceScores, finding: &Finding) -> Vec<(usize, f64)> {
    let decide = |score: f64| Decision::of(score, finding.threshold, finding.uncertain);
    scores.scores.iter().copied().filter(|(_, score)| decide(*score) != Decision::Absent).collect()
}

fn begin(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    finding: &Finding,
    what: &str,
    decision: Decision,
) -> Vec<DataSet> {
    let label = format!("{}, {what}", finding.label);
    let mut items = tracking(&label, &identifiers.tracking_of("slices", &label));
    items.push(evaluated(finding, decision));
    items.extend(finding.site.as_ref().map(|site| finding_site(site, None)));
    items.extend(algorithm_identification(request, &band(request, finding)));
    items
}

/// Which slice it is, in words: the source may number its images otherwise.
pub(super) fn sentence(request: &ResultRequest<'_>) -> Option<String> {
    let (grid, scores, finding) = scored(request)?;
    let notable = notable(scores, finding).len();
    let (number, slices) = grid.stack().map_or((scores.peak + 1, grid.shape()[0]), |stack| stack.number(scores.peak));
    let frame = grid.stack().and_then(|stack| stack.slices.get(scores.peak)?.as_ref());
    let place = match frame {
        Some(frame) => {
            let position: Vec<&str> = frame.image_position_patient.split('\\').map(str::trim).collect();
            format!(", Image Position (Patient) {} mm", position.join(", "))
        }
        None if grid.stack().is_some() => ", which the source lacks".to_owned(),
        None => String::new(),
    };
    Some(format!(
        "{}: peak slice {number} of {slices}, counted along the slice normal{place}. Slices scored: {}, of which present or undetermined: {notable}.",
        finding.label,
        scores.scores.len(),
    ))
}
