//! A package's golden case: what the module must give for a known input, and how far from it a result may lie.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use super::manifest::{Golden, Manifest, SPACING, VOXELS};
use super::npz::{self, Array, Values};

/// Inputs and expected outputs, by the names of arguments and output tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenCase {
    /// What the modules are handed: `voxels` and, where one takes it, `spacing`.
    pub inputs: BTreeMap<String, Array>,
    /// What it must give.
    pub expected: BTreeMap<String, Array>,
}

impl GoldenCase {
    /// Reads the case of a package and checks that it holds what the manifest names, no more and no less.
    ///
    /// # Errors
    /// What is wrong, for the author of the package.
    pub fn read(folder: &Path, manifest: &Manifest, golden: &Golden) -> Result<Self, String> {
        let file = File::open(folder.join(&golden.case)).map_err(|error| format!("{}: {error}", golden.case))?;
        let mut arrays = npz::read(file).map_err(|message| format!("{}: {message}", golden.case))?;
        let mut take = |name: &str| {
            let array = arrays.remove(name).ok_or_else(|| format!("{} has no array «{name}»", golden.case));
            array.map(|array| (name.to_owned(), array))
        };
        let arguments = || manifest.modules.iter().flat_map(|module| &module.arguments);
        let inputs = [VOXELS, SPACING].into_iter().filter(|name| arguments().any(|argument| argument == name));
        let inputs = inputs.map(&mut take).collect::<Result<_, _>>()?;
        let expected = manifest.output.tensors().into_iter().map(&mut take).collect::<Result<_, _>>()?;
        match arrays.keys().next() {
            Some(name) => Err(format!("{} holds «{name}», which is neither argument nor output", golden.case)),
            None => Ok(Self { inputs, expected }),
        }
    }

    /// Compares what the modules gave with what they must give, tensor by tensor, in the order of their names. `half`: the
    /// modules computed in less than float32.
    #[must_use]
    pub fn differences(&self, found: &BTreeMap<String, Array>, golden: &Golden, half: bool) -> Vec<TensorDifference> {
        let float_tolerance = if half { golden.half_tolerance } else { golden.float_tolerance };
        let golden = &Golden { float_tolerance, ..golden.clone() };
        self.expected
            .iter()
            .map(|(name, expected)| TensorDifference::of(name, expected, found.get(name), golden))
            .collect()
    }
}

/// How far a tensor lies from what it must be.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorDifference {
    /// Its name.
    pub tensor: String,
    /// Type and shape that it must have, such as `float32[1, 18]`.
    pub expected: String,
    /// How far it is off; `None` where it was not returned or has another type or shape.
    pub distance: Option<Distance>,
    /// Why it does not pass.
    pub fault: Option<String>,
}

/// How far values lie from what they must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distance {
    /// The largest |difference| / max(1, |expected|), infinite where only one value is finite; and what is allowed.
    Relative(f64, f64),
    /// Values that differ, of how many, and the share that may.
    Labels(usize, usize, f64),
}

impl TensorDifference {
    fn of(name: &str, expected: &Array, found: Option<&Array>, golden: &Golden) -> Self {
        let text = |array: &Array| format!("{}{:?}", array.values.dtype(), array.shape);
        let wrong = |message: String| Self {
            tensor: name.to_owned(),
            expected: text(expected),
            distance: None,
            fault: Some(message),
        };
        let Some(found) = found else { return wrong("was not returned".to_owned()) };
        if (expected.values.dtype(), &expected.shape) != (found.values.dtype(), &found.shape) {
            return wrong(format!("is {}, expected {}", text(found), text(expected)));
        }
        let (distance, fault) = match (&expected.values, &found.values) {
            (Values::U8(expected), Values::U8(found)) => compare_labels(expected, found, golden.label_tolerance),
            (Values::I16(expected), Values::I16(found)) => compare_labels(expected, found, 0.0),
            (Values::I64(expected), Values::I64(found)) => compare_labels(expected, found, 0.0),
            (Values::F32(expected), Values::F32(found)) => {
                let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
                compare_floats(&wide(expected), &wide(found), golden.float_tolerance)
            }
            (Values::F64(expected), Values::F64(found)) => compare_floats(expected, found, golden.float_tolerance),
            _ => return wrong("has another type".to_owned()),
        };
        Self { distance: Some(distance), fault, ..wrong(String::new()) }
    }
}

type Compared = (Distance, Option<String>);

fn compare_labels<T: PartialEq + std::fmt::Debug>(expected: &[T], found: &[T], tolerance: f64) -> Compared {
    let differ = expected.iter().zip(found).filter(|(a, b)| a != b).count();
    let distance = Distance::Labels(differ, expected.len(), tolerance);
    if differ as f64 / expected.len().max(1) as f64 <= tolerance {
        return (distance, None);
    }
    let fault = match (expected, found) {
        ([expected], [found]) => format!("is {found:?}, expected {expected:?}"),
        _ => format!("differs in {differ} of {} values, a share of {tolerance} may", expected.len()),
    };
    (distance, Some(fault))
}

