//! Rows of embeddings made anew from the files.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use super::file::{EmbeddingFile, EmbeddingOf};
use super::keep::{Row, write_row};
use crate::clock::Timestamp;
use crate::store::aside::blocking;
use crate::store::clear_up::folders_in;
use crate::store::ids::SeriesKey;
use crate::store::layout::{Layout, Origin};
use crate::store::stored_file::modified;
use crate::store::{Reindexed, Store, StoreError};

/// How many rows are committed together.
const PORTION: usize = 256;

/// A file that is what its name says.
struct Found {
    of: EmbeddingOf,
    revision: i64,
    path: String,
    modified: Timestamp,
}

impl Store {
    /// Makes the rows of embeddings say what their files say. After the instances: only series that the index has can
    /// have embeddings. What cannot be read stays where it is, without a row.
    pub(in crate::store) async fn reindex_embeddings(&self, report: &mut Reindexed) -> Result<(), StoreError> {
        let layout = self.inner.layout.clone();
        let paths = blocking(move || list(&layout)).await?;
        let mut seen = HashSet::new();
        for portion in paths.chunks(PORTION) {
            let (layout, portion) = (self.inner.layout.clone(), portion.to_vec());
            let found = blocking(move || Ok(portion.iter().filter_map(|path| look(&layout, path)).collect::<Vec<_>>()));
            let found = found.await?;
            let mut connection = self.inner.writer.lock().await?;
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            for file in found {
                if keep(&mut transaction, &file).await? {
                    report.embeddings += 1;
                    seen.insert(file.path);
                }
            }
            transaction.commit().await?;
        }
        let mut connection = self.inner.writer.lock().await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let rows: Vec<String> = sqlx::query_scalar("SELECT path FROM embedding").fetch_all(&mut *transaction).await?;
        for path in rows.iter().filter(|path| !seen.contains(*path)) {
            sqlx::query("DELETE FROM embedding WHERE path = $1").bind(path).execute(&mut *transaction).await?;
            report.lost_embeddings += 1;
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// False where the index does not have the series.
async fn keep(connection: &mut SqliteConnection, file: &Found) -> Result<bool, StoreError> {
    let series: Option<SeriesKey> = sqlx::query_scalar(
        "SELECT series_key FROM series JOIN study ON study.study_key = series.study_key \
         WHERE series_instance_uid = $1 AND study_instance_uid = $2 AND origin = $3",
    )
    .bind(file.of.series_instance_uid.as_str())
    .bind(file.of.study_instance_uid.as_str())
    .bind(Origin::Received.word())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(series) = series else {
        tracing::warn!(path = file.path, "embeddings of a series that is not here stay without a row");
        return Ok(false);
    };
    let row = Row {
        series,
        model_name: &file.of.model_name,
        model_version: &file.of.model_version,
        space_sha256: &file.of.space_sha256,
        revision: file.revision,
        path: &file.path,
        created_at: file.modified,
    };
    write_row(connection, &row).await?;
    Ok(true)
}

/// Blocks.
fn list(layout: &Layout) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    for study in folders_in(&layout.embeddings())? {
        for series in folders_in(&study)? {
            for entry in fs::read_dir(&series).map_err(StoreError::file("list", &series))? {
                let path = entry.map_err(StoreError::file("list", &series))?.path();
                if path.extension().is_some_and(|extension| extension == "safetensors") {
                    files.push(path);
                }
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Nothing, and a line of the log, where the file is not what its name says. Blocks.
fn look(layout: &Layout, path: &Path) -> Option<Found> {
    match read(layout, path) {
        Ok(found) => Some(found),
        Err(reason) => {
            tracing::warn!(path = %path.display(), reason, "this file of embeddings stays without a row");
            None
        }
    }
}

fn read(layout: &Layout, path: &Path) -> Result<Found, String> {
    let of = EmbeddingFile::open(path).map_err(|error| error.to_string())?.of().clone();
    let place = Layout::embedding(&of.study_instance_uid, &of.series_instance_uid, &of.model_name, &of.model_version);
    if layout.root().join(&place) != path {
        return Err(format!("it belongs at {place}"));
    }
    Ok(Found {
        revision: of.revision.ok_or("it does not say of which revision it is")?,
        of,
        path: place,
        modified: modified(path).map_err(|error| error.to_string())?,
    })
}
