//! A package that runs before another one: once for each revision of a series, whoever asks.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::dicom::uid::OtherUid;
use crate::inference::engine::Engine;
use crate::inference::error::EngineError;
use crate::inference::manifest::Manifest;
use crate::inference::prediction::{Touched, Verdict};
use crate::inference::subject::{Context, Subject};

/// The fewest answers that are kept.
const LEAST_KEPT: usize = 2;

/// What gates said of the series that were asked about last.
#[derive(Debug)]
pub struct Gates {
    /// No more than these: jobs of one series follow each other closely.
    most: usize,
    kept: Mutex<VecDeque<(OtherUid, Answer)>>,
}

/// What a gate says of a series.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    pub(super) touched: Option<Touched>,
    /// How long its modules computed for this answer; one that was given before took none.
    pub(super) forward: Duration,
}

impl Default for Gates {
    /// For a reader that is alone.
    fn default() -> Self {
        Self::of_workers(1)
    }
}

impl Gates {
    /// For so many that read side by side, each of them another series.
    #[must_use]
    pub fn of_workers(workers: usize) -> Self {
        Self { most: workers.max(LEAST_KEPT), kept: Mutex::default() }
    }

    /// Asks the package `gate` about a subject, unless it has answered already for the same instances.
    pub(super) fn ask(&self, engine: &Engine, gate: &str, subject: &Subject) -> Result<Answer, EngineError> {
        let manifest = engine.manifest(gate).ok_or_else(|| EngineError::UnknownModel { model: gate.to_owned() })?;
        let key = key(manifest, subject);
        // Held while the gate runs: who asks the same meanwhile gets the same answer, and others wait for the device anyway.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = kept.iter().find(|(other, _)| *other == key) {
            return fitting(Answer { forward: Duration::ZERO, ..answer.clone() }, gate, subject);
        }
        let (prediction, times) = engine.predict_timed(gate, subject.clone(), &Context::default())?;
        let touched = prediction.label_map.map(|map| map.touched());
        let answer = Answer { verdict: prediction.verdict, touched, forward: times.computing };
        kept.truncate(self.most - 1);
        kept.push_front((key, answer.clone()));
        fitting(answer, gate, subject)
    }
}

/// Stands for a gate and the instances that it is asked about. Their UIDs alone do not: collections that were made anonymous
/// hold the same series in several studies.
fn key(gate: &Manifest, subject: &Subject) -> OtherUid {
    let (described, gate) = (subject.described(), gate.content_sha256());
    let source = described.source();
    let mut parts = vec![gate.as_str(), source.study_instance_uid.as_str(), source.series_instance_uid.as_str()];
    parts.extend(source.instances.iter().map(|(_, uid)| uid.as_str()));
    OtherUid::derived(&parts)
}

/// A label map on another grid would choose slices at random.
fn fitting(answer: Answer, gate: &str, subject: &Subject) -> Result<Answer, EngineError> {
    let shape = subject.described().shape();
    match answer.touched.as_ref().filter(|touched| touched.shape != shape) {
        None => Ok(answer),
        Some(touched) => Err(EngineError::WrongOutput {
            model: gate.to_owned(),
            message: format!("its label map is {:?}, the series is {shape:?}", touched.shape),
        }),
    }
}
