//! What `models/train_head.py` writes drops into the package whose embeddings it was trained on (`tests/fixtures/head`, made by
//! `tests/python/make_head.py`).

#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, reason = "tests and what they share")]

use std::path::Path;

use overread::inference::device::DeviceChoice;
use overread::inference::engine::Engine;
use overread::inference::manifest::Manifest;
use overread::inference::subject::{Context, Subject};
use overread::volume::radiograph::RadiographOptions;
use overread::volume::{InstanceSource, Series};
use toml::Table;

use crate::testkit::peers::root;

fn table(path: &Path) -> Table {
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

/// cxr-vit-tiny with the head's file and lines in the place of its own.
fn dropped_in(head: &Path, folder: &Path) {
    let own = root().join("models/cxr-vit/tiny");
    for name in ["backbone.pt", "regions.pt"] {
        std::fs::copy(own.join(name), folder.join(name)).unwrap();
    }
    std::fs::copy(head.join("head.pt"), folder.join("findings.pt")).unwrap();
    let (mut manifest, mut lines) = (table(&own.join("model.toml")), table(&head.join("head.toml")));
    // It was computed with the old head.
    manifest.remove("golden").unwrap();
    let modules = manifest["modules"].as_array_mut().unwrap();
    let [module] = &lines["modules"].as_array().unwrap()[..] else { panic!("one module: {lines}") };
    let place = modules.iter().position(|other| other["name"] == module["name"]).unwrap();
    modules[place] = module.clone();
    let answers = lines["output"].as_table_mut().unwrap().remove("classification").unwrap();
    manifest["output"].as_table_mut().unwrap().insert("classification".to_owned(), answers);
    std::fs::write(folder.join("model.toml"), manifest.to_string()).unwrap();
}

#[test]
fn a_head_that_was_trained_drops_into_its_package() {
    let head = root().join("tests/fixtures/head");
    let parent = tempfile::tempdir().unwrap();
    // A package is called as its folder is.
    let folder = parent.path().join("cxr-vit-tiny");
    std::fs::create_dir(&folder).unwrap();
    dropped_in(&head, &folder);
    let text = std::fs::read_to_string(head.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let package = Manifest::load(&folder).unwrap();
    let engine = Engine::start(DeviceChoice::Cpu, vec![package]).unwrap();
    assert_eq!(engine.refused().map(|(_, error)| error.to_string()).collect::<Vec<_>>(), [""; 0]);
    let file = root().join("tests/fixtures/radiographs").join(expected["radiograph"].as_str().unwrap());
    let image = Series::read(vec![InstanceSource::File(file)]).unwrap();
    let image = image.radiograph(&RadiographOptions::default()).unwrap();
    let found = engine.predict("cxr-vit-tiny", Subject::from(image), &Context::default()).unwrap();
    let wanted = expected["findings"].as_object().unwrap();
    assert_eq!(found.findings.len(), wanted.len());
    for finding in &found.findings {
        let wanted = wanted[&finding.label].as_f64().unwrap();
        assert!((finding.probability - wanted).abs() < 1e-4, "{finding:?}, expected {wanted}");
    }
    assert!(!found.embeddings.is_empty() && found.label_map.is_some());
}
