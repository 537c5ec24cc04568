//! Rebuilding the index from the files. Jobs and deliveries are not in the files and stay as they are.

use std::collections::HashSet;
use std::path::Path;

use rayon::prelude::*;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::Store;
use super::aside::blocking;
use super::clear_up::move_all;
use super::columns::renew;
use super::commit::{NewRow, Source, insert_one};
use super::error::StoreError;
use super::ids::{InstanceKey, SeriesKey};
use super::instance::signed;
use super::known::Known;
use super::stored_file::{NoRow, StoredFile};
use crate::clock::Timestamp;

/// How many files are read before their rows are committed together.
pub(super) const PORTION: usize = 64;

/// The signal of a series that is complete because nobody knows when it was.
pub(super) const FOUND_BY_REINDEX: &str = "found by reindex";

/// What rebuilding the index has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reindexed {
    /// Files in all.
    pub files: u64,
    /// Files that had no row and have one now.
    pub added: u64,
    /// Files moved to `aside/`: cut short, no DICOM files, or not what their name says.
    pub set_aside: u64,
    /// Files that the disk could not read: they stay, with the rows they have.
    pub unreadable: u64,
    /// Rows removed because their file is gone.
    pub removed: u64,
    /// Results whose file is gone; their rows stay, for they tell what was delivered.
    pub lost_results: u64,
    /// Files of embeddings that have a row now.
    pub embeddings: u64,
    /// Rows of embeddings removed because their file is gone or damaged.
    pub lost_embeddings: u64,
}

impl Store {
    /// Reads every file and makes the index say what the files say. Only for a store that is open for running, with
    /// nothing arriving. `progress` is told how many files are done, and how many there are.
    ///
    /// Instances that had a row keep their place in the order of arrival and their series its state. A series that had
    /// no row at all is `complete` and not read, unless `read_new_series`: after the loss of the database nobody knows
    /// what had been read, and reading an archive of years again is for a person to decide.
    ///
    /// # Errors
    /// What the disk or the database says; the index is consistent then, and this can be started again.
    pub async fn reindex(
        &self,
        read_new_series: bool,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Reindexed, StoreError> {
        let layout = self.inner.layout.clone();
        let found = blocking(move || {
            layout.sync_all()?;
            StoredFile::all(&layout)
        })
        .await?;
        let mut run = Run::new(read_new_series);
        let mut report = Reindexed { files: found.len() as u64, ..Reindexed::default() };
        progress(0, report.files);
        let mut done = 0;
        for portion in found.chunks(PORTION) {
            self.index_files(portion.to_vec(), &mut run, &mut report).await?;
            done += portion.len() as u64;
            progress(done, report.files);
        }
        self.reindex_embeddings(&mut report).await?;
        self.recount(&run.seen, &mut report).await?;
        self.inner.layout.mark_rebuilt()?;
        Ok(report)
    }

    /// Gives a portion of files their rows, and moves aside those that are not what they should be.
    pub(super) async fn index_files(
        &self,
        portion: Vec<StoredFile>,
        run: &mut Run,
        report: &mut Reindexed,
    ) -> Result<(), StoreError> {
        let layout = self.inner.layout.clone();
        let read = blocking(move || {
            let read = |file: StoredFile| (file.read(&layout), file.path);
            Ok(portion.into_par_iter().map(read).collect::<Vec<_>>())
        })
        .await?;
        let mut aside = Vec::new();
        let mut connection = self.inner.writer.lock().await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        for (row, path) in read {
            let kept = match row {
                Ok(new) => run.index(&mut transaction, new, self.inner.clock.now()).await?,
                Err(NoRow::Unfit(reason)) => Kept::No(reason),
                Err(NoRow::Unreadable(error)) => {
                    tracing::error!(path = %path.display(), %error, "this file cannot be read and is left as it is");
                    report.unreadable += 1;
                    run.keep_row_of(&mut transaction, &path).await?;
                    Kept::Known
                }
            };
            match kept {
                Kept::Known => {}
                Kept::Added => report.added += 1,
                Kept::No(reason) => {
                    tracing::warn!(path = %path.display(), reason, "this file is moved aside");
                    aside.push(path);
                }
            }
        }
        transaction.commit().await?;
        drop(connection);
        report.set_aside += aside.len() as u64;
        let folder = self.inner.layout.aside();
        blocking(move || {
            aside.iter().try_for_each(|path| match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => move_all(parent, &folder, &[name.to_string_lossy().into_owned()]),
                _ => Ok(()),
            })
        })
        .await
    }

