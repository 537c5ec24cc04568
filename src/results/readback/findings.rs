//! What a report says of findings, slices and attention against the prediction: every answer, every number, every slice.

use dicom_dictionary_std::tags;

use super::super::codes;
use super::super::grid::SourceGrid;
use super::super::identifiers::Identifiers;
use super::super::request::ResultRequest;
use super::tree::{exact, groups, has_value, named, of_type, referenced, tracking};
use super::{Checked, ensure};
use crate::dicom::code::CodedConcept;
use crate::dicom::data_set::DataSet;
use crate::inference::prediction::{AttentionMap, Decision, Finding, SliceScores};

/// Checks all of it; gives how many Measurement Groups it stands in.
pub(super) fn check(request: &ResultRequest<'_>, identifiers: &Identifiers, object: &DataSet) -> Checked<usize> {
    let Some(prediction) = request.outcome.reading() else { return Ok(0) };
    let groups = groups(object);
    let group = |kind: &str, label: &str| {
        let uid = identifiers.tracking_of(kind, label);
        let found = groups.iter().find(|g| tracking(g).as_deref() == Some(uid.as_str())).copied();
        found.ok_or_else(|| format!("«{label}» is not in the report"))
    };
    let mut count = prediction.findings.len();
    for finding in &prediction.findings {
        let label = &finding.label;
        check_finding(group("finding", label)?, finding).map_err(|e| format!("«{label}»: {e}"))?;
    }
    check_answers(&prediction.findings, object)?;
    if let (Some(grid), Some(scores)) = (request.grid, &prediction.slice_scores) {
        let finding = prediction.findings.iter().find(|f| f.label == scores.label).ok_or("slices of no finding")?;
        let notable = notable(finding, scores);
        check_peak(group("slices", &format!("{}, peak slice", scores.label))?, grid, scores)?;
        count += 1;
        if !notable.is_empty() {
            check_slices(group("slices", &format!("{}, by slice", scores.label))?, grid, &notable)?;
            count += 1;
        }
    }
    if let Some((grid, map)) = request.attention()
        && map.values.iter().any(|v| *v > 0.0)
        && let Ok(written) = group("attention", &map.label)
    {
        check_attention(written, grid, map, identifiers)?;
        count += 1;
    }
    Ok(count)
}

fn check_finding(group: &DataSet, expected: &Finding) -> Checked {
    let presence = presence(expected.decision);
    let found = named(group, &codes::FINDING).into_iter().next().ok_or("no finding")?;
    ensure(has_value(found, &expected.concept), || "it is another finding".into())?;
    let said = named(found, &codes::PRESENCE).first().is_some_and(|item| has_value(item, &presence));
    let answered = named(group, &expected.concept).into_iter().any(|item| has_value(item, &presence));
    ensure(said && answered, || "the answer differs".into())?;
    let number = of_type(group, "NUM").next().ok_or("no probability")?;
    check_percent(number, expected.probability)?;
    let threshold = named(number, &codes::THRESHOLD).into_iter().next().ok_or("no threshold")?;
    check_percent(threshold, expected.threshold)
}

/// The question-and-answer pairs of the root: one for each finding, none more.
fn check_answers(findings: &[Finding], object: &DataSet) -> Checked {
    for finding in findings {
        let same: Vec<Decision> =
            findings.iter().filter(|f| codes::same(&f.concept, &finding.concept)).map(|f| f.decision).collect();
        let answers =
            named(object, &codes::QUALITATIVE_EVALUATIONS).into_iter().flat_map(|c| named(c, &finding.concept));
        let answers: Vec<&DataSet> = answers.collect();
        let right = |decision: &Decision| answers.iter().any(|item| has_value(item, &presence(*decision)));
        ensure(answers.len() == same.len() && same.iter().all(right), || format!("«{}»: not answered", finding.label))?;
    }
    Ok(())
}

