//! What a node does at its start, before anything else, so that nothing of a process that is gone is left hanging.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Store;
use super::aside::blocking;
use super::error::StoreError;
use super::layout::{Origin, sync_folder};

/// Folders changed up to this long before the last start are looked at as well.
const MARGIN: Duration = Duration::from_secs(60);

impl Store {
    /// Gives back what a process that is gone had claimed, ends its associations, empties `incoming/` and, where it did
    /// not end by itself, moves files without a row out of the way.
    pub(super) async fn clear_up(&self) -> Result<(), StoreError> {
        let layout = &self.inner.layout;
        let now = self.inner.clock.now();
        self.reclaim_all(now).await?;
        self.reset_sending(None).await?;
        sqlx::query("UPDATE association SET ended_at = $1 WHERE ended_at IS NULL")
            .bind(now.0)
            .execute(&mut *self.inner.writer.lock().await)
            .await?;
        let removed = layout.empty_incoming()?;
        if removed > 0 {
            tracing::info!(files = removed, "files that were arriving when the last process ended are removed");
        }
        if !self.index_fits_files().await? {
            tracing::error!("the index is empty, but there are instances: stop the node and run `overread reindex`");
        } else if let Some(began) = layout.mark_running()? {
            tracing::warn!("the last process did not end by itself");
            for origin in [Origin::Received, Origin::Result] {
                self.set_aside_rowless(origin, began).await?;
            }
        }
        Ok(())
    }

    /// False where the database was lost: then every file is without a row, and none of them may be moved.
    async fn index_fits_files(&self) -> Result<bool, StoreError> {
        let any: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM instance LIMIT 1").fetch_optional(self.readers()).await?;
        let folder = self.inner.layout.folder(Origin::Received);
        let empty = fs::read_dir(&folder).map_err(StoreError::file("list", &folder))?.next().is_none();
        Ok(any.is_some() || empty)
    }

    async fn set_aside_rowless(&self, origin: Origin, began: SystemTime) -> Result<(), StoreError> {
        let root = self.inner.layout.folder(origin);
        let folders = blocking(move || changed_since(&root, began.checked_sub(MARGIN).unwrap_or(began))).await?;
        for folder in folders {
            let names = blocking({
                let folder = folder.clone();
                move || names_in(&folder)
            })
            .await?;
            let rows = self.rows_of(&folder, origin).await?;
            let rowless: Vec<String> = names.into_iter().filter(|name| !rows.contains(name)).collect();
            if rowless.is_empty() {
                continue;
            }
            tracing::warn!(
                files = rowless.len(),
                folder = %folder.display(),
                "files that nobody was promised are moved aside"
            );
            let aside = self.inner.layout.aside();
            blocking(move || move_all(&folder, &aside, &rowless)).await?;
        }
        Ok(())
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

/// Moves files to `aside/`, where a name in use is replaced: what has no row is worth one copy. Blocks.
pub(super) fn move_all(folder: &Path, aside: &Path, names: &[String]) -> Result<(), StoreError> {
    for name in names {
        let path = folder.join(name);
        fs::rename(&path, aside.join(format!("unacknowledged-{name}"))).map_err(StoreError::file("move", &path))?;
    }
    sync_folder(aside)?;
    sync_folder(folder)
}
