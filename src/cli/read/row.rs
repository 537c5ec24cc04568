//! What the models said of a series, in a row. «Nothing found», «not suitable» and «failed» can be told apart.

use std::time::Duration;

use super::columns::{Columns, Given};
use super::study::SeriesToRead;
use super::table::Cell;
use crate::inference::manifest::{Manifest, Origin};
use crate::inference::prediction::{Decision, Finding, Prediction, Verdict};
use crate::worker::reading::{Inferred, ReadingError};

/// Codes of series that are not suitable because they are damaged, or coded as overread cannot read: failures, for
/// whoever wants every series read.
const UNREADABLE: [&str; 8] = [
    "unreadable-instance",
    "undecodable",
    "undescribed-frames",
    "no-pixel-data",
    "pixel-format",
    "transfer-syntax",
    "too-large",
    "image-too-large",
];
/// Codes that say no more than that a model is for something else.
const OTHER_KIND: [&str; 4] = ["modality", "sop-class", "no-cross-sections", "no-radiographs"];

/// What one model said of a series.
pub(super) struct Answer<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) said: &'a Result<Inferred, ReadingError>,
}

/// A row before it is cells.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Row {
    pub(super) probability: Option<f64>,
    /// `pathology`, `normal`, `uncertain`, `not suitable`, or nothing where no model says.
    pub(super) pathology: &'static str,
    pub(super) missing_percent: Option<f64>,
    pub(super) warnings: Vec<String>,
    /// A row without errors is a success.
    pub(super) errors: Vec<String>,
    /// Column and what stands there.
    given: Vec<(usize, Cell)>,
}

