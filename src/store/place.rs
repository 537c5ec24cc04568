//! Giving a file that has arrived its name among the stored ones.

use std::fs;
use std::io;
use std::path::Path;

use super::error::StoreError;
use super::incoming::Spool;
use super::layout::rename_new;

/// What became of a file that was to be placed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placing {
    /// It has its name. Neither name nor content is durable before file and folder are synced.
    Placed,
    /// Another file has the name; this one stays where it was.
    Exists,
}

/// Moves the file to `target` unless something is there; nothing is synced. Blocks.
///
/// The name comes before the sync: one commit of the file system's journal then carries both. A crash in between can
/// leave a file under its final name that is not whole; with a row only where the journal has a copy of it, for rows are
/// committed after that.
pub(super) fn place(spool: &mut Spool, folder: &Path, target: &Path) -> Result<Placing, StoreError> {
    match rename_new(spool.path(), target) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder).map_err(StoreError::file("make the folder", folder))?;
            match rename_new(spool.path(), target) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(Placing::Exists),
                Err(error) => return Err(StoreError::file("name", target)(error)),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(Placing::Exists),
        Err(error) => return Err(StoreError::file("name", target)(error)),
    }
    spool.keep();
    Ok(Placing::Placed)
}

/// Moves the file to `target` over whatever is there, and syncs its content. Blocks.
pub(super) fn place_over(spool: &mut Spool, folder: &Path, target: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(folder).map_err(StoreError::file("make the folder", folder))?;
    spool.file.sync_all().map_err(StoreError::file("sync", spool.path()))?;
    fs::rename(spool.path(), target).map_err(StoreError::file("name", target))?;
    spool.keep();
    Ok(())
}
