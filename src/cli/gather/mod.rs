//! What lies in files, folders, zip archives and behind DICOMDIRs: everything in them that is a DICOM instance.
//!
//! What makes an instance, and what of it is kept, is the caller's: `look` is given each file and says.

mod archive;

mod directory;

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use indicatif::ProgressBar;
use rayon::prelude::*;

use crate::dicom::part10::Part10;
use crate::dicom::uid::{SopClassUid, TransferSyntaxUid};

pub(super) use archive::Archive;

/// The largest instance that is read, bytes.
pub(super) const MAX_INSTANCE_BYTES: u64 = 4 << 30;
/// More than any file meta information takes.
const HEAD_BYTES: u64 = 16 << 10;
/// A table of contents, not an instance.
pub(super) const DICOMDIR: &str = dicom_dictionary_std::uids::MEDIA_STORAGE_DIRECTORY_STORAGE;

/// One instance, still where it lies.
#[derive(Debug, Clone)]
pub(super) struct Item<T> {
    /// Where.
    pub(super) source: Source,
    /// Which of the paths it was found under.
    pub(super) argument: usize,
    /// What `look` kept of it.
    pub(super) found: T,
}

/// Where an instance lies.
#[derive(Debug, Clone)]
pub(super) enum Source {
    File(PathBuf),
    ZipEntry { archive: PathBuf, index: usize, name: String },
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::ZipEntry { archive, name, .. } => write!(f, "{}:{name}", archive.display()),
        }
    }
}

impl Source {
    /// The whole file.
    pub(super) fn read(&self) -> std::io::Result<Bytes> {
        let mut whole = Vec::new();
        match self {
            Self::File(path) => {
                File::open(path)?.take(MAX_INSTANCE_BYTES + 1).read_to_end(&mut whole)?;
                if whole.len() as u64 > MAX_INSTANCE_BYTES {
                    return Err(std::io::Error::other("larger than 4 GiB"));
                }
            }
            Self::ZipEntry { archive, index, .. } => {
                Archive::open(archive)?.copy(*index, &mut whole, MAX_INSTANCE_BYTES)?;
            }
        }
        Ok(whole.into())
    }
}

/// What could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// The file, folder or archive.
    pub(super) place: PathBuf,
    /// The archive's entry.
    pub(super) entry: Option<String>,
    /// What it is counted under: the archive, or the file's folder.
    pub(super) under: PathBuf,
    /// One line.
    pub(super) why: String,
}

impl Unreadable {
    /// A file or a folder.
    fn file(place: &Path, why: impl std::fmt::Display) -> Self {
        let under = place.parent().unwrap_or(Path::new("")).to_owned();
        Self { place: place.to_owned(), entry: None, under, why: why.to_string() }
    }

    /// An archive or a DICOMDIR, or what is named in it.
    fn within(place: &Path, entry: Option<String>, why: impl std::fmt::Display) -> Self {
        Self { place: place.to_owned(), entry, under: place.to_owned(), why: why.to_string() }
    }
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.entry {
            Some(entry) => write!(f, "{}:{entry}: {}", self.place.display(), self.why),
            None => write!(f, "{}: {}", self.place.display(), self.why),
        }
    }
}

/// What was found, and what was passed over.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    pub(super) items: Vec<Item<T>>,
    /// Files that are no DICOM instances, DICOMDIRs included.
    pub(super) passed_over: usize,
    pub(super) unreadable: Vec<Unreadable>,
}

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Self { items: Vec::new(), passed_over: 0, unreadable: Vec::new() }
    }
}

/// Says what to keep of the instance that begins here; nothing where it is none.
pub(super) trait Look<T>: Fn(&mut dyn Read) -> Result<Option<T>, String> + Sync {}

impl<T, F: Fn(&mut dyn Read) -> Result<Option<T>, String> + Sync> Look<T> for F {}

/// Looks through `paths` in order, folders by name, files side by side; `seen` counts them.
pub(super) fn gather<T: Send>(paths: &[PathBuf], seen: &ProgressBar, look: impl Look<T>) -> Gathered<T> {
    let mut walk = Walk::default();
    for (argument, path) in paths.iter().enumerate() {
        walk.named(argument, path);
    }
    let parts: Vec<Gathered<T>> = walk
        .files
        .par_iter()
        .map(|file| {
            let found = look_into(file, &look);
            seen.inc(1);
            found
        })
        .collect();
    let mut gathered = Gathered { unreadable: walk.unreadable, ..Gathered::default() };
    for part in parts {
        gathered.items.extend(part.items);
        gathered.passed_over += part.passed_over;
        gathered.unreadable.extend(part.unreadable);
    }
    gathered
}

/// The files to look into.
#[derive(Debug, Default)]
struct Walk {
    files: Vec<Found>,
    unreadable: Vec<Unreadable>,
}

