//! An instance on its way in: a Part 10 file that grows in `incoming/` while its data set arrives.

use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::error::StoreError;
use super::layout::Layout;
use crate::dicom::ae::AeTitle;
use crate::dicom::encode::part10_header;
use crate::dicom::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid};

/// What arrives is handed to a blocking thread in portions of this size, so that writing overlaps with receiving and
/// at most two portions are held in memory.
const PORTION: usize = 256 * 1024;

/// What is known of an instance before its data set arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInstance {
    /// Affected SOP Class UID (0000,0002).
    pub sop_class_uid: SopClassUid,
    /// Affected SOP Instance UID (0000,1000).
    pub sop_instance_uid: SopInstanceUid,
    /// Of the presentation context.
    pub transfer_syntax_uid: TransferSyntaxUid,
    /// Who sends it; kept in the file as Source Application Entity Title (0002,0016).
    pub calling_ae_title: AeTitle,
}

/// An instance that is arriving. Dropped before it is recorded, it leaves nothing behind.
#[derive(Debug)]
pub struct IncomingFile {
    pub(super) instance: NewInstance,
    pub(super) data_set_offset: u64,
    layout: Arc<Layout>,
    /// Not yet handed to a thread.
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    total_bytes: u64,
    state: Writing,
}

#[derive(Debug)]
enum Writing {
    /// No byte has gone to the disk.
    NotBegun,
    Idle(Spool),
    Busy(JoinHandle<Result<Spool, StoreError>>),
}

impl IncomingFile {
    pub(super) fn new(layout: Arc<Layout>, instance: NewInstance) -> Self {
        let header = part10_header(
            &instance.sop_class_uid,
            &instance.sop_instance_uid,
            &instance.transfer_syntax_uid,
            Some(instance.calling_ae_title.as_str()),
        );
        Self {
            instance,
            layout,
            data_set_offset: header.len() as u64,
            waiting_bytes: header.len(),
            total_bytes: header.len() as u64,
            waiting: vec![header.into()],
            state: Writing::NotBegun,
        }
    }

    /// What was announced about this instance.
    #[must_use]
    pub fn instance(&self) -> &NewInstance {
        &self.instance
    }

    /// Bytes of the data set so far.
    #[must_use]
    pub fn data_set_bytes(&self) -> u64 {
        self.total_bytes - self.data_set_offset
    }

    /// Appends bytes of the data set, exactly as they came. Waits only where the disk is slower than the peer.
    ///
    /// # Errors
    /// [`StoreError::File`] from an earlier portion; the instance is lost then.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.waiting_bytes += bytes.len();
        self.total_bytes += bytes.len() as u64;
        self.waiting.push(bytes);
        if self.waiting_bytes < PORTION {
            return Ok(());
        }
        let spool = self.spool().await?;
        let portion = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let layout = self.layout.clone();
        self.state = Writing::Busy(tokio::task::spawn_blocking(move || Spool::append(spool, &layout, &portion)));
        Ok(())
    }

    /// Takes the file out, waiting for the portion that is being written; nothing where none has been.
    async fn spool(&mut self) -> Result<Option<Spool>, StoreError> {
        match std::mem::replace(&mut self.state, Writing::NotBegun) {
            Writing::NotBegun => Ok(None),
            Writing::Idle(spool) => Ok(Some(spool)),
            Writing::Busy(task) => match task.await {
                Ok(spool) => spool.map(Some),
                Err(_) => Err(StoreError::Closed),
            },
        }
    }

    /// Waits for what is being written, so that [`Self::finish`] can go on from a blocking thread.
    pub(super) async fn settle(&mut self) -> Result<(), StoreError> {
        if let Some(spool) = self.spool().await? {
            self.state = Writing::Idle(spool);
        }
        Ok(())
    }

    /// Writes what is left; nothing is synced yet. Blocks. Call after [`Self::settle`].
    pub(super) fn finish(mut self) -> Result<Arrived, StoreError> {
        let spool = match std::mem::replace(&mut self.state, Writing::NotBegun) {
            Writing::NotBegun => None,
            Writing::Idle(spool) => Some(spool),
            Writing::Busy(_) => return Err(StoreError::Closed),
        };
        let spool = Spool::append(spool, &self.layout, &self.waiting)?;
        Ok(Arrived { spool, file_bytes: self.total_bytes, data_set_offset: self.data_set_offset })
    }
}

/// A whole file in `incoming/`, not synced.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) spool: Spool,
    pub(super) file_bytes: u64,
    pub(super) data_set_offset: u64,
}

/// A file in `incoming/` that is removed unless it gets another name.
#[derive(Debug)]
pub(super) struct Spool {
    pub(super) file: File,
    path: Option<PathBuf>,
}

impl Spool {
    fn create(layout: &Layout) -> Result<Self, StoreError> {
        let path = layout.next_incoming();
        let file = File::create_new(&path).map_err(StoreError::file("make", &path))?;
        Ok(Self { file, path: Some(path) })
    }

    /// Appends to the file, made now where there is none.
    fn append(spool: Option<Self>, layout: &Layout, portion: &[Bytes]) -> Result<Self, StoreError> {
        let mut spool = match spool {
            Some(spool) => spool,
            None => Self::create(layout)?,
        };
        let mut slices: Vec<IoSlice<'_>> = portion.iter().map(|b| IoSlice::new(b)).collect();
        write_all(&mut spool.file, &mut slices).map_err(StoreError::file("write", spool.path()))?;
        Ok(spool)
    }

    /// A file with this content, written and not synced.
    pub(super) fn with(layout: &Layout, content: &Bytes) -> Result<Self, StoreError> {
        Self::append(None, layout, std::slice::from_ref(content))
    }

    pub(super) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// The file has got another name: nothing is to be removed.
    pub(super) fn keep(&mut self) {
        self.path = None;
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What cannot be removed now is removed at the next start.
            let _ = fs::remove_file(path);
        }
    }
}

fn write_all(file: &mut File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
