//! Packages of several modules, the inputs and outputs of learned models, and what goes wrong with them.

#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests and what they share")]

use std::collections::BTreeMap;
use std::fs::File;

use overread::dicom::uid::{SopClassUid, SopInstanceUid};
use overread::inference::device::DeviceChoice;
use overread::inference::engine::Engine;
use overread::inference::error::EngineError;
use overread::inference::manifest::Manifest;
use overread::inference::npz::{self, Array, Values};
use overread::inference::package::{Packages, packages};
use overread::inference::prediction::{AttentionMap, Decision, LabelMap, Prediction, Verdict};
use overread::inference::subject::{Context, Subject};
use overread::volume::radiograph::{Radiograph, SourceImage};
use overread::volume::{Volume, Voxels};

use crate::testkit::models::{self, engine_of, fixtures, predict, source};

fn engine(names: &[&str]) -> Engine {
    let folders: Vec<String> = names.iter().map(|name| format!("modules/{name}")).collect();
    models::engine(&folders.iter().map(String::as_str).collect::<Vec<_>>())
}

fn arrays(file: &str) -> BTreeMap<String, Array> {
    npz::read(File::open(fixtures("modules").join(file)).unwrap()).unwrap()
}

fn floats(array: &Array) -> Vec<f32> {
    let Values::F32(values) = &array.values else { panic!("{}", array.values.dtype()) };
    values.clone()
}

fn volume(shape: [usize; 3], values: Vec<f32>) -> Volume {
    models::volume(shape, Voxels::F32(values))
}

/// The voxels of a golden case as a volume, and the case.
fn golden(name: &str) -> (Volume, BTreeMap<String, Array>) {
    let arrays = arrays(&format!("{name}/golden/case.npz"));
    let shape = arrays["voxels"].shape[2..].try_into().unwrap();
    (volume(shape, floats(&arrays["voxels"])), arrays)
}

fn sigmoid(logit: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(logit)).exp())
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-5
}

fn probabilities(prediction: &Prediction) -> Vec<f64> {
    prediction.findings.iter().map(|finding| finding.probability).collect()
}

/// The channel with the largest score.
fn labels(scores: &Array) -> Vec<u8> {
    let values = floats(scores);
    let voxels: usize = scores.shape[2..].iter().product();
    let score = |voxel: usize, channel: u8| values[usize::from(channel) * voxels + voxel];
    let best = |voxel| (0..3).max_by(|a, b| score(voxel, *a).total_cmp(&score(voxel, *b))).unwrap();
    (0..voxels).map(best).collect()
}

#[test]
fn modules_give_what_pytorch_and_monai_give_and_become_a_prediction() {
    let (volume, expected) = golden("several");
    let found = predict(&engine(&["several"]), "several", volume).unwrap();
    assert_eq!(found.label_map.unwrap().labels, labels(&expected["scores"]));
    let logits = floats(&expected["logits"]).into_iter().chain(floats(&expected["other"]));
    let wanted: Vec<f64> = logits.map(sigmoid).collect();
    let names: Vec<_> = found.findings.iter().map(|finding| finding.label.as_str()).collect();
    assert_eq!(names, ["First", "Second", "Third"]);
    for (finding, wanted) in found.findings.iter().zip(wanted) {
        assert!(near(finding.probability, wanted), "{finding:?}, expected {wanted}");
        let decision = if wanted >= 0.5 { Decision::Present } else { Decision::Absent };
        assert_eq!(finding.decision, decision);
    }
    let [patches] = &found.embeddings[..] else { panic!() };
    assert_eq!((patches.name.as_str(), &patches.shape[..]), ("patches", &[24, 6][..]));
    assert!(patches.values.iter().zip(floats(&expected["patches"])).all(|(a, b)| (a - b).abs() < 1e-5));
    let attention = found.attention.unwrap();
    assert_eq!((attention.shape, attention.key_slices.len()), ([9, 7, 6], 2));
    assert!(attention.values.iter().all(|value| (0.0..=1.0).contains(value)) && attention.values.contains(&1.0));
}

/// The direction (LPS) that a letter names.
fn towards(letter: char) -> [f64; 3] {
    match letter {
        'L' => [1.0, 0.0, 0.0],
        'R' => [-1.0, 0.0, 0.0],
        'P' => [0.0, 1.0, 0.0],
        'A' => [0.0, -1.0, 0.0],
        'S' => [0.0, 0.0, 1.0],
        'I' => [0.0, 0.0, -1.0],
        other => panic!("{other}"),
    }
}

