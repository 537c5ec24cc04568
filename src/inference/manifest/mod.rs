//! `models/NAME/model.toml`: what a model is, as data. The commented example is also the reference of its keys:
//!
//! ```toml
#![doc = include_str!("example.toml")]
//! ```

mod fault;
mod input;
mod output;
mod sections;
mod toml_table;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::dicom::code::CodedConcept;
use crate::dicom::uid::SopClassUid;
use crate::inference::orientation::Axes;
use crate::inference::prediction::{AlgorithmIdentity, Segment};
use crate::volume::facts::Orientation;

pub use fault::ManifestError;

/// A manifest that was read whole and found without fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Package name: lower-case letters, digits, hyphens.
    pub name: String,
    /// Package version.
    pub version: String,
    /// Title for people.
    pub title: String,
    /// Of the model.
    pub manufacturer: String,
    /// One or two sentences.
    pub intended_use: String,
    /// Where the weights come from.
    pub origin: Origin,
    /// SPDX expression or free text.
    pub licence: String,
    /// Algorithm family, CID 7162.
    pub family: CodedConcept,
    /// File name of the TorchScript module within the package's folder.
    pub weights: String,
    /// SHA-256 of that file, lower-case hex.
    pub sha256: String,
    /// On what the numbers depend, `name=value`.
    pub parameters: Vec<String>,
    /// Which series it reads.
    pub accepts: Accepts,
    /// What the module is handed.
    pub input: Input,
    /// How it is run.
    pub inference: Inference,
    /// What it gives.
    pub output: Output,
    /// A case with known answers.
    pub golden: Option<Golden>,
}

/// Where a model's weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Learned from data.
    Trained,
    /// Random: for tests. Never delivered unless the configuration allows it.
    Untrained,
    /// A published method without learned weights.
    Algorithm,
}

/// Which series a model reads. Empty lists and `None` do not narrow.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepts {
    /// Modality (0008,0060), at least one.
    pub modality: Vec<String>,
    /// SOP classes, one of which must occur in the series.
    pub sop_classes: Vec<SopClassUid>,
    /// The plane of the slices.
    pub orientation: Option<Orientation>,
    /// Slices that the series must have.
    pub least_slices: usize,
    /// Missing slices as a share of all that the grid has, 0 to 1.
    pub largest_missing_share: f64,
    /// Between slices, mm.
    pub slice_spacing_mm: Option<[f64; 2]>,
    /// Between rows and between columns, mm.
    pub pixel_spacing_mm: Option<[f64; 2]>,
    /// From the first to the last slice, mm.
    pub extent_mm: Option<[f64; 2]>,
    /// Body Part Examined (0018,0015); a series that names none passes.
    pub body_parts: Vec<String>,
    /// Values of Image Type (0008,0008): a series whose images all carry one of them is not read.
    pub exclude_image_types: Vec<String>,
}

/// What the module is handed.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Patient direction in which slices, rows and columns increase.
    pub axes: Axes,
    /// Whether batch and channel dimensions come before the three of space.
    pub layout: Layout,
    /// Type of the voxels.
    pub dtype: VoxelType,
    /// Arguments of `forward`, in order.
    pub arguments: Vec<Argument>,
}

/// Dimensions of the voxel tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Slices, rows, columns.
    Zyx,
    /// Batch of 1, 1 channel, slices, rows, columns.
    Nczyx,
}

/// Type of the voxel tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoxelType {
    /// Whole Hounsfield units.
    Int16,
    /// Modality units.
    Float32,
}

/// One argument of `forward`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// The voxels.
    Voxels,
    /// `float32[3]`: distance between slices, rows, columns in mm.
    Spacing,
}

/// How a module is run.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    /// A run that takes longer is given up.
    pub time_limit: Duration,
    /// Estimate of the peak.
    pub memory_mb: u64,
    /// `Some`: the module sees windows of the volume.
    pub window: Option<Window>,
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
    /// Windows in one call of the module.
    pub batch: usize,
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

