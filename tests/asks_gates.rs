//! A package that runs before another one: its verdict ends the reading, and it is asked once for each revision of a series.

#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests and what they share")]

use overread::dicom::uid::{SopClassUid, SopInstanceUid, StudyInstanceUid};
use overread::inference::prediction::{Prediction, Verdict};
use overread::volume::{Volume, Voxels};
use overread::worker::reading::{Asked, Gates, Inferred, Prepared, infer};

use crate::testkit::models::{engine, volume};

/// Dense voxels in some slices; the gate finds nothing where there are none.
fn dense_in(slices: std::ops::Range<i16>) -> Volume {
    let value = |index: i16| if slices.contains(&(index / 6)) { 10 * (index / 6) } else { -1000 };
    volume([9, 2, 3], Voxels::I16((0..54).map(value).collect()))
}

fn prepared(volume: Volume) -> Prepared {
    Prepared::Subject { subject: volume.into(), remarks: vec!["Its headers leave that open.".to_owned()] }
}

fn ask(gates: &Gates, volume: Volume) -> Prediction {
    let engine = engine(&["modules/slices-over-gate", "models/good"]);
    let manifest = engine.manifest("slices-over-gate").unwrap();
    let asked = Asked { engine: &engine, gates, per_slice: false };
    match infer(prepared(volume), manifest, &asked).unwrap() {
        Inferred::Predicted { prediction, .. } => *prediction,
        Inferred::NotSuitable { .. } => panic!(),
    }
}

#[test]
fn what_the_gate_finds_not_suitable_is_not_read_and_the_gates_reason_is_given() {
    let found = ask(&Gates::default(), dense_in(0..0));
    let Verdict::NotSuitable { code, reason } = &found.verdict else { panic!("{found:?}") };
    assert_eq!((code.as_str(), reason.as_str()), ("nothing-dense", "Nothing in the series is dense."));
    assert!(found.findings.is_empty() && found.warnings[1].starts_with("good decided"), "{:?}", found.warnings);
    assert_eq!(found.warnings[0], "Its headers leave that open.");
}

#[test]
fn slices_are_chosen_from_the_gates_label_map() {
    // Dense are slices 2 to 6: 2, 4 and 6 are looked at.
    let found = ask(&Gates::default(), dense_in(2..7));
    let logit: f64 = (20.0 + 80.0 + 180.0) / 100.0;
    let probability = 1.0 / (1.0 + (-logit).exp());
    assert!((found.findings[0].probability - probability).abs() < 1e-5, "{:?}", found.findings);
    assert!(found.warnings.contains(&"Its headers leave that open.".to_owned()), "{:?}", found.warnings);
}

/// The same series UID, in this study, with instances up to this number.
fn of(study: &str, revision: usize, mut volume: Volume) -> Volume {
    let class = SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap();
    volume.source.study_instance_uid = StudyInstanceUid::parse(study).unwrap();
    let uid = |number| SopInstanceUid::parse(&format!("1.2.3.4.{number}")).unwrap();
    volume.source.instances = (1..=revision).map(|number| (class.clone(), uid(number))).collect();
    volume
}

#[test]
fn a_gate_is_asked_once_for_each_revision() {
    let gates = Gates::default();
    assert_eq!(ask(&gates, of("1.2.3", 9, dense_in(2..7))).verdict, Verdict::Suitable);
    // Other voxels under the same names: the answer is the one that was kept.
    assert_eq!(ask(&gates, of("1.2.3", 9, dense_in(0..0))).verdict, Verdict::Suitable);
    assert_ne!(ask(&gates, of("1.2.3", 10, dense_in(0..0))).verdict, Verdict::Suitable);
}

#[test]
fn a_gate_is_asked_once_for_each_series_that_is_read_side_by_side() {
    // Three series at a time are more than one worker has answers kept for.
    for (workers, are_kept) in [(1, false), (3, true)] {
        let gates = Gates::of_workers(workers);
        let all = |slices: std::ops::Range<i16>| {
            ["1.2.3", "1.2.4", "1.2.5"].map(|study| ask(&gates, of(study, 9, dense_in(slices.clone()))).verdict)
        };
        assert!(all(2..7).iter().all(|verdict| *verdict == Verdict::Suitable));
        // Other voxels under the same names: the answers are those that were kept, or new ones.
        assert!(all(0..0).iter().all(|verdict| (*verdict == Verdict::Suitable) == are_kept), "{workers} workers");
    }
}

#[test]
fn an_answer_is_not_used_for_the_series_of_another_study_that_has_the_same_uid() {
    let gates = Gates::default();
    assert_eq!(ask(&gates, of("1.2.3", 9, dense_in(2..7))).verdict, Verdict::Suitable);
    assert_ne!(ask(&gates, of("1.2.4", 9, dense_in(0..0))).verdict, Verdict::Suitable);
}

#[test]
fn a_label_map_of_another_grid_is_not_used() {
    let gates = Gates::default();
    assert_eq!(ask(&gates, of("1.2.3", 9, dense_in(2..7))).verdict, Verdict::Suitable);
    let engine = engine(&["modules/slices-over-gate", "models/good"]);
    let manifest = engine.manifest("slices-over-gate").unwrap();
    let asked = Asked { engine: &engine, gates: &gates, per_slice: false };
    let other = of("1.2.3", 9, volume([8, 2, 3], Voxels::I16(vec![10; 48])));
    let error = infer(prepared(other), manifest, &asked).unwrap_err();
    assert!(error.to_string().contains("label map is [9, 2, 3], the series is [8, 2, 3]"), "{error}");
}
