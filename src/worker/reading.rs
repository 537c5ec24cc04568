//! One series read by one model: files → volume → prediction → objects. No store, no clock; blocks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::dicom::data_set::DataSet;
use crate::dicom::tags;
use crate::dicom::uid::FrameOfReferenceUid;
use crate::inference::engine::Engine;
use crate::inference::error::EngineError;
use crate::inference::manifest::Manifest;
use crate::inference::prediction::Verdict;
use crate::inference::subject::{Context, Subject};
use crate::results::{
    self, DocumentReference, EncodingOptions, Equipment, Outcome, ResultError, ResultRequest, ResultSet, SourceGrid,
};
use crate::volume::{AssembleError, AssembleOptions, InstanceSource, Series, SourceSeries};

/// What to read, by what, and how to write it down.
pub struct Assignment<'a> {
    /// The files of one revision of a series, in the order in which they came.
    pub files: Vec<PathBuf>,
    /// The model.
    pub manifest: &'a Manifest,
    /// Who runs it.
    pub engine: &'a Engine,
    /// How the results are written.
    pub writing: &'a Writing,
    /// The report that this one replaces.
    pub predecessor: Option<DocumentReference>,
    /// The date of all objects: a stored time, so that a second run makes the same bytes.
    pub date: Timestamp,
    /// When the job must have ended.
    pub deadline: Instant,
}

/// What goes into every result of this node.
#[derive(Debug, Clone)]
pub struct Writing {
    /// This node.
    pub equipment: Equipment,
    /// Choices in writing.
    pub options: EncodingOptions,
    /// Of the configuration on which results depend.
    pub configuration_hash: String,
}

/// What came of it.
#[derive(Debug)]
pub struct Reading {
    /// `read`, or why the series was not suitable, in a stable word.
    pub outcome: String,
    /// The objects.
    pub results: ResultSet,
    /// How long each part took.
    pub times: Times,
}

/// How long each part of a job took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// Headers read, slices decoded and ordered.
    pub assemble: Duration,
    /// Waiting for the device and the model's run.
    pub infer: Duration,
    /// Objects written and read back.
    pub encode: Duration,
}

/// Why there is no reading.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// A file could not be read: the operator must act, and it may pass.
    #[error("a file of the series cannot be read: {0}")]
    File(String),
    /// Not one instance of the series can be read: whoever sent it must act.
    #[error("not one instance of the series can be read")]
    Unreadable,
    /// The model did not do it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The objects could not be written.
    #[error(transparent)]
    Result(#[from] ResultError),
}

impl ReadingError {
    /// Whether another attempt may help.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::File(_) => true,
            Self::Engine(error) => error.retryable(),
            Self::Unreadable | Self::Result(_) => false,
        }
    }

    /// A short stable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Unreadable => "unreadable",
            Self::Engine(error) => error.code(),
            Self::Result(_) => "result",
        }
    }
}

/// Reads the series.
///
/// # Errors
/// [`ReadingError::may_pass`] says whether to try again. A series that the model does not read is no error.
pub fn read(assignment: Assignment<'_>) -> Result<Reading, ReadingError> {
    let started = Instant::now();
    let mut times = Times::default();
    let sources: Vec<InstanceSource> = assignment.files.iter().cloned().map(InstanceSource::File).collect();
    let options = assemble_options(assignment.manifest);
    let volume = accepted(sources.clone(), assignment.manifest, &options);
    times.assemble = started.elapsed();
    let volume = match volume {
        Ok(volume) => Arc::new(volume),
        Err(NoVolume::File(cause)) => return Err(ReadingError::File(cause)),
        Err(NoVolume::NotSuitable { code, reason }) => {
            let source = source_without_volume(&sources).ok_or(ReadingError::Unreadable)?;
            let outcome = Outcome::NotSuitable { code, reason: &reason };
            return finish(&assignment, &source, None, outcome, code.to_owned(), times);
        }
    };
    let before = Instant::now();
    let (subject, context) = (Subject::from(&volume), Context::default());
    let prediction = assignment.engine.predict(&assignment.manifest.name, &subject, &context, assignment.deadline)?;
    times.infer = before.elapsed();
    let word = match &prediction.verdict {
        Verdict::Suitable => "read".to_owned(),
        Verdict::NotSuitable { code, .. } => code.clone(),
    };
    let grid = SourceGrid::from(&*volume);
    finish(&assignment, &volume.source, Some(grid), Outcome::Predicted(&prediction), word, times)
}

