//! `models/NAME/model.toml`: what a model is, as data. The commented examples are also the reference of its keys:
//!
//! ```toml
#![doc = include_str!("example.toml")]
//! ```
//!
//! ```toml
#![doc = include_str!("example-modules.toml")]
//! ```

mod agree;
mod claims;
mod fault;
mod generate;
mod inference;
mod input;
mod modules;
mod output;
mod sections;
mod steps;
mod toml_table;

#[cfg(test)]
mod tests;

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::dicom::code::CodedConcept;
use crate::dicom::uid::SopClassUid;
use crate::inference::prediction::AlgorithmIdentity;
use crate::inference::prefer::{OF_STACKS, Preference};
use crate::volume::facts::Orientation;

pub(in crate::inference) use claims::{Claims, FileClaim};
pub use fault::ManifestError;
pub use generate::{Cache, Generate};
pub use inference::{Blending, Inference, MemoryMb, Precision, Precisions, Window};
pub use input::{Input, InputKind, Layout, PerSlice, SlicesOver, VoxelType};
pub(in crate::inference) use modules::needed;
pub use modules::{Gather, INPUTS, Module, Over, SPACING, VOXELS, WINDOW_POSITIONS};
pub use output::{
    Activation, AttentionOutput, AttentionOver, ClassLabel, ClassificationOutput, GroupRow, MeasurementColumn,
    MeasurementOutput, NanPolicy, Output, Reason, Reduce, SegmentationEncoding, SegmentationGrid, SegmentationOutput,
    TextOutput, VerdictOutput,
};
pub(in crate::inference) use sections::{LARGEST_TEXT, stable_word};

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
    /// On what the numbers depend, `name=value`.
    pub parameters: Vec<String>,
    /// Its TorchScript files, in the order in which they run.
    pub modules: Vec<Module>,
    /// Which series it reads.
    pub accepts: Accepts,
    /// What the modules are handed.
    pub input: Input,
    /// How they are run.
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
    /// Whether slices at unequal distances are read, by interpolation between them.
    pub uneven_slices: bool,
    /// Between slices, mm.
    pub slice_spacing_mm: Option<[f64; 2]>,
    /// Between rows and between columns, mm.
    pub pixel_spacing_mm: Option<[f64; 2]>,
    /// From the first to the last slice, mm.
    pub extent_mm: Option<[f64; 2]>,
    /// Body Part Examined (0018,0015) in whatever words, one of which suffices; a series that says none passes.
    pub body_parts: Vec<String>,
    /// Values of Image Type (0008,0008): a series whose images all carry one of them is not read.
    pub exclude_image_types: Vec<String>,
    /// By what one of several series of a study is preferred, the first word that tells two apart decides; empty: as
    /// [`Manifest::order_of_series`] has it.
    pub prefer: Vec<Preference>,
    /// A package that runs first: where it finds the series not suitable, this one does not run.
    pub gate: Option<String>,
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
    /// In the place of `float_tolerance` where the modules compute in bfloat16 or float16.
    pub half_tolerance: f64,
}

impl Manifest {
    /// Reads the text of a `model.toml`.
    ///
    /// # Errors
    /// All faults at once, in the order of their lines; the file they name is `model.toml`.
    pub fn parse(text: &str) -> Result<Self, Vec<ManifestError>> {
        sections::manifest(text)
    }

    /// One hash for all that the results depend on: that of the one module, or the SHA-256 of a line `name hash` for each
    /// module and for the tokenizer. Lower-case hex.
    #[must_use]
    pub fn weights_sha256(&self) -> String {
        let text = self.output.text.as_ref();
        if let ([module], None) = (&self.modules[..], text) {
            return module.sha256.clone();
        }
        let mut lines: Vec<_> = self.modules.iter().map(|m| format!("{} {}\n", m.name, m.sha256)).collect();
        lines.extend(text.map(|text| format!("tokenizer {}\n", text.tokenizer_sha256)));
        Sha256::digest(lines.concat()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A hash of all that the embeddings depend on: what becomes of the series before the modules, and those modules that make
    /// them, directly or not, with their weights. Another head beside these is another package and the same space. Lower-case hex.
    #[must_use]
    pub fn embeddings_sha256(&self) -> String {
        let wanted: Vec<&str> = self.output.embeddings.iter().map(String::as_str).collect();
        let modules: Vec<&Module> =
            needed(&self.modules, &wanted).into_iter().filter_map(|index| self.modules.get(index)).collect();
        let mut input = self.input.clone();
        if let InputKind::Volume { per_slice, .. } = &mut input.kind {
            *per_slice = None;
        }
        let mut lines = vec![format!("{input:?}")];
        let sees_windows = |module: &&Module| {
            module.over != Over::Input || module.arguments.iter().any(|argument| argument == WINDOW_POSITIONS)
        };
        if modules.iter().any(sees_windows) {
            lines.push(format!("{:?}", self.inference.window));
        }
        // Under whatever name and in whatever file.
        let of_module = |module: &&Module| {
            let Module { sha256, arguments, results, over, generate, .. } = module;
            format!("{sha256} {arguments:?} {results:?} {over:?} {generate:?}")
        };
        lines.extend(modules.iter().map(of_module));
        Sha256::digest(lines.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// How long all slices may take where each is scored by itself: what `input.per_slice` says, else as long as a run.
    #[must_use]
    pub fn slices_time_limit(&self) -> Option<Duration> {
        self.input.per_slice().map(|per_slice| per_slice.time_limit.unwrap_or(self.inference.time_limit))
    }

    /// How long a run may take, with the slices where they are asked for.
    #[must_use]
    pub fn longest_run(&self, per_slice: bool) -> Duration {
        let slices = self.slices_time_limit().filter(|_| per_slice);
        self.inference.time_limit + slices.unwrap_or_default()
    }

    /// By what one of several series of a study is preferred: what `accepts.prefer` says, else thin slices, then many.
    /// Nothing for radiographs where it does not say: no order suits all.
    #[must_use]
    pub fn order_of_series(&self) -> Option<&[Preference]> {
        match &self.accepts.prefer[..] {
            [] if self.input.is_image() => None,
            [] => Some(&OF_STACKS),
            order => Some(order),
        }
    }

    /// A hash of all that the results depend on: of everything it says but its golden case and which series it prefers, in
    /// whatever way the file is laid out. Lower-case hex.
    #[must_use]
    pub fn content_sha256(&self) -> String {
        let mut said = Self { golden: None, ..self.clone() };
        said.accepts.prefer.clear();
        Sha256::digest(format!("{said:?}")).iter().map(|byte| format!("{byte:02x}")).collect()
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
            weights_sha256: self.weights_sha256(),
            parameters: self.parameters.clone(),
            untrained: self.origin == Origin::Untrained,
        }
    }
}