/// Whether a map is the expected one, voxel by voxel, and points at the expected slices.
fn check_map(what: &str, map: &AttentionMap, wanted: &Array, key_slices: &Array) {
    assert_eq!(map.shape[..], wanted.shape, "{what}");
    let apart = map.values.iter().zip(floats(wanted)).map(|(found, wanted)| (found - wanted).abs()).fold(0.0, f32::max);
    assert!(apart < 1e-5, "{what}: a voxel differs by {apart}");
    let keys = map.key_slices.iter().map(|slice| *slice as i64).collect();
    assert_eq!(Values::I64(keys), key_slices.values, "{what}");
}

#[test]
fn labels_and_attention_lie_where_the_patient_does_however_the_series_lies() {
    let expected = arrays("several/expected.npz");
    let engine = engine(&["several"]);
    // One patient, four series: axial from the feet up and from the head down, sagittal, coronal.
    for axes in ["SPL", "IPR", "RIP", "AIR"] {
        let of = |what: &str| &expected[&format!("{axes}_{what}")];
        let mut series = volume(of("voxels").shape[..].try_into().unwrap(), floats(of("voxels")));
        let [slices, rows, columns]: [char; 3] = axes.chars().collect::<Vec<_>>().try_into().unwrap();
        series.geometry.slice_direction = towards(slices);
        series.geometry.row_direction = towards(rows);
        series.geometry.column_direction = towards(columns);
        let found = predict(&engine, "several", series).unwrap();
        check_map(axes, &found.attention.unwrap(), of("attention"), of("key_slices"));
        assert_eq!(Values::U8(found.label_map.unwrap().labels), of("labels").values, "{axes}");
    }
}

#[test]
fn two_heads_share_one_run_of_the_backbone() {
    let engine = engine(&["counted"]);
    for run in 0..2u16 {
        let found = predict(&engine, "counted", golden("several").0).unwrap();
        let calls = &found.embeddings.iter().find(|embedding| embedding.name == "calls").unwrap().values;
        let expected: Vec<f32> = (1..=24).map(|call| f32::from(call + run * 24)).collect();
        assert_eq!(calls, &expected, "each of the 24 windows once, in order");
    }
}

#[test]
fn labels_and_maps_come_back_through_the_steps() {
    let (small, expected) = golden("several");
    let Voxels::F32(values) = &small.voxels else { panic!() };
    // Every voxel eight times, at twice the value: the steps undo both.
    let shape = [18, 14, 12];
    let place = |index: usize| [index / 168 / 2, index / 12 % 14 / 2, index % 12 / 2];
    let at = |[z, y, x]: [usize; 3]| (z * 7 + y) * 6 + x;
    let large = volume(shape, (0..18 * 14 * 12).map(|index| values[at(place(index))] * 2.0).collect());
    let found = predict(&engine(&["several-resized"]), "several-resized", large).unwrap();
    assert!(found.embeddings[0].values.iter().zip(floats(&expected["patches"])).all(|(a, b)| (a - b).abs() < 1e-4));
    let map = found.label_map.unwrap();
    let coarse = labels(&expected["scores"]);
    let same = map.labels.iter().enumerate().filter(|(index, label)| coarse[at(place(*index))] == **label).count();
    // Between voxels the scores are interpolated.
    assert!(map.shape == shape && same > map.labels.len() * 7 / 10, "{same} of {}", map.labels.len());
    let finer = arrays("several/expected.npz");
    check_map("finer", &found.attention.unwrap(), &finer["fine_attention"], &finer["fine_key_slices"]);
}

/// A volume with its columns in reverse, its geometry as it was.
fn mirrored(volume: &Volume) -> Volume {
    let Voxels::F32(values) = &volume.voxels else { panic!() };
    let columns = volume.geometry.shape[2];
    let values = values.chunks(columns).flat_map(|row| row.iter().rev().copied()).collect();
    models::volume(volume.geometry.shape, Voxels::F32(values))
}

