//! A package that runs before another one: once for each revision of a series, whoever asks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::inference::engine::Engine;
use crate::inference::error::EngineError;
use crate::inference::prediction::{LabelMap, Verdict};
use crate::inference::subject::{Context, Subject};

/// Answers that are kept: label maps are large, and jobs of one series follow each other closely.
const KEPT: usize = 2;

/// What gates said of the series that were asked about last.
#[derive(Debug, Default)]
pub struct Gates(Mutex<VecDeque<(Key, Answer)>>);

#[derive(Debug, PartialEq, Eq)]
struct Key {
    series: String,
    gate: String,
}

/// What a gate says of a series.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    pub(super) label_map: Option<Arc<LabelMap>>,
}

impl Gates {
    /// Asks the package `gate` about a subject, unless it has answered already for `series` (and its revision).
    pub(super) fn ask(
        &self,
        engine: &Engine,
        gate: &str,
        series: &str,
        subject: &Subject,
        deadline: Instant,
    ) -> Result<Answer, EngineError> {
        let key = Key { series: series.to_owned(), gate: gate.to_owned() };
        // Held while the gate runs: who asks the same meanwhile gets the same answer, and others wait for the device anyway.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = kept.iter().find(|(other, _)| *other == key) {
            return Ok(answer.clone());
        }
        let prediction = engine.predict(gate, subject, &Context::default(), deadline)?;
        let answer = Answer { verdict: prediction.verdict, label_map: prediction.label_map.map(Arc::new) };
        kept.truncate(KEPT - 1);
        kept.push_front((key, answer.clone()));
        Ok(answer)
    }
}
