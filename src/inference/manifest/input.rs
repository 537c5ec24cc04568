//! The table `input`: what the modules are handed.

use std::time::Duration;

use super::modules::{SPACING, VOXELS};
use super::sections::{seconds, within};
use super::steps::steps;
use super::toml_table::Table;
use crate::inference::orientation::Axes;
use crate::inference::steps::Step;
use crate::volume::radiograph::Voi;

/// What the modules are handed.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// What is made of the series.
    pub kind: InputKind,
    /// Dimensions of the voxel tensor.
    pub layout: Layout,
    /// Type of the voxel tensor.
    pub dtype: VoxelType,
    /// What happens to the values between the source grid and the modules.
    pub steps: Vec<Step>,
}

/// What is made of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputKind {
    /// All slices.
    Volume {
        /// Patient direction in which slices, rows and columns increase.
        axes: Axes,
        /// How each slice is scored, where the package does that.
        per_slice: Option<PerSlice>,
    },
    /// Some slices, evenly spaced. The steps see these and no others.
    Slices {
        /// Patient direction in which slices, rows and columns increase.
        axes: Axes,
        /// How many.
        count: usize,
        /// Over what they are spread.
        over: SlicesOver,
    },
    /// A radiograph, rows and columns as displayed.
    Image {
        /// Which grey levels are shown.
        voi: Voi,
    },
}

/// How each slice is scored: the classification is run on the slices around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerSlice {
    /// Slices around it, half of them before it; beyond the ends the end slice is repeated.
    pub window: usize,
    /// From one scored slice to the next.
    pub stride: usize,
    /// How long all slices may take together, after the series itself.
    pub time_limit: Option<Duration>,
}

/// Over what slices are spread, first and last included, rounded half to even.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlicesOver {
    /// The whole series.
    Series,
    /// From the first to the last slice that the label map of the gate touches.
    Gate,
}

/// Dimensions of the voxel tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Slices, rows, columns.
    Zyx,
    /// Batch, channels, slices, rows, columns.
    Nczyx,
    /// Batch of 1, slices as channels, rows, columns.
    Nkyx,
    /// Slices as batch, channels, rows, columns.
    Bcyx,
    /// Batch, channels, rows, columns.
    Ncyx,
}

/// Type of the voxel tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoxelType {
    /// Whole Hounsfield units.
    Int16,
    /// Modality units.
    Float32,
}

impl Input {
    /// 3 for volumes and slices, 2 for images.
    #[must_use]
    pub const fn dimensions(&self) -> usize {
        match self.kind {
            InputKind::Volume { .. } | InputKind::Slices { .. } => 3,
            InputKind::Image { .. } => 2,
        }
    }

    /// Whether the package reads radiographs rather than stacks of slices.
    #[must_use]
    pub const fn is_image(&self) -> bool {
        matches!(self.kind, InputKind::Image { .. })
    }

    /// How each slice is scored, where the package does that.
    #[must_use]
    pub const fn per_slice(&self) -> Option<PerSlice> {
        match self.kind {
            InputKind::Volume { per_slice, .. } => per_slice,
            _ => None,
        }
    }

