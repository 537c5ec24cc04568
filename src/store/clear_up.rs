//! What a node does at its start, before anything else, so that nothing of a process that is gone is left hanging.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Store;
use super::aside::blocking;
use super::error::StoreError;
use super::journal;
use super::layout::{Layout, Origin, rename_new, sync_folder};
use super::reindex::{PORTION, Reindexed, Run};
use super::stored_file::StoredFile;
use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};

/// Folders changed up to this long before the last start are looked at as well.
const MARGIN: Duration = Duration::from_secs(60);

impl Store {
    /// Gives back what a process that is gone had claimed and ends its associations.
    pub(super) async fn clear_up(&self) -> Result<(), StoreError> {
        let now = self.inner.clock.now();
        self.reclaim_all(now).await?;
        self.reset_sending(None).await?;
        sqlx::query("UPDATE association SET ended_at = $1 WHERE ended_at IS NULL")
            .bind(now.0)
            .execute(&mut *self.inner.writer.lock().await?)
            .await?;
        Ok(())
    }

    /// Notes that a node runs. Where the last one did not end by itself, gives the files without a row that are whole
    /// their rows before, and moves those that are not out of the way: cut off, that is done again from the same time on.
    pub(super) async fn begin_running(&self) -> Result<(), StoreError> {
        if let Some(began) = self.inner.layout.left_running()? {
            tracing::warn!("the last process did not end by itself");
            self.index_rowless(began.checked_sub(MARGIN).unwrap_or(began)).await?;
        }
        self.inner.layout.mark_running()
    }

    /// Gives the files without a row that came since then their rows.
    async fn index_rowless(&self, since: SystemTime) -> Result<(), StoreError> {
        let mut rowless = Vec::new();
        for origin in [Origin::Received, Origin::Result] {
            rowless.extend(self.rowless(origin, since).await?);
        }
        if rowless.is_empty() {
            return Ok(());
        }
        let layout = self.inner.layout.clone();
        blocking(move || layout.sync_all()).await?;
        StoredFile::sort(&mut rowless);
        let mut run = Run::for_lost_rows();
        let mut report = Reindexed { files: rowless.len() as u64, ..Reindexed::default() };
        for portion in rowless.chunks(PORTION) {
            self.index_files(portion.to_vec(), &mut run, &mut report).await?;
        }
        // Nobody sends what was found on the disk.
        sqlx::query("UPDATE association SET ended_at = $1 WHERE ended_at IS NULL")
            .bind(self.inner.clock.now().0)
            .execute(&mut *self.inner.writer.lock().await?)
            .await?;
        tracing::warn!(
            files = report.files,
            added = report.added,
            set_aside = report.set_aside,
            unreadable = report.unreadable,
            "files without a row are in the index now, or moved aside where they are not whole"
        );
        Ok(())
    }

    /// The files without a row in the series folders that have changed since a time, and in those of receiving series, whose
    /// last rows the disk may not have: for that no clock must be right.
    async fn rowless(&self, origin: Origin, since: SystemTime) -> Result<Vec<StoredFile>, StoreError> {
        let root = self.inner.layout.folder(origin);
        let receiving = match origin {
            Origin::Received => self.receiving_folders().await?,
            Origin::Result => Vec::new(),
        };
        let folders = blocking(move || {
            let mut folders: BTreeSet<PathBuf> = receiving.into_iter().filter(|folder| folder.is_dir()).collect();
            folders.extend(changed_since(&root, since)?);
            Ok(folders)
        });
        let mut rowless = Vec::new();
        for folder in folders.await? {
            let rows = self.rows_of(&folder, origin).await?;
            let files = blocking(move || {
                let names = names_in(&folder)?.into_iter().filter(|name| !rows.contains(name));
                names.map(|name| StoredFile::at(origin, folder.join(name))).collect::<Result<Vec<_>, _>>()
            });
            rowless.extend(files.await?);
        }
        Ok(rowless)
    }

