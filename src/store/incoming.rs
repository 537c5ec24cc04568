//! An instance on its way in: a Part 10 file that grows in `incoming/` while its data set arrives.
//!
//! What must be durable before it is acknowledged gains nothing from the page cache: a large file is written past it
//! (`O_DIRECT`), without a second copy and without pages that the sync would have to look for. Only what does not fill
//! a block at its end goes through the cache; where the whole file is in memory when its end has come, its header is made
//! longer and there is no such rest. A small file, or one on a file system that has no direct writes, goes through the
//! cache as a whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, OFlags, fadvise, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use tokio::task::JoinHandle;

use super::error::StoreError;
use super::journal;
use super::layout::Layout;
use super::portion::{BLOCK, PORTION, Portion};
use crate::dicom::ae::AeTitle;
use crate::dicom::encode::{FILLER_HEAD, part10_header_with};
use crate::dicom::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid};

/// Files whose first portion is smaller than this go through the page cache, and to the disk by the journal.
const DIRECT_FROM: usize = journal::LONGEST + 1;

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
    portion: Portion,
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
        let header = header(&instance, None);
        let mut portion = layout.portions.next();
        // A header has some hundred bytes.
        portion.take(&header);
        Self {
            instance,
            layout,
            data_set_offset: header.len() as u64,
            total_bytes: header.len() as u64,
            portion,
            state: Writing::NotBegun,
        }
    }

    /// Where the next bytes of the data set belong, exactly as they come; never empty. A full portion goes to a blocking
    /// thread first, so that writing overlaps with receiving and at most two portions are held; waits only where the disk
    /// is slower than the peer.
    ///
    /// # Errors
    /// [`StoreError::File`] from an earlier portion; the instance is lost then.
    pub async fn room(&mut self) -> Result<&mut [u8], StoreError> {
        if self.portion.room().is_empty() {
            let spool = self.spool().await?;
            let portion = std::mem::replace(&mut self.portion, self.layout.portions.next());
            let layout = self.layout.clone();
            let append = move || Spool::append(spool, &layout, portion.bytes());
            self.state = Writing::Busy(tokio::task::spawn_blocking(append));
        }
        Ok(self.portion.room())
    }

    /// Says that so many bytes came into [`Self::room`], and gives them back.
    pub fn filled(&mut self, count: usize) -> &[u8] {
        let bytes = self.portion.filled(count);
        self.total_bytes += bytes.len() as u64;
        bytes
    }

    /// Appends bytes that lie elsewhere.
    ///
    /// # Errors
    /// As [`Self::room`].
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let room = self.room().await?;
            let (taken, left) = bytes.split_at(bytes.len().min(room.len()));
            room[..taken.len()].copy_from_slice(taken);
            self.filled(taken.len());
            bytes = left;
        }
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
        let begun = match std::mem::replace(&mut self.state, Writing::NotBegun) {
            Writing::NotBegun => {
                self.fill_last_block();
                None
            }
            Writing::Idle(spool) => Some(spool),
            Writing::Busy(_) => return Err(StoreError::Closed),
        };
        let is_small = begun.is_none() && self.portion.bytes().len() < DIRECT_FROM;
        let spool = Spool::append(begun, &self.layout, self.portion.bytes())?;
        Ok(Arrived {
            spool,
            file_bytes: self.total_bytes,
            data_set_offset: self.data_set_offset,
            small: is_small.then_some(self.portion),
        })
    }

    /// Lengthens the header of a large file of which nothing has been written, so that it ends where a block does.
    fn fill_last_block(&mut self) {
        let begin = usize::try_from(self.data_set_offset).unwrap_or(usize::MAX);
        let Some(filler) = filler(self.portion.bytes().len()) else { return };
        let header = header(&self.instance, Some(filler));
        self.portion.replace_front(begin, &header);
        self.data_set_offset = header.len() as u64;
        self.total_bytes = self.portion.bytes().len() as u64;
    }
}

fn header(instance: &NewInstance, filler: Option<usize>) -> Vec<u8> {
    part10_header_with(
        &instance.sop_class_uid,
        &instance.sop_instance_uid,
        &instance.transfer_syntax_uid,
        Some(instance.calling_ae_title.as_str()),
        filler,
    )
}

/// How many zeros a header is to have so that a file of this length ends with a block; nothing where it needs none, or where
/// it is not written past the cache as a whole.
fn filler(length: usize) -> Option<usize> {
    let filled = (length + FILLER_HEAD).next_multiple_of(BLOCK);
    let has_rest = length.is_multiple_of(2) && !length.is_multiple_of(BLOCK);
    (length >= DIRECT_FROM && has_rest && filled <= PORTION).then(|| filled - length - FILLER_HEAD)
}

/// A whole file in `incoming/`, not synced.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) spool: Spool,
    pub(super) file_bytes: u64,
    pub(super) data_set_offset: u64,
    /// All of it, where it is small enough for the journal.
    pub(super) small: Option<Portion>,
}

/// A file in `incoming/` that is removed unless it gets another name.
#[derive(Debug)]
pub(super) struct Spool {
    pub(super) file: File,
    path: Option<PathBuf>,
    /// Whether writes go past the page cache.
    direct: bool,
}

impl Spool {
    fn create(layout: &Layout, direct: bool) -> Result<Self, StoreError> {
        let path = layout.next_incoming();
        let file = File::create_new(&path).map_err(StoreError::file("make", &path))?;
        // Asked of the open file: some file systems make the file and then refuse to open it like this.
        let direct = direct && set_direct(&file, true).is_ok();
        Ok(Self { file, path: Some(path), direct })
    }

    /// Appends to the file, made now where there is none. Every portion but the last is a multiple of [`BLOCK`].
    fn append(spool: Option<Self>, layout: &Layout, portion: &[u8]) -> Result<Self, StoreError> {
        let mut spool = match spool {
            Some(spool) => spool,
            None => Self::create(layout, portion.len() >= DIRECT_FROM)?,
        };
        spool.write(portion).map_err(StoreError::file("write", spool.path()))?;
        Ok(spool)
    }

    fn write(&mut self, portion: &[u8]) -> io::Result<()> {
        let mut rest = portion;
        while self.direct && rest.len() >= BLOCK {
            let whole = rest.len() - rest.len() % BLOCK;
            match self.file.write(&rest[..whole]) {
                Ok(written) if written % BLOCK == 0 && written > 0 => rest = &rest[written..],
                Ok(written) => {
                    rest = &rest[written..];
                    self.through_the_cache()?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Blocks larger than ours, or no direct writes after all.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => self.through_the_cache()?,
                Err(error) => return Err(error),
            }
        }
        if !self.direct || rest.is_empty() {
            return self.file.write_all(rest);
        }
        self.through_the_cache()?;
        self.file.write_all(rest)?;
        // Has the system begin to write what is in its cache, for which the sync would else wait before all else. Where it takes no
        // advice nothing is lost.
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
        Ok(())
    }

    fn through_the_cache(&mut self) -> io::Result<()> {
        self.direct = false;
        set_direct(&self.file, false)
    }

    /// A file with this content, written and not synced.
    pub(super) fn with(layout: &Layout, content: &[u8]) -> Result<Self, StoreError> {
        let mut spool = Self::create(layout, false)?;
        spool.write(content).map_err(StoreError::file("write", spool.path()))?;
        Ok(spool)
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

fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(fcntl_setfl(file, flags)?)
}
