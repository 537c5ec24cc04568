//! Models on volumes: packages that behave, and packages that misbehave in one way each.

#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests and what they share")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use overread::inference::device::DeviceChoice;
use overread::inference::difference::Difference;
use overread::inference::engine::{Engine, MOST_ABANDONED};
use overread::inference::error::ActsOn;
use overread::inference::manifest::Manifest;
use overread::inference::npz::{self, Array, Values};
use overread::inference::orientation::Reorientation;
use overread::inference::package::VerifiedModel;
use overread::inference::prediction::Verdict;
use overread::inference::subject::Subject;
use overread::volume::{Volume, Voxels};

use crate::testkit::models::{self, predict, resident_mb};

fn fixtures() -> PathBuf {
    models::fixtures("models")
}

fn package(name: &str) -> VerifiedModel {
    Manifest::load(&fixtures().join(name)).unwrap()
}

fn engine(names: &[&str]) -> Engine {
    let folders: Vec<String> = names.iter().map(|name| format!("models/{name}")).collect();
    models::engine(&folders.iter().map(String::as_str).collect::<Vec<_>>())
}

fn volume(shape: [usize; 3], voxels: Vec<i16>) -> Volume {
    models::volume(shape, Voxels::I16(voxels))
}

fn two_dense_voxels() -> Volume {
    let mut voxels = vec![-1000; 24];
    voxels[5] = 40;
    voxels[6] = 60;
    voxels[23] = 1500;
    volume([2, 3, 4], voxels)
}

#[test]
fn a_good_model_gives_labels_and_numbers() {
    let engine = engine(&["good"]);
    let prediction = predict(&engine, "good", two_dense_voxels()).unwrap();
    assert_eq!(prediction.verdict, Verdict::Suitable);
    let map = prediction.label_map.unwrap();
    assert_eq!(map.shape, [2, 3, 4]);
    let labelled: Vec<_> = map.labels.iter().enumerate().filter(|(_, label)| **label > 0).collect();
    assert_eq!(labelled, [(5, &1), (6, &1), (23, &2)]);
    let [dense, very_dense] = &prediction.measurement_groups[..] else { panic!() };
    assert_eq!((dense.label.as_str(), &dense.segment_numbers[..]), ("Dense", &[1][..]));
    // Two voxels of 2 × 0.5 × 0.25 mm³.
    assert_eq!(dense.measurements[0].value, Some(0.5));
    assert_eq!(dense.measurements[1].value, Some(50.0));
    assert_eq!(very_dense.measurements[1].value, Some(1500.0));
    assert_eq!(prediction.segments.len(), 2);
}

#[test]
fn what_cannot_be_computed_is_absent_and_not_suitable_is_a_result() {
    let engine = engine(&["good"]);
    let mut voxels = vec![-1000; 8];
    voxels[3] = 10;
    let prediction = predict(&engine, "good", volume([2, 2, 2], voxels)).unwrap();
    assert_eq!(prediction.measurement_groups[1].measurements[1].value, None);
    let prediction = predict(&engine, "good", volume([2, 2, 2], vec![-1000; 8])).unwrap();
    assert!(matches!(&prediction.verdict, Verdict::NotSuitable { code, .. } if code == "nothing-dense"));
    assert_eq!((prediction.label_map, prediction.measurement_groups.len()), (None, 0));
}

#[test]
fn the_label_map_comes_back_on_the_source_grid_from_any_orientation() {
    let engine = engine(&["good"]);
    let upright = predict(&engine, "good", two_dense_voxels()).unwrap();
    // Sagittal slices from left to right, rows to inferior, columns to anterior.
    let mut turned = volume([4, 2, 3], vec![0; 24]);
    turned.geometry.slice_direction = [-1.0, 0.0, 0.0];
    turned.geometry.row_direction = [0.0, 0.0, -1.0];
    turned.geometry.column_direction = [0.0, -1.0, 0.0];
    turned.geometry.spacing = [0.25, 2.0, 0.5];
    let source = |index: usize| {
        let (x, z, y) = (3 - index / 6, 1 - index / 3 % 2, 2 - index % 3);
        (z * 3 + y) * 4 + x
    };
    let Voxels::I16(voxels) = two_dense_voxels().voxels else { panic!() };
    turned.voxels = Voxels::I16((0..24).map(|index| voxels[source(index)]).collect());
    let prediction = predict(&engine, "good", turned).unwrap();
    let map = prediction.label_map.unwrap();
    let expected: Vec<u8> = (0..24).map(|index| upright.label_map.as_ref().unwrap().labels[source(index)]).collect();
    assert_eq!((map.shape, map.labels), ([4, 2, 3], expected));
    assert_eq!(prediction.measurement_groups, upright.measurement_groups);
}

