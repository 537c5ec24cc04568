//! What is known of series: those that are receiving, and those that came beside one in its study.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::super::Store;
use super::super::error::StoreError;
use super::super::ids::SeriesKey;
use super::super::instance::{uid, unsigned};
use super::super::state::SeriesState;
use crate::clock::Timestamp;
use crate::dicom::ae::AeTitle;
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

/// A series that came, in whatever state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudySeries {
    /// What is known of it.
    pub series: ReceivingSeries,
    /// Where it stands.
    pub state: SeriesState,
    /// The models that have a job for a revision of it.
    pub models: Vec<String>,
}

/// Series with who sends them.
macro_rules! known {
    () => {
        "SELECT series.*, study.study_instance_uid, \
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
         FROM series JOIN study ON study.study_key = series.study_key"
    };
}

/// All series that are receiving.
pub(in crate::store) const RECEIVING: &str =
    concat!(known!(), " WHERE series.state = 'receiving' ORDER BY series.last_received_at");

/// All series that came in the study of one.
pub(in crate::store) const OF_STUDY: &str = concat!(
    known!(),
    " WHERE series.study_key = (SELECT study_key FROM series WHERE series_key = $1) AND series.origin = 'received' \
     ORDER BY series.series_key"
);

/// Which models have jobs in the study of a series.
pub(in crate::store) const MODELS_OF_STUDY: &str = "SELECT DISTINCT series_key, model_name FROM job WHERE series_key IN \
     (SELECT series_key FROM series WHERE study_key = (SELECT study_key FROM series WHERE series_key = $1)) \
     ORDER BY series_key, model_name";

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
            match known_series(row) {
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

    /// The series of a study that came, this one among them, in the order in which they began to; not what was made here. One
    /// whose row cannot be read is passed over.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn series_of_study(&self, of: SeriesKey) -> Result<Vec<StudySeries>, StoreError> {
        let rows = sqlx::query(OF_STUDY).bind(of).fetch_all(self.readers()).await?;
        let jobs = sqlx::query(MODELS_OF_STUDY).bind(of).fetch_all(self.readers()).await?;
        let mut models: HashMap<SeriesKey, Vec<String>> = HashMap::new();
        for job in &jobs {
            models.entry(job.try_get("series_key")?).or_default().push(job.try_get("model_name")?);
        }
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            match study_series(row, &mut models) {
                Ok(series) => found.push(series),
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

fn study_series(row: &SqliteRow, models: &mut HashMap<SeriesKey, Vec<String>>) -> Result<StudySeries, StoreError> {
    let series = known_series(row)?;
    let state = SeriesState::from_word(row.try_get("state")?)?;
    let models = models.remove(&series.key).unwrap_or_default();
    Ok(StudySeries { series, state, models })
}

fn known_series(row: &SqliteRow) -> Result<ReceivingSeries, StoreError> {
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
