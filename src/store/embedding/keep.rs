//! Keeping what a job gave.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::aside::blocking;
use crate::store::ids::SeriesKey;
use crate::store::incoming::Spool;
use crate::store::jobs::ClaimedJob;
use crate::store::layout::{Layout, sync_folder};

/// Embeddings that a job has given.
#[derive(Debug, Clone)]
pub struct NewEmbeddings {
    /// Name of the model package.
    pub model_name: String,
    /// Its version as it ran.
    pub model_version: String,
    /// Of what they depend on, lower-case hex: only those of one space can be compared.
    pub space_sha256: String,
    /// The whole file, of [`super::embedding_file`].
    pub file: Bytes,
}

/// Embeddings on the disk, under a name of their own until the transaction.
pub(in crate::store) struct PreparedEmbeddings {
    new: NewEmbeddings,
    spool: Spool,
    target: PathBuf,
    /// The same below the data folder.
    path: String,
}

/// Writes and syncs the file under a name of its own. Blocks.
pub(in crate::store) fn prepare_embeddings(
    layout: &Layout,
    job: &ClaimedJob,
    new: NewEmbeddings,
) -> Result<PreparedEmbeddings, StoreError> {
    let path =
        Layout::embedding(&job.study_instance_uid, &job.series_instance_uid, &new.model_name, &new.model_version);
    let spool = Spool::with(layout, &new.file)?;
    spool.file.sync_all().map_err(StoreError::file("sync", spool.path()))?;
    Ok(PreparedEmbeddings { new, spool, target: layout.root().join(&path), path })
}

/// What goes into a row.
pub(super) struct Row<'a> {
    pub(super) series: SeriesKey,
    pub(super) model_name: &'a str,
    pub(super) model_version: &'a str,
    pub(super) space_sha256: &'a str,
    pub(super) revision: i64,
    pub(super) path: &'a str,
    pub(super) created_at: Timestamp,
}

/// Gives the file its name and its row, inside the transaction that holds the lease. Revisions are read one after
/// the other, so this is of the last one.
pub(in crate::store) async fn keep_embeddings(
    connection: &mut SqliteConnection,
    job: &ClaimedJob,
    prepared: PreparedEmbeddings,
    now: Timestamp,
) -> Result<(), StoreError> {
    let PreparedEmbeddings { new, mut spool, target, path } = prepared;
    blocking(move || {
        let folder = target.parent().unwrap_or(&target);
        fs::create_dir_all(folder).map_err(StoreError::file("make the folder", folder))?;
        fs::rename(spool.path(), &target).map_err(StoreError::file("name", &target))?;
        spool.keep();
        folder.ancestors().take(3).try_for_each(sync_folder)
    })
    .await?;
    let row = Row {
        series: job.series,
        model_name: &new.model_name,
        model_version: &new.model_version,
        space_sha256: &new.space_sha256,
        revision: job.revision,
        path: &path,
        created_at: now,
    };
    write_row(connection, &row).await
}

/// Makes the row, or renews it.
pub(super) async fn write_row(connection: &mut SqliteConnection, row: &Row<'_>) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO embedding (series_key, model_name, model_version, space_sha256, revision, path, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (series_key, model_name, model_version) DO UPDATE \
         SET space_sha256 = excluded.space_sha256, revision = excluded.revision, path = excluded.path, \
         created_at = excluded.created_at",
    )
    .bind(row.series)
    .bind(row.model_name)
    .bind(row.model_version)
    .bind(row.space_sha256)
    .bind(row.revision)
    .bind(row.path)
    .bind(row.created_at.0)
    .execute(connection)
    .await?;
    Ok(())
}
