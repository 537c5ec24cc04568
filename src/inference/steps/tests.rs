//! The steps against what PyTorch, MONAI, torchvision and NumPy give (`tests/python/make_steps.py`), and there and back.

mod there_and_back;

use std::collections::{BTreeMap, BTreeSet};

use tch::{Kind, Tensor};

use super::prepare::State;
use super::*;
use crate::inference::engine::memory::tests::in_little_memory;
use crate::inference::npz::{self, Array, Values};

const NONE: Antialias = Antialias::None;

fn arrays(group: &str) -> BTreeMap<String, Array> {
    let path = format!("{}/tests/fixtures/steps/{group}.npz", env!("CARGO_MANIFEST_DIR"));
    npz::read(std::fs::File::open(path).unwrap()).unwrap()
}

fn tensor(array: &Array) -> Tensor {
    let Values::F32(values) = &array.values else { panic!("{}", array.values.dtype()) };
    let shape: Vec<i64> = array.shape.iter().map(|extent| *extent as i64).collect();
    Tensor::f_from_slice(values).unwrap().f_view(shape.as_slice()).unwrap()
}

fn difference(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    (found.to_kind(Kind::Double) - expected.to_kind(Kind::Double)).abs().max().double_value(&[])
}

/// Name of the expected array, name of the input, distances, steps.
type Case = (String, &'static str, Vec<f64>, Vec<Step>);

fn resize(size: &[usize], method: Interpolation) -> Vec<Step> {
    vec![Step::Resize { size: size.to_vec(), method }]
}

fn linear(align_corners: bool, antialias: Antialias) -> Interpolation {
    Interpolation::Linear { align_corners, antialias }
}

fn cubic(align_corners: bool, antialias: Antialias) -> Interpolation {
    Interpolation::Cubic { align_corners, antialias }
}

fn volume_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, input, mm: [f64; 3], steps| cases.push((name, input, mm.to_vec(), steps));
    let volume = "input-volume";
    for (name, size) in [("down", [4, 6, 5]), ("mixed", [3, 10, 17]), ("one", [1, 4, 1]), ("up", [9, 25, 11])] {
        for (method, interpolation) in [
            ("nearest", Interpolation::Nearest),
            ("nearest-exact", Interpolation::NearestExact),
            ("area", Interpolation::Area),
            ("linear", linear(false, NONE)),
            ("corners", linear(true, NONE)),
            ("gaussian", linear(false, Antialias::Gaussian)),
            ("gaussian-corners", linear(true, Antialias::Gaussian)),
        ] {
            add(format!("{method}-{name}"), volume, [1.0; 3], resize(&size, interpolation));
        }
    }
    for (name, size) in [("even", [4, 6, 4]), ("odd", [3, 7, 5]), ("larger", [12, 15, 14]), ("mixed", [5, 12, 4])] {
        add(format!("fit-{name}"), volume, [1.0; 3], vec![Step::Fit { size: size.to_vec(), value: -1.0 }]);
    }
    let body = vec![Step::CropBody { above: 2.9, margin_mm: 1.5 }];
    add("crop-body".to_owned(), "input-body", [2.5, 1.5, 2.0], body);
    let rounding = [("floor", Rounding::Floor), ("nearest", Rounding::Nearest), ("ceiling", Rounding::Ceiling)];
    for (name, rounding) in rounding {
        let step = Step::Spacing { mm: vec![1.3; 3], rounding, method: Interpolation::NearestExact };
        add(format!("spacing-{name}"), volume, [2.5, 0.7, 1.1], vec![step]);
    }
    let step = Step::Spacing { mm: vec![1.5, 1.0, 1.0], rounding: Rounding::Floor, method: linear(false, NONE) };
    add("spacing-exact".to_owned(), "input-exact", [1.2, 1.0, 1.0], vec![step]);
    for (name, mm) in [("fine", [1.3, 0.45, 0.9]), ("coarse", [4.0, 1.5, 2.75])] {
        add(format!("resample-{name}"), volume, [2.5, 0.7, 1.1], vec![Step::Resample { mm: mm.to_vec() }]);
    }
    let to_percent = |clip| vec![Step::Percentile { percentiles: [0.5, 99.5], to: [0.0, 1.0], clip }];
    for (name, steps) in [
        ("clip", vec![Step::Clip([-1.5, 1.25])]),
        ("replace-below", vec![Step::ReplaceBelow { limit: -2.0, value: -1.0 }]),
        ("scale", vec![Step::Scale { from: [-2.0, 2.5], to: [-1.0, 1.0] }]),
        ("percentile-open", to_percent(false)),
        ("percentile-clip", to_percent(true)),
        ("z-score", vec![Step::ZScore { nonzero: false }]),
    ] {
        add(name.to_owned(), volume, [1.0; 3], steps);
    }
    add("z-score-nonzero".to_owned(), "input-holes", [1.0; 3], vec![Step::ZScore { nonzero: true }]);
    let published = vec![
        Step::Scale { from: [0.0, 1.0], to: [0.0, 600.0] },
        Step::Spacing { mm: vec![1.5, 0.75, 0.75], rounding: Rounding::Floor, method: linear(false, NONE) },
        Step::Clip([-1000.0, 1000.0]),
        Step::Scale { from: [-1000.0, 1000.0], to: [-1.0, 1.0] },
        Step::Fit { size: vec![10, 16, 6], value: -1.0 },
    ];
    add("ct-clip".to_owned(), volume, [3.0, 0.9, 0.9], published);
    cases
}

