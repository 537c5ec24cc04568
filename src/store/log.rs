//! The database's log, made as long as it will become: a sync of what is written over has nothing but content to put on the
//! disk, while that of a file that grows waits for its size, its blocks and, on most file systems, their journal as well.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::Inner;
use super::aside::blocking;
use super::error::StoreError;
use super::layout::free_bytes;

/// After how many pages the log is written over from its beginning.
pub(super) const LOG_PAGES: u32 = 4000;

/// A page with its head, and the head of the log (sqlite.org, "WAL File Format").
const FRAME_BYTES: u64 = 4096 + 24;
const HEADER_BYTES: u64 = 32;

/// Fills the log with zeros from its end on and syncs it, where that leaves the reserve alone. SQLite takes a frame for one only
/// where its salt and checksum fit, and keeps what it finds behind them.
///
/// # Errors
/// What the disk or the database says; the log is as valid as it was.
pub(super) async fn lengthen(inner: Arc<Inner>) -> Result<(), StoreError> {
    let mut writer = inner.writer.lock().await?;
    // Keeps out tools that write beside this process: what they commit must not come where the zeros go.
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *writer).await?;
    let lengthened = blocking(move || {
        let log = inner.layout.log();
        let spare = free_bytes(inner.layout.root())?.saturating_sub(inner.options.reserve_bytes);
        lengthen_to(&log, HEADER_BYTES + u64::from(LOG_PAGES) * FRAME_BYTES, spare)
            .map_err(StoreError::file("lengthen", &log))
    })
    .await;
    sqlx::query("ROLLBACK").execute(&mut *writer).await?;
    lengthened
}

/// Puts on the disk what is in the log.
///
/// # Errors
/// What the disk says.
pub(super) async fn sync(inner: Arc<Inner>) -> Result<(), StoreError> {
    blocking(move || {
        let log = inner.layout.log();
        match File::open(&log).and_then(|file| file.sync_all()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file("sync", &log)(error)),
            _ => Ok(()),
        }
    })
    .await
}

fn lengthen_to(log: &Path, length: u64, spare: u64) -> io::Result<()> {
    let file = File::options().write(true).open(log)?;
    let mut at = file.metadata()?.len();
    if at >= length || length - at > spare {
        return Ok(());
    }
    let zeros = vec![0; 1 << 20];
    while at < length {
        let count = zeros.len().min(usize::try_from(length - at).unwrap_or(zeros.len()));
        file.write_all_at(&zeros[..count], at)?;
        at += count as u64;
    }
    file.sync_all()
}
