//! The instances of a series, and the second hand-over: a series is complete, its jobs are queued.

pub(super) mod known;

use std::collections::BTreeSet;

use sqlx::sqlite::{Sqlite, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, QueryBuilder, Row};

use super::Store;
use super::completion::mark_complete;
use super::error::StoreError;
use super::ids::{InstanceKey, JobId, SeriesKey};
use super::instance::{COLUMNS, StoredInstance, TABLES, from_row};
use super::jobs::{mark_read, supersede};
use crate::clock::Timestamp;
use crate::dicom::ae::AeTitle;
use crate::dicom::transfer_syntax::NATIVE;

pub use known::{ReceivingSeries, StudySeries};

/// What a route said to a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDecision {
    /// Index of the `[[route]]` in the configuration, from 0.
    pub route: u32,
    /// The model that it names.
    pub model_name: String,
    /// Whether a job follows.
    pub matched: bool,
    /// Why, one sentence.
    pub reason: String,
}

/// A job to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Name of the model package.
    pub model_name: String,
    /// Its version now.
    pub model_version: String,
    /// SHA-256 of its weights now, hexadecimal.
    pub model_hash: String,
    /// Index of the `[[route]]` that asks for it.
    pub route: u32,
    /// Why that route matched, one sentence.
    pub reason: String,
    /// Who gets the results.
    pub destinations: Vec<AeTitle>,
}

/// A series as it was when it was found complete.
#[derive(Debug, Clone, Copy)]
pub struct Completion<'a> {
    /// Which series.
    pub series: SeriesKey,
    /// Which revision was looked at.
    pub revision: i64,
    /// Why it is complete, one sentence.
    pub signal: &'a str,
    /// What each route said, those that did not match as well.
    pub decisions: &'a [RouteDecision],
    /// One for each model that is to read it.
    pub jobs: &'a [NewJob],
}

/// What became of a completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completed {
    /// The series is complete; these jobs are queued.
    Complete(Vec<JobId>),
    /// Nothing has changed: another instance came meanwhile, or someone else was faster. Look again.
    NotThisRevision,
}

/// Instances that came compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressedArrivals {
    /// Those whose rows can be read, in the order in which they came.
    pub instances: Vec<StoredInstance>,
    /// The last of all that were looked at; nothing where there was none.
    pub last: Option<InstanceKey>,
}

