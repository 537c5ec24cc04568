//! What happens to voxels or pixels between the source grid and the module: an ordered list of steps, each equal to what
//! PyTorch, MONAI or torchvision computes under the same name, and the way back to the source grid.

pub mod field;

#[cfg(feature = "torch")]
mod prepare;

#[cfg(feature = "torch")]
mod lead;

#[cfg(feature = "torch")]
mod planes;

#[cfg(feature = "torch")]
mod intensity;

#[cfg(feature = "torch")]
mod resample;

#[cfg(feature = "torch")]
mod smooth;

#[cfg(feature = "torch")]
mod crop;

#[cfg(feature = "torch")]
mod choice;

#[cfg(feature = "torch")]
mod rows;

#[cfg(feature = "torch")]
mod way;

#[cfg(feature = "torch")]
mod back;

#[cfg(feature = "torch")]
mod slabs;

#[cfg(feature = "torch")]
pub use back::{Back, argmax_back, back, likeliest_back};
pub use field::{Along, Field};
#[cfg(feature = "torch")]
pub use prepare::{Prepared, apply, apply_to_voxels};
#[cfg(feature = "torch")]
pub use slabs::LabelsBack;

/// One step. Steps are done in the order of the manifest, on float32 values, in the model's axes.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Values below a limit become another value: the padding of CT (-2000, -3024) is not air.
    ReplaceBelow {
        /// What is below is replaced.
        limit: f64,
        /// By this.
        value: f64,
    },
    /// Values are held within a range.
    Clip([f64; 2]),
    /// `from` is mapped to `to` by a straight line, nothing is clipped.
    Scale {
        /// Two values before.
        from: [f64; 2],
        /// The same two after.
        to: [f64; 2],
    },
    /// The percentiles of all values (linear between ranks, as NumPy has it) are mapped to `to`; MONAI's
    /// `ScaleIntensityRangePercentiles`.
    Percentile {
        /// Two percentiles, 0 to 100.
        percentiles: [f64; 2],
        /// Where they go.
        to: [f64; 2],
        /// Whether what lies outside is clipped.
        clip: bool,
    },
    /// Mean 0 and standard deviation 1 (of the population, as MONAI's `NormalizeIntensity`), of all or of the non-zero values.
    ZScore {
        /// Zeros are left as they are and not counted.
        nonzero: bool,
    },
    /// `(value - mean) / deviation` for each channel; one channel becomes as many as there are means.
    Standardise {
        /// One for each channel.
        mean: Vec<f64>,
        /// One for each channel.
        deviation: Vec<f64>,
    },
    /// Voxels get these distances; the extents become `extent * (distance / new distance)`, in double precision.
    Spacing {
        /// Slices, rows, columns (or rows, columns), mm.
        mm: Vec<f64>,
        /// How a fraction of a voxel is rounded.
        rounding: Rounding,
        /// How values between voxels are made.
        method: Interpolation,
    },
    /// Voxels get exactly these distances, the first one stays where it is, values between voxels are linear: MONAI's
    /// `Spacing` with its defaults. The extents become `(extent - 1) * distance / new distance + 1`, rounded half to even.
    Resample {
        /// Slices, rows, columns (or rows, columns), mm.
        mm: Vec<f64>,
    },
    /// The grid gets this size over the same field of view.
    Resize {
        /// Slices, rows, columns (or rows, columns).
        size: Vec<usize>,
        /// How values between voxels are made.
        method: Interpolation,
    },
    /// The shorter side gets this length, the other one follows; images only (torchvision's `Resize` with one number).
    ShorterSide {
        /// Pixels.
        length: usize,
        /// How values between pixels are made.
        method: Interpolation,
    },
    /// The box around everything above a limit, with a margin, is cut out; nothing above it leaves the volume whole.
    CropBody {
        /// In the units that values have at this step.
        above: f64,
        /// On every side.
        margin_mm: f64,
    },
    /// Cut or filled around the middle to exactly this size.
    Fit {
        /// Slices, rows, columns (or rows, columns).
        size: Vec<usize>,
        /// Of what is filled.
        value: f64,
    },
}

/// How a fraction of a voxel is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Down, as Python's `int()`.
    Floor,
    /// Half to even, as Python's `round()`.
    Nearest,
    /// Up.
    Ceiling,
}

/// How values between voxels are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Interpolation {
    /// PyTorch's `nearest`: index `floor(i * extent / new extent)`.
    Nearest,
    /// PyTorch's `nearest-exact`.
    NearestExact,
    /// Linear along each axis (`bilinear`, `trilinear`).
    Linear {
        /// Whether the centres of the corner voxels stay in place.
        align_corners: bool,
        /// Whether the values are smoothed before they become fewer.
        antialias: Antialias,
    },
    /// `bicubic`, images only.
    Cubic {
        /// Whether the centres of the corner voxels stay in place.
        align_corners: bool,
        /// Whether the values are smoothed before they become fewer.
        antialias: Antialias,
    },
    /// The mean of all voxels that a new one covers (`adaptive_avg_pool`).
    Area,
}

/// How values are smoothed before they become fewer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Antialias {
    /// Not at all.
    None,
    /// By a Gaussian of deviation `(factor - 1) / 2` along each axis that shrinks, as MONAI's `Resize(anti_aliasing=True)`.
    Gaussian,
    /// By a kernel as wide as the factor, as PyTorch's `interpolate(antialias=True)`; images only.
    Kernel,
}

#[cfg(test)]
#[cfg(feature = "torch")]
mod tests;
