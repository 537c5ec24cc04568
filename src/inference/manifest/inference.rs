//! The table `inference`: how the modules are run.

use std::time::Duration;

use super::sections::{seconds, within};
use super::toml_table::Table;

/// How a package is run.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    /// A run that takes longer is given up.
    pub time_limit: Duration,
    /// Estimate of the peak.
    pub memory_mb: MemoryMb,
    /// In what the modules compute.
    pub precision: Precisions,
    /// Axes along which the input is mirrored, all combinations of which are averaged: 0 slices, 1 rows, 2 columns.
    pub mirror: Vec<usize>,
    /// Windows in one call of a module; where no module sees windows, slices that are scored in one call.
    pub batch: usize,
    /// Where windows lie, for modules that see windows of the volume.
    pub window: Option<Window>,
}

/// Estimates of the peak by device, megabytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryMb {
    /// On the CPU.
    pub cpu: u64,
    /// On CUDA devices.
    pub cuda: u64,
}

/// Precision by device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precisions {
    /// On the CPU; never float16, which it computes a hundred times slower.
    pub cpu: Precision,
    /// On CUDA devices.
    pub cuda: Precision,
}

/// In what a module computes. Inputs are converted to it, results back to float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// float32
    Float32,
    /// bfloat16
    BFloat16,
    /// float16
    Float16,
}

impl Precision {
    /// The word of the manifest and of reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::BFloat16 => "bfloat16",
            Self::Float16 => "float16",
        }
    }
}

/// A sliding window, as MONAI's `sliding_window_inference` has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Slices, rows, columns.
    pub size: [usize; 3],
    /// Share of a window that the next one covers again, 0 up to but not including 1.
    pub overlap: f64,
    /// How overlapping windows weigh.
    pub blending: Blending,
    /// Value around volumes smaller than the window.
    pub padding_value: f64,
}

/// How overlapping windows weigh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Blending {
    /// All voxels of a window the same.
    Constant,
    /// The middle more than the rim.
    Gaussian {
        /// Standard deviation as a share of the window's size.
        sigma_scale: f64,
    },
}

/// `per_slice`: whether `input.per_slice` is given, for which a batch has a meaning too.
pub(super) fn inference(table: Table<'_>, per_slice: bool) -> Option<Inference> {
    let limit = table.required_checked("time_limit_seconds", |limit| within(*limit, 0.1, 86_400.0));
    let memory_mb = memory(&table);
    let precision = precisions(&table);
    let mirror = table.optional_checked("mirror", |names: &Vec<String>| axes(names).map(|_| ()));
    let batch = table.optional_checked("batch", |count| within(*count, 1, 1024));
    let has_window = table.has("window");
    if batch.is_some() && !has_window && !per_slice {
        table.fault("batch", "has a meaning only with inference.window or input.per_slice");
    }
    let window = window(&table);
    table.finish();
    if has_window && window.is_none() {
        return None;
    }
    Some(Inference {
        time_limit: seconds(limit?),
        memory_mb: memory_mb?,
        precision: precision?,
        mirror: axes(&mirror.unwrap_or_default()).ok()?,
        batch: batch.unwrap_or(1),
        window,
    })
}

/// One number for all devices, or a table with a number for each kind of device.
fn memory(table: &Table<'_>) -> Option<MemoryMb> {
    let check = |size: &u64| within(*size, 1u64, 10_000_000);
    if table.is_table("memory_mb") {
        let devices = table.table("memory_mb")?;
        let (cpu, cuda) = (devices.required_checked("cpu", check), devices.required_checked("cuda", check));
        devices.finish();
        // What is wrong is kept: nothing more must follow from it.
        return Some(MemoryMb { cpu: cpu.unwrap_or(0), cuda: cuda.unwrap_or(0) });
    }
    table.required_checked("memory_mb", check).map(|both| MemoryMb { cpu: both, cuda: both })
}

const PRECISIONS: [(&str, Precision); 3] =
    [("float32", Precision::Float32), ("bfloat16", Precision::BFloat16), ("float16", Precision::Float16)];

/// One word for all devices, or a table with a word for each kind of device.
fn precisions(table: &Table<'_>) -> Option<Precisions> {
    if table.is_table("precision") {
        let devices = table.table("precision")?;
        let cpu = devices.word("cpu", &PRECISIONS);
        let cuda = devices.word("cuda", &PRECISIONS);
        if cpu == Some(Precision::Float16) {
            devices.fault("cpu", "float16 is never run on the CPU: float32 or bfloat16");
        }
        devices.finish();
        return Some(Precisions { cpu: cpu.unwrap_or(Precision::Float32), cuda: cuda.unwrap_or(Precision::Float32) });
    }
    let both = table.word("precision", &PRECISIONS).unwrap_or(Precision::Float32);
    if both == Precision::Float16 {
        let right = "{ cpu = \"float32\", cuda = \"float16\" }";
        table.fault("precision", format!("float16 is never run on the CPU: {right} is meant"));
    }
    Some(Precisions { cpu: both, cuda: both })
}

fn axes(names: &[String]) -> Result<Vec<usize>, String> {
    let mut axes = Vec::new();
    for name in names {
        let axis = ["slices", "rows", "columns"].iter().position(|axis| axis == name);
        let axis = axis.ok_or_else(|| format!("«{name}» is not one of slices, rows, columns"))?;
        if axes.contains(&axis) {
            return Err(format!("names {name} twice"));
        }
        axes.push(axis);
    }
    Ok(axes)
}

fn window(table: &Table<'_>) -> Option<Window> {
    let size = table
        .optional_checked("window", |size: &[usize; 3]| size.iter().try_for_each(|extent| within(*extent, 1, 4096)));
    let overlap = table.optional_checked("overlap", |share| {
        within(*share, 0.0, 1.0)?;
        if *share < 1.0 { Ok(()) } else { Err("must be less than 1".to_owned()) }
    });
    let sigma_scale = table.optional_checked("sigma_scale", |share| within(*share, 0.001, 10.0));
    let gaussian = table.word("blending", &[("gaussian", true), ("constant", false)]);
    let padding_value = table.optional("padding_value");
    if !table.has("window") {
        for key in ["overlap", "sigma_scale", "blending", "padding_value"] {
            if table.has(key) {
                table.fault(key, "has a meaning only with inference.window");
            }
        }
    }
    if gaussian == Some(false) && sigma_scale.is_some() {
        table.fault("sigma_scale", "has a meaning only with blending = \"gaussian\"");
    }
    let blending = match gaussian {
        Some(false) => Blending::Constant,
        _ => Blending::Gaussian { sigma_scale: sigma_scale.unwrap_or(0.125) },
    };
    Some(Window {
        size: size?,
        overlap: overlap.unwrap_or(0.25),
        blending,
        padding_value: padding_value.unwrap_or(0.0),
    })
}
