//! A large volume through a module that takes small windows, as MONAI's `sliding_window_inference` does it: the same
//! windows in the same order, the same weights, the same padding.

#[cfg(feature = "torch")]
pub mod blend;

#[cfg(feature = "torch")]
mod band;

use super::manifest::{Blending, Window};

/// Where the windows lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Voxels to add before and after the volume along each axis, where it is smaller than the window.
    pub padding: [[usize; 2]; 3],
    /// Slices, rows, columns after padding.
    pub padded: [usize; 3],
    /// First voxel of each window, in padded coordinates; the last axis changes fastest.
    pub starts: Vec<[usize; 3]>,
}

impl Plan {
    /// For a volume of `shape` (slices, rows, columns). Pure.
    #[must_use]
    pub fn new(shape: [usize; 3], window: &Window) -> Self {
        let padding = std::array::from_fn(|axis| {
            let lacking = window.size[axis].saturating_sub(shape[axis]);
            [lacking / 2, lacking - lacking / 2]
        });
        let padded: [usize; 3] = std::array::from_fn(|axis| shape[axis].max(window.size[axis]));
        let [slices, rows, columns] =
            std::array::from_fn(|axis| axis_starts(padded[axis], window.size[axis], window.overlap));
        let mut starts = Vec::with_capacity(slices.len() * rows.len() * columns.len());
        for z in &slices {
            for y in &rows {
                starts.extend(columns.iter().map(|x| [*z, *y, *x]));
            }
        }
        Self { padding, padded, starts }
    }
}

/// Along one axis: steps of the window less the overlap, the last window moved back so that it ends with the volume.
fn axis_starts(extent: usize, window: usize, overlap: f64) -> Vec<usize> {
    let step = if window == extent { window } else { ((window as f64 * (1.0 - overlap)) as usize).max(1) };
    let last = extent - window;
    let count = last.div_ceil(step) + 1;
    (0..count).map(|index| (index * step).min(last)).collect()
}

/// The weight of each voxel of a window, slice-major. Never zero, so that every voxel of the volume gets a value.
#[must_use]
pub fn importance(window: &Window) -> Vec<f32> {
    let Blending::Gaussian { sigma_scale } = window.blending else {
        return vec![1.0; window.size.iter().product()];
    };
    let [slices, rows, columns] = window.size.map(|extent| gaussian(extent, sigma_scale));
    let mut weights = Vec::with_capacity(window.size.iter().product());
    for slice in &slices {
        for row in &rows {
            weights.extend(columns.iter().map(|column| slice * row * column));
        }
    }
    let least = weights.iter().copied().fold(f32::INFINITY, f32::min).max(1e-3);
    weights.iter_mut().for_each(|weight| *weight = weight.max(least));
    weights
}

fn gaussian(extent: usize, sigma_scale: f64) -> Vec<f32> {
    let sigma = extent as f64 * sigma_scale;
    let middle = (extent as f64 - 1.0) / 2.0;
    // In single precision from the square on, as PyTorch computes it.
    let divisor = (-2.0 * sigma * sigma) as f32;
    (0..extent).map(|index| (index as f64 - middle) as f32).map(|x| (x * x / divisor).exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(size: [usize; 3], overlap: f64) -> Window {
        let blending = Blending::Gaussian { sigma_scale: 0.125 };
        Window { size, overlap, blending, padding_value: 0.0 }
    }

    #[test]
    fn windows_cover_every_voxel_and_stay_inside() {
        for (shape, size, overlap) in [
            ([10, 11, 12], [4, 5, 6], 0.25),
            ([7, 7, 7], [7, 3, 1], 0.5),
            ([3, 20, 5], [8, 8, 8], 0.9),
            ([1, 1, 1], [2, 3, 4], 0.0),
            ([9, 9, 9], [2, 2, 2], 0.99),
        ] {
            let plan = Plan::new(shape, &window(size, overlap));
            let mut seen = vec![false; plan.padded.iter().product()];
            for start in &plan.starts {
                for axis in 0..3 {
                    assert!(start[axis] + size[axis] <= plan.padded[axis]);
                }
                for z in start[0]..start[0] + size[0] {
                    for y in start[1]..start[1] + size[1] {
                        let row = (z * plan.padded[1] + y) * plan.padded[2] + start[2];
                        seen[row..row + size[2]].fill(true);
                    }
                }
            }
            assert!(seen.iter().all(|seen| *seen), "{shape:?} {size:?} {overlap}");
            for ((padding, extent), padded) in plan.padding.iter().zip(shape).zip(plan.padded) {
                let [before, after] = padding;
                assert_eq!(before + extent + after, padded);
                assert!(after - before <= 1);
            }
        }
    }

    #[test]
    fn no_weight_is_zero() {
        let weights = importance(&window([96, 96, 96], 0.25));
        assert!(weights.iter().all(|weight| *weight >= 1e-3 && *weight <= 1.0));
    }
}