fn check_peak(group: &DataSet, grid: SourceGrid<'_>, scores: &SliceScores) -> Checked {
    let score = scores.scores.iter().find(|(slice, _)| *slice == scores.peak).map(|(_, score)| *score);
    check_percent(of_type(group, "NUM").next().ok_or("no probability of the peak slice")?, score.unwrap_or(f64::NAN))?;
    let images: Vec<_> = of_type(group, "IMAGE").filter_map(referenced).collect();
    let expected: Vec<_> = source(grid, scores.peak).into_iter().collect();
    ensure(images == expected, || "the peak slice is another image".into())?;
    let number = format!("{}: peak slice {} of {},", scores.label, scores.peak + 1, grid.shape()[0]);
    let named = of_type(group, "TEXT").filter_map(|t| t.text(tags::TEXT_VALUE)).any(|t| t.starts_with(&number));
    ensure(named, || "the peak slice is not named".into())
}

fn check_slices(group: &DataSet, grid: SourceGrid<'_>, notable: &[(usize, f64)]) -> Checked {
    let rows: Vec<&DataSet> = of_type(group, "NUM").collect();
    ensure(rows.len() == notable.len(), || format!("{} slices, {} were not absent", rows.len(), notable.len()))?;
    for (row, (slice, score)) in rows.into_iter().zip(notable) {
        check_percent(row, *score)?;
        let image = of_type(row, "IMAGE").find_map(referenced);
        ensure(image == source(grid, *slice), || format!("slice {slice} is another image"))?;
    }
    Ok(())
}

fn check_attention(group: &DataSet, grid: SourceGrid<'_>, map: &AttentionMap, identifiers: &Identifiers) -> Checked {
    let size = grid.slice_size();
    let key = map.key_slices.iter().filter_map(|slice| Some((*slice, source(grid, *slice)?)));
    let key: Vec<_> = key.collect();
    let rows: Vec<&DataSet> = of_type(group, "NUM").collect();
    ensure(rows.len() == key.len(), || format!("{} key slices, {} were named", rows.len(), key.len()))?;
    for (row, (slice, image)) in rows.into_iter().zip(key) {
        let largest = map.values[slice * size..][..size].iter().fold(0.0_f32, |a, b| a.max(*b));
        let value = exact(row, &codes::NO_UNITS).map(f64::to_bits);
        ensure(value == Some(f64::from(largest).to_bits()), || format!("key slice {slice} has another value"))?;
        let images: Vec<_> = of_type(row, "IMAGE").filter_map(referenced).collect();
        ensure(images.first() == Some(&image), || format!("key slice {slice} is another image"))?;
        let of_map = images.get(1).is_none_or(|(uid, _)| uid == identifiers.parametric_map.as_str());
        ensure(of_map, || format!("key slice {slice} refers to another map"))?;
    }
    Ok(())
}

/// Slices on which the finding is not absent.
fn notable(finding: &Finding, scores: &SliceScores) -> Vec<(usize, f64)> {
    let is_notable = |score: f64| {
        score >= finding.threshold
            || finding.uncertain.is_some_and(|[least, largest]| least <= score && score <= largest)
    };
    scores.scores.iter().copied().filter(|(_, score)| is_notable(*score)).collect()
}

fn presence(decision: Decision) -> CodedConcept {
    match decision {
        Decision::Present => codes::PRESENT,
        Decision::Absent => codes::ABSENT,
        Decision::Uncertain => codes::UNDETERMINED,
    }
}

fn check_percent(number: &DataSet, share: f64) -> Checked {
    let read = exact(number, &codes::PERCENT).ok_or("no value in percent")?;
    ensure(read.to_bits() == (share * 100.0).to_bits(), || format!("{read} % is written for {share}"))?;
    let measured = number.items(tags::MEASURED_VALUE_SEQUENCE).first();
    let shown = measured.and_then(|m| m.number(tags::NUMERIC_VALUE)).ok_or("no value to show")?;
    ensure((shown - read).abs() <= read.abs() * 1e-5, || format!("{shown} is shown for {read}"))
}

/// Instance and frame of a slice of the source.
fn source(grid: SourceGrid<'_>, slice: usize) -> Option<(String, Option<i64>)> {
    let frame = grid.reference(slice)?;
    Some((frame.sop_instance_uid.as_str().to_owned(), frame.frame_number.map(i64::from)))
}
