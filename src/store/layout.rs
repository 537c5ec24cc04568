//! Where things lie in the data folder.
//!
//! ```text
//! lock           held by the one node that runs here
//! rebuilding     there while the index is made anew from the files: found at start, it says that not all is in it yet
//! running        there while a node runs: found at start, it says that the last one did not end by itself
//! index.sqlite   the database
//! journal.0, .1 copies of small files that are not yet sure to be on the disk by themselves
//! incoming/      files that are still arriving; emptied at start
//! instances/     STUDY/SERIES/SOP.dcm, as received
//! results/       STUDY/SERIES/SOP.dcm, made here: this is how a result is known without the database
//! embeddings/    STUDY/SERIES/MODEL-VERSION.safetensors, made here; the next revision of the series replaces it
//! aside/         other content under a SOP Instance UID that is taken; files that are not whole
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::error::StoreError;
use super::file_system::FileSystem;
use super::portion::Portions;
use crate::dicom::uid::{SeriesInstanceUid, SopInstanceUid, StudyInstanceUid};

/// Where an instance comes from, and so in which folder it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// From a peer.
    Received,
    /// Made here.
    Result,
}

impl Origin {
    /// The word in the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Result => "result",
        }
    }

    pub(super) fn from_word(word: &str) -> Result<Self, StoreError> {
        match word {
            "received" => Ok(Self::Received),
            "result" => Ok(Self::Result),
            other => Err(StoreError::Damaged(format!("origin «{other}»"))),
        }
    }

    /// Its name in the data folder.
    pub(super) const fn folder(self) -> &'static str {
        match self {
            Self::Received => "instances",
            Self::Result => "results",
        }
    }
}

const EMBEDDINGS: &str = "embeddings";

/// The data folder.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
    next_incoming: AtomicU64,
    /// What files are written from.
    pub(super) portions: Arc<Portions>,
}

