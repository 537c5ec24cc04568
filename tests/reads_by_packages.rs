//! The tiny packages on real images, against what the published Python tools give for the same files
//! (`models/*/tiny/golden/e2e.json`, made by `python -m reference --golden`).

#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, reason = "tests and what they share")]

mod whole_chain;

use std::path::{Path, PathBuf};

use overread::inference::device::DeviceChoice;
use overread::inference::engine::Engine;
use overread::inference::manifest::{InputKind, Manifest};
use overread::inference::package::VerifiedModel;
use overread::inference::prediction::{LabelMap, Prediction};
use overread::inference::subject::{Context, Subject};
use overread::volume::radiograph::RadiographOptions;
use overread::volume::{AssembleOptions, InstanceSource, Series, assemble};
use serde_json::Value;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The tiny packages, and the gate of some of them.
fn served() -> Engine {
    let gate = project().join("models/lung-densitometry");
    let packages: Vec<VerifiedModel> =
        tiny().into_iter().chain([gate]).map(|folder| Manifest::load(&folder).unwrap()).collect();
    let engine = Engine::start(DeviceChoice::Cpu, packages).unwrap();
    let refused: Vec<_> = engine.refused().map(|(package, error)| (package.folder(), error)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    engine
}

fn tiny() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(project().join("models")).unwrap();
    let mut folders: Vec<_> = folders.map(|entry| entry.unwrap().path().join("tiny")).collect();
    folders.retain(|folder| folder.join("model.toml").is_file());
    folders.sort();
    folders
}

