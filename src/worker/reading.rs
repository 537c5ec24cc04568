//! One series read by one model: files → volume → prediction → objects. No store, no clock; blocks.
//!
//! [`read`] does it in one go, for a job. Its three stages, [`SeriesInstances::prepare`], [`infer`] and [`encode`], can
//! also be called apart, so that one series is prepared while another one is inferred.

mod error;
mod gate;
mod prepare;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::config;
use crate::inference::engine::Engine;
use crate::inference::manifest::Manifest;
use crate::inference::prediction::{Embedding, Prediction, Verdict};
use crate::inference::subject::{Context, Described};
use crate::results::{
    self, DocumentReference, EncodingOptions, Equipment, Outcome, ResultRequest, ResultSet, SourceGrid,
};
use crate::volume::SourceSeries;

pub use error::ReadingError;
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
    /// What gates have said before.
    pub gates: &'a Gates,
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
        let options = EncodingOptions {
            series_number_base: results.series_number_base,
            utc_offset: results.utc_offset,
            ..EncodingOptions::default()
        };
        let configuration_hash = hex_sha256(&format!("{equipment:?} {options:?}"));
        Self { equipment, options, configuration_hash }
    }

    /// The same for results of a date that is stored nowhere: those of another run are other objects.
    #[must_use]
    pub fn dated(self, date: Timestamp) -> Self {
        Self { configuration_hash: hex_sha256(&format!("{} {}", self.configuration_hash, date.0)), ..self }
    }

    /// The same for results that tell of each slice too: they are other objects.
    #[must_use]
    pub fn per_slice(&self) -> Self {
        let configuration_hash = hex_sha256(&format!("{} per slice", self.configuration_hash));
        Self { configuration_hash, ..self.clone() }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Reading {
    /// `read`, or why the series was not suitable, in a stable word.
    pub outcome: String,
    /// `pathology`, `normal` or `uncertain`, and its probability, where the model answers that.
    pub answer: Option<(&'static str, f64)>,
    /// Missing slices in percent of all that the series should have, where that is known.
    pub missing_percent: Option<f64>,
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
    /// The modules alone, of the model and of its gate where that was asked.
    pub forward: Duration,
    /// Objects written and read back.
    pub encode: Duration,
}

/// What came of a series that was prepared.
#[derive(Debug, Clone)]
pub enum Inferred {
    /// The model ran; its verdict may still be «not suitable».
    Predicted {
        /// What it ran on.
        described: Described,
        /// What it said.
        prediction: Box<Prediction>,
        /// How long its modules computed, and those of its gate where that was asked.
        forward: Duration,
    },
    /// It did not run.
    NotSuitable {
        /// What a report can say of the series.
        source: Box<SourceSeries>,
        /// A short stable word, such as `gantry-tilt`.
        code: &'static str,
        /// One sentence for the radiologist.
        reason: String,
        /// Missing slices as a share of all that the series should have, 0 to 1, where it is known.
        missing_share: Option<f64>,
    },
}

impl Inferred {
    /// `pathology`, `normal` or `uncertain`, and its probability, where the model answers that.
    #[must_use]
    pub fn answer(&self) -> Option<(&'static str, f64)> {
        match self {
            Self::Predicted { prediction, .. } => {
                prediction.pathology().map(|finding| (finding.decision.word(), finding.probability))
            }
            Self::NotSuitable { .. } => None,
        }
    }

    /// Missing slices in percent of all that the series should have, to three decimals, where that is known.
    #[must_use]
    pub fn missing_percent(&self) -> Option<f64> {
        let share = match self {
            Self::Predicted { described, .. } => described.stack().map(|stack| stack.missing_share),
            Self::NotSuitable { missing_share, .. } => *missing_share,
        };
        share.map(|share| (share * 1e5).round() / 1e3)
    }

    /// How long modules computed.
    #[must_use]
    pub const fn forward(&self) -> Duration {
        match self {
            Self::Predicted { forward, .. } => *forward,
            Self::NotSuitable { .. } => Duration::ZERO,
        }
    }

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
    /// Whether each slice is scored by itself too, by models that can.
    pub per_slice: bool,
}

/// Second stage: waits for the device and runs the model, its gate before it; a series that the model does not read passes
/// through. What the gate finds not suitable the model is not shown.
///
/// # Errors
/// [`ReadingError::Engine`].
pub fn infer(prepared: Prepared, manifest: &Manifest, asked: &Asked<'_>) -> Result<Inferred, ReadingError> {
    let (subject, remarks) = match prepared {
        Prepared::Subject { subject, remarks } => (subject, remarks),
        Prepared::NotSuitable { source, code, reason, missing_share } => {
            return Ok(Inferred::NotSuitable { source, code, reason, missing_share });
        }
    };
    let described = subject.described();
    let mut context = Context { gate: None, per_slice: asked.per_slice };
    let mut forward = Duration::ZERO;
    if let Some(gate) = &manifest.accepts.gate {
        let answer = asked.gates.ask(asked.engine, gate, &subject)?;
        if answer.verdict != Verdict::Suitable {
            let warning = format!("{gate} decided that the series is not suitable; the model itself did not run.");
            let warnings = remarks.into_iter().chain([warning]).collect();
            let prediction = Box::new(Prediction { warnings, ..Prediction::of(answer.verdict) });
            return Ok(Inferred::Predicted { described, prediction, forward: answer.forward });
        }
        context.gate = answer.touched;
        forward = answer.forward;
    }
    let (mut prediction, times) = asked.engine.predict_timed(&manifest.name, subject, &context)?;
    prediction.warnings.extend(remarks);
    Ok(Inferred::Predicted { described, prediction: Box::new(prediction), forward: forward + times.computing })
}

/// Who signs the objects, and when.
#[derive(Clone, Copy)]
pub struct Signature<'a> {
    /// The model.
    pub manifest: &'a Manifest,
    /// Who runs it, and its gate.
    pub engine: &'a Engine,
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
        Inferred::Predicted { described, prediction, .. } => {
            let grid = match described {
                Described::Volume(stack) => SourceGrid::from(&**stack),
                Described::Image(image) => SourceGrid::from(&**image),
            };
            written(described.source(), Some(grid), Outcome::Predicted(prediction), signature)
        }
        Inferred::NotSuitable { source, code, reason, .. } => {
            written(source, None, Outcome::NotSuitable { code, reason }, signature)
        }
    }
}