#[test]
fn values_that_are_not_whole_are_rounded_for_a_model_of_whole_units_and_it_is_said() {
    let engine = engine(&["good"]);
    let mut fractional = volume([1, 1, 3], Vec::new());
    fractional.voxels = Voxels::F32(vec![-0.4, 0.4, 40.6]);
    let prediction = predict(&engine, "good", fractional).unwrap();
    assert_eq!(prediction.label_map.unwrap().labels, [0, 0, 1]);
    assert_eq!(prediction.measurement_groups[0].measurements[1].value, Some(41.0));
    assert_eq!(prediction.warnings.len(), 1);
}

#[test]
fn a_model_of_windows_gives_the_label_of_the_largest_score() {
    let engine = engine(&["windows"]);
    let mut voxels = vec![0i16; 5 * 6 * 3];
    voxels[20] = 2;
    voxels[40] = 9;
    let prediction = predict(&engine, "windows", volume([5, 6, 3], voxels)).unwrap();
    let map = prediction.label_map.unwrap();
    let labelled: Vec<_> = map.labels.iter().enumerate().filter(|(_, label)| **label > 0).collect();
    assert_eq!(labelled, [(20, &1), (40, &2)]);
}

#[test]
fn each_misbehaviour_is_named_and_the_engine_goes_on() {
    let cases = [
        ("raises", "model-raised", "the model does not want to"),
        ("wrong-shape", "model-output", "«mask» must be Uint8[2, 3, 4], it is Uint8[2, 3, 3]"),
        ("wrong-dtype", "model-output", "it is Int[2, 3, 4]"),
        ("nan", "model-output", "«metrics», Volume of Dense: NaN"),
        ("label-too-large", "model-output", "holds label 7, the manifest has segments 1 to 2"),
        ("verdict-unknown", "model-output", "«verdict» is 7"),
        ("missing-key", "model-output", "«metrics» is missing"),
        ("extra-key", "model-output", "«surprise» is not named"),
    ];
    let mut names: Vec<_> = cases.iter().map(|(name, ..)| *name).collect();
    names.push("good");
    let engine = engine(&names);
    for (name, code, message) in cases {
        let error = predict(&engine, name, two_dense_voxels()).unwrap_err();
        assert_eq!((error.code(), error.retryable(), error.acts()), (code, false, ActsOn::ModelAuthor), "{error}");
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.to_string().len() < 500, "{error}");
        assert!(predict(&engine, "good", two_dense_voxels()).is_ok());
    }
    let error = predict(&engine, "no-such", two_dense_voxels()).unwrap_err();
    assert_eq!(error.code(), "unknown-model");
}

#[test]
fn an_allocation_that_no_machine_can_serve_ends_as_out_of_memory() {
    let engine = engine(&["huge", "good"]);
    let error = predict(&engine, "huge", two_dense_voxels()).unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("out-of-memory", true), "{error}");
    assert!(predict(&engine, "good", two_dense_voxels()).is_ok());
}

#[test]
fn a_volume_that_contradicts_its_geometry_ends_in_an_error() {
    let engine = engine(&["good"]);
    for broken in [volume([2, 2, 2], vec![1; 7]), volume([0, 2, 2], Vec::new())] {
        assert_eq!(predict(&engine, "good", broken).unwrap_err().acts(), ActsOn::Us);
    }
    assert!(predict(&engine, "good", two_dense_voxels()).is_ok());
}

/// The fixture `hangs` runs 10,000 rounds for each unit of the largest value.
fn hanging(units: i16) -> Volume {
    volume([1, 1, 2], vec![-5, units])
}

