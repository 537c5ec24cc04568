//! How a job ends: saved, tried again or failed, and always with its own cause.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::reading::{self, Reading, ReadingError, Signature};
use super::{AFTER_ERROR, Worker, kind_word};
use crate::clock::{backoff, milliseconds};
use crate::dicom::ae::AeTitle;
use crate::dicom::uid::SeriesInstanceUid;
use crate::inference::error::EngineError;
use crate::inference::manifest::Origin;
use crate::results::{ResultObject, ResultSet};
use crate::store::{ClaimedJob, JobEnd, JobId, Lease, NewEmbeddings, NewResult, StoreError};

/// The longest wait between two attempts.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// A job that was not done, by what the log and the next attempt need of it.
pub(super) struct NotDone {
    lease: Lease,
    model: String,
    series: SeriesInstanceUid,
    attempt: u32,
    tries: u32,
    /// In a sentence.
    cause: String,
    /// In a stable word.
    code: &'static str,
    /// Who must act.
    acts: &'static str,
    may_pass: bool,
    /// When this attempt was.
    begun: Instant,
}

impl NotDone {
    fn not_read(job: &ClaimedJob, error: &ReadingError, begun: Instant) -> Self {
        let (model, series) = (job.model_name.clone(), job.series_instance_uid.clone());
        Self {
            lease: job.lease(),
            model,
            series,
            attempt: job.attempt,
            tries: job.tries,
            cause: error.to_string(),
            code: error.code(),
            acts: error.acts(),
            may_pass: error.may_pass(),
            begun,
        }
    }
}

impl Worker {
    /// Ends a job of which the index does not say what there is to read: with a report on what it does say, where it will
    /// not say more another time.
    pub(super) async fn not_prepared(
        &self,
        job: ClaimedJob,
        error: StoreError,
        begun: Instant,
        drained: &CancellationToken,
    ) {
        let readable = self.store.readable_instances(job.series, job.revision).await.unwrap_or_default();
        let files: Vec<PathBuf> = readable.iter().map(|instance| instance.path().to_owned()).collect();
        let error = ReadingError::Index { cause: error.to_string(), may_pass: !error.is_damage() };
        self.not_done(job, error, (begun, &files), drained).await;
    }

    /// Saves what was made of a job, which was begun then from these files; where that cannot be, the job ends with this
    /// cause.
    pub(super) async fn done(
        &self,
        job: ClaimedJob,
        reading: Reading,
        embeddings: Option<NewEmbeddings>,
        (begun, files): (Instant, &[PathBuf]),
        drained: &CancellationToken,
    ) {
        let (lease, model, series) = (job.lease(), job.model_name.clone(), job.series_instance_uid.clone());
        let Reading { outcome, answer, missing_percent, results, times, decoded_early, .. } = reading;
        let count = results.objects.len();
        let (job, withheld) = self.marked(job);
        let (pathology, probability) = answer.unzip();
        let error = match self.store.finish_job(job, &outcome, new_results(results), embeddings, self.clock.now()).await
        {
            Ok(_) => {
                told_withheld(&lease, &model, &withheld);
                return tracing::info!(
                    job.id = %lease.job(), model.name = model, series.uid = %series, outcome,
                    pathology, probability, missing_percent, results = count,
                    assemble_ms = milliseconds(times.assemble), infer_ms = milliseconds(times.infer),
                    forward_ms = milliseconds(times.forward), encode_ms = milliseconds(times.encode), decoded_early,
                    duration_ms = milliseconds(begun.elapsed()), "job done"
                );
            }
            Err(StoreError::LeaseLost(_)) => return lost(&lease),
            Err(error @ StoreError::Unusable(_)) => ReadingError::Unusable(error.to_string()),
            Err(error) => ReadingError::NotSaved(error.to_string()),
        };
        if let Some(job) = self.job_of(&lease, drained).await {
            self.not_done(job, error, (begun, files), drained).await;
        }
    }

