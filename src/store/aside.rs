//! Other content under a SOP Instance UID that is taken: kept, reported, and never mixed up with the first.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::commit::NewRow;
use super::error::StoreError;
use super::layout::{hexadecimal, sync_folder};
use super::{Inner, StoredInstance};

/// An instance that was kept aside: answer a warning. The peer and the operator must find out which one is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAside {
    /// Where the other content lies now.
    pub path: PathBuf,
    /// SHA-256 of its data set, hexadecimal.
    pub content_hash: String,
    /// The instance that has the SOP Instance UID; it is unchanged.
    pub taken_by: StoredInstance,
}

/// Moves the file at `path` into `aside/`, durably, and writes its row.
pub(super) async fn keep_aside(
    inner: &Inner,
    path: PathBuf,
    new: &NewRow,
    taken_by: StoredInstance,
) -> Result<KeptAside, StoreError> {
    let folder = inner.layout.aside();
    let uid = new.row.instance.uid.clone();
    let offset = new.data_set_offset;
    let (path, content_hash) = blocking(move || move_aside(&path, &folder, uid.as_str(), offset)).await?;
    insert(inner, &path, &content_hash, new).await?;
    tracing::warn!(
        sop_instance.uid = %new.row.instance.uid,
        association.id = new.source.as_ref().map(|s| s.association_id.as_ref()),
        path = %path.display(),
        "another instance has this SOP Instance UID already: the new content is kept aside, the first is unchanged"
    );
    Ok(KeptAside { path, content_hash, taken_by })
}

/// Runs what blocks on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Closed)?
}

/// The name says the content, so the same content is kept once however often it comes.
fn move_aside(path: &Path, folder: &Path, uid: &str, offset: u64) -> Result<(PathBuf, String), StoreError> {
    let hash = hash_of(path, offset).map_err(StoreError::file("read", path))?;
    let target = folder.join(format!("{uid}-{}.dcm", &hash[..16]));
    File::open(path).and_then(|f| f.sync_all()).map_err(StoreError::file("sync", path))?;
    fs::rename(path, &target).map_err(StoreError::file("name", &target))?;
    sync_folder(folder)?;
    Ok((target, hash))
}

fn hash_of(path: &Path, offset: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut hash = Sha256::new();
    let mut portion = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut portion)?;
        if read == 0 {
            break;
        }
        hash.update(&portion[..read]);
    }
    Ok(hexadecimal(&hash.finalize()))
}

async fn insert(inner: &Inner, path: &Path, content_hash: &str, new: &NewRow) -> Result<(), StoreError> {
    let file_name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let source = new.source.as_ref();
    sqlx::query(
        "INSERT INTO kept_aside (sop_instance_uid, content_hash, file_name, study_instance_uid, series_instance_uid, \
         transfer_syntax_uid, calling_ae_title, peer_address, times_received, first_received_at, last_received_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $9) \
         ON CONFLICT (sop_instance_uid, content_hash) DO UPDATE \
         SET times_received = kept_aside.times_received + 1, last_received_at = excluded.last_received_at",
    )
    .bind(new.row.instance.uid.as_str())
    .bind(content_hash)
    .bind(file_name)
    .bind(new.row.study.uid.as_str())
    .bind(new.row.series.uid.as_str())
    .bind(new.row.instance.transfer_syntax_uid.as_str())
    .bind(source.map_or("", |s| s.calling_ae_title.as_str()))
    .bind(source.map_or("", |s| s.peer_address.as_str()))
    .bind(new.received_at.0)
    .execute(&mut *inner.writer.lock().await?)
    .await?;
    Ok(())
}