impl Row {
    /// Puts together what all models said; `general`: what is to be known whatever they said.
    pub(super) fn of(series: &SeriesToRead, answers: &[Answer<'_>], columns: &Columns, general: &[String]) -> Self {
        let mut row = Self::default();
        if series.repeated > 0 {
            row.warnings.push(format!("{} instances were found more than once.", series.repeated));
        }
        let mut refusals: Vec<(&str, &str, &str)> = Vec::new();
        let mut pathology: Option<&Finding> = None;
        let mut read = 0;
        for (index, answer) in answers.iter().enumerate() {
            let name = &*answer.manifest.name;
            let missing = answer.said.as_ref().ok().and_then(Inferred::missing_percent);
            row.missing_percent = missing.into_iter().chain(row.missing_percent).reduce(f64::max);
            match answer.said {
                Err(error) => row.errors.push(format!("{name}: {error}")),
                Ok(Inferred::NotSuitable { code, reason, .. }) if UNREADABLE.contains(code) => {
                    row.errors.push(format!("{name}: {code}: {reason}"));
                }
                Ok(Inferred::NotSuitable { code, reason, .. }) => refusals.push((name, code, reason)),
                Ok(Inferred::Predicted { described, prediction, .. }) => {
                    row.warn(described.warnings().iter().cloned());
                    row.warn(prediction.warnings.iter().cloned());
                    if let Verdict::NotSuitable { code, reason } = &prediction.verdict {
                        refusals.push((name, code, reason));
                        continue;
                    }
                    read += 1;
                    row.take_prediction(index, answer.manifest, prediction, columns);
                    pathology = prediction.pathology().into_iter().chain(pathology).max_by(worse);
                }
            }
        }
        row.take_refusals(&refusals, read);
        row.warn(general.iter().cloned());
        if let Some(finding) = pathology {
            row.probability = Some(finding.probability);
            row.pathology = finding.decision.word();
        } else if read == 0 && row.errors.is_empty() {
            row.pathology = "not suitable";
        }
        one_for_all(&mut row.errors, answers.len());
        row
    }

    fn take_prediction(&mut self, model: usize, manifest: &Manifest, prediction: &Prediction, columns: &Columns) {
        for finding in &prediction.findings {
            self.give(
                columns.place(model, Given::Finding(finding.label.clone())),
                Cell::number(Some(finding.probability)),
            );
            if finding.decision == Decision::Uncertain {
                self.warnings.push(format!("{}: uncertain ({:.3}).", finding.label, finding.probability));
            }
        }
        for group in &prediction.measurement_groups {
            for measurement in &group.measurements {
                let given = Given::Measurement(group.label.clone(), measurement.label.clone());
                self.give(columns.place(model, given), Cell::number(measurement.value));
            }
        }
        if let Some(text) = &prediction.text {
            self.give(columns.place(model, Given::Text), Cell::text(&text.text));
        }
        if manifest.origin == Origin::Untrained {
            self.warnings.push(format!("{} is untrained: its numbers mean nothing.", manifest.name));
        }
    }

    fn give(&mut self, place: Option<usize>, cell: Cell) {
        self.given.extend(place.map(|place| (place, cell)));
    }

    /// Where another model has read the series, one that is for something else has nothing to say.
    fn take_refusals(&mut self, refusals: &[(&str, &str, &str)], read: usize) {
        let all_the_same = refusals.windows(2).all(|pair| (pair[0].1, pair[0].2) == (pair[1].1, pair[1].2));
        for (name, code, reason) in refusals {
            match read {
                0 if all_the_same => self.warn([format!("not suitable ({code}): {reason}")]),
                0 => self.warn([format!("not suitable for {name} ({code}): {reason}")]),
                _ if OTHER_KIND.contains(code) => {}
                _ => self.warn([format!("not suitable for {name} ({code}): {reason}")]),
            }
        }
    }

    /// Each warning once, however many models give it.
    fn warn(&mut self, warnings: impl IntoIterator<Item = String>) {
        for warning in warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    /// The row as the table has it.
    pub(super) fn cells(&self, series: &SeriesToRead, columns: &Columns, time: Duration) -> Vec<Cell> {
        let mut cells = vec![Cell::Empty; columns.names.len()];
        let identity = [&*series.path, series.study.as_str(), series.series.as_str()];
        for (cell, text) in cells.iter_mut().zip(identity) {
            *cell = Cell::text(text);
        }
        cells[3] = Cell::number(self.probability);
        cells[4] = Cell::text(self.pathology);
        cells[5] = Cell::text(self.status());
        cells[6] = Cell::Number((time.as_secs_f64() * 1e3).round() / 1e3);
        for (place, cell) in &self.given {
            cells[*place] = cell.clone();
        }
        let last = cells.len() - 3;
        cells[last] = Cell::number(self.missing_percent);
        cells[last + 1] = Cell::text(self.warnings.join(" "));
        cells[last + 2] = Cell::text(self.errors.join(" "));
        cells
    }

    pub(super) fn status(&self) -> &'static str {
        if self.errors.is_empty() { "Success" } else { "Failure" }
    }
}

/// The row of a place in which files could not be read, and no series is known; `general`: what is to be known all the same.
pub(super) fn unreadable(place: &str, why: &str, general: &[String], columns: &Columns) -> Vec<Cell> {
    let mut cells = vec![Cell::Empty; columns.names.len()];
    cells[0] = Cell::text(place);
    cells[5] = Cell::text("Failure");
    let last = cells.len() - 1;
    cells[last - 1] = Cell::text(general.join(" "));
    cells[last] = Cell::text(why);
    cells
}

/// Presence counts more than doubt, and doubt more than absence; then the larger probability.
fn worse(one: &&Finding, other: &&Finding) -> std::cmp::Ordering {
    let rank = |finding: &Finding| match finding.decision {
        Decision::Absent => 0,
        Decision::Uncertain => 1,
        Decision::Present => 2,
    };
    rank(one).cmp(&rank(other)).then(one.probability.total_cmp(&other.probability))
}

/// What every model failed with is said once, without their names.
fn one_for_all(errors: &mut Vec<String>, models: usize) {
    let bare = |error: &String| error.split_once(": ").map_or_else(|| error.clone(), |(_, what)| what.to_owned());
    let Some(first) = errors.first().map(bare) else { return };
    if errors.len() == models && errors.iter().all(|error| bare(error) == first) {
        *errors = vec![first];
    }
}

#[cfg(test)]
mod tests;
