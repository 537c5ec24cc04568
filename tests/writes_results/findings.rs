//! What a model says of findings and of slices is in the report as it was said.

use overread::dicom::code::CodedConcept;
use overread::inference::prediction::{Decision, Finding, LabelMap, Prediction, SliceScores, Verdict};
use overread::results::{Outcome, ResultError, ResultKind};

use super::asked::{Asked, evaluations, identified, judged_by_others, lungs, object, prediction};
use crate::testkit::source_series::{Layout3d, series};

pub(super) const PATHOLOGY: CodedConcept = CodedConcept::new("64572001", "SCT", "Disease");
pub(super) const EFFUSION: CodedConcept = CodedConcept::new("60046008", "SCT", "Pleural effusion");
const NODULE: CodedConcept = CodedConcept::new("427359005", "SCT", "Solitary nodule of lung");
const PLEURA: CodedConcept = CodedConcept::new("3120008", "SCT", "Pleura");

pub(super) fn finding(label: &str, concept: CodedConcept, probability: f64) -> Finding {
    let uncertain = Some([0.45, 0.55]);
    Finding {
        label: label.into(),
        concept,
        site: None,
        probability,
        threshold: 0.5,
        uncertain,
        decision: Decision::of(probability, 0.5, uncertain),
        is_pathology: false,
    }
}

/// One present, one undetermined, one absent, and last in the manifest the answer to whether anything is wrong.
fn four() -> Vec<Finding> {
    let mut findings = vec![
        Finding { site: Some(PLEURA), ..finding("Pleural effusion", EFFUSION, 0.873_214_999) },
        finding("Nodule", NODULE, 0.55),
        Finding {
            uncertain: None,
            ..finding("Hernia", CodedConcept::new("HERNIA", "99OVERREAD", "Hiatal hernia"), 0.07)
        },
        finding("Pathology", PATHOLOGY, 0.91),
    ];
    findings[3].is_pathology = true;
    findings
}

fn answering(findings: Vec<Finding>) -> Prediction {
    Prediction { findings, ..Prediction::of(Verdict::Suitable) }
}

fn scores(values: &[f64]) -> SliceScores {
    let largest = values.iter().copied().fold(0.0, f64::max);
    SliceScores {
        label: "Pathology".into(),
        scores: values.iter().copied().enumerate().collect(),
        peak: values.iter().position(|v| *v >= largest).unwrap(),
    }
}

#[test]
fn findings_are_answered_with_their_probability_and_threshold() {
    let series = series(Layout3d::axial([7, 9, 13]), identified);
    let said = answering(four());
    let results = Asked::of(&series, Outcome::Predicted(&said)).encode().unwrap();
    assert_eq!(results.objects.len(), 1);
    let (codes, comments) = evaluations(&object(&results, ResultKind::Report).unwrap());
    let pairs: Vec<(&str, &str)> = codes.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let expected = [
        ("111065", "111222"),
        ("111017", "111242"),
        ("64572001", "52101004"),
        ("60046008", "52101004"),
        ("427359005", "373068000"),
        ("HERNIA", "272519000"),
    ];
    assert_eq!(pairs, expected);
    for sentence in
        ["Present: Pathology 91.0 %, Pleural effusion 87.3 %.", "Undetermined: Nodule 55.0 %.", "Absent: Hernia 7.0 %."]
    {
        assert!(comments.iter().any(|c| c == sentence), "{comments:?}");
    }
    let dump = judged_by_others(&series, &results, &said);
    assert!(dump.contains("Pleural effusion"), "{dump}");
}

