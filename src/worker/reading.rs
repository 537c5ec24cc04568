//! One series read by one model: files → volume → prediction → objects. No store, no clock; blocks.
//!
//! [`read`] does it in one go, for a job. Its three stages, [`SeriesInstances::prepare`], [`infer`] and [`encode`], can
//! also be called apart, so that one series is prepared while another one is inferred.

mod gate;
mod prepare;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::config;
use crate::inference::engine::Engine;
use crate::inference::error::EngineError;
use crate::inference::manifest::Manifest;
use crate::inference::prediction::{Embedding, Prediction, Verdict};
use crate::inference::subject::{Context, Subject};
use crate::results::{
    self, DocumentReference, EncodingOptions, Equipment, Outcome, ResultError, ResultRequest, ResultSet, SourceGrid,
};
use crate::volume::SourceSeries;

pub use gate::Gates;
pub use prepare::{Prepared, SeriesInstances};

/// What to read, by what, and how to write it down.
pub struct Assignment<'a> {
    /// The instances of one revision of a series, in the order in which they came.
    pub instances: SeriesInstances,
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
    /// What gates have said of this series before.
    pub gates: &'a Gates,
    /// The series and its revision, for them.
    pub series: String,
    /// Whether each slice is scored by itself too, by models that can.
    pub per_slice: bool,
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

impl Writing {
    /// By the configuration, with the hash of all of it that changes what a result says.
    #[must_use]
    pub fn of(results: &config::Results) -> Self {
        let equipment = Equipment {
            manufacturer: results.manufacturer.clone(),
            model_name: "overread".to_owned(),
            serial_number: results.device_serial_number.clone(),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let options = EncodingOptions { series_number_base: results.series_number_base, ..EncodingOptions::default() };
        let hash = Sha256::digest(format!("{equipment:?} {options:?}").as_bytes());
        let configuration_hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { equipment, options, configuration_hash }
    }

    /// The same for results that tell of each slice too: they are other objects.
    #[must_use]
    pub fn per_slice(&self) -> Self {
        let hash = Sha256::digest(format!("{} per slice", self.configuration_hash).as_bytes());
        Self { configuration_hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(), ..self.clone() }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Reading {
    /// `read`, or why the series was not suitable, in a stable word.
    pub outcome: String,
    /// The objects.
    pub results: ResultSet,
    /// The vectors of models that give some.
    pub embeddings: Vec<Embedding>,
    /// How long each part took.
    pub times: Times,
    /// Slices that were decoded while the series arrived.
    pub decoded_early: usize,
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
    /// The embeddings could not be written: ours to act.
    #[error("the embeddings cannot be written: {0}")]
    Embeddings(String),
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
            Self::Unreadable | Self::Embeddings(_) | Self::Result(_) => false,
        }
    }

    /// Who must act: `peer`, who sent it; `model author`; `operator`; `us`, who make overread.
    #[must_use]
    pub const fn acts(&self) -> &'static str {
        match self {
            Self::File(_) => "operator",
            Self::Unreadable => "peer",
            Self::Engine(error) => error.acts().as_str(),
            Self::Embeddings(_) | Self::Result(_) => "us",
        }
    }

    /// A short stable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Unreadable => "unreadable",
            Self::Engine(error) => error.code(),
            Self::Embeddings(_) => "embeddings",
            Self::Result(_) => "result",
        }
    }
}

/// What came of a series that was prepared.
#[derive(Debug, Clone)]
pub enum Inferred {
    /// The model ran; its verdict may still be «not suitable».
    Predicted {
        /// What it ran on.
        subject: Subject,
        /// What it said.
        prediction: Box<Prediction>,
    },
    /// It did not run.
    NotSuitable {
        /// What a report can say of the series.
        source: Box<SourceSeries>,
        /// A short stable word, such as `gantry-tilt`.
        code: &'static str,
        /// One sentence for the radiologist.
        reason: String,
    },
}

impl Inferred {
    /// `read`, or why the series was not suitable, in a stable word.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::NotSuitable { code, .. } => code,
            Self::Predicted { prediction, .. } => match &prediction.verdict {
                Verdict::Suitable => "read",
                Verdict::NotSuitable { code, .. } => code,
            },
        }
    }
}

/// How a prepared series is to be read.
pub struct Asked<'a> {
    /// Who runs the models.
    pub engine: &'a Engine,
    /// What gates have said before.
    pub gates: &'a Gates,
    /// The series and its revision, for them.
    pub series: &'a str,
    /// Whether each slice is scored by itself too, by models that can.
    pub per_slice: bool,
    /// When it must have ended.
    pub deadline: Instant,
}