fn image_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, steps| cases.push((name, "input-image", vec![0.2, 0.2], steps));
    for (name, size) in [("down", [7, 9]), ("mixed", [20, 10]), ("up", [31, 40]), ("one", [1, 5])] {
        add(format!("image-nearest-{name}"), resize(&size, Interpolation::Nearest));
        add(format!("image-nearest-exact-{name}"), resize(&size, Interpolation::NearestExact));
        add(format!("image-area-{name}"), resize(&size, Interpolation::Area));
        for (corners, align_corners) in [("", false), ("corners-", true)] {
            let antialiased = [("", NONE), ("kernel-", Antialias::Kernel), ("gaussian-", Antialias::Gaussian)];
            for (word, antialias) in antialiased {
                add(format!("image-linear-{word}{corners}{name}"), resize(&size, linear(align_corners, antialias)));
                add(format!("image-cubic-{word}{corners}{name}"), resize(&size, cubic(align_corners, antialias)));
            }
        }
    }
    let shorter = |length| vec![Step::ShorterSide { length, method: cubic(false, Antialias::Kernel) }];
    for (name, length) in [("wide", 8), ("tall", 8), ("wide-up", 33), ("same", 15)] {
        add(format!("shorter-side-{name}"), shorter(length));
    }
    for (name, size) in [("cut", [12, 18]), ("cut-odd", [10, 14]), ("fill", [20, 30]), ("mixed", [10, 28])] {
        add(format!("image-fit-{name}"), vec![Step::Fit { size: size.to_vec(), value: 0.0 }]);
    }
    let standardise = Step::Standardise { mean: vec![0.485, 0.456, 0.406], deviation: vec![0.229, 0.224, 0.225] };
    add("standardise".to_owned(), vec![standardise]);
    cases
}

#[test]
fn every_step_equals_what_it_is_named_after() {
    let mut worst = 0.0_f64;
    for (group, cases) in [("volumes", volume_cases()), ("images", image_cases())] {
        let arrays = arrays(group);
        let mut seen = BTreeSet::new();
        for (name, input, mm, steps) in cases {
            let mut input = tensor(&arrays[input]);
            if name == "shorter-side-tall" {
                input = input.f_t_copy().unwrap();
            }
            let untouched = input.copy();
            let prepared = apply(input.shallow_clone(), &mm, &steps).unwrap();
            let difference = difference(&prepared.values, &tensor(&arrays[&name]));
            assert!(difference < 1e-5, "{name}: {difference}");
            assert_eq!(self::difference(&input, &untouched), 0.0, "{name} wrote to what is not its own");
            let after: Vec<i64> = prepared.field.after().iter().map(|extent| *extent as i64).collect();
            assert_eq!(prepared.values.size()[1..], after, "{name}");
            assert!(prepared.values.is_contiguous());
            worst = worst.max(difference);
            seen.insert(name);
        }
        let other = ["input", "back", "scores", "patches", "expected", "percentile-same", "z-score-same"];
        let untested: Vec<_> =
            arrays.keys().filter(|name| !seen.contains(*name) && !other.iter().any(|o| name.starts_with(o))).collect();
        assert!(untested.is_empty(), "{untested:?}");
    }
    assert!(worst > 0.0, "not one value differs by a rounding: nothing was compared");
}

