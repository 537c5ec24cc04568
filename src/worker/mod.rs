//! The job loop: claim → read → finish, the third hand-over. What may pass is tried again, what will not is failed.

pub mod early;

pub mod embeddings;

pub mod reading;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp, backoff, milliseconds};
use crate::config::Jobs;
use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};
use crate::inference::engine::Engine;
use crate::inference::error::EngineError;
use crate::results::{DocumentReference, ResultKind, ResultObject, ResultSet};
use crate::store::{ClaimedJob, JobEnd, Lease, NewEmbeddings, NewResult, Store, StoreError, StoredInstance};
use early::EarlySlices;
use embeddings::{embeddings_of, new_embeddings};
use reading::{Assignment, Gates, Reading, ReadingError, Signature, Writing};

/// The longest time without a look for jobs: one that waits for its next attempt has become due.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// After the database could not be read or written.
const AFTER_ERROR: Duration = Duration::from_secs(2);
/// The longest wait between two attempts.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

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
                Err(error) => {
                    tracing::error!(%error, "no job could be claimed");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
    }

    async fn work(&self, job: ClaimedJob, drained: &CancellationToken) {
        let begun = Instant::now();
        let (id, model, series) = (job.id(), job.model_name.clone(), job.series_instance_uid.clone());
        let prepared = match self.prepare(&job).await {
            Ok(prepared) => prepared,
            Err(error) => {
                tracing::error!(job.id = %id, %error, "the job's series could not be looked up");
                tokio::time::sleep(AFTER_ERROR).await;
                return self.put_back(job).await;
            }
        };
        let lease = job.lease();
        let worker = self.clone();
        let date = job.created_at;
        let input = prepared.clone();
        let name = model.clone();
        let reading = tokio::task::spawn_blocking(move || worker.read(&name, input, date));
        let outcome = tokio::select! {
            joined = reading => joined,
            () = self.keep_lease(&lease) => {
                return tracing::warn!(job.id = %id, "the job's lease was lost; its results are dropped");
            }
            () = drained.cancelled() => return self.put_back(job).await,
        };
        let outcome = outcome.unwrap_or_else(|panic| {
            let message = format!("the job panicked: {panic}");
            Err(ReadingError::Engine(EngineError::Internal { model: model.clone(), message }))
        });
        let ended = match outcome {
            Ok((reading, embeddings)) => {
                let Reading { outcome, results, times, decoded_early, .. } = reading;
                let count = results.objects.len();
                let (results, now) = (new_results(results), self.clock.now());
                let saved = self.store.finish_job(job, &outcome, results, embeddings, now);
                let saved = self.renewing(lease, saved).await;
                saved.map(|_| {
                    tracing::info!(
                        job.id = %id, model.name = model, series.uid = %series, outcome, results = count,
                        assemble_ms = milliseconds(times.assemble), infer_ms = milliseconds(times.infer),
                        forward_ms = milliseconds(times.forward),
                        encode_ms = milliseconds(times.encode), decoded_early, duration_ms = milliseconds(begun.elapsed()),
                        "job done"
                    );
                })
            }
            Err(ReadingError::Engine(error @ EngineError::Exhausted { .. })) => {
                tracing::error!(job.id = %id, %error, "the engine is exhausted");
                self.exhausted.cancel();
                return self.put_back(job).await;
            }
            Err(ReadingError::Engine(error @ EngineError::MemoryInUse { .. })) if !job.alone => {
                self.put_back_to_run_alone(job, &error).await
            }
            Err(error) => self.renewing(lease, self.not_done(job, error, &prepared.files)).await,
        };
        if let Err(error) = ended {
            tracing::error!(job.id = %id, %error, "the end of the job could not be recorded; its lease will run out");
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

    async fn put_back(&self, job: ClaimedJob) {
        let id = job.id();
        match self.store.put_back_job(job, self.clock.now()).await {
            Ok(_) => tracing::info!(job.id = %id, "job put back"),
            Err(error) => {
                tracing::error!(job.id = %id, %error, "the job could not be put back; its lease will run out")
            }
        }
    }

    /// Others hold the memory, some of them perhaps while they wait for this very job to end.
    async fn put_back_to_run_alone(&self, job: ClaimedJob, error: &EngineError) -> Result<(), StoreError> {
        let (id, cause) = (job.id(), error.to_string());
        self.store.put_back_to_run_alone(job, &cause, self.clock.now()).await?;
        tracing::warn!(job.id = %id, cause, "job put back, to be run while no other is");
        Ok(())
    }

    async fn not_done(&self, job: ClaimedJob, error: ReadingError, files: &[PathBuf]) -> Result<(), StoreError> {
        let (id, model, series, attempt) =
            (job.id(), job.model_name.clone(), job.series_instance_uid.clone(), job.attempt);
        let (cause, code, who) = (error.to_string(), error.code(), error.acts());
        let last = !error.may_pass() || job.tries >= self.jobs.attempts;
        let speaks_of_one = !matches!(error, ReadingError::Mixed(_));
        let report = if last && self.report_failures && speaks_of_one {
            self.failure_report(&job, error, files).await
        } else {
            None
        };
        let now = self.clock.now();
        let end = match report {
            Some(report) => {
                self.store.fail_job_with_report(job, &cause, new_results(report), now).await?;
                JobEnd::Failed
            }
            None if last => self.store.fail_job(job, &cause, now).await?,
            None => {
                let wait = milliseconds(backoff(job.tries, self.jobs.retry, LONGEST_RETRY));
                self.store.retry_job(job, &cause, now.plus_ms(wait), now).await?
            }
        };
        match end {
            JobEnd::Queued => tracing::warn!(
                job.id = %id, model.name = model, series.uid = %series, attempt, code, cause, "job will be tried again"
            ),
            JobEnd::Superseded => tracing::warn!(
                job.id = %id, model.name = model, series.uid = %series, attempt, code, cause,
                "job was not done; a later revision of the series is read instead"
            ),
            JobEnd::Failed => tracing::error!(
                job.id = %id, model.name = model, series.uid = %series, attempt, code, cause, who, "job failed"
            ),
        }
        Ok(())
    }

    /// The report of a failure, where one can be written. What failed may fail here as well, and panic: then there is none.
    async fn failure_report(&self, job: &ClaimedJob, error: ReadingError, files: &[PathBuf]) -> Option<ResultSet> {
        let (worker, model, date, files) = (self.clone(), job.model_name.clone(), job.created_at, files.to_vec());
        let written = tokio::task::spawn_blocking(move || {
            let package = worker.engine.served().find(|package| package.manifest().name == model);
            let package = package.ok_or(EngineError::UnknownModel { model })?;
            let manifest = package.manifest();
            let writing = &worker.writing;
            let signature = Signature { manifest, engine: &worker.engine, writing, predecessor: None, date };
            reading::report_failure(&files, &signature, &error)
        });
        let cause = match written.await {
            Ok(Ok(report)) => return Some(report),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        tracing::error!(job.id = %job.id(), cause, "the failure could not be reported");
        None
    }
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

fn new_results(results: ResultSet) -> Vec<NewResult> {
    let kept = |object: ResultObject| NewResult { kind: kind_word(object.kind), file: object.bytes };
    results.objects.into_iter().map(kept).collect()
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
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_is_renewed_while_its_job_ends_and_losing_it_cuts_nothing_short() {
        let (renewed, wait) = tokio::sync::oneshot::channel();
        let ending = async {
            // Comes only where renewing goes on beside it.
            let renewed = wait.await;
            tokio::task::yield_now().await;
            renewed.is_ok()
        };
        let renewing = async { renewed.send(()).unwrap() };
        assert!(while_renewing(ending, renewing).await);
    }
}