/// Second stage: waits for the device and runs the model, its gate before it; a series that the model does not read passes
/// through. What the gate finds not suitable the model is not shown.
///
/// # Errors
/// [`ReadingError::Engine`].
pub fn infer(prepared: Prepared, manifest: &Manifest, asked: &Asked<'_>) -> Result<Inferred, ReadingError> {
    let subject = match prepared {
        Prepared::Subject(subject) => subject,
        Prepared::NotSuitable { source, code, reason } => return Ok(Inferred::NotSuitable { source, code, reason }),
    };
    let mut context = Context { gate: None, per_slice: asked.per_slice };
    if let Some(gate) = &manifest.accepts.gate {
        let answer = asked.gates.ask(asked.engine, gate, asked.series, &subject, asked.deadline)?;
        if answer.verdict != Verdict::Suitable {
            let warning = format!("{gate} decided that the series is not suitable; the model itself did not run.");
            let prediction = Box::new(Prediction { warnings: vec![warning], ..Prediction::of(answer.verdict) });
            return Ok(Inferred::Predicted { subject, prediction });
        }
        context.gate = answer.label_map;
    }
    let prediction = Box::new(asked.engine.predict(&manifest.name, &subject, &context, asked.deadline)?);
    Ok(Inferred::Predicted { subject, prediction })
}

/// Who signs the objects, and when.
#[derive(Debug, Clone, Copy)]
pub struct Signature<'a> {
    /// The model.
    pub manifest: &'a Manifest,
    /// How the results are written.
    pub writing: &'a Writing,
    /// The report that this one replaces.
    pub predecessor: Option<&'a DocumentReference>,
    /// The date of all objects.
    pub date: Timestamp,
}

/// Third stage: the objects, each read back and compared.
///
/// # Errors
/// [`ReadingError::Result`].
pub fn encode(inferred: &Inferred, signature: &Signature<'_>) -> Result<ResultSet, ReadingError> {
    match inferred {
        Inferred::Predicted { subject, prediction } => {
            let grid = match subject {
                Subject::Volume(volume) => SourceGrid::from(&**volume),
                Subject::Image(image) => SourceGrid::from(&**image),
            };
            written(subject.source(), Some(grid), Outcome::Predicted(prediction), signature)
        }
        Inferred::NotSuitable { source, code, reason } => {
            written(source, None, Outcome::NotSuitable { code, reason }, signature)
        }
    }
}

/// Reads the series: the three stages one after the other.
///
/// # Errors
/// [`ReadingError::may_pass`] says whether to try again. A series that the model does not read is no error.
pub fn read(assignment: Assignment<'_>) -> Result<Reading, ReadingError> {
    let Assignment { mut instances, manifest, engine, writing, predecessor, date, deadline, gates, series, per_slice } =
        assignment;
    let started = Instant::now();
    let decoded_early = instances.decoded_early();
    let prepared = instances.prepare(manifest, engine)?;
    drop(instances);
    let assemble = started.elapsed();
    let asked = Asked { engine, gates, series: &series, per_slice, deadline };
    let inferred = infer(prepared, manifest, &asked)?;
    let infer = started.elapsed() - assemble;
    let signature = Signature { manifest, writing, predecessor: predecessor.as_ref(), date };
    let results = encode(&inferred, &signature)?;
    let times = Times { assemble, infer, encode: started.elapsed() - assemble - infer };
    let outcome = inferred.word().to_owned();
    let embeddings = match inferred {
        Inferred::Predicted { prediction, .. } => prediction.embeddings,
        Inferred::NotSuitable { .. } => Vec::new(),
    };
    Ok(Reading { outcome, results, embeddings, times, decoded_early })
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
    let source = SeriesInstances::from(files).source().ok_or(ReadingError::Unreadable)?;
    let cause = error.to_string();
    let signature = Signature { manifest, writing, predecessor: None, date };
    written(&source, None, Outcome::Failed { code: error.code(), cause: &cause }, &signature)
}

fn written(
    source: &SourceSeries,
    grid: Option<SourceGrid<'_>>,
    outcome: Outcome<'_>,
    signature: &Signature<'_>,
) -> Result<ResultSet, ReadingError> {
    let writing = signature.writing;
    let request = ResultRequest {
        source,
        grid,
        outcome,
        algorithm: &signature.manifest.identity(),
        configuration_hash: &writing.configuration_hash,
        equipment: &writing.equipment,
        predecessor: signature.predecessor,
        now: signature.date,
        options: &writing.options,
    };
    Ok(results::encode(&request)?)
}
