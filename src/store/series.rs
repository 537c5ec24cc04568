//! Series that are receiving, and the second hand-over: a series is complete, its jobs are queued.

use std::collections::{BTreeSet, HashMap};

use sqlx::sqlite::{Sqlite, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, QueryBuilder, Row};

use super::Store;
use super::completion::mark_complete;
use super::error::StoreError;
use super::ids::{InstanceKey, JobId, SeriesKey};
use super::instance::{COLUMNS, StoredInstance, TABLES, from_row, uid, unsigned};
use super::jobs::{mark_read, supersede};
use crate::clock::Timestamp;
use crate::dicom::ae::AeTitle;
use crate::dicom::transfer_syntax::NATIVE;
use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};

/// A series that is still receiving, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivingSeries {
    /// Its number in the index.
    pub key: SeriesKey,
    /// Study Instance UID.
    pub study_instance_uid: StudyInstanceUid,
    /// Series Instance UID.
    pub series_instance_uid: SeriesInstanceUid,
    /// Modality (0008,0060), empty where unknown.
    pub modality: String,
    /// Series Description (0008,103E), empty where unknown.
    pub description: String,
    /// Body Part Examined (0018,0015), empty where unknown.
    pub body_part: String,
    /// How many instances have come, and so which revision this is.
    pub revision: i64,
    /// Number of Series Related Instances (0020,1209) where the sender announced it.
    pub announced_instances: Option<u64>,
    /// When the first instance came.
    pub first_received_at: Timestamp,
    /// When the last instance came.
    pub last_received_at: Timestamp,
    /// Who sent the last instance; nothing where the files were found on the disk.
    pub sender: Option<AeTitle>,
    /// Associations that sent instances of it and are still open.
    pub open_associations: u64,
    /// When the last of its associations to end was released; nothing where that one broke or is still open.
    pub released_at: Option<Timestamp>,
    /// The last revision that was taken as complete: there is one where instances come late.
    pub completed_revision: Option<i64>,
}

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

/// All series that are receiving, with who sends them.
pub(super) const RECEIVING: &str = "SELECT series.*, study.study_instance_uid, \
     (SELECT count(*) FROM series_source JOIN association \
        ON association.association_key = series_source.association_key \
        WHERE series_source.series_key = series.series_key AND association.ended_at IS NULL) AS open_associations, \
     (SELECT CASE WHEN max(association.released_at) = max(association.ended_at) \
        THEN max(association.released_at) END FROM series_source JOIN association \
        ON association.association_key = series_source.association_key \
        WHERE series_source.series_key = series.series_key) AS released_at, \
     (SELECT association.calling_ae_title FROM series_source JOIN association \
        ON association.association_key = series_source.association_key \
        WHERE series_source.series_key = series.series_key \
        ORDER BY series_source.last_received_at DESC, series_source.association_key DESC LIMIT 1) AS sender \
     FROM series JOIN study ON study.study_key = series.study_key \
     WHERE series.state = 'receiving' ORDER BY series.last_received_at";

impl Store {
    /// All series that are receiving, those that have been quiet longest first. One whose row cannot be read is passed over
    /// until it can, and holds up no other; the log is told once.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn series_receiving(&self) -> Result<Vec<ReceivingSeries>, StoreError> {
        let rows = sqlx::query(RECEIVING).fetch_all(self.readers()).await?;
        let mut receiving = Vec::with_capacity(rows.len());
        let mut unreadable = HashMap::new();
        for row in &rows {
            match receiving_series(row) {
                Ok(series) => receiving.push(series),
                Err(error) if error.is_damage() => {
                    unreadable.insert(row.try_get("series_key")?, error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        for (key, cause) in self.inner.unreadable.news(unreadable) {
            tracing::error!(series.key = %key, cause, "a series is passed over until its row in the index can be read");
        }
        Ok(receiving)
    }

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
        .execute(&mut *self.inner.writer.lock().await)
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
            .execute(&mut *self.inner.writer.lock().await)
            .await?;
        Ok(())
    }

    /// Takes a series as complete and queues its jobs, if it is still receiving in this very revision.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub async fn complete_series(&self, completion: &Completion<'_>, now: Timestamp) -> Result<Completed, StoreError> {
        let mut connection = self.inner.writer.lock().await;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        if !mark_complete(&mut transaction, completion, now).await? {
            return Ok(Completed::NotThisRevision);
        }
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
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (series_key, revision, route) DO UPDATE SET \
         model_name = excluded.model_name, matched = excluded.matched, reason = excluded.reason, \
         decided_at = excluded.decided_at",
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

fn receiving_series(row: &SqliteRow) -> Result<ReceivingSeries, StoreError> {
    let sender: Option<String> = row.try_get("sender")?;
    Ok(ReceivingSeries {
        key: row.try_get("series_key")?,
        study_instance_uid: uid(row.try_get("study_instance_uid")?, StudyInstanceUid::parse)?,
        series_instance_uid: uid(row.try_get("series_instance_uid")?, SeriesInstanceUid::parse)?,
        modality: row.try_get("modality")?,
        description: row.try_get("series_description")?,
        body_part: row.try_get("body_part")?,
        revision: row.try_get("revision")?,
        announced_instances: row.try_get::<Option<i64>, _>("announced_instances")?.map(unsigned),
        first_received_at: Timestamp(row.try_get("first_received_at")?),
        last_received_at: Timestamp(row.try_get("last_received_at")?),
        sender: sender.and_then(|title| AeTitle::parse(&title).ok()),
        open_associations: unsigned(row.try_get("open_associations")?),
        released_at: row.try_get::<Option<i64>, _>("released_at")?.map(Timestamp),
        completed_revision: row.try_get("completed_revision")?,
    })
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
