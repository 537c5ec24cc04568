//! Three hands at once: one series is decoded while the one before it is inferred and the one before that is written.
//!
//! Each hand waits until the next one takes what it has, so that no more than three series are in memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::on_disk::on_disk;
use super::study::SeriesToRead;
use crate::inference::engine::Engine;
use crate::inference::error::EngineError;
use crate::inference::manifest::Manifest;
use crate::worker::reading::{Asked, Gates, Inferred, Prepared, ReadingError, SeriesInstances, infer};

/// Beyond a model's own time limit: its turn on the device.
const ALLOWANCE: Duration = Duration::from_secs(900);

/// A series that all models have seen.
pub(super) struct Seen<'a> {
    pub(super) series: &'a SeriesToRead,
    /// In the order of the models.
    pub(super) answers: Vec<Result<Inferred, ReadingError>>,
    pub(super) decoding: Duration,
    pub(super) inferring: Duration,
}

/// How the device was used.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Use {
    /// From the first series that was decoded to the end of the last run.
    pub(super) span: Duration,
    /// Of that, with a model running.
    pub(super) busy: Duration,
}

impl Use {
    /// 0 to 1; nothing where no model ran.
    pub(super) fn share(&self) -> Option<f64> {
        (!self.busy.is_zero()).then(|| self.busy.as_secs_f64() / self.span.as_secs_f64().max(f64::MIN_POSITIVE))
    }
}

struct Decoded<'a> {
    series: &'a SeriesToRead,
    prepared: Vec<Result<Prepared, ReadingError>>,
    time: Duration,
}

/// Has every model read every series, in order, and gives each to `write` as it comes; ends after the series at hand when
/// `stop` is set; `per_slice`: models that can score each slice do. `write` sets it where nothing more can be written.
pub(super) fn run(
    all: &[SeriesToRead],
    models: &[&Manifest],
    engine: &Engine,
    per_slice: bool,
    stop: &AtomicBool,
    mut write: impl FnMut(Seen<'_>),
) -> Use {
    std::thread::scope(|scope| {
        let (decoded, to_infer) = sync_channel(0);
        let (seen, to_write) = sync_channel(0);
        scope.spawn(move || decode_all(all, models, engine, stop, &decoded));
        let device = scope.spawn(move || infer_all(models, engine, per_slice, stop, &to_infer, &seen));
        for seen in to_write {
            write(seen);
        }
        device.join().unwrap_or_default()
    })
}

fn decode_all<'a>(
    all: &'a [SeriesToRead],
    models: &[&Manifest],
    engine: &Engine,
    stop: &AtomicBool,
    next: &SyncSender<Decoded<'a>>,
) {
    for series in all {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let started = Instant::now();
        let prepared = decode(series, models, engine);
        if next.send(Decoded { series, prepared, time: started.elapsed() }).is_err() {
            return;
        }
    }
}

fn decode(series: &SeriesToRead, models: &[&Manifest], engine: &Engine) -> Vec<Result<Prepared, ReadingError>> {
    let on_disk = match on_disk(&series.sources) {
        Ok(on_disk) => on_disk,
        Err(why) => return models.iter().map(|_| Err(ReadingError::File(why.clone()))).collect(),
    };
    let mut instances = SeriesInstances::from(&on_disk.files[..]);
    models.iter().map(|model| guarded(model, || instances.prepare(model, engine))).collect()
}

fn infer_all<'a>(
    models: &[&Manifest],
    engine: &Engine,
    per_slice: bool,
    stop: &AtomicBool,
    decoded: &Receiver<Decoded<'a>>,
    next: &SyncSender<Seen<'a>>,
) -> Use {
    let mut used = Use::default();
    let mut first = None;
    let gates = Gates::default();
    for Decoded { series, prepared, time } in decoded {
        let began = *first.get_or_insert_with(Instant::now);
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let started = Instant::now();
        let mut ran = false;
        let answers = models.iter().zip(prepared).map(|(model, prepared)| {
            let prepared = prepared?;
            ran |= matches!(prepared, Prepared::Subject(_));
            let deadline = Instant::now() + model.inference.time_limit + ALLOWANCE;
            let asked = Asked { engine, gates: &gates, per_slice, deadline };
            guarded(model, || infer(prepared, model, &asked))
        });
        let answers = answers.collect();
        let inferring = started.elapsed();
        if ran {
            used = Use { span: began.elapsed(), busy: used.busy + inferring };
        }
        if next.send(Seen { series, answers, decoding: time, inferring }).is_err() {
            break;
        }
    }
    used
}

/// What panics is a fault of ours; the next series is read all the same.
pub(super) fn guarded<T>(model: &Manifest, work: impl FnOnce() -> Result<T, ReadingError>) -> Result<T, ReadingError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let message = text.unwrap_or("panic without a message").to_owned();
        Err(ReadingError::Engine(EngineError::Internal { model: model.name.clone(), message }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_the_time_since_the_first_series_was_decoded() {
        let used = Use { span: Duration::from_secs(10), busy: Duration::from_secs(9) };
        assert!((used.share().unwrap() - 0.9).abs() < 1e-12);
        assert_eq!(Use::default().share(), None);
    }
}