#[test]
fn with_mirroring_the_mirror_image_gives_the_mirror_image() {
    let engine = engine(&["mirrored", "several"]);
    let upright = golden("several").0;
    let one = predict(&engine, "mirrored", upright.clone()).unwrap();
    let other = predict(&engine, "mirrored", mirrored(&upright)).unwrap();
    let apart = |a: &Prediction, b: &Prediction| {
        let pairs = probabilities(a).into_iter().zip(probabilities(b));
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    assert!(apart(&one, &other) < 1e-6, "{:?} {:?}", one.findings, other.findings);
    let map = |prediction: &Prediction| prediction.label_map.clone().unwrap().labels;
    let back: Vec<u8> = map(&other).chunks(6).flat_map(|row| row.iter().rev().copied()).collect();
    assert_eq!(map(&one), back);
    let plain = predict(&engine, "several", mirrored(&upright)).unwrap();
    assert!(apart(&one, &plain) > 1e-4, "mirroring changes nothing");
}

/// Nine slices, each of one value: ten times its index.
fn staircase() -> Volume {
    volume([9, 2, 3], (0..54).map(|index| (index / 6 * 10) as f32).collect())
}

#[test]
fn slices_are_chosen_evenly_from_the_series() {
    let engine = engine(&["slices-as-channels", "slices-as-batch"]);
    // Slices 0, 4 and 8.
    let found = predict(&engine, "slices-as-channels", staircase()).unwrap();
    assert!(near(found.findings[0].probability, sigmoid((40.0 * 2.0 + 80.0 * 3.0) / 100.0)), "{:?}", found.findings);
    let found = predict(&engine, "slices-as-batch", staircase()).unwrap();
    assert!(near(found.findings[0].probability, sigmoid(0.4)), "{:?}", found.findings);
}

#[test]
fn slices_are_chosen_from_what_the_gate_found() {
    let engine = models::engine(&["modules/slices-over-gate", "models/good"]);
    let ask = |map: Option<LabelMap>| {
        let context = Context { gate: map.map(|map| map.touched()), per_slice: false };
        engine.predict("slices-over-gate", staircase().into(), &context)
    };
    let mut labels = vec![0; 54];
    labels[2 * 6] = 1;
    labels[6 * 6 + 5] = 2;
    // Slices 2, 4 and 6.
    let found = ask(Some(LabelMap { shape: [9, 2, 3], labels })).unwrap();
    assert!(near(found.findings[0].probability, sigmoid((20.0 + 80.0 + 180.0) / 100.0)), "{:?}", found.findings);
    let found = ask(Some(LabelMap { shape: [9, 2, 3], labels: vec![0; 54] })).unwrap();
    assert!(matches!(found.verdict, Verdict::NotSuitable { code, .. } if code == "gate-found-nothing"));
    assert_eq!(ask(None).unwrap_err().code(), "no-gate");
}

#[test]
fn a_model_whose_gate_is_not_served_is_not_served() {
    let package = Manifest::load(&fixtures("modules/slices-over-gate")).unwrap();
    let engine = Engine::start(DeviceChoice::Cpu, vec![package]).unwrap();
    let (_, error) = engine.refused().next().unwrap();
    assert!(error.to_string().contains("its gate good is not served"), "{error}");
}

fn reasons(engine: &Engine) -> Vec<(String, String)> {
    engine.refused().map(|(package, error)| (package.manifest().name.clone(), error.to_string())).collect()
}

#[test]
fn a_gate_has_no_gate_of_its_own() {
    let gate = "gate = \"good\"";
    let (over, good) = ("modules/slices-over-gate", "models/good");
    let engine = engine_of(&[
        (over, "a", gate, "gate = \"b\""),
        (over, "b", gate, "gate = \"c\""),
        (good, "c", "origin", "origin"),
    ]);
    let found = reasons(&engine);
    let expected = "model «a» is not served: its gate b has a gate itself, c: a gate is asked alone";
    assert_eq!(found, [("a".to_owned(), expected.to_owned())]);
    let error = predict(&engine, "a", staircase()).unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), ("model-not-served", expected));
}

#[test]
fn a_gate_that_gives_no_label_map_chooses_no_slices() {
    let engine = engine_of(&[
        ("modules/slices-over-gate", "chosen", "gate = \"good\"", "gate = \"blind\""),
        ("modules/per-slice", "blind", "origin", "origin"),
    ]);
    let expected = "model «chosen» is not served: its gate blind gives no label map, and slices are chosen by it";
    assert_eq!(reasons(&engine), [("chosen".to_owned(), expected.to_owned())]);
}

