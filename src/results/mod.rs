//! Prediction becomes DICOM objects: a Segmentation, a Parametric Map and a Comprehensive 3D SR (PS3.3 A.51, A.75,
//! A.35.13) as Part 10 files.
//!
//! In: the source series and what the model said of it. Out: a [`ResultSet`], each object read back from its bytes and
//! compared with the prediction. The same request gives the same bytes: UIDs are derived and the time is a parameter.
//! No sockets, no SQL, no tensors, no clock.

pub mod grid;

pub mod request;

mod check;

pub mod plain_text;

pub mod colour;

mod codes;

mod identifiers;

mod dates;

mod acquisition;

mod evidence;

mod equipment;

mod coding_schemes;

mod algorithm;

mod frames;

mod functional_groups;

mod derived_image;

mod segmentation;

mod parametric_map;

mod plans;

mod regions;

mod conclusion;

mod generated_text;

mod content;

mod templates;

mod report;

mod file;

mod readback;

use bytes::Bytes;

use crate::dicom::uid::{SeriesInstanceUid, SopClassUid, SopInstanceUid, TransferSyntaxUid};
pub use grid::{FrameReference, ImageGrid, SourceGrid, StackGrid};
use identifiers::Identifiers;
use plans::Plans;
pub use request::{DocumentReference, EncodingOptions, Equipment, Outcome, ResultRequest};

/// The objects that one job sends back.
#[derive(Debug, Clone)]
pub struct ResultSet {
    /// In the order in which they should be sent: what is referenced goes before what refers to it.
    pub objects: Vec<ResultObject>,
}

/// One object, ready to be stored and sent.
#[derive(Debug, Clone)]
pub struct ResultObject {
    /// What it is.
    pub kind: ResultKind,
    /// Of the object.
    pub sop_class_uid: SopClassUid,
    /// Of the object, derived.
    pub sop_instance_uid: SopInstanceUid,
    /// Of the object, derived.
    pub series_instance_uid: SeriesInstanceUid,
    /// How `bytes` are encoded.
    pub transfer_syntax_uid: TransferSyntaxUid,
    /// A Part 10 file.
    pub bytes: Bytes,
}

/// Kinds of result objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResultKind {
    /// Segmentation Storage.
    Segmentation,
    /// Parametric Map Storage: where the model looked.
    ParametricMap,
    /// Comprehensive 3D SR Storage of a series that was looked at: read, or found not suitable.
    Report,
    /// Comprehensive 3D SR Storage that says that the analysis failed: sent only where the destination wants it.
    FailureReport,
}

/// Why there is no result set.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// The prediction contradicts itself or its grid: the model's author must act.
    #[error("the prediction cannot be written: {0}")]
    Prediction(String),
    /// The source lacks what the objects must copy or refer to: whoever assembled it must act.
    #[error("the source cannot be referred to: {0}")]
    Source(String),
    /// What was written is not what was predicted: overread is wrong, and nothing leaves.
    #[error("the {object} read back from its own bytes differs: {difference}")]
    ReadBack {
        /// `segmentation`, `parametric map` or `report`.
        object: &'static str,
        /// What differs.
        difference: String,
    },
}

/// Writes the objects that a request asks for, reads each back and compares.
///
/// A Segmentation is written when the label map holds at least one voxel on a slice that exists in the source, a
/// Parametric Map when the attention map is not zero on one. A report is always written; «nothing found», «not suitable»
/// and «failed» differ in their coded status.
///
/// # Errors
/// [`ResultError`] says who must act; no object leaves then.
pub fn encode(request: &ResultRequest<'_>) -> Result<ResultSet, ResultError> {
    check::check(request)?;
    let identifiers = Identifiers::of(request);
    let plans = Plans::of(request, &identifiers)?;
    let mut objects = Vec::new();
    if let Some(plan) = &plans.segmentation {
        let bytes = segmentation::encode(request, &identifiers, plan)?;
        readback::segmentation(request, plan, &bytes)?;
        objects.push(ResultObject {
            kind: ResultKind::Segmentation,
            sop_class_uid: file::segmentation_storage()?,
            sop_instance_uid: identifiers.segmentation.clone(),
            series_instance_uid: identifiers.segmentation_series.clone(),
            transfer_syntax_uid: file::explicit_little_endian()?,
            bytes,
        });
    }
    if let Some(plan) = &plans.parametric_map {
        let bytes = parametric_map::encode(request, &identifiers, plan)?;
        readback::parametric_map(request, &bytes)?;
        objects.push(ResultObject {
            kind: ResultKind::ParametricMap,
            sop_class_uid: file::parametric_map_storage()?,
            sop_instance_uid: identifiers.parametric_map.clone(),
            series_instance_uid: identifiers.parametric_map_series.clone(),
            transfer_syntax_uid: file::explicit_little_endian()?,
            bytes,
        });
    }
    let bytes = report::encode(request, &identifiers, &plans)?;
    readback::report(request, &identifiers, &plans, &bytes)?;
    objects.push(ResultObject {
        kind: if request.outcome.is_failure() { ResultKind::FailureReport } else { ResultKind::Report },
        sop_class_uid: file::comprehensive_3d_sr_storage()?,
        sop_instance_uid: identifiers.report.clone(),
        series_instance_uid: identifiers.report_series.clone(),
        transfer_syntax_uid: file::explicit_little_endian()?,
        bytes,
    });
    Ok(ResultSet { objects })
}