fn compare_floats(expected: &[f64], found: &[f64], tolerance: f64) -> Compared {
    let off = |expected: f64, found: f64| {
        // Two that cannot be computed are equal; infinities are equal only to themselves.
        if expected == found || (expected.is_nan() && found.is_nan()) {
            return 0.0;
        }
        let off = (expected - found).abs() / expected.abs().max(1.0);
        if off.is_finite() && expected.is_finite() { off } else { f64::INFINITY }
    };
    let offs = expected.iter().zip(found).map(|(expected, found)| off(*expected, *found));
    let (worst, largest) =
        offs.enumerate().fold((0, 0.0), |best, (index, off)| if off > best.1 { (index, off) } else { best });
    let fault = (largest > tolerance).then(|| {
        let (found, expected) = (found[worst], expected[worst]);
        format!("at {worst} is {found}, expected {expected}, a tolerance of {tolerance} is allowed")
    });
    (Distance::Relative(largest, tolerance), fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(float_tolerance: f64, label_tolerance: f64) -> Golden {
        Golden { case: String::new(), float_tolerance, label_tolerance, half_tolerance: 1.0 }
    }

    fn floats(values: &[f64]) -> Array {
        Array { shape: vec![values.len()], values: Values::F64(values.to_vec()) }
    }

    fn compare_array(expected: &Array, found: &Array, golden: &Golden) -> Result<(), String> {
        TensorDifference::of("x", expected, Some(found), golden).fault.map_or(Ok(()), Err)
    }

    #[test]
    fn floats_compare_by_relative_tolerance_and_nan_equals_nan() {
        let nan = f64::NAN;
        let near = |a: &[f64], b: &[f64], t| compare_array(&floats(a), &floats(b), &golden(t, 0.0)).is_ok();
        assert!(near(&[1000.0, nan], &[1000.9, nan], 1e-3));
        assert!(!near(&[1000.0], &[1001.1], 1e-3));
        assert!(!near(&[nan], &[1.0], 1.0) && !near(&[1.0], &[nan], 1.0));
        assert!(near(&[f64::INFINITY], &[f64::INFINITY], 0.0));
        assert!(!near(&[f64::INFINITY], &[1.0], 1.0) && !near(&[1.0], &[f64::INFINITY], 1.0));
        let message = compare_array(&floats(&[1.0, 2.0]), &floats(&[1.0, 3.0]), &golden(0.1, 0.0)).unwrap_err();
        assert_eq!(message, "at 1 is 3, expected 2, a tolerance of 0.1 is allowed");
    }

    #[test]
    fn the_largest_difference_is_said_of_every_tensor_whether_it_passes_or_not() {
        let arrays = |a: &[f64], b: &[f64]| BTreeMap::from([("a".to_owned(), floats(a)), ("b".to_owned(), floats(b))]);
        let case = GoldenCase { inputs: BTreeMap::new(), expected: arrays(&[1.0, 100.0], &[0.0]) };
        let mut found = arrays(&[1.5, 110.0], &[0.25]);
        let passed = case.differences(&found, &golden(0.3, 0.0), false);
        assert_eq!(passed[0].distance, Some(Distance::Relative(0.5, 0.3)));
        assert_eq!(passed[0].expected, "float64[2]");
        assert!(passed[0].fault.as_ref().is_some_and(|fault| fault.starts_with("at 0 is 1.5")));
        assert_eq!((passed[1].distance, &passed[1].fault), (Some(Distance::Relative(0.25, 0.3)), &None));
        assert!(case.differences(&found, &golden(0.3, 0.0), true).iter().all(|tensor| tensor.fault.is_none()));
        found.remove("b");
        let lacking = case.differences(&found, &golden(1.0, 0.0), false);
        assert_eq!((lacking[1].distance, lacking[1].fault.as_deref()), (None, Some("was not returned")));
    }

    #[test]
    fn labels_compare_by_the_share_that_differs() {
        let labels = |values: [u8; 4]| Array { shape: vec![4], values: Values::U8(values.to_vec()) };
        let (a, b) = (labels([0, 1, 2, 2]), labels([0, 1, 2, 1]));
        assert!(compare_array(&a, &b, &golden(0.0, 0.25)).is_ok());
        assert!(compare_array(&a, &b, &golden(0.0, 0.24)).unwrap_err().contains("1 of 4"));
        let flat = Array { shape: vec![2, 2], values: b.values };
        assert!(compare_array(&a, &flat, &golden(1.0, 1.0)).unwrap_err().contains("uint8[2, 2], expected uint8[4]"));
    }
}