impl Layout {
    /// The folder as it is.
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), next_incoming: AtomicU64::new(0), portions: Arc::default() }
    }

    /// Makes the folders where they are missing, and their names durable.
    pub(super) fn create(root: &Path) -> Result<Self, StoreError> {
        let layout = Self::at(root);
        let instances = [Origin::Received, Origin::Result].map(|origin| layout.folder(origin));
        let others = [layout.embeddings(), layout.aside(), layout.incoming()];
        for folder in instances.into_iter().chain(others) {
            fs::create_dir_all(&folder).map_err(StoreError::file("make the folder", &folder))?;
        }
        sync_folder(root)?;
        Ok(layout)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn database(&self) -> PathBuf {
        self.root.join("index.sqlite")
    }

    /// What was committed and is not in the database's file yet.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("index.sqlite-wal")
    }

    /// A segment of the journal.
    pub(super) fn journal(&self, segment: usize) -> PathBuf {
        self.root.join(format!("journal.{segment}"))
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn running(&self) -> PathBuf {
        self.root.join("running")
    }

    fn rebuilding(&self) -> PathBuf {
        self.root.join("rebuilding")
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    pub(super) fn aside(&self) -> PathBuf {
        self.root.join("aside")
    }

    pub(super) fn folder(&self, origin: Origin) -> PathBuf {
        self.root.join(origin.folder())
    }

    pub(super) fn embeddings(&self) -> PathBuf {
        self.root.join(EMBEDDINGS)
    }

    /// The file of the embeddings that a version of a model gave of a series, below the data folder. A version is any
    /// text: what is not fit for a name, and hyphens, which divide it from the model, become low lines, and a piece of its
    /// hash tells it from others.
    pub(super) fn embedding(
        study: &StudyInstanceUid,
        series: &SeriesInstanceUid,
        model_name: &str,
        model_version: &str,
    ) -> String {
        format!("{EMBEDDINGS}/{}", Self::embedding_place(study, series, model_name, model_version))
    }

    /// The same below the folder of embeddings.
    pub(super) fn embedding_place(
        study: &StudyInstanceUid,
        series: &SeriesInstanceUid,
        model_name: &str,
        model_version: &str,
    ) -> String {
        let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '_');
        let mut version = model_version.replace(|c| !fit(c), "_");
        if version != model_version {
            let hash = Sha256::digest(model_version);
            version.push('_');
            version.push_str(&hexadecimal(&hash[..4]));
        }
        format!("{study}/{series}/{model_name}-{version}.safetensors")
    }

    /// A name in `incoming/` that this process has not given before.
    pub(super) fn next_incoming(&self) -> PathBuf {
        let number = self.next_incoming.fetch_add(1, Ordering::Relaxed);
        self.root.join(format!("incoming/{number}.part"))
    }

    pub(super) fn series(&self, origin: Origin, study: &StudyInstanceUid, series: &SeriesInstanceUid) -> PathBuf {
        self.root.join(format!("{}/{study}/{series}", origin.folder()))
    }

    /// The file of an instance. UIDs are digits and dots without empty components, so none leaves the folder.
    pub(super) fn instance(
        &self,
        origin: Origin,
        study: &StudyInstanceUid,
        series: &SeriesInstanceUid,
        instance: &SopInstanceUid,
    ) -> PathBuf {
        self.root.join(Self::place(origin, study, series, instance))
    }

    /// The same below the data folder.
    pub(super) fn place(
        origin: Origin,
        study: &StudyInstanceUid,
        series: &SeriesInstanceUid,
        instance: &SopInstanceUid,
    ) -> String {
        format!("{}/{study}/{series}/{instance}.dcm", origin.folder())
    }

    /// Takes the folder for this process; given back when the file is closed, even by a crash.
    pub(super) fn take_lock(&self) -> Result<File, StoreError> {
        let path = self.lock();
        let file = File::create(&path).map_err(StoreError::file("make", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(StoreError::InUse(self.root.clone())),
            Err(fs::TryLockError::Error(error)) => Err(StoreError::file("lock", &path)(error)),
        }
    }

    /// When the last node began, where it did not come to [`Self::mark_ended`].
    pub(super) fn left_running(&self) -> Result<Option<SystemTime>, StoreError> {
        let path = self.running();
        match fs::metadata(&path).and_then(|m| m.modified()) {
            Ok(began) => Ok(Some(began)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::file("look at", &path)(error)),
        }
    }

    /// Notes that a node runs, from now on.
    pub(super) fn mark_running(&self) -> Result<(), StoreError> {
        let path = self.running();
        File::create(&path).and_then(|f| f.sync_all()).map_err(StoreError::file("make", &path))?;
        sync_folder(&self.root)
    }

    /// Notes that the node has ended by itself.
    pub(super) fn mark_ended(&self) -> Result<(), StoreError> {
        remove(&self.running())
    }

    /// Whether there are instances and no index that knows of them: it is gone, or was not made anew to its end.
    pub(super) fn index_is_lost(&self) -> Result<bool, StoreError> {
        let rebuilding = self.rebuilding();
        if rebuilding.try_exists().map_err(StoreError::file("look at", &rebuilding))? {
            return Ok(true);
        }
        if fs::metadata(self.database()).is_ok_and(|database| database.len() > 0) {
            return Ok(false);
        }
        let mut any = false;
        for origin in [Origin::Received, Origin::Result] {
            let folder = self.folder(origin);
            any |= fs::read_dir(&folder).map_err(StoreError::file("list", &folder))?.next().is_some();
        }
        Ok(any)
    }

    /// Makes all files durable that were written before, by whomever: what a process that is gone had not synced may
    /// be in the system's memory alone, and must not get a row that outlives it.
    pub(super) fn sync_all(&self) -> Result<(), StoreError> {
        FileSystem::of(self.root.clone())?.sync()
    }

    /// Notes that the index is being made anew.
    pub(super) fn mark_rebuilding(&self) -> Result<(), StoreError> {
        let path = self.rebuilding();
        File::create(&path).and_then(|f| f.sync_all()).map_err(StoreError::file("make", &path))?;
        sync_folder(&self.root)
    }

    /// Notes that the index knows of every file.
    pub(super) fn mark_rebuilt(&self) -> Result<(), StoreError> {
        remove(&self.rebuilding())
    }

    /// Removes what was arriving when the last process ended: nobody was promised anything about it.
    pub(super) fn empty_incoming(&self) -> Result<usize, StoreError> {
        let incoming = self.incoming();
        let mut removed = 0;
        for entry in fs::read_dir(&incoming).map_err(StoreError::file("list", &incoming))? {
            let path = entry.map_err(StoreError::file("list", &incoming))?.path();
            fs::remove_file(&path).map_err(StoreError::file("remove", &path))?;
            removed += 1;
        }
        Ok(removed)
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Bytes as hexadecimal digits in lower case.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(StoreError::file("sync the folder", folder))
}

/// Makes the content of a file durable.
pub(super) fn sync_content(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|f| f.sync_all()).map_err(StoreError::file("sync", path))
}

/// Gives `from` the name `to` unless something has it already.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], or what the system says.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Not every file system has it; a second link is refused just as well where the name is taken.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Bytes that are free to us where `folder` lies.
pub(super) fn free_bytes(folder: &Path) -> Result<u64, StoreError> {
    let figures =
        rustix::fs::statvfs(folder).map_err(|e| StoreError::file("ask for the free space of", folder)(e.into()))?;
    Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
}
