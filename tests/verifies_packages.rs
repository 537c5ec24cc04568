//! What is wrong with a package is said at once, each fault with its file, its key and its line.

#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, reason = "tests and what they share")]

use std::path::{Path, PathBuf};

use overread::inference::device::DeviceChoice;
use overread::inference::engine::Engine;
use overread::inference::manifest::{Manifest, ManifestError};
use overread::inference::package::{Packages, packages, packages_of, packages_with};

use crate::testkit::models::fixtures;

/// A copy of the package `good` that a test may spoil.
fn copy_of_good() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("good");
    copy_good_to(&folder);
    (parent, folder)
}

fn copy_good_to(folder: &Path) {
    std::fs::create_dir_all(folder.join("golden")).unwrap();
    for name in ["model.toml", "model.pt", "golden/case.npz"] {
        std::fs::copy(fixtures("models").join("good").join(name), folder.join(name)).unwrap();
    }
}

fn flip_a_byte(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

/// Changes words of the manifest.
fn change(folder: &Path, from: &str, to: &str) {
    let toml = std::fs::read_to_string(folder.join("model.toml")).unwrap();
    assert!(toml.contains(from), "{from}");
    std::fs::write(folder.join("model.toml"), toml.replacen(from, to, 1)).unwrap();
}

/// Of each fault its key and whether its line is that of the key.
fn places(faults: &[ManifestError]) -> Vec<(&str, bool)> {
    let is_there = |fault: &ManifestError| {
        let text = std::fs::read_to_string(&fault.file).unwrap();
        let key = fault.key.rsplit('.').next().unwrap();
        text.lines().nth(fault.line.wrapping_sub(1)).is_some_and(|line| line.starts_with(key))
    };
    faults.iter().map(|fault| (fault.key.as_str(), is_there(fault))).collect()
}

#[test]
fn one_flipped_byte_of_the_weights_is_noticed_at_start_and_at_load() {
    let (_parent, folder) = copy_of_good();
    let verified = Manifest::load(&folder).unwrap();
    flip_a_byte(&folder.join("model.pt"));
    let faults = Manifest::load(&folder).unwrap_err();
    assert_eq!(places(&faults), [("sha256", true)]);
    assert!(faults[0].message.contains("model.pt: its SHA-256 is"), "{}", faults[0]);
    let engine = Engine::start(DeviceChoice::Cpu, vec![verified]).unwrap();
    assert_eq!(engine.refused().next().unwrap().1.code(), "model-load");
}

#[test]
fn all_faults_of_a_package_are_named_at_once() {
    let (parent, folder) = copy_of_good();
    change(&folder, "name = \"good\"", "name = \"better\"");
    std::fs::remove_file(folder.join("model.pt")).unwrap();
    std::fs::write(folder.join("golden/case.npz"), "no archive").unwrap();
    std::fs::create_dir(parent.path().join("not-a-package")).unwrap();
    let Packages { models, faults, .. } = packages(parent.path()).unwrap();
    assert!(models.is_empty());
    assert_eq!(places(&faults), [("name", true), ("sha256", true), ("golden.case", true)], "{faults:?}");
    assert!(faults[0].file.ends_with("good/model.toml"));
    let Packages { models, faults, .. } = packages(&fixtures("models")).unwrap();
    assert_eq!((models.len(), faults), (18, Vec::new()));
}

#[test]
fn a_faulty_manifest_hides_neither_a_wrong_name_nor_other_weights_nor_a_damaged_case() {
    let (_parent, folder) = copy_of_good();
    change(&folder, "name = \"good\"", "name = \"better\"");
    change(&folder, "memory_mb = 100", "memory_mb = \"much\"");
    flip_a_byte(&folder.join("model.pt"));
    std::fs::write(folder.join("golden/case.npz"), "no archive").unwrap();
    let faults = Manifest::load(&folder).unwrap_err();
    let wrong = ["name", "sha256", "inference.memory_mb", "golden.case"].map(|key| (key, true));
    assert_eq!(places(&faults), wrong, "{faults:?}");
    // Weights that are not there are no fault, and a text that is no TOML says nothing.
    std::fs::remove_file(folder.join("model.pt")).unwrap();
    let keys = |faults: Vec<ManifestError>| faults.into_iter().map(|fault| fault.key).collect::<Vec<_>>();
    assert_eq!(keys(Manifest::load(&folder).unwrap_err()), ["name", "inference.memory_mb", "golden.case"]);
    change(&folder, "memory_mb = \"much\"", "memory_mb = = 3");
    assert!(keys(Manifest::load(&folder).unwrap_err()).iter().all(String::is_empty));
}

#[test]
fn a_part_of_a_package_is_found_by_its_name_and_each_package_once() {
    let (parent, folder) = copy_of_good();
    let part = parent.path().join("outer").join("quick");
    copy_good_to(&part);
    change(&part, "name = \"good\"", "name = \"outer-quick\"");
    let names = |found: Packages| {
        let names = found.models.iter().map(|model| model.manifest().name.clone());
        names
            .chain(found.not_installed.iter().map(|package| format!("absent {}", package.manifest.name)))
            .chain(found.faults.iter().map(ToString::to_string))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(packages(parent.path()).unwrap()), ["good"]);
    let wanted = ["outer-quick", "good", "outer-quick", "nothing"];
    assert_eq!(names(packages_of(parent.path(), wanted)), ["good", "outer-quick"]);
    assert_eq!(names(packages_with(parent.path(), wanted).unwrap()), ["good", "outer-quick"]);
    std::fs::remove_file(folder.join("model.pt")).unwrap();
    change(&part, "memory_mb = 100", "memory_mb = \"much\"");
    let found = names(packages_with(parent.path(), wanted).unwrap());
    assert!(found.len() == 2 && found[0] == "absent good" && found[1].contains("memory_mb"), "{found:?}");
}
