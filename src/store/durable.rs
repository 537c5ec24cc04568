//! Making the files of new rows durable: small ones together by the journal, others each by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use tokio::task::spawn_blocking;

use super::commit::NewRow;
use super::error::StoreError;
use super::incoming::Spool;
use super::journal::{Entry, Journal, Word};
use super::known::Known;
use super::layout::sync_folder;
use super::portion::Portion;

/// How far a file that has its name is on the disk.
#[derive(Debug)]
pub(super) enum OnDisk {
    /// Neither its content nor its name need be. With its content where it is small.
    Not(Spool, Option<Portion>),
    /// Its content, and its name in its folder; the names of the folder and of that above it where they are known to be.
    ByItself,
    /// By a copy in the journal, whatever becomes of the folders.
    InJournal,
}

impl OnDisk {
    /// Whether the journal would take it.
    pub(super) const fn is_small(&self) -> bool {
        matches!(self, Self::Not(_, Some(_)))
    }
}

/// A file that cannot be made durable.
pub(super) struct NotDurable {
    pub(super) at: usize,
    pub(super) error: StoreError,
}

/// Makes the files durable that are not, and the names of their folders where this process has not done so before. Blocks.
pub(super) fn sync(
    rows: &[NewRow],
    files: &mut [OnDisk],
    known: &mut Known,
    journal: &Arc<Journal>,
) -> Result<(), NotDurable> {
    keep_small(rows, files, journal);
    for (at, (new, file)) in rows.iter().zip(files).enumerate() {
        let folders = || new.folder.ancestors().skip(1).take(2).try_for_each(sync_folder);
        let mut synced = match file {
            OnDisk::InJournal => continue,
            OnDisk::Not(spool, _) => sync_file(spool, new),
            OnDisk::ByItself => Ok(()),
        };
        if synced.is_ok() && !known.is_durable(&new.folder) {
            synced = folders();
        }
        synced.map_err(|error| NotDurable { at, error })?;
        *file = OnDisk::ByItself;
        known.set_durable(&new.folder);
    }
    Ok(())
}

/// Whether all files and the names of their folders are durable.
pub(super) fn is_synced(rows: &[NewRow], files: &[OnDisk], known: &Known) -> bool {
    rows.iter().zip(files).all(|(new, file)| match file {
        OnDisk::Not(..) => false,
        OnDisk::ByItself => known.is_durable(&new.folder),
        OnDisk::InJournal => true,
    })
}

/// Makes content and name durable, both at once: one commit of the file system's journal then carries both, and the disk
/// empties its cache once less. Where no thread is free for the name, this one sees to it after the content.
pub(super) fn sync_file(spool: &Spool, new: &NewRow) -> Result<(), StoreError> {
    let (done, synced) = mpsc::sync_channel(1);
    let is_taken = Arc::new(AtomicBool::new(false));
    let (folder, taken) = (new.folder.clone(), is_taken.clone());
    spawn_blocking(move || {
        if !taken.swap(true, Ordering::AcqRel) {
            let _ = done.send(sync_folder(&folder));
        }
    });
    spool.file.sync_all().map_err(|error| StoreError::file("sync", &new.file())(error))?;
    if !is_taken.swap(true, Ordering::AcqRel) {
        return sync_folder(&new.folder);
    }
    synced.recv().unwrap_or(Err(StoreError::Closed))
}

/// Has the journal keep the small files, where it can.
fn keep_small(rows: &[NewRow], files: &mut [OnDisk], journal: &Arc<Journal>) {
    let places: Vec<(usize, String)> = rows
        .iter()
        .zip(&*files)
        .enumerate()
        .filter(|(_, (_, file))| file.is_small())
        .map(|(at, (new, _))| (at, new.place()))
        .collect();
    let words: Vec<Word<'_>> = places
        .iter()
        .filter_map(|(at, place)| match &files[*at] {
            OnDisk::Not(_, Some(content)) => {
                Some(Word::File(Entry { place, content: content.bytes(), came: rows[*at].received_at }))
            }
            _ => None,
        })
        .collect();
    if !words.is_empty() && journal.keep(&words) {
        for (at, _) in places {
            files[at] = OnDisk::InJournal;
        }
    }
}
