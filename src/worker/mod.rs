//! The job loop: claim → read → finish, the third hand-over. What may pass is tried again, what will not is failed.

pub mod early;

pub mod embeddings;

mod ending;

pub mod reading;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp, milliseconds};
use crate::config::Jobs;
use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};
use crate::inference::engine::Engine;
use crate::inference::error::EngineError;
use crate::results::{DocumentReference, ResultKind};
use crate::store::{ClaimedJob, Lease, NewEmbeddings, Store, StoreError, StoredInstance};
use early::EarlySlices;
use embeddings::{embeddings_of, new_embeddings};
use ending::lost;
use reading::{Assignment, Gates, Reading, ReadingError, Writing};

/// The longest time without a look for jobs: one that waits for its next attempt has become due.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// After the database could not be read or written.
const AFTER_ERROR: Duration = Duration::from_secs(2);

/// A worker and what it needs; clones work side by side.
#[derive(Clone)]
pub struct Worker {
    /// Where jobs come from and results go to.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// How jobs are tried.
    pub jobs: Jobs,
    /// Who runs the models.
    pub engine: Arc<Engine>,
    /// What gates said of the series at hand.
    pub gates: Arc<Gates>,
    /// What goes into every result.
    pub writing: Arc<Writing>,
    /// Whether a job that failed for good leaves a report that says so.
    pub report_failures: bool,
    /// Whether results of untrained models may leave.
    pub allow_untrained: bool,
    /// What was decoded while it arrived.
    pub early: Arc<EarlySlices>,
    /// Cancelled when the engine takes no more work: then only a new process helps.
    pub exhausted: CancellationToken,
}

