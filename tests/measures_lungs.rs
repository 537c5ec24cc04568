//! The model that ships measures what is there: phantoms of known truth and an independent implementation agree with it,
//! and real series that are no chests end with a report that says so.

#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests and what they share")]

mod other_bodies;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

use overread::inference::device::DeviceChoice;
use overread::inference::engine::Engine;
use overread::inference::manifest::Manifest;
use overread::inference::npz::{self, Values};
use overread::inference::prediction::{Prediction, Verdict};
use overread::volume::{Volume, Voxels};
use serde_json::json;

use crate::testkit::models::{self, predict};
use crate::testkit::peers::{python, root};

const MODEL: &str = "lung-densitometry";

/// Measured: lungs that touch at a septum of less than -500 HU, lungs without any septum, emphysema, and a body with bowel
/// gas, stool and gas in the oesophagus on a table with a mattress in a round field.
const READ: [&str; 4] = ["touching", "no-septum", "emphysema", "everything"];

/// Not measured, and why.
const NOT_READ: [(&str, &str); 5] = [
    ("half", "lungs-cut-off"),
    ("abdomen", "not-a-chest-ct"),
    ("head", "not-a-chest-ct"),
    ("legs", "not-a-chest-ct"),
    ("air", "not-a-chest-ct"),
];

/// A chest drawn from formulas: `tests/python/lung_phantoms.py`.
struct Phantom {
    volume: Volume,
    /// 1 right lung, 2 left lung, without airways.
    truth: Vec<u8>,
    /// 1 outside the body and in the windpipe.
    never: Vec<u8>,
}

impl Phantom {
    fn read(path: &Path) -> Self {
        let mut arrays = npz::read(File::open(path).unwrap()).unwrap();
        let mut take = |name: &str| arrays.remove(name).unwrap();
        let (voxels, spacing) = (take("voxels"), take("spacing"));
        let (Values::U8(truth), Values::U8(never)) = (take("truth").values, take("never").values) else { panic!() };
        let (Values::I16(values), Values::F32(spacing)) = (voxels.values, spacing.values) else { panic!() };
        let mut volume = models::volume(voxels.shape.try_into().unwrap(), Voxels::I16(values));
        volume.geometry.spacing = <[f32; 3]>::try_from(spacing).unwrap().map(f64::from);
        Self { volume, truth, never }
    }

    fn voxel_cm3(&self) -> f64 {
        self.volume.geometry.spacing.iter().product::<f64>() / 1000.0
    }

    /// The Hounsfield values below a label, in order.
    fn values(&self, labels: &[u8], label: u8) -> Vec<i16> {
        let Voxels::I16(voxels) = &self.volume.voxels else { panic!() };
        let below = voxels.iter().zip(labels).filter(|(_, found)| **found == label);
        let mut values: Vec<i16> = below.map(|(value, _)| *value).collect();
        values.sort_unstable();
        values
    }
}

fn shipped() -> Engine {
    let package = Manifest::load(&root().join("models").join(MODEL)).unwrap();
    let engine = Engine::start(DeviceChoice::Cpu, vec![package]).unwrap();
    assert_eq!(engine.refused().count(), 0);
    engine
}

/// The numbers of a group in the order of the manifest: volume, mean, LAA-950, Perc15.
fn numbers(prediction: &Prediction, label: &str) -> Vec<f64> {
    let group = prediction.measurement_groups.iter().find(|group| group.label == label).unwrap();
    group.measurements.iter().map(|measurement| measurement.value.unwrap()).collect()
}

/// The least value at or below which 15 % of them lie.
fn perc15(values: &[i16]) -> f64 {
    f64::from(values[(values.len() * 15).div_ceil(100) - 1])
}

