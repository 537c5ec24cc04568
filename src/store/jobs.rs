//! Jobs: claimed under a lease and renewed ([`claim`]), and ended where they are not done ([`end`]). The third hand-over,
//! a job that is done, is in [`super::finish`].
//!
//! Attempts are counted when a job is claimed, so that a job that takes the process down with it ends as well.

pub(super) mod claim;

pub(super) mod end;

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

use super::Store;
use super::error::StoreError;
use super::ids::{JobId, SeriesKey};
use super::instance::{COLUMNS, StoredInstance, TABLES, from_row};
use crate::clock::Timestamp;
use crate::dicom::ae::AeTitle;
use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};

pub(super) use end::{check_lease, supersede};

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
    /// Its version when the job was queued; who ends it says which one read it.
    pub model_version: String,
    /// SHA-256 of its weights, likewise.
    pub model_hash: String,
    /// Index of the `[[route]]` that asked for it.
    pub route: u32,
    /// Who gets the results.
    pub destinations: Vec<AeTitle>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// Whether no other job runs beside it, because there was too little memory before: [`Store::put_back_to_run_alone`].
    pub alone: bool,
    /// Why it was not done the last time; empty where it has not been tried.
    pub cause: String,
    /// Whether the weights of the package that reads it are untrained: who ends it says so.
    pub untrained: bool,
}

/// What renews a job's time while it is being ended, which takes the job itself, and ends it where that failed.
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
impl Store {
    /// Whether there is a job of a later revision for the same series and model, which reads all there is.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn is_outdated(&self, job: &ClaimedJob) -> Result<bool, StoreError> {
        let later = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM job WHERE series_key = $1 AND model_name = $2 AND revision > $3)",
        );
        Ok(later.bind(job.series).bind(&job.model_name).bind(job.revision).fetch_one(self.readers()).await?)
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
/// A series is read when no job of its revision is open and at least one is done: since the last of them ended.
pub(super) async fn mark_read(
    connection: &mut SqliteConnection,
    series: SeriesKey,
    revision: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE series SET state = 'read', \
         read_at = (SELECT max(job.ended_at) FROM job WHERE job.series_key = $1 AND job.revision = $2) \
         WHERE series_key = $1 AND revision = $2 AND state = 'complete' \
         AND EXISTS (SELECT 1 FROM job WHERE job.series_key = $1 AND job.revision = $2 AND job.state = 'done') \
         AND NOT EXISTS (SELECT 1 FROM job WHERE job.series_key = $1 AND job.revision = $2 \
             AND job.state IN ('queued', 'running'))",
    )
    .bind(series)
    .bind(revision)
    .execute(connection)
    .await?;
    Ok(())
}