/// What a module gives. At least one is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Label map.
    pub segmentation: Option<SegmentationOutput>,
    /// Table of numbers.
    pub measurement: Option<MeasurementOutput>,
    /// Whether the series is one that the model reads.
    pub verdict: Option<VerdictOutput>,
}

/// A label map.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentationOutput {
    /// Name of the tensor.
    pub tensor: String,
    /// Labels or scores.
    pub encoding: SegmentationEncoding,
    /// Label n is segment n, from 1; at most 255.
    pub segments: Vec<Segment>,
}

/// What the tensor of a segmentation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentationEncoding {
    /// uint8 on the input grid.
    Labels,
    /// float32 [1, 1 + segments, slices, rows, columns]: the channel with the largest score is the label.
    Scores,
}

/// A table of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasurementOutput {
    /// Name of the tensor.
    pub tensor: String,
    /// Rows.
    pub groups: Vec<GroupRow>,
    /// Columns.
    pub columns: Vec<MeasurementColumn>,
}

/// One row: what the numbers were measured on.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRow {
    /// Readable, unique.
    pub label: String,
    /// Segment numbers, from 1.
    pub segments: Vec<u16>,
    /// Finding (121071, DCM).
    pub finding: CodedConcept,
    /// Finding Site (363698007, SCT).
    pub finding_site: Option<CodedConcept>,
    /// Laterality of the site.
    pub laterality: Option<CodedConcept>,
}

/// One column: what was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasurementColumn {
    /// ASCII, for tables and logs.
    pub label: String,
    /// Concept name.
    pub concept: CodedConcept,
    /// Derivation (121401, DCM).
    pub derivation: Option<CodedConcept>,
    /// UCUM.
    pub unit: CodedConcept,
    /// What NaN means.
    pub nan: NanPolicy,
    /// Values outside are a fault of the model.
    pub range: Option<[f64; 2]>,
}

/// What NaN means in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NanPolicy {
    /// The number cannot be computed for this series.
    Absent,
    /// A fault of the model.
    Refuse,
}

/// Whether the series is one that the model reads.
#[derive(Debug, Clone, PartialEq)]
pub struct VerdictOutput {
    /// Name of the tensor: int64 without dimensions; 0 is «read», n the n-th reason.
    pub tensor: String,
    /// Why not, from 1.
    pub reasons: Vec<Reason>,
}

/// Why a series is not suitable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Short stable word.
    pub code: String,
    /// One sentence for the radiologist.
    pub reason: String,
}

/// A case with known answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    /// Path of the `.npz` file within the package's folder.
    pub case: String,
    /// |difference| may be this times max(1, |expected|).
    pub float_tolerance: f64,
    /// Share of voxels whose label may differ.
    pub label_tolerance: f64,
}

impl Manifest {
    /// Reads the text of a `model.toml`.
    ///
    /// # Errors
    /// All faults at once, in the order of their lines; the file they name is `model.toml`.
    pub fn parse(text: &str) -> Result<Self, Vec<ManifestError>> {
        sections::manifest(text)
    }

    /// Who makes the predictions, as every result object says it.
    #[must_use]
    pub fn identity(&self) -> AlgorithmIdentity {
        AlgorithmIdentity {
            name: self.name.clone(),
            version: self.version.clone(),
            title: self.title.clone(),
            manufacturer: self.manufacturer.clone(),
            family: self.family.clone(),
            weights_sha256: self.sha256.clone(),
            parameters: self.parameters.clone(),
            untrained: self.origin == Origin::Untrained,
        }
    }
}

impl Output {
    /// The names of the tensors that the module must return.
    #[must_use]
    pub fn tensors(&self) -> Vec<&str> {
        let segmentation = self.segmentation.as_ref().map(|output| output.tensor.as_str());
        let measurement = self.measurement.as_ref().map(|output| output.tensor.as_str());
        let verdict = self.verdict.as_ref().map(|output| output.tensor.as_str());
        [segmentation, measurement, verdict].into_iter().flatten().collect()
    }
}
