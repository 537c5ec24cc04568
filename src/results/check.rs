//! Whether a request can be written truthfully: the prediction fits its grid and does not contradict itself.

use std::collections::HashSet;

use super::ResultError;
use super::grid::SourceGrid;
use super::plain_text::plain;
use super::request::ResultRequest;
use crate::dicom::uid::SopInstanceUid;
use crate::inference::prediction::{AttentionMap, Decision, Finding, LabelMap, MeasurementGroup, Prediction};
use crate::volume::SourceSeries;

type Checked = Result<(), ResultError>;

/// Refuses what could not be written truthfully.
pub(super) fn check(request: &ResultRequest<'_>) -> Checked {
    if request.source.instances.is_empty() {
        return Err(ResultError::Source("it has no instances".into()));
    }
    if let Some(grid) = request.grid {
        check_grid(grid, request.source)?;
    }
    let Some(prediction) = request.outcome.reading() else { return Ok(()) };
    if let Some(map) = &prediction.label_map {
        check_label_map(map, request.grid)?;
    }
    if prediction.segments.iter().any(|segment| plain(&segment.label, 64).is_empty()) {
        return wrong("a segment has no label");
    }
    check_groups(&prediction.measurement_groups, prediction.segments.len())?;
    check_findings(&prediction.findings)?;
    check_slice_scores(prediction, request.grid)?;
    prediction.attention.as_ref().map_or(Ok(()), |attention| check_attention(attention, request.grid))
}

fn wrong(what: impl Into<String>) -> Checked {
    Err(ResultError::Prediction(what.into()))
}

fn check_grid(grid: SourceGrid<'_>, source: &SourceSeries) -> Checked {
    let [slices, ..] = grid.shape();
    if let Some(frames) = grid.stack().map(|stack| stack.slices.len()).filter(|frames| *frames != slices) {
        return Err(ResultError::Source(format!("{slices} slices have {frames} frames")));
    }
    let known: HashSet<&SopInstanceUid> = source.instances.iter().map(|(_, uid)| uid).collect();
    let referenced = (0..slices).filter_map(|slice| grid.reference(slice));
    match referenced.map(|frame| frame.sop_instance_uid).find(|uid| !known.contains(uid)) {
        Some(uid) => Err(ResultError::Source(format!("a slice comes from {uid}, which is no instance of the series"))),
        None => Ok(()),
    }
}

fn check_label_map(map: &LabelMap, grid: Option<SourceGrid<'_>>) -> Checked {
    let Some(grid) = grid else { return wrong("it has a label map, but the source has no grid") };
    let (shape, source, count) = (map.shape, grid.shape(), map.labels.len());
    if shape != source || count != shape.iter().product::<usize>() {
        return wrong(format!("the label map is {shape:?} with {count} labels, the source is {source:?}"));
    }
    Ok(())
}

fn check_groups(groups: &[MeasurementGroup], segments: usize) -> Checked {
    let mut labels = HashSet::new();
    for group in groups {
        if plain(&group.label, 64).is_empty() || !labels.insert(&group.label) {
            return wrong(format!("measurement groups need labels of their own, «{}» is not", group.label));
        }
        let known = 1..=segments;
        if let Some(number) = group.segment_numbers.iter().find(|n| !known.contains(&usize::from(**n))) {
            return wrong(format!("the group «{}» is about segment {number}, which there is not", group.label));
        }
    }
    Ok(())
}

fn check_findings(findings: &[Finding]) -> Checked {
    let mut labels = HashSet::new();
    for finding in findings {
        let label = &finding.label;
        if plain(label, 64).is_empty() || !labels.insert(label) {
            return wrong(format!("findings need labels of their own, «{label}» is not"));
        }
        let numbers =
            [finding.probability, finding.threshold].into_iter().chain(finding.uncertain.into_iter().flatten());
        if let Some(number) = numbers.into_iter().find(|n| !is_share(*n)) {
            return wrong(format!("«{label}»: {number} is no probability"));
        }
        if finding.decision != Decision::of(finding.probability, finding.threshold, finding.uncertain) {
            return wrong(format!("«{label}»: {:?} does not follow from its probability", finding.decision));
        }
    }
    Ok(())
}

fn check_slice_scores(prediction: &Prediction, grid: Option<SourceGrid<'_>>) -> Checked {
    let Some(scores) = &prediction.slice_scores else { return Ok(()) };
    let Some(grid) = grid else { return wrong("it has scores of slices, but the source has no grid") };
    if !prediction.findings.iter().any(|finding| finding.label == scores.label) {
        return wrong(format!("slices are scored for «{}», which is no finding", scores.label));
    }
    let [slices, ..] = grid.shape();
    if let Some((slice, score)) = scores.scores.iter().find(|(slice, score)| *slice >= slices || !is_share(*score)) {
        return wrong(format!("slice {slice} of {slices} is scored {score}"));
    }
    let largest = scores.scores.iter().map(|(_, score)| *score).fold(f64::NEG_INFINITY, f64::max);
    let of_peak = scores.scores.iter().find(|(slice, _)| *slice == scores.peak);
    if of_peak.is_none_or(|(_, score)| *score < largest) {
        return wrong(format!("slice {} is not the one with the largest probability", scores.peak));
    }
    Ok(())
}

fn check_attention(attention: &AttentionMap, grid: Option<SourceGrid<'_>>) -> Checked {
    let Some(grid) = grid else { return wrong("it has an attention map, but the source has no grid") };
    let (shape, source, count) = (attention.shape, grid.shape(), attention.values.len());
    if shape != source || count != shape.iter().product::<usize>() {
        return wrong(format!("the attention map is {shape:?} with {count} values, the source is {source:?}"));
    }
    if plain(&attention.label, 64).is_empty() {
        return wrong("the attention map has no label");
    }
    if let Some(value) = attention.values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        return wrong(format!("{value} is in the attention map, which goes from 0 to 1"));
    }
    match attention.key_slices.iter().find(|slice| **slice >= shape[0]) {
        Some(slice) => wrong(format!("key slice {slice} is not among the {} slices", shape[0])),
        None => Ok(()),
    }
}

/// From 0 to 1; not-a-number is not.
fn is_share(number: f64) -> bool {
    (0.0..=1.0).contains(&number)
}
