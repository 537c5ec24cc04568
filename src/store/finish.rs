//! The third hand-over: a job is done, its results are instances like any other, and they are in the outbox.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use super::aside::blocking;
use super::commit::{NewRow, insert_one};
use super::embedding::{NewEmbeddings, PreparedEmbeddings, keep_embeddings, prepare_embeddings};
use super::error::{StoreError, Unusable};
use super::ids::{InstanceKey, JobId};
use super::incoming::{NewInstance, Spool};
use super::jobs::{ClaimedJob, check_lease, mark_read};
use super::known::Known;
use super::layout::{Layout, Origin, sync_folder};
use super::row::IndexRow;
use super::{Inner, Store};
use crate::clock::Timestamp;
use crate::dicom::ae::AeTitle;
use crate::dicom::parse::parse_header;
use crate::dicom::part10::Part10;

/// An object that a job has made.
#[derive(Debug, Clone)]
pub struct NewResult {
    /// What it is, in a word: `segmentation`, `report`.
    pub kind: &'static str,
    /// The whole Part 10 file.
    pub file: Bytes,
}

/// How a job ends with its results.
enum End {
    Done { outcome: String },
    Failed { cause: String },
}

/// A result on the disk, under a name of its own until the transaction.
struct Prepared {
    kind: &'static str,
    new: NewRow,
    spool: Spool,
    target: PathBuf,
}

/// All that a job leaves on the disk.
struct Made {
    results: Vec<Prepared>,
    embeddings: Option<PreparedEmbeddings>,
}

impl Store {
    /// Ends a job with its results and embeddings: writes their files, then in one transaction their rows, one delivery
    /// for each result and destination, and the job as done with `outcome`. A result whose SOP Instance UID exists already is kept as it
    /// is and delivered from there: result UIDs are derived, so it is the same object, and it may have been sent.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`]: the job is someone else's, nothing has changed. [`StoreError::Unusable`]: a result is
    /// no DICOM file with all its UIDs.
    pub async fn finish_job(
        &self,
        job: ClaimedJob,
        outcome: &str,
        results: Vec<NewResult>,
        embeddings: Option<NewEmbeddings>,
        now: Timestamp,
    ) -> Result<Vec<InstanceKey>, StoreError> {
        let end = End::Done { outcome: outcome.to_owned() };
        self.end_with(job, end, results, embeddings, now).await
    }

    /// Ends a job that has failed for good, with the report that says so, in one transaction as [`Self::finish_job`].
    ///
    /// # Errors
    /// As [`Self::finish_job`].
    pub async fn fail_job_with_report(
        &self,
        job: ClaimedJob,
        cause: &str,
        report: Vec<NewResult>,
        now: Timestamp,
    ) -> Result<Vec<InstanceKey>, StoreError> {
        self.end_with(job, End::Failed { cause: cause.to_owned() }, report, None, now).await
    }

    async fn end_with(
        &self,
        job: ClaimedJob,
        end: End,
        results: Vec<NewResult>,
        embeddings: Option<NewEmbeddings>,
        now: Timestamp,
    ) -> Result<Vec<InstanceKey>, StoreError> {
        let inner = self.inner.clone();
        let (job, made) = blocking(move || {
            let results = results.into_iter().map(|result| prepare(&inner.layout, result, now));
            let results = results.collect::<Result<_, _>>()?;
            let embeddings = embeddings.map(|new| prepare_embeddings(&inner.layout, &job, new)).transpose()?;
            Ok((job, Made { results, embeddings }))
        })
        .await?;
        let inner = self.inner.clone();
        // Goes on where the caller is dropped: file names and rows change together.
        let finished = tokio::spawn(async move { inner.finish(&job, &end, made, now).await });
        let keys = finished.await.map_err(|_| StoreError::Closed)??;
        self.inner.changes.deliveries.send_replace(());
        Ok(keys)
    }
}