    /// Removes the rows that no file stands for, and counts anew what is counted along.
    async fn recount(&self, seen: &HashSet<InstanceKey>, report: &mut Reindexed) -> Result<(), StoreError> {
        let mut connection = self.inner.writer.lock().await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let rows = sqlx::query(
            "SELECT instance_key, EXISTS (SELECT 1 FROM result WHERE result.instance_key = instance.instance_key) \
             AS is_result FROM instance",
        )
        .fetch_all(&mut *transaction)
        .await?;
        for row in rows {
            let key: InstanceKey = row.try_get("instance_key")?;
            if seen.contains(&key) {
                continue;
            }
            if row.try_get::<i64, _>("is_result")? != 0 {
                report.lost_results += 1;
                continue;
            }
            sqlx::query("DELETE FROM instance WHERE instance_key = $1").bind(key).execute(&mut *transaction).await?;
            report.removed += 1;
        }
        for statement in RECOUNT {
            sqlx::query(*statement).execute(&mut *transaction).await?;
        }
        sqlx::query("UPDATE association SET ended_at = $1 WHERE ended_at IS NULL")
            .bind(self.inner.clock.now().0)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        drop(connection);
        self.inner.queue.forget();
        Ok(())
    }
}

/// Rows above instances: gone where nothing is below them, counted anew elsewhere. A series whose instances are gone stays
/// for its story, and counts for nothing.
const RECOUNT: &[&str] = &[
    "DELETE FROM series_source WHERE NOT EXISTS \
     (SELECT 1 FROM instance WHERE instance.series_key = series_source.series_key)",
    "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM instance WHERE instance.series_key = series.series_key) \
     AND NOT EXISTS (SELECT 1 FROM job WHERE job.series_key = series.series_key) \
     AND NOT EXISTS (SELECT 1 FROM embedding WHERE embedding.series_key = series.series_key) \
     AND NOT EXISTS (SELECT 1 FROM route_decision WHERE route_decision.series_key = series.series_key)",
    "DELETE FROM study WHERE NOT EXISTS (SELECT 1 FROM series WHERE series.study_key = study.study_key)",
    "DELETE FROM patient WHERE NOT EXISTS (SELECT 1 FROM study WHERE study.patient_key = patient.patient_key)",
    "UPDATE series SET number_of_instances = \
     (SELECT count(*) FROM instance WHERE instance.series_key = series.series_key)",
    "UPDATE study SET number_of_series = (SELECT count(*) FROM series WHERE series.study_key = study.study_key \
         AND series.number_of_instances > 0), \
     number_of_instances = (SELECT count(*) FROM instance JOIN series ON series.series_key = instance.series_key \
         WHERE series.study_key = study.study_key), \
     modalities = (SELECT coalesce(string_agg(word, '\\'), '') FROM (SELECT DISTINCT series.modality AS word FROM series \
         WHERE series.study_key = study.study_key AND series.modality <> '' AND series.number_of_instances > 0 ORDER BY 1) AS words), \
     sop_classes = (SELECT coalesce(string_agg(word, '\\'), '') FROM (SELECT DISTINCT instance.sop_class_uid AS word \
         FROM instance JOIN series ON series.series_key = instance.series_key \
         WHERE series.study_key = study.study_key ORDER BY 1) AS words)",
];

/// What one rebuilding remembers.
pub(super) struct Run {
    known: Known,
    seen: HashSet<InstanceKey>,
    renewed: HashSet<SeriesKey>,
    read_new_series: bool,
    /// Whether files came by the association by which the others of their series did.
    of_known_sources: bool,
}

/// What became of a file.
enum Kept {
    /// It has the row it had.
    Known,
    /// It has a new row.
    Added,
    /// It is not what it should be: why.
    No(String),
}

impl Run {
    /// `read_new_series`: whether series that had no row are for the models to read.
    pub(super) fn new(read_new_series: bool) -> Self {
        Self {
            known: Known::default(),
            seen: HashSet::new(),
            renewed: HashSet::new(),
            read_new_series,
            of_known_sources: false,
        }
    }

    /// For files whose rows a crash took, or kept from being made.
    pub(super) fn for_lost_rows() -> Self {
        Self { of_known_sources: true, ..Self::new(true) }
    }

    /// The row of a file that cannot be read stays.
    async fn keep_row_of(&mut self, connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
        let uid = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let key = sqlx::query_scalar("SELECT instance_key FROM instance WHERE sop_instance_uid = $1")
            .bind(uid)
            .fetch_optional(connection)
            .await?;
        self.seen.extend::<Option<InstanceKey>>(key);
        Ok(())
    }