#[test]
fn a_model_that_hangs_is_given_up_at_its_limit_and_others_go_on() {
    let engine = engine(&["hangs", "good"]);
    assert!(predict(&engine, "hangs", hanging(1)).is_ok());
    for given_up in 1..=MOST_ABANDONED {
        let error = predict(&engine, "hangs", hanging(30_000)).unwrap_err();
        assert_eq!((error.code(), error.retryable()), ("time-limit", true), "{error}");
        assert_eq!(engine.abandoned(), given_up);
        let next = predict(&engine, "good", two_dense_voxels());
        if given_up < MOST_ABANDONED {
            assert!(next.is_ok());
        } else {
            assert_eq!(next.unwrap_err().code(), "engine-exhausted");
        }
    }
}

#[test]
fn the_values_of_a_volume_are_gone_while_the_model_computes() {
    let engine = engine(&["hangs", "good"]);
    let subject = Subject::from(hanging(30_000));
    let Subject::Volume(_, voxels) = &subject else { panic!() };
    let values = Arc::downgrade(voxels);
    let error = predict(&engine, "hangs", subject).unwrap_err();
    assert_eq!(error.code(), "time-limit");
    assert!(values.upgrade().is_none() && engine.hangs("hangs"));
}

#[test]
fn a_run_that_was_given_up_and_ends_makes_room_again() {
    let engine = engine(&["hangs", "good"]);
    for _ in 0..MOST_ABANDONED {
        let error = predict(&engine, "hangs", hanging(5000)).unwrap_err();
        assert_eq!(error.code(), "time-limit");
        assert!(engine.hangs("hangs") && !engine.hangs("good"));
    }
    while engine.abandoned() > 0 {
        std::thread::yield_now();
    }
    assert!(predict(&engine, "good", two_dense_voxels()).is_ok() && !engine.hangs("hangs"));
}

#[test]
fn a_run_that_ends_soon_after_its_limit_keeps_its_thread() {
    let limit = ("models/hangs", "hangs", "time_limit_seconds = 0.5", "time_limit_seconds = 0.1");
    let engine = models::engine_of(&[limit]);
    // The clock is looked at before a module is called and not while it runs: the answer comes late, or none does.
    let began = Instant::now();
    let late = predict(&engine, "hangs", hanging(200));
    assert!(late.as_ref().map_or_else(|error| error.code() == "time-limit", |_| true), "{late:?}");
    assert!(began.elapsed() > Duration::from_millis(100));
    assert_eq!(engine.abandoned(), 0);
}

#[test]
fn a_run_that_waits_behind_a_long_one_has_all_its_own_time() {
    let engine = models::engine_of(&[
        ("models/hangs", "long", "time_limit_seconds = 0.5", "time_limit_seconds = 300"),
        ("models/good", "short", "time_limit_seconds = 60", "time_limit_seconds = 0.5"),
    ]);
    std::thread::scope(|scope| {
        let long = scope.spawn(|| predict(&engine, "long", hanging(1000)));
        let mut waited = Duration::ZERO;
        while waited < Duration::from_millis(500) && !long.is_finished() {
            let began = Instant::now();
            let short = predict(&engine, "short", two_dense_voxels());
            assert!(short.is_ok(), "{short:?}");
            waited = began.elapsed();
        }
        assert!(long.join().unwrap().is_ok() && waited > Duration::from_millis(500), "{waited:?}");
    });
}

#[test]
fn what_fails_its_proof_is_not_served_and_the_reason_names_the_difference() {
    let names = ["golden-differs", "truncated", "good"];
    let engine = Engine::start(DeviceChoice::Cpu, names.into_iter().map(package).collect()).unwrap();
    let served: Vec<_> = engine.served().map(|package| package.manifest().name.as_str()).collect();
    assert_eq!(served, ["good"]);
    let refused: Vec<_> = engine.refused().map(|(_, error)| error).collect();
    assert_eq!(refused[0].code(), "golden-case");
    assert!(refused[0].to_string().contains("«metrics» at 3 is "), "{}", refused[0]);
    assert_eq!(refused[1].code(), "model-load");
    let error = predict(&engine, "golden-differs", two_dense_voxels()).unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("model-not-served", false));
}

