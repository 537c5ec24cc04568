//! Jobs: claimed under a lease, renewed, ended. The third hand-over, a job that is done, is in [`super::finish`].
//!
//! Attempts are counted when a job is claimed, so that a job that takes the process down with it ends as well.

use std::collections::HashSet;
use std::sync::PoisonError;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Row};

use super::Store;
use super::error::StoreError;
use super::ids::{JobId, SeriesKey};
use super::instance::{COLUMNS, StoredInstance, TABLES, from_row, uid};
use super::series::split_titles;
use crate::clock::Timestamp;
use crate::dicom::ae::AeTitle;
use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};

/// A job that is this worker's until the lease runs out. Not to be copied: there is one.
#[derive(Debug)]
pub struct ClaimedJob {
    pub(super) id: JobId,
    pub(super) token: String,
    /// The series to read.
    pub series: SeriesKey,
    /// Study Instance UID.
    pub study_instance_uid: StudyInstanceUid,
    /// Series Instance UID.
    pub series_instance_uid: SeriesInstanceUid,
    /// Which revision of it: [`Store::series_instances`] gives exactly its instances.
    pub revision: i64,
    /// From 1, as the log has it.
    pub attempt: u32,
    /// How often it has been tried with this attempt; those that were put back do not count.
    pub tries: u32,
    /// Name of the model package.
    pub model_name: String,
    /// Its version when the job was queued.
    pub model_version: String,
    /// SHA-256 of its weights when the job was queued.
    pub model_hash: String,
    /// Index of the `[[route]]` that asked for it.
    pub route: u32,
    /// Who gets the results.
    pub destinations: Vec<AeTitle>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// Whether no other job runs beside it, because there was too little memory before: [`Store::put_back_to_run_alone`].
    pub alone: bool,
}

/// What renews a job's time while it is being ended, which takes the job itself.
#[derive(Debug, Clone)]
pub struct Lease {
    job: JobId,
    token: String,
}

impl Lease {
    /// Of which job.
    #[must_use]
    pub const fn job(&self) -> JobId {
        self.job
    }
}

impl ClaimedJob {
    /// To renew it with.
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease { job: self.id, token: self.token.clone() }
    }

    /// Its number, as the log has it.
    #[must_use]
    pub const fn id(&self) -> JobId {
        self.id
    }
}

/// What becomes of a job that was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// It is queued again.
    Queued,
    /// It has been tried often enough.
    Failed,
    /// There is a job of a later revision by now, which reads all there is.
    Superseded,
}

/// How an attempt ended, as the database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Retry,
    Failed,
    PutBack,
    PutBackAlone,
    LeaseLost,
}

impl Ending {
    const fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Failed => "failed",
            Self::PutBack | Self::PutBackAlone => "put back",
            Self::LeaseLost => "lease lost",
        }
    }
}

/// The next job, unless it must wait for those that run: it or one of them runs alone, or is under suspicion. Two revisions of a
/// series are never read by one model side by side.
const CLAIM: &str = "UPDATE job SET state = 'running', attempts = attempts + 1, lease_token = $1, lease_owner = $2, \
     lease_expires_at = $3 WHERE job_id = \
     (SELECT job_id FROM \
        (SELECT job_id, alone FROM job WHERE state = 'queued' AND not_before <= $4 AND NOT EXISTS \
            (SELECT 1 FROM job AS earlier WHERE earlier.series_key = job.series_key \
             AND earlier.model_name = job.model_name AND earlier.state = 'running') \
         ORDER BY attempts - put_back, job_id LIMIT 1) \
        AS next WHERE NOT EXISTS \
        (SELECT 1 FROM job AS running WHERE running.state = 'running' AND (next.alone OR running.alone OR EXISTS \
            (SELECT 1 FROM job_attempt WHERE job_attempt.job_id IN (next.job_id, running.job_id) \
             AND job_attempt.ending = 'lease lost')))) RETURNING job_id";

/// Jobs that wait, and for whose series and model there is one of a later revision: that one reads all there is.
const SUPERSEDE: &str = "UPDATE job SET state = 'done', ended_at = $1, outcome = 'superseded by revision ' || \
     (SELECT max(later.revision) FROM job AS later WHERE later.series_key = job.series_key \
      AND later.model_name = job.model_name) \
     WHERE state = 'queued' AND EXISTS (SELECT 1 FROM job AS later WHERE later.series_key = job.series_key \
         AND later.model_name = job.model_name AND later.revision > job.revision) RETURNING job_id";

