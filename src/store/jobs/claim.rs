//! Claiming: who works on which job, until when, and what becomes of those whose worker is gone.

use std::collections::HashSet;
use std::sync::PoisonError;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};

use super::end::{Ending, check_lease, supersede};
use super::{ClaimedJob, JobEnd, Lease};
use crate::clock::Timestamp;
use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::ids::JobId;
use crate::store::instance::uid;
use crate::store::series::split_titles;

/// The next job, unless it must wait for those that run: it or one of them runs alone, or is under suspicion. Two revisions of a
/// series are never read by one model side by side.
pub(in crate::store) const CLAIM: &str = "UPDATE job SET state = 'running', attempts = attempts + 1, lease_token = $1, lease_owner = $2, \
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

/// All jobs that run, and whether they were claimed by this process.
pub(in crate::store) const RUNNING: &str =
    "SELECT job_id, lease_owner = $1 AS is_own, lease_expires_at FROM job WHERE state = 'running'";

/// All that a worker needs to know of a job.
const JOB: &str = "SELECT job.*, job.attempts - job.put_back AS tries, series.series_instance_uid, study.study_instance_uid \
     FROM job JOIN series ON series.series_key = job.series_key JOIN study ON study.study_key = series.study_key \
     WHERE job.job_id = $1";

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
    /// [`StoreError::UnreadableJob`] for one that the index does not say enough of, which has failed: ask for the next.
    /// Otherwise when the database cannot be written.
    pub async fn claim_job(&self, now: Timestamp, lease_ms: i64) -> Result<Option<ClaimedJob>, StoreError> {
        let mut connection = self.inner.writer.lock().await?;
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
        let Some(claimed) = claimed else {
            transaction.commit().await?;
            return Ok(None);
        };
        let id = claimed.try_get("job_id")?;
        let job = match self.begin_attempt(&mut transaction, id, token, now).await {
            Ok(job) => job,
            Err(error) if error.is_damage() => {
                let cause = error.to_string();
                self.end_attempt(&mut transaction, id, Ending::Failed, &cause, now, now).await?;
                transaction.commit().await?;
                return Err(StoreError::UnreadableJob { id, cause });
            }
            Err(error) => return Err(error),
        };
        transaction.commit().await?;
        self.lease(id, lease_ms);
        Ok(Some(job))
    }

    /// Notes until when a job is this process's worker's, on a clock that nobody sets.
    fn lease(&self, job: JobId, lease_ms: i64) {
        let until = self.inner.clock.steady_ms().saturating_add(lease_ms);
        self.inner.leases.lock().unwrap_or_else(PoisonError::into_inner).insert(job, until);
    }

    /// The jobs whose lease ran out. Those of this process are judged by a clock that nobody sets: a step of the system's
    /// takes nothing from a worker that is well.
    async fn run_out(&self, connection: &mut SqliteConnection, now: Timestamp) -> Result<Vec<JobId>, StoreError> {
        let running = sqlx::query(RUNNING).bind(&self.inner.boot).fetch_all(connection).await?;
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
        let row = sqlx::query(JOB).bind(job).fetch_one(&mut *connection).await?;
        claimed_job(&row, token)
    }

    /// The job of a lease again, after [`Self::finish_job`] has taken it and could not save it.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or when the database cannot be read.
    pub async fn job_of(&self, lease: &Lease) -> Result<ClaimedJob, StoreError> {
        let mut connection = self.inner.writer.lock().await?;
        check_lease(&mut connection, lease).await?;
        let row = sqlx::query(JOB).bind(lease.job).fetch_one(&mut *connection).await?;
        claimed_job(&row, lease.token.clone())
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
        .execute(&mut *self.inner.writer.lock().await?)
        .await?;
        if renewed.rows_affected() == 0 {
            return Err(StoreError::LeaseLost(lease.job));
        }
        self.lease(lease.job, lease_ms);
        Ok(())
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

    /// Queues what a process that is gone was working on. To be called by the one node that runs on the folder.
    pub(in crate::store) async fn reclaim_all(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut connection = self.inner.writer.lock().await?;
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
        cause: row.try_get("cause")?,
        untrained: row.try_get("untrained")?,
    })
}