#[test]
fn runs_that_fail_over_and_over_do_not_grow_the_process() {
    let engine = engine(&["raises"]);
    // 10 MB a run: 60 runs would keep 600 MB if their inputs were not freed.
    let run = || predict(&engine, "raises", volume([20, 512, 512], vec![-1; 20 * 512 * 512])).unwrap_err();
    (0..5).for_each(|_| assert_eq!(run().code(), "model-raised"));
    let before = resident_mb();
    (0..60).for_each(|_| assert_eq!(run().code(), "model-raised"));
    let after = resident_mb();
    assert!(after < before + 200, "from {before} to {after} MB");
}

#[test]
fn callers_on_several_threads_each_get_their_own_answer() {
    let engine = engine(&["good"]);
    std::thread::scope(|scope| {
        for dense in 1..=8usize {
            let engine = &engine;
            scope.spawn(move || {
                let voxels = (0..64).map(|index| if index < dense { 10 } else { -10 }).collect();
                let prediction = predict(engine, "good", volume([4, 4, 4], voxels)).unwrap();
                assert_eq!(prediction.measurement_groups[0].measurements[0].value, Some(dense as f64 * 0.25));
            });
        }
    });
}

/// The golden case of the real package, as a volume that lies in the patient as the model wants it.
fn chest_phantom() -> (Volume, std::collections::BTreeMap<String, Array>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/lung-densitometry");
    let arrays = npz::read(std::fs::File::open(folder.join("golden/phantom.npz")).unwrap()).unwrap();
    let (Values::I16(voxels), Values::F32(spacing)) = (&arrays["voxels"].values, &arrays["spacing"].values) else {
        panic!()
    };
    let mut phantom = volume(arrays["voxels"].shape[..].try_into().unwrap(), voxels.clone());
    phantom.geometry.spacing = [spacing[0], spacing[1], spacing[2]].map(f64::from);
    (phantom, arrays)
}

fn lung_densitometry() -> Engine {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/lung-densitometry");
    let engine = Engine::start(DeviceChoice::Cpu, vec![Manifest::load(&folder).unwrap()]).unwrap();
    assert_eq!(engine.refused().count(), 0);
    engine
}

#[test]
fn lung_densitometry_gives_to_the_bit_what_python_gives() {
    let (phantom, arrays) = chest_phantom();
    let prediction = predict(&lung_densitometry(), "lung-densitometry", phantom).unwrap();
    assert_eq!(prediction.verdict, Verdict::Suitable);
    assert_eq!(Values::U8(prediction.label_map.unwrap().labels), arrays["mask"].values);
    let values = prediction.measurement_groups.iter().flat_map(|group| &group.measurements);
    let bits: Vec<_> = values.map(|measurement| measurement.value.unwrap_or(f64::NAN).to_bits()).collect();
    let Values::F64(metrics) = &arrays["metrics"].values else { panic!() };
    assert_eq!(bits, metrics.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
}

#[test]
fn lung_densitometry_finds_the_patients_sides_whichever_way_the_series_lies() {
    let engine = lung_densitometry();
    let (phantom, _) = chest_phantom();
    let upright = predict(&engine, "lung-densitometry", phantom.clone()).unwrap();
    // Slices from head to foot, columns to the right: a prone patient's series often comes so.
    let mut mirrored = phantom;
    mirrored.geometry.slice_direction = [0.0, 0.0, -1.0];
    mirrored.geometry.column_direction = [-1.0, 0.0, 0.0];
    let mirror = Reorientation { source_axis: [0, 1, 2], flipped: [true, false, true] };
    let shape = mirrored.geometry.shape;
    let Voxels::I16(voxels) = &mirrored.voxels else { panic!() };
    mirrored.voxels = Voxels::I16(mirror.apply(voxels, shape));
    let mut found = predict(&engine, "lung-densitometry", mirrored).unwrap();
    let map = found.label_map.as_mut().unwrap();
    map.labels = mirror.apply(&map.labels, shape);
    let difference = Difference::between(&upright, &found);
    assert_eq!((difference.differing_voxels, difference.within(1.0, 0.0)), (Some(0), true), "{difference:?}");
}

#[test]
fn a_series_without_lungs_is_not_a_chest_ct_which_is_a_result() {
    let block = volume([20, 32, 32], vec![40; 20 * 32 * 32]);
    let prediction = predict(&lung_densitometry(), "lung-densitometry", block).unwrap();
    assert!(matches!(&prediction.verdict, Verdict::NotSuitable { code, .. } if code == "not-a-chest-ct"));
}