/// Why a job was taken from its worker.
const PROCESS_ENDED: &str = "the node ended while the job was running";
const LEASE_RAN_OUT: &str = "nothing was heard of the worker until the lease ran out";

impl Store {
    /// Gives the next job to this worker until `now` + `lease_ms`: those tried least first, then in the order in which
    /// they were queued, so that one that fails again and again holds nobody up. Jobs whose lease ran out are queued
    /// again before, or have failed where they were tried often enough. A job that was running when its worker vanished
    /// may be why: it runs alone from then on, so that it takes no other with it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn claim_job(&self, now: Timestamp, lease_ms: i64) -> Result<Option<ClaimedJob>, StoreError> {
        let mut connection = self.inner.writer.lock().await;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        for job in self.run_out(&mut transaction, now).await? {
            self.take_back(&mut transaction, job, LEASE_RAN_OUT, now).await?;
        }
        let token = uuid::Uuid::new_v4().to_string();
        let claimed = sqlx::query(CLAIM)
            .bind(&token)
            .bind(&self.inner.boot)
            .bind(now.plus_ms(lease_ms).0)
            .bind(now.0)
            .fetch_optional(&mut *transaction)
            .await?;
        let job = match claimed {
            Some(row) => Some(self.begin_attempt(&mut transaction, row.try_get("job_id")?, token, now).await?),
            None => None,
        };
        transaction.commit().await?;
        if let Some(job) = &job {
            self.lease(job.id, lease_ms);
        }
        Ok(job)
    }

    /// Notes until when a job is this process's worker's, on a clock that nobody sets.
    fn lease(&self, job: JobId, lease_ms: i64) {
        let until = self.inner.clock.steady_ms().saturating_add(lease_ms);
        self.inner.leases.lock().unwrap_or_else(PoisonError::into_inner).insert(job, until);
    }

    /// The jobs whose lease ran out. Those of this process are judged by a clock that nobody sets: a step of the system's
    /// takes nothing from a worker that is well.
    async fn run_out(&self, connection: &mut SqliteConnection, now: Timestamp) -> Result<Vec<JobId>, StoreError> {
        let running =
            sqlx::query("SELECT job_id, lease_owner = $1 AS is_own, lease_expires_at FROM job WHERE state = 'running'")
                .bind(&self.inner.boot)
                .fetch_all(connection)
                .await?;
        let steady = self.inner.clock.steady_ms();
        let mut leases = self.inner.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let mut jobs = HashSet::new();
        let mut run_out = Vec::new();
        for row in running {
            let job: JobId = row.try_get("job_id")?;
            let until = leases.get(&job).copied().filter(|_| row.try_get("is_own").unwrap_or(false));
            let is_over = match until {
                Some(until) => until <= steady,
                None => row.try_get::<Option<i64>, _>("lease_expires_at")?.is_none_or(|at| at <= now.0),
            };
            if is_over {
                run_out.push(job);
            } else {
                jobs.insert(job);
            }
        }
        leases.retain(|job, _| jobs.contains(job));
        Ok(run_out)
    }

    async fn begin_attempt(
        &self,
        connection: &mut SqliteConnection,
        job: JobId,
        token: String,
        now: Timestamp,
    ) -> Result<ClaimedJob, StoreError> {
        sqlx::query(
            "INSERT INTO job_attempt (job_id, attempt, owner, started_at) \
             SELECT job_id, attempts, $1, $2 FROM job WHERE job_id = $3",
        )
        .bind(&self.inner.boot)
        .bind(now.0)
        .bind(job)
        .execute(&mut *connection)
        .await?;
        let row = sqlx::query(
            "SELECT job.*, job.attempts - job.put_back AS tries, series.series_instance_uid, study.study_instance_uid FROM job \
             JOIN series ON series.series_key = job.series_key JOIN study ON study.study_key = series.study_key \
             WHERE job.job_id = $1",
        )
        .bind(job)
        .fetch_one(&mut *connection)
        .await?;
        claimed_job(&row, token)
    }

    /// Keeps a job for `lease_ms` more, from `now`.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`]: stop working on it.
    pub async fn renew_job(&self, job: &ClaimedJob, now: Timestamp, lease_ms: i64) -> Result<(), StoreError> {
        self.renew_lease(&job.lease(), now, lease_ms).await
    }

    /// As [`Self::renew_job`].
    ///
    /// # Errors
    /// As [`Self::renew_job`]; also when the job has ended.
    pub async fn renew_lease(&self, lease: &Lease, now: Timestamp, lease_ms: i64) -> Result<(), StoreError> {
        let renewed = sqlx::query(
            "UPDATE job SET lease_expires_at = $1 WHERE job_id = $2 AND lease_token = $3 AND state = 'running'",
        )
        .bind(now.plus_ms(lease_ms).0)
        .bind(lease.job)
        .bind(&lease.token)
        .execute(&mut *self.inner.writer.lock().await)
        .await?;
        if renewed.rows_affected() == 0 {
            return Err(StoreError::LeaseLost(lease.job));
        }
        self.lease(lease.job, lease_ms);
        Ok(())
    }

    /// The cause may pass: queues the job again for `not_before`, unless it has been tried often enough.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or when the database cannot be written.
    pub async fn retry_job(
        &self,
        job: ClaimedJob,
        cause: &str,
        not_before: Timestamp,
        now: Timestamp,
    ) -> Result<JobEnd, StoreError> {
        self.end_unfinished(job, Ending::Retry, cause, not_before, now).await
    }

    /// The cause will not pass: the job has failed.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or when the database cannot be written.
    pub async fn fail_job(&self, job: ClaimedJob, cause: &str, now: Timestamp) -> Result<JobEnd, StoreError> {
        self.end_unfinished(job, Ending::Failed, cause, now, now).await
    }

    /// The node is stopping: queues the job again; this attempt does not count.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or when the database cannot be written.
    pub async fn put_back_job(&self, job: ClaimedJob, now: Timestamp) -> Result<JobEnd, StoreError> {
        self.end_unfinished(job, Ending::PutBack, "the node was stopped", now, now).await
    }

    /// There is too little memory beside other jobs: queues the job again, to run when no other does; this attempt does not
    /// count.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or when the database cannot be written.
    pub async fn put_back_to_run_alone(
        &self,
        job: ClaimedJob,
        cause: &str,
        now: Timestamp,
    ) -> Result<JobEnd, StoreError> {
        self.end_unfinished(job, Ending::PutBackAlone, cause, now, now).await
    }

    async fn end_unfinished(
        &self,
        job: ClaimedJob,
        ending: Ending,
        cause: &str,
        not_before: Timestamp,
        now: Timestamp,
    ) -> Result<JobEnd, StoreError> {
        let mut connection = self.inner.writer.lock().await;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        check_lease(&mut transaction, &job).await?;
        let end = self.end_attempt(&mut transaction, job.id, ending, cause, not_before, now).await?;
        transaction.commit().await?;
        drop(connection);
        self.inner.changes.jobs.send_replace(());
        Ok(end)
    }

    /// Takes a running job from a worker that is gone.
    async fn take_back(
        &self,
        connection: &mut SqliteConnection,
        job: JobId,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let end = self.end_attempt(connection, job, Ending::LeaseLost, cause, now, now).await?;
        tracing::warn!(job.id = %job, failed = end == JobEnd::Failed, cause, "a job was taken from its worker");
        Ok(())
    }

    /// Ends the attempt that is running and decides what becomes of the job.
    async fn end_attempt(
        &self,
        connection: &mut SqliteConnection,
        job: JobId,
        ending: Ending,
        cause: &str,
        not_before: Timestamp,
        now: Timestamp,
    ) -> Result<JobEnd, StoreError> {
        sqlx::query(
            "UPDATE job_attempt SET ended_at = $1, ending = $2, cause = $3 WHERE job_id = $4 AND ended_at IS NULL",
        )
        .bind(now.0)
        .bind(ending.word())
        .bind(cause)
        .bind(job)
        .execute(&mut *connection)
        .await?;
        let put_back = matches!(ending, Ending::PutBack | Ending::PutBackAlone);
        let row = sqlx::query(
            "UPDATE job SET put_back = put_back + $1, cause = $2, not_before = $3, alone = alone OR $5, lease_token = NULL, \
             lease_owner = NULL, lease_expires_at = NULL, state = 'queued' WHERE job_id = $4 \
             RETURNING attempts - put_back AS tried, series_key, revision",
        )
        .bind(put_back)
        .bind(cause)
        .bind(not_before.0)
        .bind(job)
        .bind(ending == Ending::PutBackAlone)
        .fetch_one(&mut *connection)
        .await?;
        let tried: i64 = row.try_get("tried")?;
        if ending != Ending::Failed && tried < i64::from(self.inner.options.job_attempts) {
            let superseded = supersede(connection, now).await?;
            return Ok(if superseded.contains(&job) { JobEnd::Superseded } else { JobEnd::Queued });
        }
        sqlx::query("UPDATE job SET state = 'failed', ended_at = $1 WHERE job_id = $2")
            .bind(now.0)
            .bind(job)
            .execute(&mut *connection)
            .await?;
        mark_read(connection, row.try_get("series_key")?, row.try_get("revision")?, now).await?;
        Ok(JobEnd::Failed)
    }

    /// Queues what a process that is gone was working on. To be called by the one node that runs on the folder.
    pub(super) async fn reclaim_all(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut connection = self.inner.writer.lock().await;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let running = sqlx::query_scalar("SELECT job_id FROM job WHERE state = 'running' AND lease_owner <> $1")
            .bind(&self.inner.boot)
            .fetch_all(&mut *transaction)
            .await?;
        for job in running {
            self.take_back(&mut transaction, job, PROCESS_ENDED, now).await?;
        }
        supersede(&mut transaction, now).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The results of the last job that read an earlier revision of the same series with the same model and made any.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn predecessors(&self, job: &ClaimedJob) -> Result<Vec<StoredInstance>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {TABLES} JOIN result ON result.instance_key = instance.instance_key \
             WHERE result.job_id = (SELECT job_id FROM job WHERE series_key = $1 AND model_name = $2 AND revision < $3 \
             AND state = 'done' AND EXISTS (SELECT 1 FROM result AS made WHERE made.job_id = job.job_id) \
             ORDER BY revision DESC LIMIT 1) ORDER BY instance.instance_key"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(job.series)
            .bind(&job.model_name)
            .bind(job.revision)
            .fetch_all(self.readers())
            .await?;
        rows.iter().map(|row| from_row(row, &self.inner.layout)).collect()
    }
}