/// Labels and numbers of both lungs lie within the limits: Dice 0.98, volume 2 %, Perc15 2 HU.
fn must_be_the_truth(name: &str, phantom: &Phantom, prediction: &Prediction) {
    let labels = &prediction.label_map.as_ref().unwrap().labels;
    for (label, side) in [(1, "Right lung"), (2, "Left lung")] {
        let (ours, truth) = (phantom.values(labels, label), phantom.values(&phantom.truth, label));
        let both = labels.iter().zip(&phantom.truth).filter(|pair| *pair == (&label, &label)).count();
        let dice = 2.0 * both as f64 / (ours.len() + truth.len()) as f64;
        assert!(dice >= 0.98, "{name}, {side}: Dice {dice:.4}");
        let expected = truth.len() as f64 * phantom.voxel_cm3();
        let [volume, _, laa_950, found] = numbers(prediction, side)[..] else { panic!() };
        assert!((volume - expected).abs() <= 0.02 * expected, "{name}, {side}: {volume} cm3, not {expected}");
        assert!((found - perc15(&truth)).abs() <= 2.0, "{name}, {side}: Perc15 {found}, not {}", perc15(&truth));
        let dark = |values: &[i16]| values.iter().filter(|value| **value < -950).count() as f64;
        let emphysema = 100.0 * dark(&truth) / truth.len() as f64;
        assert!((laa_950 - emphysema).abs() <= 0.5, "{name}, {side}: LAA-950 {laa_950}, not {emphysema}");
    }
    let wrong = labels.iter().zip(&phantom.never).filter(|(label, never)| **label > 0 && **never > 0).count();
    assert_eq!(wrong, 0, "{name}: voxels of lung in the windpipe, on the table or in the air around");
}

/// `scipy_densitometry.py` finds the same by another way.
fn must_be_what_scipy_finds(name: &str, folder: &Path, prediction: &Prediction) {
    let (case, mask) = (folder.join(format!("{name}.npz")), folder.join(format!("{name}.mask")));
    std::fs::write(&mask, &prediction.label_map.as_ref().unwrap().labels).unwrap();
    let of = |label: &str| numbers(prediction, label);
    let metrics = json!({"right": of("Right lung"), "left": of("Left lung"), "both": of("Both lungs")}).to_string();
    let arguments: [&OsStr; 5] =
        [case.as_ref(), "--mask".as_ref(), mask.as_ref(), "--metrics".as_ref(), metrics.as_ref()];
    let scipy = python("scipy_densitometry.py", &arguments);
    assert!(scipy.success, "{name}: {}", scipy.text);
    let compared = |what: &str| scipy.text.matches(what).count();
    assert_eq!((compared("\"dice\""), compared("\"theirs\"")), (2, 3), "{name}: {}", scipy.text);
}

#[test]
fn phantoms_are_measured_as_they_are_drawn_and_as_scipy_measures_them_or_end_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let names = READ.into_iter().chain(NOT_READ.map(|(name, _)| name));
    let arguments: Vec<&OsStr> =
        [OsStr::new("--coarse"), at.as_os_str()].into_iter().chain(names.map(OsStr::new)).collect();
    let drawn = python("lung_phantoms.py", &arguments);
    assert!(drawn.success, "{}", drawn.text);
    let engine = shipped();
    let read = |name: &str| {
        let phantom = Phantom::read(&at.join(format!("{name}.npz")));
        let prediction = predict(&engine, MODEL, phantom.volume.clone()).unwrap();
        (phantom, prediction)
    };
    std::thread::scope(|scope| {
        for name in READ {
            let (phantom, prediction) = read(name);
            assert_eq!(prediction.verdict, Verdict::Suitable, "{name}");
            scope.spawn(move || {
                must_be_the_truth(name, &phantom, &prediction);
                must_be_what_scipy_finds(name, at, &prediction);
            });
        }
        let reasons: BTreeMap<&str, String> = NOT_READ
            .iter()
            .map(|(name, _)| {
                let (_, prediction) = read(name);
                assert!(prediction.label_map.is_none() && prediction.measurement_groups.is_empty(), "{name}");
                let Verdict::NotSuitable { code, .. } = prediction.verdict else { panic!("{name} was measured") };
                (*name, code.to_string())
            })
            .collect();
        assert_eq!(reasons, NOT_READ.map(|(name, code)| (name, code.to_owned())).into());
    });
}