/// What is expected of a package, by what it is given.
fn expected(folder: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join("golden/e2e.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Fails unless each number lies within `tolerance` of the expected one.
fn compare(what: &str, found: impl IntoIterator<Item = f64>, wanted: &[f64], tolerance: f64) {
    let found: Vec<f64> = found.into_iter().take(wanted.len()).collect();
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let far = (found - wanted).abs() > tolerance * wanted.abs().max(1.0);
        assert!(!far, "{what}, at {index}: {found}, expected {wanted}");
    }
}

fn check(what: &str, found: &Prediction, wanted: &Value, tolerance: f64) {
    let findings = wanted["findings"].as_object().unwrap();
    assert_eq!(found.findings.len(), findings.len(), "{what}");
    for finding in &found.findings {
        let probability = findings[&finding.label].as_f64().unwrap();
        compare(&format!("{what}, {}", finding.label), [finding.probability], &[probability], tolerance);
    }
    if let Some(scores) = wanted.get("slice_scores") {
        let slices = found.slice_scores.as_ref().unwrap();
        compare(what, slices.scores.iter().map(|(_, score)| *score), &numbers(scores), tolerance);
        assert_eq!(Some(slices.peak as u64), wanted["peak_slice"].as_u64(), "{what}");
    }
    for (name, wanted) in wanted["embeddings"].as_object().into_iter().flatten() {
        let embedding = found.embeddings.iter().find(|embedding| embedding.name == *name).unwrap();
        assert_eq!(embedding.shape.iter().map(|extent| *extent as f64).collect::<Vec<_>>(), numbers(&wanted["shape"]));
        let values = || embedding.values.iter().map(|value| f64::from(*value));
        compare(&format!("{what}, {name}"), values(), &numbers(&wanted["values"]), tolerance);
        let norm = values().map(|value| value * value).sum::<f64>().sqrt();
        compare(&format!("{what}, norm of {name}"), [norm], &[wanted["norm"].as_f64().unwrap()], tolerance);
    }
    if let Some(tokens) = wanted.get("tokens") {
        let text = found.text.as_ref().unwrap();
        let tokens: Vec<i64> = tokens.as_array().unwrap().iter().map(|token| token.as_i64().unwrap()).collect();
        assert_eq!((&text.tokens, Some(text.text.as_str())), (&tokens, wanted["text"].as_str()), "{what}");
    }
}

/// In which cell of a coarse grid of up to 4 along each axis a voxel lies, and how many cells there are.
fn cell(at: usize, [slices, rows, columns]: [usize; 3]) -> usize {
    let places = [(at / columns / rows, slices), (at / columns % rows, rows), (at % columns, columns)];
    places.iter().fold(0, |cell, (place, extent)| cell * extent.min(&4) + place * extent.min(&4) / extent)
}

/// Numbers in a line, divided by blanks.
fn line(value: &Value) -> Vec<f64> {
    value.as_str().unwrap_or_default().split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// Whether the label map has as many voxels of each label, and in each cell of a coarse grid, but for a share of all that are
/// labelled.
fn check_labels(what: &str, found: &Prediction, wanted: &Value, share: f64) {
    let map = found.label_map.as_ref().unwrap();
    assert_eq!(map.shape.map(|extent| extent as f64).to_vec(), numbers(&wanted["shape"]), "{what}");
    let mut counts = [0.0; 256];
    let mut cells = vec![[0.0; 64]; 256];
    for (at, label) in map.labels.iter().enumerate() {
        counts[usize::from(*label)] += 1.0;
        cells[usize::from(*label)][cell(at, map.shape)] += 1.0;
    }
    let may_differ = counts[1..].iter().sum::<f64>() * share;
    for (label, (count, cells)) in counts.iter().zip(&cells).enumerate() {
        let of = |key: &str| wanted[key].get(label.to_string());
        let voxels = of("voxels_by_label").and_then(Value::as_f64).unwrap_or(0.0);
        assert!((count - voxels).abs() <= may_differ, "{what}, label {label}: {count} voxels, expected {voxels}");
        let places = of("cells").map(line).unwrap_or_default().into_iter().chain(std::iter::repeat(0.0));
        let apart: f64 = cells.iter().zip(places).map(|(found, wanted)| (found - wanted).abs()).sum();
        assert!(label == 0 || apart <= may_differ, "{what}, label {label}: {apart} voxels lie elsewhere");
    }
}

/// Whether the label at the centre of each patch of an image is that of the patch: the shorter side was resized to `side`, and
/// the middle of it looked at.
fn check_patches(what: &str, found: &Prediction, wanted: &Value, side: usize) {
    let map = found.label_map.as_ref().unwrap();
    let [_, rows, columns] = map.shape;
    let patches: Vec<Vec<f64>> = wanted.as_array().unwrap().iter().map(numbers).collect();
    let centre = |patch: usize, extent: usize| {
        let resized = extent * side / rows.min(columns);
        let place = ((resized - side) / 2) as f64 + (patch as f64 + 0.5) * side as f64 / patches.len() as f64;
        (place * extent as f64 / resized as f64) as usize
    };
    for (row, labels) in patches.iter().enumerate() {
        let at = |column| centre(row, rows) * columns + centre(column, columns);
        let found: Vec<f64> = (0..labels.len()).map(|column| f64::from(map.labels[at(column)])).collect();
        assert_eq!(&found, labels, "{what}, row {row} of patches");
    }
}

/// Whether the map has the same mean in each cell of a coarse grid, and points at the same slices.
fn check_map(what: &str, found: &Prediction, wanted: &Value, tolerance: f64) {
    let map = found.attention.as_ref().unwrap();
    assert_eq!(map.shape.map(|extent| extent as f64).to_vec(), numbers(&wanted["shape"]), "{what}");
    let mut cells = [(0.0, 0.0); 64];
    for (at, value) in map.values.iter().enumerate() {
        let (sum, count) = &mut cells[cell(at, map.shape)];
        (*sum, *count) = (*sum + f64::from(*value), *count + 1.0);
    }
    compare(what, cells.iter().map(|(sum, count)| sum / count), &line(&wanted["cells"]), tolerance);
    let keys: Vec<f64> = map.key_slices.iter().map(|slice| *slice as f64).collect();
    assert_eq!(keys, numbers(&wanted["key_slices"]), "{what}");
}

/// First and last slice that a label map touches.
fn touched(map: &LabelMap) -> Option<(usize, usize)> {
    let slices = map.labels.chunks(map.shape[1] * map.shape[2]);
    let touched: Vec<usize> =
        slices.enumerate().filter(|(_, slice)| slice.iter().any(|label| *label > 0)).map(|(index, _)| index).collect();
    Some((*touched.first()?, *touched.last()?))
}

/// The file of a radiograph: the project's own, or one of a larger collection that may lie beside the project.
fn radiograph(name: &str) -> Option<PathBuf> {
    let places = ["tests/fixtures/cxr", "../shared/data/cxr"].map(|folder| project().join(folder).join(name));
    places.into_iter().find(|place| place.is_file())
}

#[test]
fn a_chest_ct_gives_what_the_published_tools_give() {
    let engine = served();
    let files = std::fs::read_dir(project().join("demo/chest-ct")).unwrap();
    let files = files.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "dcm"));
    let sources: Vec<_> = files.map(InstanceSource::File).collect();
    let subject = Subject::from(assemble(sources, &AssembleOptions::default()).unwrap());
    let gate = engine.predict("lung-densitometry", subject.clone(), &Context::default()).unwrap().label_map.unwrap();
    let lungs = touched(&gate).unwrap();
    let context = Context { gate: Some(gate.touched()), per_slice: true };
    let mut read = 0;
    for folder in tiny() {
        let expected = expected(&folder);
        let (Some(wanted), tolerance) = (expected["of"].get("demo/chest-ct"), expected["tolerance"].as_f64().unwrap())
        else {
            continue;
        };
        let package = Manifest::load(&folder).unwrap();
        let name = &package.manifest().name;
        let found = engine.predict(name, subject.clone(), &context).unwrap();
        check(name, &found, wanted, tolerance);
        if let Some(segmentation) = wanted.get("segmentation") {
            check_labels(name, &found, segmentation, 1e-3);
        }
        if let Some(map) = wanted.get("attention_map") {
            check_map(name, &found, map, tolerance);
        }
        if let Some(slices) = wanted.get("slices").map(numbers) {
            // Those between are spread evenly, and what the model says hangs on each.
            assert_eq!((lungs.0 as f64, lungs.1 as f64), (slices[0], slices[slices.len() - 1]), "{name}");
        }
        read += 1;
    }
    assert!(read >= 6, "only {read} packages were compared");
}

