//! MONAI bundles become packages: what they say is taken over, what they lack is asked for, and the package computes what
//! MONAI itself made of the same series by the bundle's configuration (`tests/python/make_bundle.py`).

#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, reason = "tests and what they share")]

use std::io::{Cursor, Read, Write};
use std::path::PathBuf;

use overread::inference::device::DeviceChoice;
use overread::inference::engine::Engine;
use overread::inference::manifest::{Blending, Manifest};
use overread::inference::npz::{self, Values};
use overread::inference::steps::Step;
use overread::volume::{AssembleOptions, InstanceSource, assemble};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::testkit::models::{fixtures, predict};
use crate::testkit::site::overread;

const DONE: i32 = 0;
const FAILED: i32 = 1;
const PARTLY: i32 = 3;
const NAME: &str = "airway-ct-segmentation-test";

/// Name and bytes of each entry.
type Entries = Vec<(String, Vec<u8>)>;

fn entries(name: &str) -> Entries {
    let mut archive = ZipArchive::new(std::fs::File::open(fixtures("bundle").join(name)).unwrap()).unwrap();
    let count = archive.len();
    let read = |index| {
        let mut entry = archive.by_index(index).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.name().unwrap().into_owned(), bytes)
    };
    (0..count).map(read).collect()
}

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn models(&self) -> PathBuf {
        self.0.path().join("models")
    }

    fn overread(&self, words: &[&str]) -> (i32, String) {
        let mut command = overread(words);
        command.arg("--models").arg(self.models()).env("OVERREAD_STATE", self.0.path().join("state"));
        let output = command.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), said)
    }

    /// Imports a bundle of these entries.
    fn import(&self, entries: &[(String, Vec<u8>)], more: &[&str]) -> (i32, String) {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            archive.start_file(name, SimpleFileOptions::default()).unwrap();
            archive.write_all(bytes).unwrap();
        }
        let path = self.0.path().join("bundle.zip");
        std::fs::write(&path, archive.finish().unwrap().into_inner()).unwrap();
        self.overread(&[&["models", "import-monai", path.to_str().unwrap()], more].concat())
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(self.models()).map_or(0, Iterator::count) == 0
    }
}

/// What an author would write, by the end of the key.
const ANSWERS: [(&str, &str); 7] = [
    ("origin", "origin = \"untrained\""),
    ("licence", "licence = \"CC0-1.0\""),
    ("family", "family = \"123110, DCM, Artificial Intelligence\""),
    ("memory_mb", "memory_mb = 500"),
    ("category", "category = \"123037004, SCT, Anatomical Structure\""),
    ("type", "type = \"39607008, SCT, Lung\""),
    ("colour", "colour = \"#4CAF50\""),
];

/// The manifest with every key that its reader refuses filled in.
fn filled(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for fault in Manifest::parse(text).unwrap_err() {
        let key = fault.key.rsplit('.').next().unwrap();
        let (_, answer) = ANSWERS.iter().find(|(name, _)| *name == key).unwrap_or_else(|| panic!("{fault}"));
        assert!(lines[fault.line - 1].contains("TODO"), "{fault}: {}", lines[fault.line - 1]);
        lines[fault.line - 1] = (*answer).to_owned();
    }
    lines.join("\n")
}

#[test]
fn an_imported_bundle_segments_a_series_as_monai_does() {
    let desk = Desk::new();
    let (code, said) = desk.import(&entries("bundle.zip"), &[]);
    assert_eq!(code, DONE, "{said}");
    for key in ["origin", "licence", "family", "inference.memory_mb", "output.segmentation.segments[1].type"] {
        assert!(said.contains(&format!(" {key} ")), "{key}: {said}");
    }
    let folder = desk.models().join(NAME);
    assert!(folder.join("LICENSE").is_file());
    let (code, said) = desk.overread(&["models"]);
    assert!(code == PARTLY && said.contains("output.segmentation.segments[0].colour"), "{said}");

    let text = filled(&std::fs::read_to_string(folder.join("model.toml")).unwrap());
    std::fs::write(folder.join("model.toml"), text).unwrap();
    let (code, said) = desk.overread(&["models", "check", NAME, "--device", "cpu"]);
    assert!(code == PARTLY && said.contains("no golden case"), "{said}");
    let package = Manifest::load(&folder).unwrap();
    let manifest = package.manifest();
    assert_eq!((&*manifest.version, &*manifest.accepts.modality), ("0.3.1", &["CT".to_owned()][..]));
    assert_eq!(manifest.input.steps[0], Step::Resample { mm: vec![1.5, 1.5, 2.0] });
    let window = manifest.inference.window.as_ref().unwrap();
    assert_eq!((window.size, window.overlap), ([16; 3], 0.5));
    assert_eq!(window.blending, Blending::Gaussian { sigma_scale: 0.125 });

    let series = entries("series.zip").into_iter().map(|(_, bytes)| InstanceSource::Memory(bytes.into())).collect();
    let volume = assemble(series, &AssembleOptions::default()).unwrap();
    let engine = Engine::start(DeviceChoice::Cpu, vec![package]).unwrap();
    let found = predict(&engine, NAME, volume).unwrap().label_map.unwrap();
    let expected = npz::read(std::fs::File::open(fixtures("bundle").join("expected.npz")).unwrap()).unwrap();
    let Values::U8(expected_labels) = &expected["labels"].values else { panic!() };
    assert_eq!(found.shape[..], expected["labels"].shape);
    let differ = found.labels.iter().zip(expected_labels).filter(|(a, b)| a != b).count();
    println!("{differ} of {} voxels differ from MONAI's", expected_labels.len());
    assert!(differ * 2000 < expected_labels.len(), "{differ} of {}", expected_labels.len());

    let (out, series) = (desk.0.path().join("out"), fixtures("bundle").join("series.zip"));
    let words = ["read", "--device", "cpu", "--objects", "--allow-untrained", "--table", "r.csv", "--out"];
    let more = [out.to_str().unwrap(), "--model", NAME, series.to_str().unwrap()];
    let (code, said) = desk.overread(&[&words[..], &more].concat());
    assert_eq!(code, DONE, "{said}");
    let table = std::fs::read_to_string(out.join("r.csv")).unwrap();
    assert!(table.lines().nth(1).is_some_and(|row| row.contains("Success")), "{table}");
    assert!(out.join("objects").is_dir());
}