#[test]
fn percentiles_are_numpys() {
    let arrays = arrays("images");
    let Values::F64(expected) = &arrays["expected-quantiles"].values else { panic!() };
    let input = tensor(&arrays["input-quantiles"]);
    let percentiles = [0.0, 0.5, 25.0, 50.0, 73.1, 99.5, 100.0];
    let largest = expected[6];
    for (percent, expected) in percentiles.into_iter().zip(expected) {
        for device in [intensity::select, intensity::select_there] {
            let found = intensity::values_at(&input, [percent, 100.0], device).unwrap();
            assert!((found[0] - expected).abs() < 1e-6, "{percent}: {found:?} {expected}");
            assert!((found[1] - largest).abs() < 1e-6, "{found:?} {largest}");
        }
    }
}

#[test]
fn values_that_do_not_vary_are_only_shifted() {
    let arrays = arrays("volumes");
    let same = Tensor::full([3, 4, 5], 7.0, (Kind::Float, tch::Device::Cpu));
    let percentile = Step::Percentile { percentiles: [0.5, 99.5], to: [0.25, 1.0], clip: false };
    for (name, step) in [("percentile-same", percentile), ("z-score-same", Step::ZScore { nonzero: false })] {
        let prepared = apply(same.shallow_clone(), &[1.0; 3], &[step]).unwrap();
        assert_eq!(difference(&prepared.values, &tensor(&arrays[name])), 0.0, "{name}");
    }
    let zeros = Tensor::zeros([3, 4, 5], (Kind::Float, tch::Device::Cpu));
    let prepared = apply(zeros, &[1.0; 3], &[Step::ZScore { nonzero: true }]).unwrap();
    assert_eq!(prepared.values.abs().max().double_value(&[]), 0.0);
}

#[test]
fn whole_numbers_are_taken_as_they_are() {
    let whole = Tensor::arange(60, (Kind::Int16, tch::Device::Cpu)).view([3, 4, 5]);
    let prepared =
        apply(whole.shallow_clone(), &[1.0; 3], &[Step::Scale { from: [0.0, 2.0], to: [0.0, 1.0] }]).unwrap();
    assert_eq!(difference(&prepared.values.squeeze(), &(whole.to_kind(Kind::Float) / 2.0)), 0.0);
}

#[test]
fn steps_done_slice_by_slice_give_what_they_give_one_by_one() {
    let count = 7 * 9 * 8;
    let values = (Tensor::arange(count, (Kind::Int16, tch::Device::Cpu)) * 37).fmod(1900) - 3000;
    let volume = values.to_kind(Kind::Int16).view([7, 9, 8]).permute([0, 2, 1]);
    let before = [Step::ReplaceBelow { limit: -2000.0, value: -1024.0 }, Step::Clip([-1900.0, -1150.0])];
    let after = [Step::Scale { from: [-1900.0, -1150.0], to: [-1.0, 1.0] }, Step::Clip([-0.9, 0.9])];
    let fit = |size: &[usize]| Step::Fit { size: size.to_vec(), value: -7.0 };
    for grid in [
        Step::Spacing { mm: vec![1.5, 0.5, 1.1], rounding: Rounding::Floor, method: linear(false, NONE) },
        Step::Resize { size: vec![3, 20, 9], method: linear(true, NONE) },
        Step::Resize { size: vec![1, 8, 1], method: linear(true, NONE) },
        Step::Resample { mm: vec![0.7, 2.0, 1.0] },
    ] {
        for cut in [vec![], vec![fit(&[20, 3, 5])], vec![fit(&[2, 5, 30]), Step::Clip([-5.0, 0.5])]] {
            let steps: Vec<Step> = before.iter().chain([&grid]).chain(&after).chain(&cut).cloned().collect();
            let found = apply(volume.shallow_clone(), &[1.25, 0.9, 0.8], &steps).unwrap();
            let values = volume.to_kind(Kind::Float).unsqueeze(0);
            let mut expected = State { values, field: Field::whole(&[7, 8, 9]), owned: true };
            for step in &steps {
                expected = expected.after(step, &[1.25, 0.9, 0.8]).unwrap();
            }
            assert_eq!(found.field, expected.field, "{steps:?}");
            let difference = difference(&found.values, &expected.values);
            assert!(difference < 1e-5, "{steps:?}: {difference}");
        }
    }
}

