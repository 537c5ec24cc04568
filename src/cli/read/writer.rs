//! The last hand: a series that the models have seen becomes its row, its files and a line of the log.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::columns::Columns;
use super::objects;
use super::pipeline::{Seen, guarded};
use super::row::{Answer, Row};
use super::study::SeriesToRead;
use super::table::{Cell, Sheet, Table};
use crate::cli::embeddings::EmbeddingFolder;
use crate::clock::{Timestamp, milliseconds};
use crate::inference::engine::Engine;
use crate::inference::manifest::Manifest;
use crate::inference::prediction::Prediction;
use crate::inference::subject::Described;
use crate::volume::{SourceSeries, slice_number};
use crate::worker::embeddings::{embeddings_of, tensor};
use crate::worker::reading::{Inferred, ReadingError, Signature, Writing, encode};

/// Codes of series that the node would not have given to the model at all: no report says so.
const NOT_ROUTED: [&str; 3] = ["modality", "sop-class", "image-type"];

/// Writes what was seen.
pub(super) struct Writer<'a> {
    pub(super) models: &'a [&'a Manifest],
    pub(super) engine: &'a Engine,
    pub(super) columns: &'a Columns,
    /// What every row says.
    pub(super) notes: &'a [String],
    pub(super) table: Table,
    /// Where DICOM objects go, where they are wanted.
    pub(super) objects: Option<PathBuf>,
    pub(super) embeddings: Option<EmbeddingFolder>,
    pub(super) writing: Writing,
    /// The date of all objects.
    pub(super) date: Timestamp,
    pub(super) count: Count,
}

/// How it went.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    /// Rows of series.
    pub(super) series: usize,
    pub(super) not_suitable: usize,
    pub(super) failed: usize,
    /// Files of which no series is known.
    pub(super) unreadable: usize,
    /// The share of time in which a model ran.
    pub(super) busy: Option<f64>,
}

impl Writer<'_> {
    /// Files first, then the row: what the row says is there.
    ///
    /// # Errors
    /// The table cannot be written. Files that cannot be are a failure of this series.
    pub(super) fn write(&mut self, seen: Seen<'_>) -> Result<(), String> {
        let Seen { series, mut answers, decoding, inferring } = seen;
        let started = Instant::now();
        let (engine, writing, date) = (self.engine, &self.writing, self.date);
        for (model, answer) in self.models.iter().zip(&mut answers) {
            if let Ok(inferred) = answer
                && let Err(error) = files(
                    self.objects.as_deref(),
                    self.embeddings.as_mut(),
                    inferred,
                    &Signature { manifest: model, engine, writing, predecessor: None, date },
                )
            {
                *answer = Err(error);
            }
        }
        let all: Vec<Answer<'_>> =
            self.models.iter().zip(&answers).map(|(manifest, said)| Answer { manifest, said }).collect();
        let row = Row::of(series, &all, self.columns, self.notes);
        let writing = started.elapsed();
        self.slices(series, &all)?;
        self.table.add(Sheet::Series, &row.cells(series, self.columns, decoding + inferring + writing))?;
        self.count(&row);
        let forward = answers.iter().flatten().map(Inferred::forward).sum();
        log(series, &row, [decoding, inferring, forward, writing]);
        Ok(())
    }

    fn count(&mut self, row: &Row) {
        self.count.series += 1;
        self.count.failed += usize::from(!row.errors.is_empty());
        self.count.not_suitable += usize::from(row.pathology == "not suitable");
    }

    /// A row for each slice that was scored.
    fn slices(&mut self, series: &SeriesToRead, answers: &[Answer<'_>]) -> Result<(), String> {
        for answer in answers {
            if let Ok(Inferred::Predicted { described, prediction, .. }) = answer.said {
                for row in slice_rows(series, &answer.manifest.name, described, prediction) {
                    self.table.add(Sheet::Slices, &row)?;
                }
            }
        }
        Ok(())
    }
}