    /// The job that the store has taken and could not save; none where it is another's, cannot be read any more, or the node
    /// is stopping: what is not told is taken for a worker that vanished.
    async fn job_of(&self, lease: &Lease, drained: &CancellationToken) -> Option<ClaimedJob> {
        loop {
            match self.store.job_of(lease).await {
                Ok(job) => return Some(job),
                Err(StoreError::LeaseLost(_)) => {
                    lost(lease);
                    return None;
                }
                Err(error) => {
                    tracing::error!(job.id = %lease.job(), %error, "the job that could not be saved cannot be read");
                    if error.is_damage() {
                        return None;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(AFTER_ERROR) => {}
                () = drained.cancelled() => return None,
            }
        }
    }

    /// Ends a job that was begun then and was not read from these files: with a report where it has failed for good and one is
    /// wanted.
    pub(super) async fn not_done(
        &self,
        job: ClaimedJob,
        error: ReadingError,
        (begun, files): (Instant, &[PathBuf]),
        drained: &CancellationToken,
    ) {
        let not_done = NotDone::not_read(&job, &error, begun);
        if self.report_failures && self.is_last(&not_done) && !matches!(error, ReadingError::Mixed(_)) {
            // The job of a later revision says what there is to say; where that cannot be known, this one does.
            let is_outdated = self.store.is_outdated(&job).await.unwrap_or(false);
            let report = if is_outdated { None } else { self.failure_report(&job, error, files).await };
            if let Some(report) = report {
                let (job, withheld) = self.marked(job);
                let saved =
                    self.store.fail_job_with_report(job, &not_done.cause, new_results(report), self.clock.now());
                match saved.await {
                    Ok(_) => {
                        told_withheld(&not_done.lease, &not_done.model, &withheld);
                        return told(&not_done, JobEnd::Failed);
                    }
                    Err(StoreError::LeaseLost(_)) => return lost(&not_done.lease),
                    Err(error) => {
                        tracing::error!(job.id = %not_done.lease.job(), %error, "the report of the failure could not be saved");
                    }
                }
            }
        }
        self.settle(not_done, drained).await;
    }

    /// Ends a job without results. Where the database does not take that, it is told again until it does, the job has
    /// become another's, or the node is stopping: what is not told is taken for a worker that vanished.
    pub(super) async fn settle(&self, not_done: NotDone, drained: &CancellationToken) {
        loop {
            let (now, lease, cause) = (self.clock.now(), &not_done.lease, &not_done.cause);
            let ended = if not_done.may_pass {
                let wait = milliseconds(backoff(not_done.tries, self.jobs.retry, LONGEST_RETRY));
                self.store.retry_lease(lease, cause, now.plus_ms(wait), now).await
            } else {
                self.store.fail_lease(lease, cause, now).await
            };
            match ended {
                Ok(end) => return told(&not_done, end),
                Err(StoreError::LeaseLost(_)) => return lost(lease),
                Err(error) => {
                    tracing::error!(job.id = %lease.job(), %error, cause, "the end of the job could not be recorded");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(AFTER_ERROR) => {}
                () = drained.cancelled() => return,
            }
        }
    }

    pub(super) async fn put_back(&self, job: ClaimedJob, begun: Instant) {
        let (id, model, series) = (job.id(), job.model_name.clone(), job.series_instance_uid.clone());
        match self.store.put_back_job(job, self.clock.now()).await {
            Ok(_) => tracing::info!(
                job.id = %id, model.name = model, series.uid = %series, duration_ms = milliseconds(begun.elapsed()),
                "job put back"
            ),
            Err(error) => not_put_back(id, &error),
        }
    }

    /// Others hold the memory, some of them perhaps while they wait for this very job to end.
    pub(super) async fn put_back_to_run_alone(&self, job: ClaimedJob, error: &EngineError, begun: Instant) {
        let (id, model, series) = (job.id(), job.model_name.clone(), job.series_instance_uid.clone());
        let cause = error.to_string();
        match self.store.put_back_to_run_alone(job, &cause, self.clock.now()).await {
            Ok(_) => tracing::warn!(
                job.id = %id, model.name = model, series.uid = %series, cause,
                duration_ms = milliseconds(begun.elapsed()), "job put back, to be run while no other is"
            ),
            Err(error) => not_put_back(id, &error),
        }
    }

    /// The job with what the package that is served now says of itself, which another one may have said when the job was
    /// queued. Where untrained results may not leave it goes to nobody; who would have got them comes beside it.
    fn marked(&self, mut job: ClaimedJob) -> (ClaimedJob, Vec<AeTitle>) {
        let model = self.engine.manifest(&job.model_name);
        job.untrained = model.is_some_and(|model| model.origin == Origin::Untrained);
        if let Some(model) = model {
            job.model_version.clone_from(&model.version);
            job.model_hash = model.weights_sha256();
        }
        let withheld = job.untrained && !self.allow_untrained;
        let withheld = if withheld { std::mem::take(&mut job.destinations) } else { Vec::new() };
        (job, withheld)
    }

    fn is_last(&self, not_done: &NotDone) -> bool {
        !not_done.may_pass || not_done.tries >= self.jobs.attempts
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

fn not_put_back(job: JobId, error: &StoreError) {
    tracing::error!(job.id = %job, %error, "the job could not be put back; its lease will run out");
}

/// Says that a job is another's by now.
pub(super) fn lost(lease: &Lease) {
    tracing::warn!(job.id = %lease.job(), "the job's lease was lost; its results are dropped");
}

/// Says that results stay here although somebody waits for them.
fn told_withheld(lease: &Lease, model: &str, withheld: &[AeTitle]) {
    if !withheld.is_empty() {
        let destinations: Vec<&str> = withheld.iter().map(AeTitle::as_str).collect();
        tracing::warn!(
            job.id = %lease.job(), model.name = model, ?destinations,
            "results are not sent: the model is untrained, and results.allow_untrained is false"
        );
    }
}

/// Says how a job ended.
fn told(not_done: &NotDone, end: JobEnd) {
    let NotDone { lease, model, series, attempt, cause, code, acts, begun, .. } = not_done;
    let (id, duration_ms) = (lease.job(), milliseconds(begun.elapsed()));
    match end {
        JobEnd::Queued => tracing::warn!(
            job.id = %id, model.name = model, series.uid = %series, attempt, code, cause, duration_ms, "job will be tried again"
        ),
        JobEnd::Superseded => tracing::warn!(
            job.id = %id, model.name = model, series.uid = %series, attempt, code, cause, duration_ms,
            "job was not done; a later revision of the series is read instead"
        ),
        JobEnd::Failed => tracing::error!(
            job.id = %id, model.name = model, series.uid = %series, attempt, code, cause, who = acts, duration_ms, "job failed"
        ),
    }
}

fn new_results(results: ResultSet) -> Vec<NewResult> {
    let kept = |object: ResultObject| NewResult { kind: kind_word(object.kind), file: object.bytes };
    results.objects.into_iter().map(kept).collect()
}
