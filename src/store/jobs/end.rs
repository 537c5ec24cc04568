//! Ending a job that was not done: it is tried again, is done with, or has failed.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::{ClaimedJob, JobEnd, Lease, mark_read};
use crate::clock::Timestamp;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::ids::JobId;

/// How an attempt ended, as the database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
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

/// Jobs that wait, and for whose series and model there is one of a later revision: that one reads all there is.
pub(in crate::store) const SUPERSEDE: &str = "UPDATE job SET state = 'done', ended_at = $1, outcome = 'superseded by revision ' || \
     (SELECT max(later.revision) FROM job AS later WHERE later.series_key = job.series_key \
      AND later.model_name = job.model_name) \
     WHERE state = 'queued' AND EXISTS (SELECT 1 FROM job AS later WHERE later.series_key = job.series_key \
         AND later.model_name = job.model_name AND later.revision > job.revision) RETURNING job_id";

impl Store {
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
        self.retry_lease(&job.lease(), cause, not_before, now).await
    }

    /// As [`Self::retry_job`], for a job that [`Self::finish_job`] has taken and could not save.
    ///
    /// # Errors
    /// As [`Self::retry_job`].
    pub async fn retry_lease(
        &self,
        lease: &Lease,
        cause: &str,
        not_before: Timestamp,
        now: Timestamp,
    ) -> Result<JobEnd, StoreError> {
        self.end_unfinished(lease, Ending::Retry, cause, not_before, now).await
    }

    /// The cause will not pass: the job has failed.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or when the database cannot be written.
    pub async fn fail_job(&self, job: ClaimedJob, cause: &str, now: Timestamp) -> Result<JobEnd, StoreError> {
        self.fail_lease(&job.lease(), cause, now).await
    }

    /// As [`Self::fail_job`], for a job that [`Self::finish_job`] has taken and could not save.
    ///
    /// # Errors
    /// As [`Self::fail_job`].
    pub async fn fail_lease(&self, lease: &Lease, cause: &str, now: Timestamp) -> Result<JobEnd, StoreError> {
        self.end_unfinished(lease, Ending::Failed, cause, now, now).await
    }

    /// The node is stopping: queues the job again; this attempt does not count.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or when the database cannot be written.
    pub async fn put_back_job(&self, job: ClaimedJob, now: Timestamp) -> Result<JobEnd, StoreError> {
        self.end_unfinished(&job.lease(), Ending::PutBack, "the node was stopped", now, now).await
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
        self.end_unfinished(&job.lease(), Ending::PutBackAlone, cause, now, now).await
    }

    async fn end_unfinished(
        &self,
        lease: &Lease,
        ending: Ending,
        cause: &str,
        not_before: Timestamp,
        now: Timestamp,
    ) -> Result<JobEnd, StoreError> {
        let mut connection = self.inner.writer.lock().await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        check_lease(&mut transaction, lease).await?;
        let end = self.end_attempt(&mut transaction, lease.job, ending, cause, not_before, now).await?;
        transaction.commit().await?;
        drop(connection);
        self.inner.changes.jobs.send_replace(());
        Ok(end)
    }

    /// Ends the attempt that is running and decides what becomes of the job.
    pub(super) async fn end_attempt(
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
        if ending != Ending::Failed {
            if supersede(connection, now).await?.contains(&job) {
                return Ok(JobEnd::Superseded);
            }
            if row.try_get::<i64, _>("tried")? < self.most_tries(ending) {
                return Ok(JobEnd::Queued);
            }
        }
        // There is no next attempt, whatever was meant.
        sqlx::query(
            "UPDATE job_attempt SET ending = 'failed' WHERE job_id = $1 AND ending = 'retry' \
             AND attempt = (SELECT attempts FROM job WHERE job_id = $1)",
        )
        .bind(job)
        .execute(&mut *connection)
        .await?;
        sqlx::query("UPDATE job SET state = 'failed', ended_at = $1 WHERE job_id = $2")
            .bind(now.0)
            .bind(job)
            .execute(&mut *connection)
            .await?;
        mark_read(connection, row.try_get("series_key")?, row.try_get("revision")?).await?;
        Ok(JobEnd::Failed)
    }

    /// How many tries are too many after such an end. A job that nobody was there to report gets one more for that.
    fn most_tries(&self, ending: Ending) -> i64 {
        let is_unreported = ending == Ending::LeaseLost && self.inner.options.report_failures;
        i64::from(self.inner.options.job_attempts) + i64::from(is_unreported)
    }
}

/// Ends the jobs that wait though there is one of a later revision, and gives them.
pub(in crate::store) async fn supersede(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Vec<JobId>, StoreError> {
    let superseded: Vec<JobId> = sqlx::query_scalar(SUPERSEDE).bind(now.0).fetch_all(connection).await?;
    for job in &superseded {
        tracing::info!(job.id = %job, "a job is superseded by one of a later revision");
    }
    Ok(superseded)
}

/// Whether the job is still this worker's.
pub(in crate::store) async fn check_lease(connection: &mut SqliteConnection, lease: &Lease) -> Result<(), StoreError> {
    let ours: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM job WHERE job_id = $1 AND lease_token = $2 AND state = 'running'")
            .bind(lease.job)
            .bind(&lease.token)
            .fetch_optional(connection)
            .await?;
    ours.map(|_| ()).ok_or(StoreError::LeaseLost(lease.job))
}