#[test]
fn radiographs_give_what_the_published_tools_give() {
    let engine = served();
    let mut read = Vec::new();
    for folder in tiny() {
        let package = Manifest::load(&folder).unwrap();
        let manifest = package.manifest();
        let InputKind::Image { voi } = manifest.input.kind else { continue };
        let expected = expected(&folder);
        for (file, wanted) in expected["of"].as_object().unwrap() {
            let Some(path) = radiograph(file) else { continue };
            let series = Series::read(vec![InstanceSource::File(path)]).unwrap();
            let image = series.radiograph(&RadiographOptions { voi, ..RadiographOptions::default() }).unwrap();
            let found = engine.predict(&manifest.name, image.into(), &Context::default()).unwrap();
            // Decoders of lossy JPEG differ by a grey level here and there, in this file in the greatest one (255, not 254),
            // and the whole range is what is shown.
            let decoders = if file.contains("jpeg_baseline") { 10.0 } else { 1.0 };
            check(file, &found, wanted, decoders * expected["tolerance"].as_f64().unwrap());
            check_labels(file, &found, &wanted["segmentation"], decoders * 1e-3);
            check_patches(file, &found, &wanted["patch_labels"], 98);
            read.push(file.clone());
        }
    }
    assert!(read.iter().any(|file| file == "nih_no_finding.dcm"), "{read:?}");
    println!("{} radiographs checked: {read:?}", read.len());
}