/// Ends the jobs that wait though there is one of a later revision, and gives them.
pub(super) async fn supersede(connection: &mut SqliteConnection, now: Timestamp) -> Result<Vec<JobId>, StoreError> {
    let superseded: Vec<JobId> = sqlx::query_scalar(SUPERSEDE).bind(now.0).fetch_all(connection).await?;
    for job in &superseded {
        tracing::info!(job.id = %job, "a job is superseded by one of a later revision");
    }
    Ok(superseded)
}

/// Whether the job is still this worker's.
pub(super) async fn check_lease(connection: &mut SqliteConnection, job: &ClaimedJob) -> Result<(), StoreError> {
    let ours: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM job WHERE job_id = $1 AND lease_token = $2 AND state = 'running'")
            .bind(job.id)
            .bind(&job.token)
            .fetch_optional(connection)
            .await?;
    ours.map(|_| ()).ok_or(StoreError::LeaseLost(job.id))
}

/// A series is read when no job of its revision is open and at least one is done.
pub(super) async fn mark_read(
    connection: &mut SqliteConnection,
    series: SeriesKey,
    revision: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE series SET state = 'read', read_at = $1 \
         WHERE series_key = $2 AND revision = $3 AND state = 'complete' \
         AND EXISTS (SELECT 1 FROM job WHERE job.series_key = $2 AND job.revision = $3 AND job.state = 'done') \
         AND NOT EXISTS (SELECT 1 FROM job WHERE job.series_key = $2 AND job.revision = $3 \
             AND job.state IN ('queued', 'running'))",
    )
    .bind(now.0)
    .bind(series)
    .bind(revision)
    .execute(connection)
    .await?;
    Ok(())
}

fn claimed_job(row: &SqliteRow, token: String) -> Result<ClaimedJob, StoreError> {
    Ok(ClaimedJob {
        id: row.try_get("job_id")?,
        token,
        series: row.try_get("series_key")?,
        study_instance_uid: uid(row.try_get("study_instance_uid")?, StudyInstanceUid::parse)?,
        series_instance_uid: uid(row.try_get("series_instance_uid")?, SeriesInstanceUid::parse)?,
        revision: row.try_get("revision")?,
        attempt: row.try_get("attempts")?,
        tries: row.try_get("tries")?,
        model_name: row.try_get("model_name")?,
        model_version: row.try_get("model_version")?,
        model_hash: row.try_get("model_hash")?,
        route: row.try_get("route")?,
        destinations: split_titles(row.try_get("destinations")?)?,
        created_at: Timestamp(row.try_get("created_at")?),
        alone: row.try_get("alone")?,
    })
}