/// The report of a job that has failed for good.
///
/// # Errors
/// As [`read`].
pub fn report_failure(
    files: &[PathBuf],
    manifest: &Manifest,
    writing: &Writing,
    date: Timestamp,
    error: &ReadingError,
) -> Result<ResultSet, ReadingError> {
    let sources: Vec<InstanceSource> = files.iter().cloned().map(InstanceSource::File).collect();
    let source = source_without_volume(&sources).ok_or(ReadingError::Unreadable)?;
    let cause = error.to_string();
    let request = ResultRequest {
        source: &source,
        grid: None,
        outcome: Outcome::Failed { code: error.code(), cause: &cause },
        algorithm: &manifest.identity(),
        configuration_hash: &writing.configuration_hash,
        equipment: &writing.equipment,
        predecessor: None,
        now: date,
        options: &writing.options,
    };
    Ok(results::encode(&request)?)
}

enum NoVolume {
    NotSuitable { code: &'static str, reason: String },
    File(String),
}

impl From<AssembleError> for NoVolume {
    fn from(error: AssembleError) -> Self {
        match error {
            AssembleError::Refused(refusal) => Self::NotSuitable { code: refusal.code(), reason: refusal.to_string() },
            AssembleError::Read(cause) => Self::File(cause.to_string()),
        }
    }
}

/// The volume of a series that the model accepts; pixels are decoded only then.
fn accepted(
    sources: Vec<InstanceSource>,
    manifest: &Manifest,
    options: &AssembleOptions,
) -> Result<crate::volume::Volume, NoVolume> {
    let series = Series::read(sources)?;
    if let Err(refusal) = manifest.accepts(&series.facts(options)) {
        return Err(NoVolume::NotSuitable { code: refusal.code, reason: refusal.reason });
    }
    Ok(series.assemble(options)?)
}

fn assemble_options(manifest: &Manifest) -> AssembleOptions {
    AssembleOptions {
        min_slices: manifest.accepts.least_slices.max(1),
        max_missing_share: manifest.accepts.largest_missing_share,
        ..AssembleOptions::default()
    }
}

/// What a report can say of a series that is no volume: its readable instances, in the order in which they came.
fn source_without_volume(sources: &[InstanceSource]) -> Option<SourceSeries> {
    let headers: Vec<_> = sources.iter().filter_map(|source| source.header().ok()).collect();
    let first = headers.first()?;
    let header: DataSet = first.data_set.clone();
    Some(SourceSeries {
        study_instance_uid: first.study_instance_uid.clone(),
        series_instance_uid: first.series_instance_uid.clone(),
        frame_of_reference_uid: header.uid(tags::FRAME_OF_REFERENCE_UID, FrameOfReferenceUid::parse).ok(),
        instances: headers.iter().map(|h| (h.sop_class_uid.clone(), h.sop_instance_uid.clone())).collect(),
        header,
    })
}

fn finish(
    assignment: &Assignment<'_>,
    source: &SourceSeries,
    grid: Option<SourceGrid<'_>>,
    outcome: Outcome<'_>,
    word: String,
    mut times: Times,
) -> Result<Reading, ReadingError> {
    let before = Instant::now();
    let writing = assignment.writing;
    let request = ResultRequest {
        source,
        grid,
        outcome,
        algorithm: &assignment.manifest.identity(),
        configuration_hash: &writing.configuration_hash,
        equipment: &writing.equipment,
        predecessor: assignment.predecessor.as_ref(),
        now: assignment.date,
        options: &writing.options,
    };
    let results = results::encode(&request)?;
    times.encode = before.elapsed();
    Ok(Reading { outcome: word, results, times })
}