    /// How many channels the steps leave.
    #[must_use]
    pub fn channels(&self) -> usize {
        let standardised = |step: &Step| match step {
            Step::Standardise { mean, .. } => Some(mean.len()),
            _ => None,
        };
        self.steps.iter().filter_map(standardised).fold(1, usize::max)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Volume,
    Slices,
    Image,
}

/// `single`: whether the package has one module, whose arguments stand here.
pub(super) fn input(table: Table<'_>, single: bool) -> Option<(Input, Vec<String>)> {
    let kinds = [("volume", Kind::Volume), ("slices", Kind::Slices), ("image", Kind::Image)];
    let kind = table.required_word("kind", &kinds);
    let axes = match kind {
        Some(Kind::Image) => None,
        _ => table.required_checked("axes", |letters: &String| Axes::parse(letters).map(|_| ())),
    };
    let layouts: &[(&str, Layout)] = match kind {
        Some(Kind::Slices) => &[("NKYX", Layout::Nkyx), ("BCYX", Layout::Bcyx), ("NCZYX", Layout::Nczyx)],
        Some(Kind::Image) => &[("NCYX", Layout::Ncyx)],
        _ => &[("ZYX", Layout::Zyx), ("NCZYX", Layout::Nczyx)],
    };
    let layout = table.required_word("layout", layouts);
    let dtype = table.required_word("dtype", &[("int16", VoxelType::Int16), ("float32", VoxelType::Float32)]);
    let names = if single {
        table.required_checked("arguments", |names: &Vec<String>| arguments(names))
    } else {
        if table.has("arguments") {
            table.fault("arguments", "has a meaning only without [[modules]]: each module has its own");
        }
        Some(Vec::new())
    };
    let steps = steps(&table, if kind == Some(Kind::Image) { 2 } else { 3 });
    if dtype == Some(VoxelType::Int16) && (table.has("steps") || kind == Some(Kind::Image)) {
        table.fault("dtype", "int16 is for volumes and slices without steps");
    }
    let kind = kind.and_then(|kind| with_its_table(&table, kind, axes.as_deref()));
    table.finish();
    let input = Input { kind: kind?, layout: layout?, dtype: dtype?, steps: steps? };
    Some((input, names?))
}

/// The kind with what its own table says; the tables of other kinds are faults.
fn with_its_table(table: &Table<'_>, kind: Kind, axes: Option<&str>) -> Option<InputKind> {
    for (key, other) in [("slices", Kind::Slices), ("per_slice", Kind::Volume), ("image", Kind::Image)] {
        if table.has(key) && kind != other {
            table.fault(key, "has no meaning with this input.kind");
        }
    }
    let axes = axes.and_then(|letters| Axes::parse(letters).ok());
    match kind {
        Kind::Volume => {
            let per_slice = match table.table("per_slice") {
                Some(table) => Some(per_slice(table)?),
                None => None,
            };
            Some(InputKind::Volume { axes: axes?, per_slice })
        }
        Kind::Slices => {
            let (count, over) = slices(table.required_table("slices")?)?;
            Some(InputKind::Slices { axes: axes?, count, over })
        }
        Kind::Image => {
            let image = table.table("image");
            let voi =
                image.as_ref().and_then(|image| image.word("voi", &[("first", Voi::First), ("none", Voi::Whole)]));
            if let Some(image) = image {
                image.finish();
            }
            Some(InputKind::Image { voi: voi.unwrap_or(Voi::First) })
        }
    }
}

fn per_slice(table: Table<'_>) -> Option<PerSlice> {
    let window = table.required_checked("window", |count| within(*count, 1, 4096));
    let stride = table.optional_checked("stride", |count| within(*count, 1, 4096));
    let limit = table.optional_checked("time_limit_seconds", |limit| within(*limit, 0.1, 86_400.0));
    table.finish();
    Some(PerSlice { window: window?, stride: stride.unwrap_or(1), time_limit: limit.map(seconds) })
}

fn slices(table: Table<'_>) -> Option<(usize, SlicesOver)> {
    let count = table.required_checked("count", |count| within(*count, 1, 1024));
    let over = table.word("over", &[("series", SlicesOver::Series), ("gate", SlicesOver::Gate)]);
    table.finish();
    Some((count?, over.unwrap_or(SlicesOver::Series)))
}

fn arguments(names: &[String]) -> Result<(), String> {
    for (index, name) in names.iter().enumerate() {
        if name != VOXELS && name != SPACING {
            return Err(format!("«{name}» is not one of voxels, spacing"));
        }
        if names[..index].contains(name) {
            return Err(format!("names {name} twice"));
        }
    }
    if names.iter().any(|name| name == VOXELS) { Ok(()) } else { Err("must name voxels".to_owned()) }
}
