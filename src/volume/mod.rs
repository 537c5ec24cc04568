//! Slices become a volume: decoded, ordered, in modality units, with the place of every voxel.
//!
//! In: the Part 10 bytes of a series' instances. Out: a [`Volume`], or a [`Refusal`] that names its reason.
//! No sockets, no SQL, no tensors.
//!
//! Headers come first: [`Series::read`] reads them, [`Series::facts`] says what acceptance rules ask for, and
//! [`Series::assemble`] decodes the pixels of what was accepted; [`Series::radiograph`] reads the one image of a radiograph.

pub mod compression;

pub mod pixel_format;

pub mod encapsulated;

pub mod codestream;

pub mod run_length;

pub mod decode;

pub mod rescale;

pub mod frame_header;

pub mod source;

mod kept;

pub mod instance;

pub mod refusal;

pub mod options;

pub mod select;

pub mod stack;

mod uneven;

pub mod acquisition;

pub mod geometry;

pub mod plan;

pub mod facts;

pub mod series;

pub mod early;

pub mod radiograph;

mod fill;

use crate::dicom::uid::{SopClassUid, SopInstanceUid};
pub use early::{DecodedInstance, decode_instance};
pub use facts::{SeriesFacts, SeriesKind};
pub use geometry::Geometry;
pub use instance::InstanceSource;
pub use options::AssembleOptions;
pub use radiograph::{Radiograph, RadiographOptions};
pub use refusal::{AssembleError, Refusal};
pub use series::Series;
pub use source::{LossyCompression, SourceSeries};

/// Whether instances of a SOP class can be slices or radiographs.
fn is_image(sop_class: &str) -> bool {
    select::is_cross_sectional(sop_class) || radiograph::is_radiographic(sop_class)
}

/// Reads and assembles a series in one step.
///
/// # Errors
/// [`AssembleError::Refused`] with the reason why the series is no volume, [`AssembleError::Read`] where a file cannot be
/// opened.
pub fn assemble(instances: Vec<InstanceSource>, options: &AssembleOptions) -> Result<Volume, AssembleError> {
    Series::read(instances)?.assemble(options)
}

/// One series as a regular grid of values in modality units (Hounsfield for CT).
#[derive(Debug, Clone)]
pub struct Volume {
    /// Where the voxels lie.
    pub geometry: Geometry,
    /// Slice-major values.
    pub voxels: Voxels,
    /// The source frame of each slice, in slice order. `None` where a slice is missing, or lies between two of the source, and
    /// was filled by interpolation; never the first or the last.
    pub slices: Vec<Option<SourceFrame>>,
    /// What the result objects copy and reference.
    pub source: SourceSeries,
    /// Those of the slices that lie between two of a source whose slices are at unequal distances, ascending: nothing is missing
    /// there.
    pub between: Vec<usize>,
    /// Missing slices as a share of all that there should be, 0 to 1, those included that were at the ends.
    pub missing_share: f64,
    /// What a reader of the result should know, in plain English.
    pub warnings: Vec<String>,
}

/// A volume without its values: what they are of, and where they lie.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Where the voxels lie.
    pub geometry: Geometry,
    /// As in [`Volume::slices`].
    pub slices: Vec<Option<SourceFrame>>,
    /// What the result objects copy and reference.
    pub source: SourceSeries,
    /// As in [`Volume::between`].
    pub between: Vec<usize>,
    /// As in [`Volume::missing_share`].
    pub missing_share: f64,
    /// What a reader of the result should know, in plain English.
    pub warnings: Vec<String>,
}

impl Volume {
    /// What it is, and its values.
    #[must_use]
    pub fn apart(self) -> (Stack, Voxels) {
        let Self { geometry, voxels, slices, source, between, missing_share, warnings } = self;
        (Stack { geometry, slices, source, between, missing_share, warnings }, voxels)
    }
}

/// Which slice of the source a slice of the grid is, from 1, in the order of the grid; those that are missing are counted, those
/// `between` are not.
#[must_use]
pub fn slice_number(slice: usize, between: &[usize]) -> usize {
    slice + 1 - between.partition_point(|between| *between < slice)
}

/// Values in the order slice, row, column.
#[derive(Debug, Clone, PartialEq)]
pub enum Voxels {
    /// Where every slope and intercept is a whole number and every value fits: the rule for CT.
    I16(Vec<i16>),
    /// Otherwise.
    F32(Vec<f32>),
}

impl Voxels {
    /// How many values there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        match self {
            Self::I16(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }
}

/// One frame that a slice was read from, with its geometry as text, to be copied bit for bit.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceFrame {
    /// Of the instance that holds the frame.
    pub sop_class_uid: SopClassUid,
    /// Of the instance that holds the frame.
    pub sop_instance_uid: SopInstanceUid,
    /// From 1 in a multi-frame instance; `None` in a single-frame one.
    pub frame_number: Option<u32>,
    /// (0020,0032) as it stands in the source.
    pub image_position_patient: String,
    /// (0020,0037) as it stands in the source.
    pub image_orientation_patient: String,
    /// (0028,0030) as it stands in the source.
    pub pixel_spacing: String,
    /// (0018,0050) as it stands in the source, where present.
    pub slice_thickness: Option<String>,
}