impl Inner {
    async fn finish(
        &self,
        job: &ClaimedJob,
        end: &End,
        made: Made,
        now: Timestamp,
    ) -> Result<Vec<InstanceKey>, StoreError> {
        let mut connection = self.writer.lock().await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        check_lease(&mut transaction, &job.lease()).await?;
        let mut keys = Vec::new();
        for result in made.results {
            let kind = result.kind;
            let key = keep_result(&mut transaction, result).await?;
            sqlx::query("INSERT INTO result (job_id, instance_key, kind) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(job.id)
                .bind(key)
                .bind(kind)
                .execute(&mut *transaction)
                .await?;
            for destination in &job.destinations {
                insert_delivery(&mut transaction, job.id, key, destination, now).await?;
            }
            keys.push(key);
        }
        if let Some(embeddings) = made.embeddings {
            keep_embeddings(&mut transaction, job, embeddings, now).await?;
        }
        record_end(&mut transaction, job, end, now).await?;
        transaction.commit().await?;
        Ok(keys)
    }
}

/// Writes and syncs a result under a name of its own. Blocks.
fn prepare(layout: &Layout, result: NewResult, now: Timestamp) -> Result<Prepared, StoreError> {
    let not_dicom = |e: &dyn std::fmt::Display| StoreError::Unusable(Unusable::NotDicom(e.to_string()));
    let part10 = Part10::split(&result.file).map_err(|e| not_dicom(&e))?;
    let header = parse_header(&part10.data_set, part10.encoding).map_err(|e| not_dicom(&e))?;
    let announced = NewInstance {
        sop_class_uid: part10.sop_class().map_err(|e| not_dicom(&e))?,
        sop_instance_uid: part10.sop_instance().map_err(|e| not_dicom(&e))?,
        transfer_syntax_uid: part10.transfer_syntax().map_err(|e| not_dicom(&e))?,
        calling_ae_title: AeTitle::parse("OVERREAD").map_err(|e| not_dicom(&e))?,
    };
    let row = IndexRow::from_header(&header.data_set, &announced)?;
    let spool = Spool::with(layout, &result.file)?;
    spool.file.sync_all().map_err(StoreError::file("sync", spool.path()))?;
    let folder = layout.series(Origin::Result, &row.study.uid, &row.series.uid);
    let target = layout.instance(Origin::Result, &row.study.uid, &row.series.uid, &row.instance.uid);
    let new = NewRow {
        row,
        origin: Origin::Result,
        source: None,
        folder,
        file_bytes: result.file.len() as u64,
        data_set_offset: (result.file.len() - part10.data_set.len()) as u64,
        received_at: now,
    };
    Ok(Prepared { kind: result.kind, new, spool, target })
}

/// Gives a result its name and its row, unless it has both. Inside the transaction that holds the lease, so that a worker
/// that has lost the job never replaces a file that may have been sent. A crash before the commit leaves a file without
/// a row, which the next attempt replaces.
async fn keep_result(connection: &mut SqliteConnection, result: Prepared) -> Result<InstanceKey, StoreError> {
    let found = sqlx::query_scalar("SELECT instance_key FROM instance WHERE sop_instance_uid = $1")
        .bind(result.new.row.instance.uid.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(key) = found {
        return Ok(key);
    }
    let Prepared { new, mut spool, target, .. } = result;
    let folder = new.folder.clone();
    blocking(move || {
        fs::create_dir_all(&folder).map_err(StoreError::file("make the folder", &folder))?;
        fs::rename(spool.path(), &target).map_err(StoreError::file("name", &target))?;
        spool.keep();
        folder.ancestors().take(3).try_for_each(sync_folder)
    })
    .await?;
    Ok(insert_one(connection, &mut Known::default(), new).await?.0)
}

async fn insert_delivery(
    connection: &mut SqliteConnection,
    job: JobId,
    instance: InstanceKey,
    destination: &AeTitle,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO delivery (destination, instance_key, job_id, state, next_attempt_at, created_at) \
         VALUES ($1, $2, $3, 'pending', $4, $4) ON CONFLICT (destination, instance_key) DO NOTHING",
    )
    .bind(destination.as_str())
    .bind(instance)
    .bind(job)
    .bind(now.0)
    .execute(connection)
    .await?;
    Ok(())
}

async fn record_end(
    connection: &mut SqliteConnection,
    job: &ClaimedJob,
    end: &End,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (state, outcome, cause) = match end {
        End::Done { outcome } => ("done", outcome.as_str(), ""),
        End::Failed { cause } => ("failed", "", cause.as_str()),
    };
    sqlx::query("UPDATE job_attempt SET ended_at = $1, ending = $2, cause = $3 WHERE job_id = $4 AND ended_at IS NULL")
        .bind(now.0)
        .bind(state)
        .bind(cause)
        .bind(job.id)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "UPDATE job SET state = $1, outcome = $2, cause = $3, ended_at = $4, untrained = $5, model_version = $6, \
         model_hash = $7, lease_token = NULL, lease_owner = NULL, lease_expires_at = NULL WHERE job_id = $8",
    )
    .bind(state)
    .bind(outcome)
    .bind(cause)
    .bind(now.0)
    .bind(job.untrained)
    .bind(&job.model_version)
    .bind(&job.model_hash)
    .bind(job.id)
    .execute(&mut *connection)
    .await?;
    mark_read(connection, job.series, job.revision).await
}