#[derive(Debug)]
struct Found {
    argument: usize,
    path: PathBuf,
    /// Named by the caller or by a DICOMDIR: it is an error if this is no instance.
    named: bool,
}

impl Walk {
    fn named(&mut self, argument: usize, path: &Path) {
        if !path.is_file() || !is_directory(path) {
            return self.path(argument, path, true);
        }
        match directory::files(path) {
            Ok((files, missing)) => {
                let named = |path| Found { argument, path, named: true };
                self.files.extend(files.into_iter().map(named));
                self.unreadable.extend(missing);
            }
            Err(why) => self.unreadable.push(Unreadable::within(path, None, why)),
        }
    }

    fn path(&mut self, argument: usize, path: &Path, named: bool) {
        match std::fs::metadata(path) {
            Ok(kind) if kind.is_dir() => self.folder(argument, path),
            Ok(kind) if kind.is_file() => self.files.push(Found { argument, path: path.to_owned(), named }),
            Ok(_) => {}
            Err(e) => self.unreadable.push(Unreadable::file(path, e)),
        }
    }

    fn folder(&mut self, argument: usize, folder: &Path) {
        let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        match entries {
            Ok(mut entries) => {
                entries.sort_by_key(std::fs::DirEntry::file_name);
                for entry in entries {
                    // It could lead back to where it lies.
                    if entry.file_type().is_ok_and(|kind| kind.is_symlink() && entry.path().is_dir()) {
                        let why = "a link to a folder is not followed: name the folder itself";
                        self.unreadable.push(Unreadable::file(&entry.path(), why));
                    } else {
                        self.path(argument, &entry.path(), false);
                    }
                }
            }
            Err(e) => self.unreadable.push(Unreadable::file(folder, e)),
        }
    }
}

fn look_into<T>(found: &Found, look: &impl Look<T>) -> Gathered<T> {
    let mut gathered = Gathered::default();
    let path = &found.path;
    let fail = |why: String| Unreadable::file(path, why);
    let opened = File::open(path).and_then(|mut file| {
        let mut magic = Vec::new();
        (&mut file).take(4).read_to_end(&mut magic)?;
        file.rewind()?;
        Ok((file, magic))
    });
    let (mut file, magic) = match opened {
        Ok(opened) => opened,
        Err(e) => {
            gathered.unreadable.push(fail(e.to_string()));
            return gathered;
        }
    };
    if archive::is_archive(&magic, path) {
        archive::look_into(path, found.argument, look, &mut gathered);
        if found.named && gathered.items.is_empty() && gathered.unreadable.is_empty() {
            gathered.unreadable.push(Unreadable::within(path, None, "this archive holds no DICOM file"));
        }
        return gathered;
    }
    match look(&mut file) {
        Ok(Some(kept)) => {
            let source = Source::File(path.clone());
            gathered.items.push(Item { source, argument: found.argument, found: kept });
        }
        Ok(None) if found.named && !is_directory(path) => {
            gathered.unreadable.push(fail("this is neither a DICOM file nor a zip archive".to_owned()));
        }
        Ok(None) => gathered.passed_over += 1,
        Err(why) => gathered.unreadable.push(fail(why)),
    }
    gathered
}

/// Whether a file is a DICOMDIR, by its file meta information.
fn is_directory(path: &Path) -> bool {
    let head = File::open(path).and_then(|mut file| read_head(&mut file));
    head.is_ok_and(|head| Part10::split(&head).is_ok_and(|part10| is_directory_storage(&part10)))
}

fn is_directory_storage(part10: &Part10) -> bool {
    part10.sop_class().is_ok_and(|class| class.as_str() == DICOMDIR)
}

fn read_head(from: &mut dyn Read) -> std::io::Result<Bytes> {
    let mut head = Vec::new();
    from.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head.into())
}

/// What a sender must know of an instance.
#[derive(Debug, Clone)]
pub(super) struct Sendable {
    pub(super) sop_class: SopClassUid,
    pub(super) transfer_syntax: TransferSyntaxUid,
}

impl Sendable {
    /// From the file meta information, without which nothing can be sent.
    pub(super) fn look(file: &mut dyn Read) -> Result<Option<Self>, String> {
        let head = read_head(file).map_err(|e| e.to_string())?;
        let Some(part10) = Part10::split(&head).ok().filter(|part10| !part10.meta.elements().is_empty()) else {
            return Ok(None);
        };
        if is_directory_storage(&part10) {
            return Ok(None);
        }
        let wrong = |e: crate::dicom::part10::Part10Error| e.to_string();
        part10.sop_instance().map_err(wrong)?;
        let transfer_syntax = part10.transfer_syntax().map_err(wrong)?;
        Ok(Some(Self { sop_class: part10.sop_class().map_err(wrong)?, transfer_syntax }))
    }
}
