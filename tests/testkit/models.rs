//! Engines on packages of the fixtures, and volumes to run them on.

use std::path::{Path, PathBuf};

use overread::dicom::data_set::DataSet;
use overread::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};
use overread::inference::device::DeviceChoice;
use overread::inference::engine::Engine;
use overread::inference::error::EngineError;
use overread::inference::manifest::Manifest;
use overread::inference::package::VerifiedModel;
use overread::inference::prediction::Prediction;
use overread::inference::subject::{Context, Subject};
use overread::volume::{Geometry, SourceSeries, Volume, Voxels};

/// A folder below `tests/fixtures`.
pub(crate) fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder)
}

/// An engine that serves packages, each by the path of its folder below `tests/fixtures`.
pub(crate) fn engine(folders: &[&str]) -> Engine {
    let package = |folder: &&str| -> VerifiedModel { Manifest::load(&fixtures(folder)).unwrap() };
    let engine = Engine::start(DeviceChoice::Cpu, folders.iter().map(package).collect()).unwrap();
    let refused: Vec<_> = engine.refused().map(|(package, error)| (package.folder(), error)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    engine
}

/// The packages of these fixtures, each with a change in its manifest, as an engine takes them.
pub(crate) fn engine_of(changes: &[(&str, &str, &str, &str)]) -> Engine {
    let parent = tempfile::tempdir().unwrap();
    let package = |(from, name, text, to): &(&str, &str, &str, &str)| {
        let (source, folder) = (fixtures(from), parent.path().join(name));
        std::fs::create_dir_all(&folder).unwrap();
        for entry in std::fs::read_dir(source).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        let toml = std::fs::read_to_string(folder.join("model.toml")).unwrap();
        let own = toml.lines().find(|line| line.starts_with("name = ")).unwrap().to_owned();
        assert!(toml.contains(text), "{text}");
        let toml = toml.replacen(&own, &format!("name = \"{name}\""), 1).replacen(text, to, 1);
        let toml = toml.split("[golden]").next().unwrap().to_owned();
        std::fs::write(folder.join("model.toml"), toml).unwrap();
        Manifest::load(&folder).unwrap()
    };
    Engine::start(DeviceChoice::Cpu, changes.iter().map(package).collect()).unwrap()
}

/// The memory that a package may need at most to be served here, MB: what the refusal of one that needs more says.
pub(crate) fn memory_in_all() -> u64 {
    let engine = engine_of(&[("modules/too-large", "too-large", "origin", "origin")]);
    let (_, error) = engine.refused().next().unwrap();
    let said = error.to_string();
    let there_are = said.split_once("there are ").and_then(|(_, behind)| behind.split_once(" MB in all"));
    there_are.unwrap().0.parse().unwrap()
}

/// What a model says of a volume or an image.
pub(crate) fn predict(engine: &Engine, model: &str, subject: impl Into<Subject>) -> Result<Prediction, EngineError> {
    engine.predict(model, subject.into(), &Context::default())
}

/// Slices to Superior, rows to Posterior, columns to Left.
pub(crate) fn volume(shape: [usize; 3], voxels: Voxels) -> Volume {
    Volume {
        geometry: Geometry {
            shape,
            origin: [0.0; 3],
            slice_direction: [0.0, 0.0, 1.0],
            row_direction: [0.0, 1.0, 0.0],
            column_direction: [1.0, 0.0, 0.0],
            spacing: [2.0, 0.5, 0.25],
        },
        voxels,
        slices: vec![None; shape[0]],
        source: source(),
        between: Vec::new(),
        missing_share: 0.0,
        warnings: Vec::new(),
    }
}

/// A series of no instances.
pub(crate) fn source() -> SourceSeries {
    SourceSeries {
        study_instance_uid: StudyInstanceUid::derived(&["study"]),
        series_instance_uid: SeriesInstanceUid::derived(&["series"]),
        frame_of_reference_uid: None,
        header: DataSet::new(),
        instances: Vec::new(),
        lossy: None,
    }
}

/// The memory of this process.
pub(crate) fn resident_mb() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}