/// Objects and vectors of one model's answer.
fn files(
    folder: Option<&Path>,
    embeddings: Option<&mut EmbeddingFolder>,
    inferred: &Inferred,
    signature: &Signature<'_>,
) -> Result<(), ReadingError> {
    let model = signature.manifest;
    let routed = !matches!(inferred, Inferred::NotSuitable { code, .. } if NOT_ROUTED.contains(code));
    if let Some(folder) = folder.filter(|_| routed) {
        let results = guarded(model, || encode(inferred, signature))?;
        objects::write(folder, source(inferred), &model.name, &results)
            .map_err(|error| ReadingError::File(format!("objects cannot be written: {error}")))?;
    }
    if let (Some(folder), Inferred::Predicted { prediction, .. }) = (embeddings, inferred) {
        let source = source(inferred);
        let of = embeddings_of(&source.study_instance_uid, &source.series_instance_uid, None, model);
        let tensors: Vec<_> = prediction.embeddings.iter().map(tensor).collect();
        folder.add(&of, &tensors).map_err(ReadingError::File)?;
    }
    Ok(())
}

fn source(inferred: &Inferred) -> &SourceSeries {
    match inferred {
        Inferred::Predicted { described, .. } => described.source(),
        Inferred::NotSuitable { source, .. } => source,
    }
}

fn slice_rows(series: &SeriesToRead, model: &str, described: &Described, prediction: &Prediction) -> Vec<Vec<Cell>> {
    let Some(scores) = &prediction.slice_scores else { return Vec::new() };
    let row = |(slice, probability): &(usize, f64)| {
        let frame = described.stack().and_then(|stack| stack.slices.get(*slice)?.as_ref());
        #[expect(clippy::cast_precision_loss, reason = "the number of a slice")]
        let number = described.stack().map_or(slice + 1, |stack| slice_number(*slice, &stack.between)) as f64;
        vec![
            Cell::text(&series.path),
            Cell::text(series.study.as_str()),
            Cell::text(series.series.as_str()),
            Cell::text(model),
            Cell::text(&scores.label),
            Cell::Number(number),
            frame.map_or(Cell::Empty, |frame| Cell::text(frame.sop_instance_uid.as_str())),
            Cell::number(Some(*probability)),
            if *slice == scores.peak { Cell::text("peak") } else { Cell::Empty },
        ]
    };
    scores.scores.iter().map(row).collect()
}

/// One line a series; nothing in it names a patient.
fn log(series: &SeriesToRead, row: &Row, [decoding, inferring, forward, writing]: [Duration; 4]) {
    let (decode_ms, infer_ms, encode_ms) = (milliseconds(decoding), milliseconds(inferring), milliseconds(writing));
    let forward_ms = milliseconds(forward);
    let (study, uid) = (series.study.as_str(), series.series.as_str());
    if row.errors.is_empty() {
        tracing::info!(
            study.uid = study,
            series.uid = uid,
            pathology = row.pathology,
            probability = row.probability,
            missing_percent = row.missing_percent,
            cause = (row.pathology == "not suitable").then(|| row.warnings.join(" ")),
            decode_ms,
            infer_ms,
            forward_ms,
            encode_ms,
            "series read"
        );
    } else {
        tracing::error!(
            study.uid = study,
            series.uid = uid,
            cause = row.errors.join(" "),
            decode_ms,
            infer_ms,
            forward_ms,
            encode_ms,
            "series failed"
        );
    }
}

impl Count {
    /// In one line, of `all` series.
    pub(super) fn summary(&self, all: usize, passed_over: usize, time: Duration, table: &Path) -> String {
        let Self { series, not_suitable, failed, unreadable, busy } = self;
        let mut line = format!("{series} of {all} series in {:.1} s", time.as_secs_f64());
        line.push_str(&format!(": {} read", series - not_suitable - failed));
        for (count, what) in [(not_suitable, "not suitable"), (failed, "failed"), (unreadable, "files unreadable")] {
            if *count > 0 {
                line.push_str(&format!(", {count} {what}"));
            }
        }
        if passed_over > 0 {
            line.push_str(&format!("; {passed_over} other files passed over"));
        }
        if let Some(busy) = busy {
            line.push_str(&format!("; a model ran for {:.0} % of the time", busy * 100.0));
        }
        line.push_str(&format!("; {}", table.display()));
        line
    }
}