#[test]
fn what_has_no_counterpart_must_be_decided_and_what_is_not_said_is_not_guessed() {
    let desk = Desk::new();
    let mut changed = entries("bundle.zip");
    for (name, bytes) in &mut changed {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        match name.as_str() {
            "airway/configs/metadata.json" => text = text.replace("\"CT\"", "\"MRI\""),
            "airway/configs/inference.json" => {
                text = text
                    .replace("EnsureTyped", "CropForegroundd")
                    .replace("\"nearest_interp\": false", "\"nearest_interp\": true");
            }
            _ => continue,
        }
        *bytes = text.into_bytes();
    }
    let (code, said) = desk.import(&changed, &["--name", "mine"]);
    assert_eq!(code, DONE, "{said}");
    for key in ["accepts.modality", "input.steps[3].do", "output.segmentation.not_translated"] {
        assert!(said.contains(&format!(" {key} ")), "{key}: {said}");
    }
    let text = std::fs::read_to_string(desk.models().join("mine/model.toml")).unwrap();
    assert!(text.contains("«MRI»") && text.contains("MONAI's CropForegroundd") && text.contains("Invertd("), "{text}");
    let (code, said) = desk.import(&changed, &["--name", "mine"]);
    assert!(code == FAILED && said.contains("exists"), "{said}");
}

#[test]
fn archives_that_are_no_bundle_or_mean_harm_leave_nothing_behind() {
    let desk = Desk::new();
    let whole = entries("bundle.zip");
    let with = |name: &str, bytes: &[u8]| {
        let kept = whole.iter().filter(|(other, _)| other != name).cloned();
        kept.chain([(name.to_owned(), bytes.to_vec())]).collect::<Entries>()
    };
    let without = |name: &str| whole.iter().filter(|(other, _)| other != name).cloned().collect::<Entries>();
    let metadata = "airway/configs/metadata.json";
    let weights = "airway/models/model.ts";
    for (bundle, words) in [
        (with("../../evil", b"x"), "leads out of the archive"),
        (with("/etc/evil", b"x"), "leads out of the archive"),
        (with(weights, b"version https://git-lfs.github.com/spec/v1\n"), "no TorchScript file"),
        (with(weights, &vec![0; 65 << 20]), "inflate"),
        (with(metadata, &vec![b' '; 2 << 20]), "larger than 1 MiB"),
        (with(metadata, b"{"), "metadata.json"),
        (with(metadata, "[".repeat(100_000).as_bytes()), "metadata.json"),
        (with(metadata, b"{\"name\": \"x\"}"), "network_data_format"),
        (with("other/configs/metadata.json", b"{}"), "several bundles"),
        (without(metadata), "no MONAI bundle"),
        (without(weights), "models/model.ts"),
    ] {
        let (code, said) = desk.import(&bundle, &[]);
        assert!(code == FAILED && said.contains(words) && said.lines().count() == 1, "{words}: {said}");
        assert!(desk.is_empty(), "{words}");
    }
    let (code, said) = desk.import(&whole, &["--name", "../mine"]);
    assert!(code == FAILED && said.contains("lower-case") && desk.is_empty(), "{said}");
    let path = fixtures("bundle").join("expected.npz.absent");
    assert_eq!(desk.overread(&["models", "import-monai", path.to_str().unwrap()]).0, FAILED);
}
