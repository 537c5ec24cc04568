//! Three hands at once: one series is decoded while the one before it is inferred and the one before that is written.
//!
//! Each hand waits until the next one takes what it has, so that no more than three series are in memory. A series for which
//! memory was short all the same is read once more when all others were.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::on_disk::on_disk;
use super::study::SeriesToRead;
use crate::inference::engine::Engine;
use crate::inference::error::{EngineError, panic_text};
use crate::inference::manifest::Manifest;
use crate::worker::reading::{Asked, Gates, Inferred, Prepared, ReadingError, SeriesInstances, infer};

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
        let device = scope.spawn(move || {
            let gates = Gates::default();
            let inferring = Inferring { models, engine, per_slice, gates, used: Use::default(), began: None };
            infer_all(inferring, stop, &to_infer, &seen)
        });
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

/// The second hand, and what it remembers.
struct Inferring<'a> {
    models: &'a [&'a Manifest],
    engine: &'a Engine,
    per_slice: bool,
    gates: Gates,
    used: Use,
    /// When the first series was decoded.
    began: Option<Instant>,
}

impl Inferring<'_> {
    /// What all models say of a series.
    fn series<'s>(&mut self, decoded: Decoded<'s>) -> Seen<'s> {
        let Decoded { series, prepared, time } = decoded;
        let began = *self.began.get_or_insert_with(Instant::now);
        let started = Instant::now();
        let ran = prepared.iter().any(|prepared| matches!(prepared, Ok(Prepared::Subject { .. })));
        let models = self.models;
        let answers = models.iter().zip(prepared).map(|(model, prepared)| self.model(model, prepared?)).collect();
        let inferring = started.elapsed();
        if ran {
            self.used = Use { span: began.elapsed(), busy: self.used.busy + inferring };
        }
        Seen { series, answers, decoding: time, inferring }
    }

    /// What one of them says. One that hangs, or whose gate does, is not run again while that goes on: two runs that hang
    /// end those of all other models too.
    fn model(&self, model: &Manifest, prepared: Prepared) -> Result<Inferred, ReadingError> {
        let engine = self.engine;
        if matches!(prepared, Prepared::Subject { .. }) {
            let gate = model.accepts.gate.as_deref().filter(|gate| engine.hangs(gate));
            let hung = gate.map(|gate| format!("its gate {gate}"));
            if let Some(hung) = hung.or_else(|| engine.hangs(&model.name).then(|| "it".to_owned())) {
                let reason = format!("{hung} hung on an earlier series, and is not run again while that goes on");
                return Err(EngineError::NotServed { model: model.name.clone(), reason }.into());
            }
        }
        let asked = Asked { engine, gates: &self.gates, per_slice: self.per_slice };
        guarded(model, || infer(prepared, model, &asked))
    }
}

fn infer_all<'a>(
    mut inferring: Inferring<'_>,
    stop: &AtomicBool,
    decoded: &Receiver<Decoded<'a>>,
    next: &SyncSender<Seen<'a>>,
) -> Use {
    let mut again = Vec::new();
    for decoded in decoded {
        if stop.load(Ordering::Relaxed) {
            return inferring.used;
        }
        let seen = inferring.series(decoded);
        if lacked_memory(&seen) {
            let uid = seen.series.series.as_str();
            tracing::warn!(series.uid = uid, "memory was short: the series is read again at the end");
            again.push(seen.series);
        } else if next.send(seen).is_err() {
            return inferring.used;
        }
    }
    // Nothing is decoded ahead any more: all memory is for the series at hand.
    for series in again {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let started = Instant::now();
        let prepared = decode(series, inferring.models, inferring.engine);
        let seen = inferring.series(Decoded { series, prepared, time: started.elapsed() });
        if next.send(seen).is_err() {
            break;
        }
    }
    inferring.used
}

fn lacked_memory(seen: &Seen<'_>) -> bool {
    let lacked =
        |error: &EngineError| matches!(error, EngineError::OutOfMemory { .. } | EngineError::MemoryInUse { .. });
    seen.answers.iter().any(|answer| matches!(answer, Err(ReadingError::Engine(error)) if lacked(error)))
}

/// What panics is a fault of ours; the next series is read all the same.
pub(super) fn guarded<T>(model: &Manifest, work: impl FnOnce() -> Result<T, ReadingError>) -> Result<T, ReadingError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic_text(&*panic).to_owned();
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