#[test]
fn an_untrained_gate_decides_for_untrained_models_alone() {
    let untrained = "origin = \"untrained\"";
    let (over, good) = ("modules/slices-over-gate", "models/good");
    let engine = engine_of(&[(over, "trained", untrained, "origin = \"trained\""), (good, "good", "origin", "origin")]);
    let found = reasons(&engine);
    assert!(found[0].1.contains("its gate good is untrained, and nothing would say so"), "{found:?}");
    let engine = engine_of(&[
        (over, "trained", untrained, "origin = \"trained\""),
        (good, "good", untrained, "origin = \"algorithm\""),
    ]);
    assert_eq!(reasons(&engine), []);
}

#[test]
fn a_series_that_the_steps_do_not_suit_is_not_suitable_and_the_model_is_not_blamed() {
    let spacing = "{ do = \"spacing\", mm = [0.01, 1.0, 1.0], rounding = \"floor\", method = \"linear\" }";
    let resize = "{ do = \"resize\", size = [9, 7, 6], method = \"linear\" }";
    let engine = engine_of(&[("modules/several-resized", "fine", resize, spacing)]);
    let mut far = staircase();
    far.geometry.spacing[0] = 900.0;
    let found = predict(&engine, "fine", far).unwrap();
    let Verdict::NotSuitable { code, reason } = &found.verdict else { panic!("{found:?}") };
    assert_eq!(code, "model-grid");
    assert!(reason.starts_with("The series cannot be brought to the grid of the model: voxels of [900.0,"), "{reason}");
}

#[test]
fn slices_that_take_too_long_do_not_cost_the_answer_for_the_series() {
    let window = "window = 3\n";
    let limited = "window = 3\ntime_limit_seconds = 0.1\n";
    let engine = engine_of(&[("modules/per-slice", "slow", window, limited)]);
    let many = volume([20_000, 4, 4], vec![1.0; 320_000]);
    let context = Context { gate: None, per_slice: true };
    let found = engine.predict("slow", many.into(), &context).unwrap();
    assert_eq!((found.findings.len(), found.slice_scores), (1, None));
    assert_eq!(found.warnings, ["The slices were not scored one by one: that did not end within 0.1 s."]);
    assert_eq!(engine.abandoned(), 0);
}

#[test]
fn what_needs_more_memory_than_there_is_is_refused_at_the_start() {
    let engine = engine_of(&[("modules/too-large", "too-large", "origin", "origin")]);
    let (_, error) = engine.refused().next().unwrap();
    assert_eq!((error.code(), error.retryable()), ("too-large", false));
    assert!(
        error.to_string().contains("is too large for this machine: by its estimate it needs 9000000 MB"),
        "{error}"
    );
}

fn slice_by_slice(engine: &Engine, subject: &Subject) -> Prediction {
    engine.predict("per-slice", subject.clone(), &Context { gate: None, per_slice: true }).unwrap()
}

#[test]
fn each_slice_is_scored_by_the_slices_around_it() {
    let engine = engine(&["per-slice"]);
    // What the window around a slice gives, the end slices repeated.
    let expected = |slice: i32, last: i32| {
        let value = |offset: i32| (slice + offset).clamp(0, last) as f32 * 10.0;
        sigmoid((value(-1) + value(0) * 2.0 + value(1) * 3.0) / 100.0)
    };
    let found = slice_by_slice(&engine, &staircase().into());
    let scores = found.slice_scores.unwrap();
    assert_eq!((scores.label.as_str(), scores.scores.len(), scores.peak), ("Any", 9, 8));
    for (index, (slice, probability)) in scores.scores.iter().enumerate() {
        assert_eq!(*slice, index);
        assert!(near(*probability, expected(index as i32, 8)), "{slice}: {probability}");
    }
    // The same patient, acquired from head to foot.
    let mut descending = volume([9, 2, 3], (0..54).map(|index| ((8 - index / 6) * 10) as f32).collect());
    descending.geometry.slice_direction = [0.0, 0.0, -1.0];
    let other = slice_by_slice(&engine, &descending.into()).slice_scores.unwrap();
    assert_eq!(other.peak, 0);
    let reversed: Vec<_> = other.scores.iter().rev().map(|(_, probability)| *probability).collect();
    assert_eq!(reversed, scores.scores.iter().map(|(_, probability)| *probability).collect::<Vec<_>>());
    assert!(predict(&engine, "per-slice", staircase()).unwrap().slice_scores.is_none());
    let mut sagittal = staircase();
    sagittal.geometry.slice_direction = [1.0, 0.0, 0.0];
    sagittal.geometry.column_direction = [0.0, 0.0, 1.0];
    let across = slice_by_slice(&engine, &sagittal.into());
    assert!(across.slice_scores.is_none() && across.warnings[0].contains("lie across"), "{:?}", across.warnings);
}

