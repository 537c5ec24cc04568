//! Which embeddings there are.

use std::path::PathBuf;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::clock::Timestamp;
use crate::store::{Store, StoreError};

/// How many rows a page has.
const PAGE: i64 = 500;

const ROWS: &str = "SELECT embedding.*, series.series_instance_uid, study.study_instance_uid, study.study_date \
     FROM embedding JOIN series ON series.series_key = embedding.series_key \
     JOIN study ON study.study_key = series.study_key";

/// Embeddings that are kept of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEmbeddings {
    key: i64,
    /// Study Instance UID.
    pub study_instance_uid: String,
    /// Study Date, YYYYMMDD, empty where unknown.
    pub study_date: String,
    /// Series Instance UID.
    pub series_instance_uid: String,
    /// Name of the model package.
    pub model_name: String,
    /// Its version.
    pub model_version: String,
    /// Of what they depend on, lower-case hex: only those of one space can be compared.
    pub space_sha256: String,
    /// Which revision of the series was read.
    pub revision: i64,
    /// The file.
    pub path: PathBuf,
    /// The same below the data folder.
    pub path_in_data: String,
    /// When the file was made.
    pub created_at: Timestamp,
}

impl Store {
    /// The embeddings of the studies that a Study Instance UID or an Accession Number names, or of the series that a
    /// Series Instance UID names; the newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn embeddings_of(&self, uid_or_accession: &str) -> Result<Vec<KeptEmbeddings>, StoreError> {
        let sql = format!(
            "{ROWS} WHERE study.study_instance_uid = $1 OR (study.accession_number = $1 AND $1 <> '') \
             OR series.series_instance_uid = $1 ORDER BY embedding.created_at DESC, embedding.embedding_key DESC"
        );
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(uid_or_accession.trim()).fetch_all(self.readers()).await?;
        rows.iter().map(|row| self.kept(row)).collect()
    }

    /// The next page of all embeddings, after the last of the page before; empty after the last one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn embeddings_after(&self, last: Option<&KeptEmbeddings>) -> Result<Vec<KeptEmbeddings>, StoreError> {
        let sql = format!("{ROWS} WHERE embedding_key > $1 ORDER BY embedding_key LIMIT $2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(last.map_or(0, |last| last.key)).bind(PAGE);
        rows.fetch_all(self.readers()).await?.iter().map(|row| self.kept(row)).collect()
    }

    fn kept(&self, row: &SqliteRow) -> Result<KeptEmbeddings, StoreError> {
        let path_in_data: String = row.try_get("path")?;
        Ok(KeptEmbeddings {
            key: row.try_get("embedding_key")?,
            study_instance_uid: row.try_get("study_instance_uid")?,
            study_date: row.try_get("study_date")?,
            series_instance_uid: row.try_get("series_instance_uid")?,
            model_name: row.try_get("model_name")?,
            model_version: row.try_get("model_version")?,
            space_sha256: row.try_get("space_sha256")?,
            revision: row.try_get("revision")?,
            path: self.inner.layout.root().join(&path_in_data),
            path_in_data,
            created_at: Timestamp(row.try_get("created_at")?),
        })
    }
}