    /// The folders of the series that are receiving as far as the disk knows.
    async fn receiving_folders(&self) -> Result<Vec<PathBuf>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT study.study_instance_uid, series.series_instance_uid FROM series \
             JOIN study ON study.study_key = series.study_key \
             WHERE series.state = 'receiving' AND series.origin = $1",
        )
        .bind(Origin::Received.word())
        .fetch_all(self.readers())
        .await?;
        let folder = |(study, series): &(String, String)| {
            let (study, series) = (StudyInstanceUid::parse(study).ok()?, SeriesInstanceUid::parse(series).ok()?);
            Some(self.inner.layout.series(Origin::Received, &study, &series))
        };
        Ok(rows.iter().filter_map(folder).collect())
    }

    /// The file names that the rows of a series folder stand for.
    async fn rows_of(&self, folder: &Path, origin: Origin) -> Result<HashSet<String>, StoreError> {
        let name = |path: Option<&Path>| path.and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
        let uids: Vec<String> = sqlx::query_scalar(
            "SELECT instance.sop_instance_uid FROM instance JOIN series ON series.series_key = instance.series_key \
             JOIN study ON study.study_key = series.study_key \
             WHERE series.series_instance_uid = $1 AND study.study_instance_uid = $2 AND series.origin = $3",
        )
        .bind(name(Some(folder)))
        .bind(name(folder.parent()))
        .bind(origin.word())
        .fetch_all(self.readers())
        .await?;
        Ok(uids.into_iter().map(|uid| format!("{uid}.dcm")).collect())
    }
}

/// Removes what was arriving when the last process ended, and writes again what may not have come to the disk. Blocks.
pub(super) fn before_all(layout: &Layout) -> Result<(), StoreError> {
    let removed = layout.empty_incoming()?;
    if removed > 0 {
        tracing::info!(files = removed, "files that were arriving when the last process ended are removed");
    }
    let again = journal::replay(layout)?;
    if again > 0 {
        tracing::warn!(
            files = again,
            "small files that may not have been on the disk yet are written again from the journal"
        );
    }
    Ok(())
}

/// The series folders in which a name has changed since `time`. Blocks.
fn changed_since(root: &Path, time: SystemTime) -> Result<Vec<PathBuf>, StoreError> {
    let mut changed = Vec::new();
    for study in folders_in(root)? {
        for series in folders_in(&study)? {
            let modified = fs::metadata(&series).and_then(|m| m.modified());
            if modified.map_err(StoreError::file("look at", &series))? >= time {
                changed.push(series);
            }
        }
    }
    Ok(changed)
}

/// The folders in a folder, ascending. Blocks.
pub(super) fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).map_err(StoreError::file("list", folder))? {
        let entry = entry.map_err(StoreError::file("list", folder))?;
        if entry.file_type().map_err(StoreError::file("look at", &entry.path()))?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

/// The names of the instance files in a folder, ascending. Blocks.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(StoreError::file("list", folder))? {
        let name = entry.map_err(StoreError::file("list", folder))?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".dcm") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Moves files to `aside/`, where none is replaced. Blocks.
pub(super) fn move_all(folder: &Path, aside: &Path, names: &[String]) -> Result<(), StoreError> {
    for name in names {
        move_aside(&folder.join(name), aside, "unacknowledged", name)?;
    }
    sync_folder(aside)?;
    sync_folder(folder)
}

/// Moves a file to `aside/` under a name that says why, where none is replaced, and gives it; nothing is synced. Blocks.
pub(super) fn move_aside(path: &Path, aside: &Path, why: &str, name: &str) -> Result<PathBuf, StoreError> {
    let mut copies = (2..).map(|number| aside.join(format!("{why}-{number}-{name}")));
    let mut target = aside.join(format!("{why}-{name}"));
    while let Err(error) = rename_new(path, &target) {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(StoreError::file("move", path)(error));
        }
        target = copies.next().unwrap_or(target);
    }
    Ok(target)
}
