//! What the writer knows of the rows it has made, so that the next instance of a series costs no question.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::columns::{ensure_patient, insert_series, insert_study};
use super::commit::{NewRow, Source};
use super::error::StoreError;
use super::ids::SeriesKey;
use super::layout::Origin;
use crate::clock::Timestamp;
use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};

/// How many series, associations or folders are remembered before all are forgotten.
const MOST_KNOWN: usize = 20_000;

/// Rows that are committed; forgotten as a whole when a transaction fails.
#[derive(Debug, Default)]
pub(super) struct Known {
    series: HashMap<(Origin, StudyInstanceUid, SeriesInstanceUid), (SeriesKey, i64)>,
    studies: HashMap<i64, BTreeSet<String>>,
    associations: HashMap<Arc<str>, i64>,
    folders: HashSet<PathBuf>,
}

/// The keys under which an instance goes into the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownSeries {
    pub(super) key: SeriesKey,
    pub(super) study_key: i64,
    pub(super) association_key: Option<i64>,
}

impl Known {
    /// Forgets all rows. Folders stay: they are on the disk whatever the database did.
    pub(super) fn forget(&mut self) {
        self.series.clear();
        self.studies.clear();
        self.associations.clear();
    }

    pub(super) fn is_durable(&self, folder: &Path) -> bool {
        self.folders.contains(folder)
    }

    pub(super) fn set_durable(&mut self, folder: &Path) {
        if self.is_durable(folder) {
            return;
        }
        if self.folders.len() >= MOST_KNOWN {
            self.folders.clear();
        }
        self.folders.insert(folder.to_owned());
    }

    /// The keys of an instance that needs nothing but its own row and sums.
    pub(super) fn find(&self, new: &NewRow) -> Option<KnownSeries> {
        let (key, study_key) = *self.series.get(&key_of(new))?;
        self.studies.get(&study_key)?.get(new.row.instance.sop_class_uid.as_str())?;
        let association_key = match &new.source {
            Some(source) => Some(*self.associations.get(&source.association_id)?),
            None => None,
        };
        Some(KnownSeries { key, study_key, association_key })
    }

    /// Makes the rows above an instance where they are missing. To be called inside a transaction.
    pub(super) async fn ensure(
        &mut self,
        connection: &mut SqliteConnection,
        new: &NewRow,
    ) -> Result<KnownSeries, StoreError> {
        if let Some(found) = self.find(new) {
            return Ok(found);
        }
        if self.series.len() + self.associations.len() >= MOST_KNOWN {
            self.forget();
        }
        let key = key_of(new);
        let (series_key, study_key) = match self.series.get(&key) {
            Some(known) => *known,
            None => {
                let study_key = ensure_study(connection, new).await?;
                let series_key = ensure_series(connection, study_key, new).await?;
                self.series.insert(key, (series_key, study_key));
                (series_key, study_key)
            }
        };
        let class = new.row.instance.sop_class_uid.as_str();
        if !self.studies.get(&study_key).is_some_and(|classes| classes.contains(class)) {
            let classes = add_to_study(connection, study_key, "sop_classes", class).await?;
            self.studies.insert(study_key, classes);
        }
        let association_key = match &new.source {
            Some(source) => Some(self.ensure_association(connection, source, new.received_at).await?),
            None => None,
        };
        Ok(KnownSeries { key: series_key, study_key, association_key })
    }

    async fn ensure_association(
        &mut self,
        connection: &mut SqliteConnection,
        source: &Source,
        at: Timestamp,
    ) -> Result<i64, StoreError> {
        if let Some(key) = self.associations.get(&source.association_id) {
            return Ok(*key);
        }
        let key = sqlx::query_scalar(
            "INSERT INTO association (association_id, calling_ae_title, peer_address, first_received_at) \
             VALUES ($1, $2, $3, $4) \
             ON CONFLICT (association_id) DO UPDATE SET association_id = excluded.association_id \
             RETURNING association_key",
        )
        .bind(source.association_id.as_ref())
        .bind(&source.calling_ae_title)
        .bind(&source.peer_address)
        .bind(at.0)
        .fetch_one(connection)
        .await?;
        self.associations.insert(source.association_id.clone(), key);
        Ok(key)
    }
}

fn key_of(new: &NewRow) -> (Origin, StudyInstanceUid, SeriesInstanceUid) {
    (new.origin, new.row.study.uid.clone(), new.row.series.uid.clone())
}

/// The study's row; its attributes are those of its first instance.
async fn ensure_study(connection: &mut SqliteConnection, new: &NewRow) -> Result<i64, StoreError> {
    let row = &new.row;
    let found = sqlx::query(
        "SELECT study.study_key, patient.identity FROM study JOIN patient ON patient.patient_key = study.patient_key \
         WHERE study.study_instance_uid = $1",
    )
    .bind(row.study.uid.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(found) = found {
        if found.try_get::<&str, _>("identity")? != row.patient.identity(&row.study.uid) {
            tracing::warn!(
                study.uid = %row.study.uid,
                "an instance of this study names another patient than the first one did; the study stays with the first"
            );
        }
        return Ok(found.try_get("study_key")?);
    }
    let patient_key = ensure_patient(connection, row).await?;
    insert_study(connection, patient_key, new).await
}

/// The series' row; its attributes are those of its first instance.
async fn ensure_series(
    connection: &mut SqliteConnection,
    study_key: i64,
    new: &NewRow,
) -> Result<SeriesKey, StoreError> {
    let series = &new.row.series;
    let found = sqlx::query(
        "SELECT series_key, revision > 0 AND number_of_instances = 0 AS is_empty FROM series \
         WHERE series_instance_uid = $1 AND study_key = $2 AND origin = $3",
    )
    .bind(series.uid.as_str())
    .bind(study_key)
    .bind(new.origin.word())
    .fetch_optional(&mut *connection)
    .await?;
    let key = match found {
        // One whose instances are gone is not counted any more: it comes anew.
        Some(found) if found.try_get("is_empty")? => found.try_get("series_key")?,
        Some(found) => return Ok(found.try_get("series_key")?),
        None => insert_series(connection, study_key, new).await?,
    };
    sqlx::query("UPDATE study SET number_of_series = number_of_series + 1 WHERE study_key = $1")
        .bind(study_key)
        .execute(&mut *connection)
        .await?;
    if !series.modality.is_empty() {
        add_to_study(connection, study_key, "modalities", &series.modality).await?;
    }
    Ok(key)
}

/// Adds a word to one of the study's lists and gives the whole list.
async fn add_to_study(
    connection: &mut SqliteConnection,
    study_key: i64,
    list: &'static str,
    word: &str,
) -> Result<BTreeSet<String>, StoreError> {
    let (select, update) = match list {
        "modalities" => (
            "SELECT modalities FROM study WHERE study_key = $1",
            "UPDATE study SET modalities = $1 WHERE study_key = $2",
        ),
        _ => (
            "SELECT sop_classes FROM study WHERE study_key = $1",
            "UPDATE study SET sop_classes = $1 WHERE study_key = $2",
        ),
    };
    let joined: String = sqlx::query_scalar(select).bind(study_key).fetch_one(&mut *connection).await?;
    let mut words: BTreeSet<String> = joined.split('\\').filter(|w| !w.is_empty()).map(str::to_owned).collect();
    if words.insert(word.to_owned()) {
        let joined = words.iter().map(String::as_str).collect::<Vec<_>>().join("\\");
        sqlx::query(update).bind(joined).bind(study_key).execute(&mut *connection).await?;
    }
    Ok(words)
}