#[test]
fn nothing_found_is_said_even_where_organs_were_segmented_and_measured() {
    let shape = [7, 9, 13];
    let series = series(Layout3d::axial(shape).oblique(), identified);
    let findings = vec![finding("Pathology", PATHOLOGY, 0.02), finding("Pleural effusion", EFFUSION, 0.449_999)];
    let negative = Prediction { findings, ..prediction(Some(lungs(shape))) };
    let results = Asked::of(&series, Outcome::Predicted(&negative)).encode().unwrap();
    let (codes, comments) = evaluations(&object(&results, ResultKind::Report).unwrap());
    assert_eq!(codes[..2], [("111065", "111222"), ("111017", "111241")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert!(comments[0].starts_with("Nothing found: all 2 findings"), "{comments:?}");
    // The lungs were found: they are not called absent.
    assert!(!codes.iter().any(|(name, _)| name == "39607008"), "{codes:?}");
    judged_by_others(&series, &results, &negative);
}

#[test]
fn what_is_undetermined_is_not_without_findings() {
    let series = series(Layout3d::axial([4, 8, 8]), identified);
    let unsure = answering(vec![finding("Pathology", PATHOLOGY, 0.45)]);
    let results = Asked::of(&series, Outcome::Predicted(&unsure)).encode().unwrap();
    let (codes, comments) = evaluations(&object(&results, ResultKind::Report).unwrap());
    assert_eq!(codes[1].1, "111242");
    assert_eq!(codes[2], ("64572001".to_owned(), "373068000".to_owned()));
    assert!(comments[0].starts_with("Undetermined: Pathology 45.0 %"), "{comments:?}");
}

#[test]
fn the_peak_slice_and_every_slice_that_is_not_absent_name_their_image() {
    let values = [0.01, 0.2, 0.46, 0.9, 0.99, 0.5, 0.449];
    let axial = Layout3d::axial([7, 9, 13]);
    for layout in [axial, axial.oblique().reversed(), axial.multi_frame()] {
        let series = series(layout, identified);
        let said = Prediction { slice_scores: Some(scores(&values)), ..answering(four()) };
        let results = Asked::of(&series, Outcome::Predicted(&said)).encode().unwrap();
        let dump = judged_by_others(&series, &results, &said);
        assert!(dump.contains("Pathology: peak slice 5 of 7"), "{dump}");
    }
}

#[test]
fn a_reading_slice_by_slice_is_another_document() {
    let series = series(Layout3d::axial([4, 8, 8]), identified);
    let whole = answering(four());
    let by_slice = Prediction { slice_scores: Some(scores(&[0.1, 0.9, 0.2, 0.3])), ..whole.clone() };
    let uid = |said: &Prediction| {
        let results = Asked::of(&series, Outcome::Predicted(said)).encode().unwrap();
        results.objects[0].sop_instance_uid.clone()
    };
    assert_ne!(uid(&whole), uid(&by_slice));
    assert_eq!(uid(&whole), uid(&whole));
}

#[test]
fn a_peak_where_the_source_has_a_gap_is_named_without_an_image() {
    let mut series = series(Layout3d::axial([7, 9, 13]), identified);
    let missing = series.stack.slices[3].take().unwrap();
    series.stack.source.instances.retain(|(_, uid)| *uid != missing.sop_instance_uid);
    series.instances.remove(3);
    let values = [0.0, 0.1, 0.2, 0.8, 0.6, 0.1, 0.0];
    let said = Prediction { slice_scores: Some(scores(&values)), ..answering(four()) };
    let results = Asked::of(&series, Outcome::Predicted(&said)).encode().unwrap();
    let dump = judged_by_others(&series, &results, &said);
    assert!(dump.contains("Pathology: peak slice 4 of 7") && dump.contains("which the source lacks"), "{dump}");
}

#[test]
fn answers_that_contradict_their_numbers_do_not_leave() {
    let shape = [4, 8, 8];
    let series = series(Layout3d::axial(shape), identified);
    let good = Prediction { slice_scores: Some(scores(&[0.1, 0.9, 0.2, 0.3])), ..answering(four()) };
    assert!(Asked::of(&series, Outcome::Predicted(&good)).encode().is_ok());
    let wrong: [fn(&mut Prediction); 9] = [
        |p| p.findings[0].probability = f64::NAN,
        |p| p.findings[0].probability = 1.001,
        |p| p.findings[0].decision = Decision::Absent,
        |p| p.findings[1].label = "Pleural effusion".into(),
        |p| p.findings[1].label = " ".into(),
        |p| p.slice_scores.as_mut().unwrap().label = "Nothing that was asked".into(),
        |p| p.slice_scores.as_mut().unwrap().peak = 2,
        |p| p.slice_scores.as_mut().unwrap().scores[3].0 = 4,
        |p| p.slice_scores.as_mut().unwrap().scores[0].1 = -0.1,
    ];
    for spoil in wrong {
        let mut bad = good.clone();
        spoil(&mut bad);
        let error = Asked::of(&series, Outcome::Predicted(&bad)).encode().unwrap_err();
        assert!(matches!(error, ResultError::Prediction(_)), "{error}");
    }
}

#[test]
fn a_series_that_is_not_suitable_answers_nothing() {
    let shape = [4, 8, 8];
    let series = series(Layout3d::axial(shape), identified);
    let mut said = Prediction { slice_scores: Some(scores(&[0.1, 0.9, 0.2, 0.3])), ..answering(four()) };
    said.label_map = Some(LabelMap { shape, labels: vec![1; 256] });
    said.verdict = Verdict::NotSuitable { code: "not-a-chest-ct".into(), reason: "This is no chest".into() };
    let results = Asked::of(&series, Outcome::Predicted(&said)).encode().unwrap();
    assert_eq!(results.objects.len(), 1);
    let (codes, comments) = evaluations(&object(&results, ResultKind::Report).unwrap());
    assert_eq!(codes.len(), 2, "{codes:?}");
    assert!(comments[0].contains("[not-a-chest-ct]"), "{comments:?}");
}