#[test]
fn steps_that_do_not_suit_the_values_are_refused() {
    let volume = || Tensor::zeros([3, 4, 5], (Kind::Float, tch::Device::Cpu));
    let image = || Tensor::zeros([4, 5], (Kind::Float, tch::Device::Cpu));
    let mm = [1.0; 3];
    let standardise = Step::Standardise { mean: vec![0.0; 3], deviation: vec![1.0; 2] };
    for step in [
        Step::Resize { size: vec![3, 4], method: Interpolation::Nearest },
        Step::Resize { size: vec![3, 0, 5], method: Interpolation::Nearest },
        Step::Resize { size: vec![3, 4, 6], method: linear(false, Antialias::Kernel) },
        Step::Resize { size: vec![3, 4, 6], method: cubic(false, NONE) },
        Step::ShorterSide { length: 8, method: linear(false, NONE) },
        Step::Spacing { mm: vec![1e-9; 3], rounding: Rounding::Floor, method: Interpolation::Nearest },
        Step::Resample { mm: vec![0.0; 3] },
        Step::Resample { mm: vec![1.0; 2] },
        Step::Fit { size: vec![3, 0, 3], value: 0.0 },
        Step::Fit { size: vec![3], value: 0.0 },
        standardise,
    ] {
        assert!(apply(volume(), &mm, std::slice::from_ref(&step)).is_err(), "{step:?}");
    }
    // One of two million voxels becomes one of 14 thousand million: no machine is asked for that.
    let large = || Tensor::zeros([4, 64, 64], (Kind::Float, tch::Device::Cpu));
    for step in [
        Step::Spacing { mm: vec![1.0; 3], rounding: Rounding::Floor, method: linear(false, NONE) },
        Step::Resample { mm: vec![1.0; 3] },
    ] {
        let error = apply(large(), &[1.0, 933.0, 933.0], std::slice::from_ref(&step)).unwrap_err().to_string();
        assert!(error.contains("is too large"), "{step:?}: {error}");
    }
    assert!(apply(volume(), &mm[..2], &[]).is_err());
    assert!(apply(image(), &mm[..2], &[]).is_ok());
    assert!(apply(Tensor::zeros([0, 4], (Kind::Float, tch::Device::Cpu)), &mm[..2], &[]).is_err());
    let three = Step::Standardise { mean: vec![0.0; 3], deviation: vec![1.0; 3] };
    let prepared = apply(image(), &mm[..2], &[three.clone(), three]).unwrap();
    assert_eq!(prepared.values.size(), [3, 4, 5]);
    let four = Step::Standardise { mean: vec![0.0; 4], deviation: vec![1.0; 4] };
    assert!(apply(prepared.values.f_get(0).unwrap(), &mm[..2], &[four]).is_ok());
}

#[test]
fn a_body_that_is_not_there_leaves_the_volume_whole() {
    let volume = Tensor::full([3, 4, 5], -1000.0, (Kind::Float, tch::Device::Cpu));
    let prepared = apply(volume, &[1.0; 3], &[Step::CropBody { above: -500.0, margin_mm: 10.0 }]).unwrap();
    assert_eq!(prepared.field, Field::whole(&[3, 4, 5]));
}

#[test]
fn a_grid_that_memory_does_not_suffice_for_is_an_error() {
    const LARGE: [i64; 3] = [256, 1024, 1024];
    let size = LARGE.map(|extent| extent as usize).to_vec();
    let one = || Tensor::ones([1, 1, 1], (Kind::Float, tch::Device::Cpu));
    // One value in the place of all.
    let all = |kind| one().to_kind(kind).expand(LARGE, false);
    let cases = [
        ("resized", one(), vec![Step::Resize { size: size.clone(), method: Interpolation::Nearest }]),
        ("filled", one(), vec![Step::Fit { size: size.clone(), value: 0.0 }]),
        ("made slice by slice", one(), resize(&size, linear(false, NONE))),
        ("of large slices", one(), resize(&[4, 16_384, 16_384], linear(false, NONE))),
        ("smoothed", all(Kind::Float), resize(&[128, 512, 512], linear(false, Antialias::Gaussian))),
        ("copied", all(Kind::Float), vec![Step::Clip([0.0, 1.0])]),
        ("in one piece", all(Kind::Float), vec![]),
        ("of another type", all(Kind::Uint8), vec![]),
    ];
    let must_lack = |what: &str, found: Result<Tensor, tch::TchError>| {
        let error = found.unwrap_err().to_string();
        assert!(error.contains("DefaultCPUAllocator"), "{what}: {error}");
    };
    for (what, values, steps) in cases {
        let prepared = in_little_memory(|| apply(values, &[1.0; 3], &steps));
        must_lack(what, prepared.map(|prepared| prepared.values));
    }
    let coarse = Field::whole(&size).coarse(&[1, 1, 1]).unwrap();
    let scores = one().unsqueeze(0);
    must_lack("scores", in_little_memory(|| back(&scores, &coarse, Back::Linear, 0.0)));
    must_lack("labels", in_little_memory(|| argmax_back(&scores, &coarse)));
}