    async fn index(
        &mut self,
        connection: &mut SqliteConnection,
        new: NewRow,
        now: Timestamp,
    ) -> Result<Kept, StoreError> {
        let row = sqlx::query(
            "SELECT instance.instance_key, instance.series_key, series.series_instance_uid, series.origin, \
             study.study_instance_uid FROM instance JOIN series ON series.series_key = instance.series_key \
             JOIN study ON study.study_key = series.study_key WHERE instance.sop_instance_uid = $1",
        )
        .bind(new.row.instance.uid.as_str())
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return self.add(connection, new, now).await };
        let here = row.try_get::<&str, _>("series_instance_uid")? == new.row.series.uid.as_str()
            && row.try_get::<&str, _>("study_instance_uid")? == new.row.study.uid.as_str()
            && row.try_get::<&str, _>("origin")? == new.origin.word();
        if !here {
            return Ok(Kept::No("its SOP Instance UID is that of an instance elsewhere".to_owned()));
        }
        let (key, series) = (row.try_get("instance_key")?, row.try_get("series_key")?);
        renew_instance(connection, key, &new).await?;
        self.seen.insert(key);
        if self.renewed.insert(series) {
            renew(connection, series, &new.row).await?;
        }
        Ok(Kept::Known)
    }

    async fn add(
        &mut self,
        connection: &mut SqliteConnection,
        mut new: NewRow,
        now: Timestamp,
    ) -> Result<Kept, StoreError> {
        if self.of_known_sources {
            new.source = known_source(connection, &new).await?.or(new.source);
        }
        let (key, known) = insert_one(connection, &mut self.known, new).await?;
        self.seen.insert(key);
        // A series that had no row has nothing but what was added here.
        if !self.read_new_series {
            sqlx::query(
                "UPDATE series SET state = 'complete', signal = $3, completed_at = $1, completed_revision = revision \
                 WHERE series_key = $2 AND state = 'receiving' \
                 AND NOT EXISTS (SELECT 1 FROM series_source JOIN association \
                     ON association.association_key = series_source.association_key \
                     WHERE series_source.series_key = series.series_key AND association.peer_address <> '')",
            )
            .bind(now.0)
            .bind(known.key)
            .bind(FOUND_BY_REINDEX)
            .execute(connection)
            .await?;
        }
        self.renewed.insert(known.key);
        Ok(Kept::Added)
    }
}

/// The last association by which the peer that a file names has sent of its series: none that was released, for what says so
/// has taken all rows before it to the disk.
async fn known_source(connection: &mut SqliteConnection, new: &NewRow) -> Result<Option<Source>, StoreError> {
    let Some(found) = &new.source else { return Ok(None) };
    let row = sqlx::query(
        "SELECT association.association_id, association.peer_address FROM series_source \
         JOIN association ON association.association_key = series_source.association_key \
         JOIN series ON series.series_key = series_source.series_key JOIN study ON study.study_key = series.study_key \
         WHERE study.study_instance_uid = $1 AND series.series_instance_uid = $2 AND series.origin = $3 \
         AND association.calling_ae_title = $4 AND association.released_at IS NULL \
         ORDER BY association.association_key DESC LIMIT 1",
    )
    .bind(new.row.study.uid.as_str())
    .bind(new.row.series.uid.as_str())
    .bind(new.origin.word())
    .bind(&found.calling_ae_title)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Source {
            association_id: row.try_get::<&str, _>("association_id")?.into(),
            calling_ae_title: found.calling_ae_title.clone(),
            peer_address: row.try_get("peer_address")?,
        })
    })
    .transpose()
}

async fn renew_instance(connection: &mut SqliteConnection, key: InstanceKey, new: &NewRow) -> Result<(), StoreError> {
    let instance = &new.row.instance;
    sqlx::query(
        "UPDATE instance SET sop_class_uid = $1, transfer_syntax_uid = $2, file_bytes = $3, data_set_offset = $4, \
         instance_number = $5, acquisition_number = $6, rows = $7, columns = $8, number_of_frames = $9, \
         content_date = $10, content_time = $11, image_type = $12 WHERE instance_key = $13",
    )
    .bind(instance.sop_class_uid.as_str())
    .bind(instance.transfer_syntax_uid.as_str())
    .bind(signed(new.file_bytes))
    .bind(signed(new.data_set_offset))
    .bind(instance.number)
    .bind(instance.acquisition_number)
    .bind(instance.rows)
    .bind(instance.columns)
    .bind(instance.number_of_frames)
    .bind(&instance.content_date)
    .bind(&instance.content_time)
    .bind(&instance.image_type)
    .bind(key)
    .execute(connection)
    .await?;
    Ok(())
}