/// Reads the series: the three stages one after the other.
///
/// # Errors
/// [`ReadingError::may_pass`] says whether to try again. A series that the model does not read is no error.
pub fn read(assignment: Assignment<'_>) -> Result<Reading, ReadingError> {
    let Assignment { mut instances, manifest, engine, writing, predecessor, date, gates, per_slice } = assignment;
    let started = Instant::now();
    let decoded_early = instances.decoded_early();
    let prepared = instances.prepare(manifest, engine)?;
    drop(instances);
    let assemble = started.elapsed();
    let asked = Asked { engine, gates, per_slice };
    let inferred = infer(prepared, manifest, &asked)?;
    let infer = started.elapsed() - assemble;
    let signature = Signature { manifest, engine, writing, predecessor: predecessor.as_ref(), date };
    let results = encode(&inferred, &signature)?;
    let times = Times { assemble, infer, forward: inferred.forward(), encode: started.elapsed() - assemble - infer };
    let (outcome, answer, missing_percent) =
        (inferred.word().to_owned(), inferred.answer(), inferred.missing_percent());
    let embeddings = match inferred {
        Inferred::Predicted { prediction, .. } => prediction.embeddings,
        Inferred::NotSuitable { .. } => Vec::new(),
    };
    Ok(Reading { outcome, answer, missing_percent, results, embeddings, times, decoded_early })
}

/// The report of a job that has failed for good.
///
/// # Errors
/// As [`read`].
pub fn report_failure(
    files: &[PathBuf],
    signature: &Signature<'_>,
    error: &ReadingError,
) -> Result<ResultSet, ReadingError> {
    let source = SeriesInstances::from(files).source()?;
    let cause = error.told();
    written(&source, None, Outcome::Failed { code: error.code(), cause: &cause }, signature)
}

/// Of all that a result depends on beside its input: how results are written, all that the model's manifest says, and all
/// that its gate's says, which decides what the model is shown.
fn configuration_hash(writing: &Writing, manifest: &Manifest, gate: Option<&Manifest>) -> String {
    let mut said = format!("{} {}", writing.configuration_hash, manifest.content_sha256());
    said.extend(gate.map(|gate| format!(" {}", gate.content_sha256())));
    hex_sha256(&said)
}

fn hex_sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn written(
    source: &SourceSeries,
    grid: Option<SourceGrid<'_>>,
    outcome: Outcome<'_>,
    signature: &Signature<'_>,
) -> Result<ResultSet, ReadingError> {
    let writing = signature.writing;
    let manifest = signature.manifest;
    let gate = manifest.accepts.gate.as_ref().and_then(|gate| signature.engine.manifest(gate));
    let configuration_hash = configuration_hash(writing, manifest, gate);
    let request = ResultRequest {
        source,
        grid,
        outcome,
        algorithm: &manifest.identity(),
        configuration_hash: &configuration_hash,
        equipment: &writing.equipment,
        predecessor: signature.predecessor,
        now: signature.date,
        options: &writing.options,
    };
    Ok(results::encode(&request)?)
}

#[cfg(test)]
mod tests;