#[test]
fn slices_are_scored_one_after_the_other_where_steps_leave_them_of_different_sizes() {
    let arguments = "arguments = [\"voxels\"]\n";
    let cropped = format!("{arguments}steps = [{{ do = \"crop-body\", above = 0.0 }}]\n");
    let engine = engine_of(&[("modules/per-slice", "per-slice", arguments, &cropped)]);
    // Nine slices of four rows and five columns; every second one the body is a column wider.
    let width = |slice: usize| 1 + slice / 2;
    let value = |index: usize| if index % 5 < width(index / 20) { 100.0 } else { -100.0 };
    let found = slice_by_slice(&engine, &volume([9, 4, 5], (0..180).map(value).collect()).into());
    assert_eq!(found.warnings, Vec::<String>::new());
    let scores = found.slice_scores.unwrap();
    assert_eq!(scores.scores.len(), 9);
    for (slice, probability) in &scores.scores {
        let around = [slice.saturating_sub(1), *slice, (slice + 1).min(8)];
        let mean = |other: usize| 200.0 * width(other) as f32 / width(around[2]) as f32 - 100.0;
        let expected = sigmoid((mean(around[0]) + mean(around[1]) * 2.0 + mean(around[2]) * 3.0) / 100.0);
        assert!(near(*probability, expected), "{slice}: {probability}, expected {expected}");
    }
}

#[test]
fn slices_are_scored_one_after_the_other_where_a_module_sees_windows() {
    let engine = engine(&["per-slice-windows"]);
    let context = Context { gate: None, per_slice: true };
    let found = engine.predict("per-slice-windows", staircase().into(), &context).unwrap();
    // Two windows of 2 x 2 in the columns of three slices, the second moved back; end slices are repeated.
    let mean = |slice: i32| (-1..=1).map(|offset| (slice + offset).clamp(0, 8) * 10).sum::<i32>();
    let scores = found.slice_scores.unwrap();
    assert_eq!((scores.scores.len(), scores.peak), (9, 8));
    for (slice, probability) in &scores.scores {
        let expected = sigmoid(mean(*slice as i32) as f32 / 300.0 + 0.2);
        assert!(near(*probability, expected), "{slice}: {probability}, expected {expected}");
    }
}

#[test]
fn what_is_wrong_with_a_slice_is_said_and_does_not_cost_the_answer_for_the_series() {
    let cases = [
        ("per-slice-of-infinity", "«logits» holds NaN or infinity: 4 of 4 values"),
        ("per-slice-of-two", "«logits» must be Float[4, 1], it is Float[4, 2]"),
    ];
    let engine = engine(&cases.map(|(name, _)| name));
    for (name, message) in cases {
        assert_eq!(predict(&engine, name, staircase()).unwrap().findings.len(), 1);
        let context = Context { gate: None, per_slice: true };
        let found = engine.predict(name, staircase().into(), &context).unwrap();
        assert_eq!((found.findings.len(), &found.slice_scores), (1, &None));
        let [warning] = &found.warnings[..] else { panic!("{:?}", found.warnings) };
        assert!(
            warning.starts_with("The slices were not scored one by one: ") && warning.contains(message),
            "{warning}"
        );
    }
}