impl Store {
    /// The instances of one revision of a series, in the order in which they came: the first `revision` of them.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn series_instances(&self, series: SeriesKey, revision: i64) -> Result<Vec<StoredInstance>, StoreError> {
        let rows = self.instance_rows(series, revision).await?;
        rows.iter().map(|row| from_row(row, &self.inner.layout)).collect()
    }

    /// Those of [`Self::series_instances`] whose rows can be read: for a report on a series that is damaged.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn readable_instances(
        &self,
        series: SeriesKey,
        revision: i64,
    ) -> Result<Vec<StoredInstance>, StoreError> {
        let rows = self.instance_rows(series, revision).await?;
        Ok(rows.iter().filter_map(|row| from_row(row, &self.inner.layout).ok()).collect())
    }

    async fn instance_rows(&self, series: SeriesKey, revision: i64) -> Result<Vec<SqliteRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {TABLES} WHERE instance.series_key = $1 ORDER BY instance.instance_key LIMIT $2"
        );
        Ok(sqlx::query(AssertSqlSafe(sql)).bind(series).bind(revision).fetch_all(self.readers()).await?)
    }

    /// The instance that was recorded last; a number below all others where there is none.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last_instance(&self) -> Result<InstanceKey, StoreError> {
        let last = sqlx::query_scalar("SELECT coalesce(max(instance_key), 0) FROM instance");
        Ok(last.fetch_one(self.readers()).await?)
    }

    /// The instances after this one that came compressed, of series of these modalities that are still receiving, in
    /// the order in which they came; at most so many. One whose row cannot be read is passed over: it is told of by the job
    /// that reads its series.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn compressed_arrivals(
        &self,
        after: InstanceKey,
        modalities: &[String],
        most: u32,
    ) -> Result<CompressedArrivals, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(COLUMNS).push(" FROM ").push(TABLES);
        query.push(" WHERE series.state = 'receiving' AND instance.instance_key > ").push_bind(after);
        query.push(" AND instance.transfer_syntax_uid NOT IN (");
        let mut native = query.separated(", ");
        for syntax in NATIVE {
            native.push_bind(syntax);
        }
        query.push(") AND series.modality IN (");
        let mut wanted = query.separated(", ");
        for modality in modalities {
            wanted.push_bind(modality);
        }
        query.push(") ORDER BY instance.instance_key LIMIT ").push_bind(most);
        let rows = query.build().fetch_all(self.readers()).await?;
        let last = rows.last().map(|row| row.try_get("instance_key")).transpose()?;
        let mut instances = Vec::with_capacity(rows.len());
        for row in &rows {
            match from_row(row, &self.inner.layout) {
                Ok(instance) => instances.push(instance),
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(CompressedArrivals { instances, last })
    }

    /// Which of these series a job will still be asked to read: they are receiving, or have a job that is queued.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn series_awaited(&self, among: &BTreeSet<SeriesKey>) -> Result<BTreeSet<SeriesKey>, StoreError> {
        if among.is_empty() {
            return Ok(BTreeSet::new());
        }
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT series_key FROM series WHERE (state = 'receiving' OR EXISTS (SELECT 1 FROM job \
             WHERE job.series_key = series.series_key AND job.state = 'queued')) AND series_key IN (",
        );
        let mut wanted = query.separated(", ");
        for series in among {
            wanted.push_bind(*series);
        }
        query.push(")");
        let found: Vec<SeriesKey> = query.build_query_scalar().fetch_all(self.readers()).await?;
        Ok(found.into_iter().collect())
    }

    /// An association was released: its peer is through with what it sent.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn association_released(&self, association_id: &str, at: Timestamp) -> Result<(), StoreError> {
        let ended = sqlx::query(
            "UPDATE association SET released_at = $1, ended_at = $1 WHERE association_id = $2 AND ended_at IS NULL",
        )
        .bind(at.0)
        .bind(association_id)
        .execute(&mut *self.inner.writer.lock().await?)
        .await?;
        if ended.rows_affected() > 0 {
            self.inner.changes.series.send_replace(());
        }
        Ok(())
    }

    /// An association has ended otherwise: nothing more comes by it, and whether something is missing is not known.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn association_broken(&self, association_id: &str, at: Timestamp) -> Result<(), StoreError> {
        sqlx::query("UPDATE association SET ended_at = $1 WHERE association_id = $2 AND ended_at IS NULL")
            .bind(at.0)
            .bind(association_id)
            .execute(&mut *self.inner.writer.lock().await?)
            .await?;
        Ok(())
    }

    /// Takes a series as complete and queues its jobs, if it is still receiving in this very revision.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub async fn complete_series(&self, completion: &Completion<'_>, now: Timestamp) -> Result<Completed, StoreError> {
        let mut connection = self.inner.writer.lock().await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        if !mark_complete(&mut transaction, completion, now).await? {
            return Ok(Completed::NotThisRevision);
        }
        // It may have been decided on before, by routes that are no more.
        sqlx::query("DELETE FROM route_decision WHERE series_key = $1 AND revision = $2")
            .bind(completion.series)
            .bind(completion.revision)
            .execute(&mut *transaction)
            .await?;
        for decision in completion.decisions {
            insert_decision(&mut transaction, completion, decision, now).await?;
        }
        let mut jobs = Vec::new();
        for job in completion.jobs {
            jobs.extend(insert_job(&mut transaction, completion, job, now).await?);
        }
        supersede(&mut transaction, now).await?;
        // One that is decided on anew may have nothing left to be read.
        mark_read(&mut transaction, completion.series, completion.revision).await?;
        transaction.commit().await?;
        drop(connection);
        if !jobs.is_empty() {
            self.inner.changes.jobs.send_replace(());
        }
        Ok(Completed::Complete(jobs))
    }
}

async fn insert_decision(
    connection: &mut SqliteConnection,
    completion: &Completion<'_>,
    decision: &RouteDecision,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO route_decision (series_key, revision, route, model_name, matched, reason, decided_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(completion.series)
    .bind(completion.revision)
    .bind(decision.route)
    .bind(&decision.model_name)
    .bind(i64::from(decision.matched))
    .bind(&decision.reason)
    .bind(now.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// Nothing where the model has a job for this revision already.
async fn insert_job(
    connection: &mut SqliteConnection,
    completion: &Completion<'_>,
    job: &NewJob,
    now: Timestamp,
) -> Result<Option<JobId>, StoreError> {
    Ok(sqlx::query_scalar(
        "INSERT INTO job (series_key, revision, model_name, model_version, model_hash, route, reason, destinations, \
         state, not_before, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'queued', $9, $9) \
         ON CONFLICT (series_key, model_name, revision) DO NOTHING RETURNING job_id",
    )
    .bind(completion.series)
    .bind(completion.revision)
    .bind(&job.model_name)
    .bind(&job.model_version)
    .bind(&job.model_hash)
    .bind(job.route)
    .bind(&job.reason)
    .bind(join_titles(&job.destinations))
    .bind(now.0)
    .fetch_optional(connection)
    .await?)
}

/// AE titles for one column: no title holds a backslash.
pub(super) fn join_titles(titles: &[AeTitle]) -> String {
    titles.iter().map(AeTitle::as_str).collect::<Vec<_>>().join("\\")
}

/// Takes apart what [`join_titles`] made.
pub(super) fn split_titles(joined: &str) -> Result<Vec<AeTitle>, StoreError> {
    let titles = joined.split('\\').filter(|t| !t.is_empty()).map(AeTitle::parse);
    titles.collect::<Result<_, _>>().map_err(|e| StoreError::Damaged(e.to_string()))
}
