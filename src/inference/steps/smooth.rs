//! Gaussian smoothing before voxels become fewer: MONAI's `Resize(anti_aliasing=True)`.

use tch::{Device, Kind, TchError, Tensor};

use super::prepare::State;
use crate::inference::engine::memory::kept_within;

/// MONAI's `truncated`: deviations on either side that the kernel reaches.
const REACH: f64 = 4.0;

/// Smooths along each axis that shrinks, by a deviation of `(factor - 1) / 2` voxels.
///
/// As in MONAI what lies outside of the grid counts as 0, and an axis that does not shrink is left as it is even where
/// others do.
pub(super) fn before_shrinking(mut state: State, size: &[usize]) -> Result<State, TchError> {
    for (axis, extent) in size.iter().enumerate() {
        let factor = state.field.axes[axis].after as f64 / *extent as f64;
        if factor > 1.0 {
            state.values = smoothed(&state.values, axis as i64 + 1, &kernel((factor - 1.0) / 2.0)?)?;
            state.owned = true;
        }
    }
    Ok(state)
}

/// The share of a Gaussian over each voxel, from the middle outwards (MONAI's `gaussian_1d` with `approx="erf"`; not
/// brought to a sum of 1, as there).
fn kernel(deviation: f64) -> Result<Vec<f64>, TchError> {
    let tail = (deviation * REACH).max(0.5).round() as i64;
    let scale = std::f64::consts::FRAC_1_SQRT_2 / deviation;
    let edges = Tensor::f_arange_start(-0.5, tail as f64 + 1.0, (Kind::Double, Device::Cpu))?;
    let below: Vec<f64> = Vec::try_from(&edges.f_mul_scalar(scale)?.f_erf()?)?;
    Ok(below.windows(2).map(|edges| 0.5 * (edges[1] - edges[0])).collect())
}

/// Adds up shifted copies: on every device in full single precision, which convolutions on GPUs are not.
fn smoothed(values: &Tensor, axis: i64, kernel: &[f64]) -> Result<Tensor, TchError> {
    let extent = values.size()[axis as usize];
    // First without a value: `tch` panics where a call fails that is given a number.
    let sums = kept_within(|| values.f_empty_like())?;
    let _ = values.f_mul_scalar_out(&sums, kernel[0])?;
    for (shift, weight) in kernel.iter().enumerate().skip(1) {
        let (shift, weight) = (shift as i64, Tensor::f_from_slice(&[*weight as f32])?.f_to_device(values.device())?);
        let rest = extent - shift;
        if rest <= 0 {
            break;
        }
        let (first, last) = (values.f_narrow(axis, 0, rest)?, values.f_narrow(axis, shift, rest)?);
        let _ = sums.f_narrow(axis, 0, rest)?.f_addcmul_(&last, &weight)?;
        let _ = sums.f_narrow(axis, shift, rest)?.f_addcmul_(&first, &weight)?;
    }
    Ok(sums)
}