#[test]
fn a_module_that_changes_its_arguments_is_refused() {
    let engine = engine(&["head-in-place", "input-in-place"]);
    let cases = [
        ("head-in-place", "module «head»: changes its argument «patches»"),
        ("input-in-place", "changes its argument «voxels»"),
    ];
    for (name, message) in cases {
        let error = predict(&engine, name, staircase()).unwrap_err();
        assert_eq!(error.code(), "model-output", "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn the_only_label_is_the_answer_though_nothing_marks_it() {
    let found = predict(&engine(&["slices-as-batch"]), "slices-as-batch", staircase()).unwrap();
    assert!(found.findings[0].is_pathology, "{:?}", found.findings);
    let found = predict(&engine(&["several"]), "several", golden("several").0).unwrap();
    assert!(found.findings.iter().all(|finding| !finding.is_pathology), "none of three is the answer");
}

#[test]
fn a_radiograph_becomes_findings_regions_and_a_map() {
    let bright = |index: usize| index / 16 < 8 && index % 16 < 8;
    let image = Radiograph {
        rows: 16,
        columns: 16,
        values: (0..256).map(|index| if bright(index) { 1.0 } else { 0.2 }).collect(),
        padding: None,
        pixel_spacing: None,
        image: SourceImage {
            sop_class_uid: SopClassUid::parse("1.2.840.10008.5.1.4.1.1.1.1").unwrap(),
            sop_instance_uid: SopInstanceUid::parse("1.2.3").unwrap(),
            frame_number: None,
        },
        source: source(),
        warnings: Vec::new(),
    };
    let engine = engine(&["image", "several"]);
    let found = predict(&engine, "image", image.clone()).unwrap();
    let means = [0.4, (0.4 - 0.5) / 0.5, (0.4 - 0.25) / 2.0];
    for (finding, mean) in found.findings.iter().zip(means) {
        assert!(near(finding.probability, sigmoid(mean)), "{finding:?}, {mean}");
    }
    let map = found.label_map.unwrap();
    assert_eq!(map.shape, [1, 16, 16]);
    // Patches of 8 x 8: the corners are sure, between their centres it is interpolated.
    let label = |row: usize, column: usize| map.labels[row * 16 + column];
    assert_eq!([label(0, 0), label(3, 3), label(0, 15), label(15, 0), label(15, 15)], [1, 1, 0, 0, 0]);
    let attention = found.attention.unwrap();
    assert_eq!((attention.shape, attention.values[0], attention.key_slices.len()), ([1, 16, 16], 1.0, 0));
    assert!((attention.values[255] - 0.2).abs() < 1e-5);
    let error = predict(&engine, "several", image).unwrap_err();
    assert!(error.to_string().contains("given a radiograph"), "{error}");
    assert!(predict(&engine, "image", staircase()).unwrap_err().to_string().contains("given a volume"));
}

#[test]
fn a_decoder_writes_the_text_that_transformers_writes() {
    let engine = engine(&["greedy", "beams", "cached", "cache-stands-still", "vocabulary"]);
    for (name, written) in [("greedy", "greedy"), ("beams", "beams"), ("cached", "beams")] {
        let (volume, expected) = golden(name);
        let text = predict(&engine, name, volume).unwrap().text.unwrap();
        assert_eq!(Values::I64(text.tokens), expected["ids"].values);
        assert_eq!(text.text, std::fs::read_to_string(fixtures("modules").join(written).join("text.txt")).unwrap());
    }
    let error = predict(&engine, "vocabulary", golden("beams").0).unwrap_err();
    assert_eq!(error.code(), "model-output");
    assert!(error.to_string().contains("module «decoder»: the decoder knows 24 tokens"), "{error}");
    let error = predict(&engine, "cache-stands-still", golden("cached").0).unwrap_err();
    let expected = "module «decoder»: the cache must be Float[4, 1] after 1 tokens, it is Float[4, 0]";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn in_bfloat16_a_model_computes_what_autocast_computes() {
    let expected = arrays("bfloat16/expected.npz");
    let found = predict(&engine(&["bfloat16"]), "bfloat16", golden("bfloat16").0).unwrap();
    let largest = |name: &str| {
        let differences = found.embeddings[0].values.iter().zip(floats(&expected[name]));
        differences.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(largest("half") < 1e-6, "{}", largest("half"));
    assert!(largest("whole") > 1e-4, "it computed in float32");
}

fn small() -> Volume {
    volume([4, 4, 2], (0..32).map(|value| value as f32).collect())
}

#[test]
fn each_fault_of_a_module_is_named_and_the_engine_goes_on() {
    let cases = [
        ("no-numbers", "model-output", "«logits» holds NaN or infinity: 2 of 2 values"),
        ("scores-of-infinity", "model-output", "«scores» holds NaN or infinity: 64 of 64 values"),
        ("other-rows", "model-raised", "module «backbone»: "),
        ("other-name", "model-output", "module «backbone»: «patches» is missing"),
        ("head-raises", "model-raised", "the head does not want to"),
        ("head-of-three", "model-output", "«logits» must be Float[1, 2] or Float[2], it is Float[1, 3]"),
        ("head-of-nan", "model-output", "«logits» holds NaN"),
        ("memory", "out-of-memory", "CUDA out of memory"),
    ];
    let mut names: Vec<_> = cases.iter().map(|(name, ..)| *name).collect();
    names.push("several");
    let engine = engine(&names);
    for (name, code, message) in cases {
        let error: EngineError = predict(&engine, name, small()).unwrap_err();
        assert_eq!((error.code(), error.retryable()), (code, code == "out-of-memory"), "{name}: {error}");
        assert!(error.to_string().contains(message), "{name}: {error}");
        assert!(predict(&engine, "several", golden("several").0).is_ok());
    }
}

#[test]
fn where_memory_runs_out_a_smaller_batch_is_tried_and_it_is_said() {
    let found = predict(&engine(&["memory-of-batches"]), "memory-of-batches", small()).unwrap();
    let expected = [
        "Memory ran out with batch 4; the model was run with batch 2.",
        "Memory ran out with batch 2; the model was run with batch 1.",
    ];
    assert_eq!(found.warnings, expected);
    assert_eq!(found.findings.len(), 2);
}

/// A copy of a package that a test may spoil.
fn copy(name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join(name);
    std::fs::create_dir_all(folder.join("golden")).unwrap();
    for entry in std::fs::read_dir(fixtures("modules").join(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
    std::fs::copy(fixtures("modules").join(name).join("golden/case.npz"), folder.join("golden/case.npz")).unwrap();
    (parent, folder)
}

#[test]
fn a_package_without_its_weights_is_listed_and_no_fault() {
    let (parent, folder) = copy("greedy");
    std::fs::remove_file(folder.join("decoder.pt")).unwrap();
    std::fs::write(folder.join("export.py"), "").unwrap();
    let Packages { models, not_installed, faults } = packages(parent.path()).unwrap();
    assert_eq!((models.len(), faults.len(), not_installed.len()), (0, 0, 1));
    assert_eq!(not_installed[0].missing, ["decoder.pt"]);
    let line = not_installed[0].to_string();
    assert!(line.contains("is not installed") && line.contains("export.py --weights FILE"), "{line}");
    assert!(Manifest::load(&folder).unwrap_err()[0].message.contains("is not installed"));
}

#[test]
fn every_file_of_a_package_must_have_its_hash() {
    let (_parent, folder) = copy("greedy");
    let package = Manifest::load(&folder).unwrap();
    for name in ["memory.pt", "tokenizer.json"] {
        let mut bytes = std::fs::read(folder.join(name)).unwrap();
        bytes.push(b' ');
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let faults = Manifest::load(&folder).unwrap_err();
    let files: Vec<_> = faults.iter().map(|fault| fault.message.split(':').next().unwrap()).collect();
    assert_eq!(files, ["memory.pt", "tokenizer.json"]);
    assert!(faults.iter().all(|fault| fault.line > 0 && fault.key.ends_with("sha256")), "{faults:?}");
    assert!(faults.iter().all(|fault| fault.message.contains("its SHA-256 is")), "{faults:?}");
    let engine = Engine::start(DeviceChoice::Cpu, vec![package]).unwrap();
    assert_eq!(engine.refused().next().unwrap().1.code(), "model-load");
}

#[test]
fn a_package_in_a_folder_tiny_has_its_parents_name_before_it() {
    let (parent, folder) = copy("greedy");
    let tiny = parent.path().join("chest").join("tiny");
    std::fs::create_dir(parent.path().join("chest")).unwrap();
    std::fs::rename(&folder, &tiny).unwrap();
    assert_eq!(Manifest::load(&tiny).unwrap_err()[0].key, "name");
    let toml = std::fs::read_to_string(tiny.join("model.toml")).unwrap();
    std::fs::write(tiny.join("model.toml"), toml.replacen("name = \"greedy\"", "name = \"chest-tiny\"", 1)).unwrap();
    assert_eq!(Manifest::load(&tiny).unwrap().manifest().name, "chest-tiny");
}