impl Worker {
    /// Works until `stop`, or until the engine is exhausted; a job that then runs has until `drained` to end, or is put
    /// back.
    pub async fn run(self, stop: CancellationToken, drained: CancellationToken) {
        let mut changed = self.store.jobs_changed();
        while !stop.is_cancelled() && !self.exhausted.is_cancelled() {
            match self.store.claim_job(self.clock.now(), milliseconds(self.jobs.lease)).await {
                Ok(Some(job)) => self.work(job, &drained).await,
                Ok(None) => {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(LONGEST_SLEEP) => {}
                        _ = changed.changed() => {}
                    }
                }
                Err(error @ StoreError::UnreadableJob { .. }) => tracing::error!(%error, "a job failed"),
                Err(error) => {
                    tracing::error!(%error, "no job could be claimed");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
    }

    async fn work(&self, job: ClaimedJob, drained: &CancellationToken) {
        let begun = Instant::now();
        let (lease, model) = (job.lease(), job.model_name.clone());
        let prepared = match self.prepare(&job).await {
            Ok(prepared) => prepared,
            Err(error) => {
                return self.renewing(lease, self.not_prepared(job, error, begun, drained)).await;
            }
        };
        if job.tries > self.jobs.attempts {
            let vanished = ReadingError::Vanished(job.cause.clone());
            return self.renewing(lease, self.not_done(job, vanished, (begun, &prepared.files), drained)).await;
        }
        let (worker, input, date) = (self.clone(), prepared.clone(), job.created_at);
        let reading = tokio::task::spawn_blocking(move || worker.read(&model, input, date));
        let outcome = match attended(reading, self.keep_lease(&lease), drained.cancelled()).await {
            Attended::Ended(joined) => joined,
            Attended::LeaseLost => return lost(&lease),
            Attended::Drained => return self.put_back(job, begun).await,
        };
        let outcome = outcome.unwrap_or_else(|panic| {
            let message = format!("the job panicked: {panic}");
            Err(ReadingError::Engine(EngineError::Internal { model: job.model_name.clone(), message }))
        });
        match outcome {
            Ok((reading, embeddings)) => {
                self.renewing(lease, self.done(job, reading, embeddings, (begun, &prepared.files), drained)).await;
            }
            Err(ReadingError::Engine(error @ EngineError::Exhausted { .. })) => {
                tracing::error!(job.id = %job.id(), %error, "the engine is exhausted");
                self.exhausted.cancel();
                self.put_back(job, begun).await;
            }
            Err(ReadingError::Engine(error @ EngineError::MemoryInUse { .. })) if !job.alone => {
                self.put_back_to_run_alone(job, &error, begun).await;
            }
            Err(error) => self.renewing(lease, self.not_done(job, error, (begun, &prepared.files), drained)).await,
        }
    }

    /// Files and predecessor of a job.
    async fn prepare(&self, job: &ClaimedJob) -> Result<Prepared, StoreError> {
        let instances = self.store.series_instances(job.series, job.revision).await?;
        let predecessors = self.store.predecessors(job).await?;
        Ok(Prepared {
            files: instances.iter().map(|instance| instance.path().to_owned()).collect(),
            predecessor: predecessors.iter().find(|result| is_report(result)).map(reference),
            study: job.study_instance_uid.clone(),
            series_instance: job.series_instance_uid.clone(),
            revision: job.revision,
        })
    }

    fn read(
        &self,
        model: &str,
        prepared: Prepared,
        date: Timestamp,
    ) -> Result<(Reading, Option<NewEmbeddings>), ReadingError> {
        let package = self.engine.served().find(|package| package.manifest().name == model);
        let package = package.ok_or_else(|| EngineError::UnknownModel { model: model.to_owned() })?;
        let manifest = package.manifest();
        let per_slice = self.jobs.per_slice.iter().any(|name| name == model);
        let writing = if per_slice { &self.writing.per_slice() } else { &*self.writing };
        let reading = reading::read(Assignment {
            instances: prepared.files.iter().map(|path| self.early.take(path)).collect::<Vec<_>>().into(),
            manifest,
            engine: &self.engine,
            writing,
            predecessor: prepared.predecessor,
            date,
            gates: &self.gates,
            per_slice,
        })?;
        let of = embeddings_of(&prepared.study, &prepared.series_instance, Some(prepared.revision), manifest);
        let embeddings = new_embeddings(of, &reading.embeddings).map_err(ReadingError::Embeddings)?;
        Ok((reading, embeddings))
    }

    /// Renews the lease; returns only when it is lost.
    async fn keep_lease(&self, lease: &Lease) {
        loop {
            tokio::time::sleep(self.jobs.lease / 3).await;
            match self.store.renew_lease(lease, self.clock.now(), milliseconds(self.jobs.lease)).await {
                Ok(()) => {}
                Err(StoreError::LeaseLost(_)) => return,
                Err(error) => tracing::error!(job.id = %lease.job(), %error, "the job's lease could not be renewed"),
            }
        }
    }

    /// Renews the lease while the job is being ended, which may take long on a slow disk.
    async fn renewing<T>(&self, lease: Lease, ending: impl Future<Output = T>) -> T {
        while_renewing(ending, self.keep_lease(&lease)).await
    }
}

/// What became of a job while its worker attended to it.
enum Attended<T> {
    Ended(T),
    LeaseLost,
    Drained,
}

/// Waits for a reading to end. One whose lease is lost goes on, for nothing stops it; nothing else is begun beside it.
async fn attended<T>(
    reading: impl Future<Output = T>,
    lost: impl Future<Output = ()>,
    drained: impl Future<Output = ()>,
) -> Attended<T> {
    let (mut reading, mut drained) = (std::pin::pin!(reading), std::pin::pin!(drained));
    tokio::select! {
        ended = &mut reading => return Attended::Ended(ended),
        () = lost => {}
        () = &mut drained => return Attended::Drained,
    }
    tokio::select! {
        _ = reading => {}
        () = drained => {}
    }
    Attended::LeaseLost
}

/// Ends a job while its lease is renewed. Whether it is still ours is for the transaction to say that ends it: from then on
/// there is nothing to renew, and a lease that is found lost cuts nothing short.
async fn while_renewing<T>(ending: impl Future<Output = T>, renewing: impl Future<Output = ()>) -> T {
    let mut ending = std::pin::pin!(ending);
    tokio::select! {
        ended = &mut ending => return ended,
        () = renewing => {}
    }
    ending.await
}

/// What a job works on.
#[derive(Debug, Clone)]
struct Prepared {
    files: Vec<PathBuf>,
    predecessor: Option<DocumentReference>,
    study: StudyInstanceUid,
    series_instance: SeriesInstanceUid,
    revision: i64,
}

fn is_report(instance: &StoredInstance) -> bool {
    instance.sop_class_uid().as_str() == dicom_dictionary_std::uids::COMPREHENSIVE3_DSR_STORAGE
}

fn reference(instance: &StoredInstance) -> DocumentReference {
    DocumentReference {
        study_instance_uid: instance.study_instance_uid().clone(),
        series_instance_uid: instance.series_instance_uid().clone(),
        sop_class_uid: instance.sop_class_uid().clone(),
        sop_instance_uid: instance.sop_instance_uid().clone(),
    }
}

/// What an object is, in the word that the database and file names have.
#[must_use]
pub const fn kind_word(kind: ResultKind) -> &'static str {
    match kind {
        ResultKind::Segmentation => "segmentation",
        ResultKind::ParametricMap => "parametric map",
        ResultKind::Report => "report",
        ResultKind::FailureReport => "failure report",
    }
}

#[cfg(test)]
mod tests;
