//! Slices become a volume: decoded, ordered, in modality units, with the place of every voxel.
//!
//! In: the Part 10 bytes of a series' instances. Out: a [`Volume`], or a [`Refusal`] that names its reason.
//! No sockets, no SQL, no tensors.

pub mod geometry;

use crate::dicom::data_set::DataSet;
use crate::dicom::uid::{FrameOfReferenceUid, SeriesInstanceUid, SopClassUid, SopInstanceUid, StudyInstanceUid};
pub use geometry::Geometry;

/// One series as a regular grid of values in modality units (Hounsfield for CT).
#[derive(Debug, Clone)]
pub struct Volume {
    /// Where the voxels lie.
    pub geometry: Geometry,
    /// Slice-major values.
    pub voxels: Voxels,
    /// The source frame of each slice, in slice order. `None` where a slice is missing in a gap that was filled.
    pub slices: Vec<Option<SourceFrame>>,
    /// What the result objects copy and reference.
    pub source: SourceSeries,
    /// Missing slices as a share of all that the grid has, 0 to 1.
    pub missing_share: f64,
    /// What a reader of the result should know, in plain English.
    pub warnings: Vec<String>,
}

/// Values in the order slice, row, column.
#[derive(Debug, Clone, PartialEq)]
pub enum Voxels {
    /// Where every rescaled value is a whole number that fits: the rule for CT.
    I16(Vec<i16>),
    /// Otherwise.
    F32(Vec<f32>),
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

/// The series that a volume came from, as far as the result objects need it.
#[derive(Debug, Clone)]
pub struct SourceSeries {
    /// Of all slices.
    pub study_instance_uid: StudyInstanceUid,
    /// Of all slices.
    pub series_instance_uid: SeriesInstanceUid,
    /// Of the first slice; a series whose slices disagree gets a warning.
    pub frame_of_reference_uid: Option<FrameOfReferenceUid>,
    /// The header of the first slice, pixel data excluded: patient and study modules are copied from it to the byte.
    pub header: DataSet,
    /// Every instance that was read, in slice order, once each.
    pub instances: Vec<(SopClassUid, SopInstanceUid)>,
}
