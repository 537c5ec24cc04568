//! The file system under the instances, synced as a whole.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::error::StoreError;

/// A handle that was open before the files were written of which it is to say whether they came to the disk.
#[derive(Debug)]
pub(super) struct FileSystem {
    folder: File,
    path: PathBuf,
    /// The system tells of what it could not write once for each handle, so this is remembered.
    pub(super) has_failed: Mutex<bool>,
}

impl FileSystem {
    /// That of a folder.
    pub(super) fn of(path: PathBuf) -> Result<Self, StoreError> {
        let folder = File::open(&path).map_err(StoreError::file("open", &path))?;
        Ok(Self { folder, path, has_failed: Mutex::new(false) })
    }

    /// Makes durable whatever was written before.
    ///
    /// # Errors
    /// Where something could not be written since the handle is open, and then always (Linux 5.8 and later).
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let mut has_failed = self.has_failed.lock().unwrap_or_else(PoisonError::into_inner);
        let synced = match *has_failed {
            true => Err(io::Error::other("something could not be written before")),
            false => rustix::fs::syncfs(&self.folder).map_err(io::Error::from),
        };
        *has_failed = synced.is_err();
        synced.map_err(StoreError::file("sync the file system of", &self.path))
    }
}
