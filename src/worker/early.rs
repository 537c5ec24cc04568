//! Compressed slices are decoded while the rest of their series still arrives: a spare-time job. What it has done saves the
//! worker that much; what it has not done, or what a crash has taken, the worker does itself.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::store::{InstanceKey, SeriesKey, Store, StoreError};
use crate::volume::{DecodedInstance, InstanceSource, decode_instance};

/// What no job has asked for in this time is let go of.
const KEPT: Duration = Duration::from_secs(900);
/// After the database could not be read.
const AFTER_ERROR: Duration = Duration::from_secs(2);
/// After something has arrived, more does: one look for all of it, so that receiving hardly notices.
const GATHER: Duration = Duration::from_millis(250);
/// Instances looked up at a time.
const PAGE: u32 = 64;

/// Slices that were decoded before a job asked for them, by their files, up to a limit of memory.
#[derive(Debug)]
pub struct EarlySlices {
    most_bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: usize,
    slices: HashMap<PathBuf, KeptSlice>,
}

#[derive(Debug)]
struct KeptSlice {
    slice: Arc<DecodedInstance>,
    series: SeriesKey,
    since: Timestamp,
}

impl EarlySlices {
    /// An empty place for so many bytes of pixels and headers.
    #[must_use]
    pub fn new(most_bytes: usize) -> Self {
        Self { most_bytes, kept: Mutex::default() }
    }

    /// The instance of a file, with its pixels where they are there; they are given away only once.
    #[must_use]
    pub fn take(&self, path: &Path) -> InstanceSource {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.slices.remove(path) {
            Some(KeptSlice { slice, .. }) => {
                kept.bytes -= slice.bytes();
                InstanceSource::Decoded(slice)
            }
            None => InstanceSource::File(path.to_owned()),
        }
    }

    /// How many slices are there.
    #[must_use]
    pub fn count(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).slices.len()
    }

    /// How many bytes more may be kept.
    fn room(&self) -> usize {
        self.most_bytes.saturating_sub(self.kept.lock().unwrap_or_else(PoisonError::into_inner).bytes)
    }

    /// Of which series there are slices.
    fn series(&self) -> BTreeSet<SeriesKey> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).slices.values().map(|kept| kept.series).collect()
    }

    /// Lets go of what no job has asked for in time, and of series that no job will ask for.
    fn forget(&self, awaited: &BTreeSet<SeriesKey>, now: Timestamp) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.slices.retain(|_, slice| slice.since.plus(KEPT) > now && awaited.contains(&slice.series));
        kept.bytes = kept.slices.values().map(|kept| kept.slice.bytes()).sum();
    }

    fn put(&self, path: PathBuf, slice: DecodedInstance, series: SeriesKey, since: Timestamp) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += slice.bytes();
        if let Some(before) = kept.slices.insert(path, KeptSlice { slice: Arc::new(slice), series, since }) {
            kept.bytes -= before.slice.bytes();
        }
    }
}

/// The loop that fills [`EarlySlices`] with what arrives compressed and some model may read.
#[derive(Debug, Clone)]
pub struct EarlyDecoder {
    /// Where instances arrive.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Modalities that a model with a route reads.
    pub modalities: Vec<String>,
    /// Where slices go.
    pub slices: Arc<EarlySlices>,
    /// What comes after this one is decoded.
    pub last: InstanceKey,
}

impl EarlyDecoder {
    /// Decodes what arrives, one instance at a time, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        if self.modalities.is_empty() {
            return;
        }
        let mut changed = self.store.series_changed();
        while !stop.is_cancelled() {
            match self.look(&stop).await {
                Ok(()) => tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(KEPT) => {}
                    _ = changed.changed() => tokio::time::sleep(GATHER).await,
                },
                Err(error) => {
                    tracing::error!(%error, "arriving instances could not be looked up for decoding");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
    }

    /// Decodes everything that has arrived since the last look, as far as there is room, and lets go of what no job will
    /// ask for: of series that no route reads, or whose jobs have begun.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn look(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        let awaited = self.store.series_awaited(&self.slices.series()).await?;
        self.slices.forget(&awaited, self.clock.now());
        loop {
            let arrived = self.store.compressed_arrivals(self.last, &self.modalities, PAGE).await?;
            for instance in &arrived.instances {
                if stop.is_cancelled() {
                    return Ok(());
                }
                self.last = instance.key();
                self.decode(instance.path().to_owned(), instance.series_key()).await;
            }
            let Some(last) = arrived.last else { return Ok(()) };
            self.last = last;
        }
    }

    async fn decode(&self, path: PathBuf, series: SeriesKey) {
        let (source, room) = (InstanceSource::File(path.clone()), self.slices.room());
        if room == 0 {
            return;
        }
        // What cannot be decoded is reported by the job that reads the series.
        if let Ok(Ok(Some(slice))) = tokio::task::spawn_blocking(move || decode_instance(source, room)).await {
            self.slices.put(path, slice, series, self.clock.now());
        }
    }
}
