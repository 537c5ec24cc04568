//! What there is to send: files, folders, zip archives, and inside them everything that is a DICOM instance.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::dicom::part10::Part10;
use crate::dicom::uid::{SopClassUid, TransferSyntaxUid};

/// The largest instance that is read into memory, bytes.
const MAX_INSTANCE_BYTES: u64 = 4 << 30;
/// More than any file meta information takes.
const HEAD_BYTES: u64 = 16 << 10;
/// Media Storage Directory Storage: a table of contents, not an instance to send.
const DICOMDIR: &str = "1.2.840.10008.1.3.10";

/// One instance, still where it lies.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) source: Source,
    pub(super) sop_class: SopClassUid,
    pub(super) transfer_syntax: TransferSyntaxUid,
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
        match self {
            Self::File(path) => read_limited(File::open(path)?),
            Self::ZipEntry { archive, index, .. } => {
                let mut archive = zip::ZipArchive::new(File::open(archive)?)?;
                read_limited(archive.by_index(*index)?)
            }
        }
    }
}

/// What was found, and what was passed over.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) items: Vec<Item>,
    /// Files that are no DICOM instances, DICOMDIRs included.
    pub(super) passed_over: usize,
    /// What could not be read, and why.
    pub(super) unreadable: Vec<(String, String)>,
}

/// Looks through `paths` in order, folders by name.
pub(super) fn gather(paths: &[PathBuf]) -> Gathered {
    let mut gathered = Gathered::default();
    for path in paths {
        gathered.path(path);
    }
    gathered
}

impl Gathered {
    fn path(&mut self, path: &Path) {
        let kind = match std::fs::metadata(path) {
            Ok(kind) => kind,
            Err(e) => return self.unreadable.push((path.display().to_string(), e.to_string())),
        };
        if kind.is_dir() {
            self.folder(path);
        } else if kind.is_file() {
            self.file(path);
        }
    }

    fn folder(&mut self, folder: &Path) {
        let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        match entries {
            Ok(mut entries) => {
                entries.sort_by_key(std::fs::DirEntry::file_name);
                for entry in entries {
                    // A link to a folder could lead back to where it lies.
                    if !entry.file_type().is_ok_and(|kind| kind.is_symlink() && entry.path().is_dir()) {
                        self.path(&entry.path());
                    }
                }
            }
            Err(e) => self.unreadable.push((folder.display().to_string(), e.to_string())),
        }
    }

    fn file(&mut self, path: &Path) {
        let head = File::open(path).and_then(|mut file| {
            let head = read_head(&mut file)?;
            file.rewind()?;
            Ok((file, head))
        });
        match head {
            Ok((file, head)) if head.starts_with(b"PK\x03\x04") => self.archive(path, file),
            Ok((_, head)) => self.head(Source::File(path.to_owned()), &head),
            Err(e) => self.unreadable.push((path.display().to_string(), e.to_string())),
        }
    }

    fn archive(&mut self, path: &Path, file: File) {
        let mut archive = match zip::ZipArchive::new(file) {
            Ok(archive) => archive,
            Err(e) => return self.unreadable.push((path.display().to_string(), e.to_string())),
        };
        for index in 0..archive.len() {
            let (name, head) = match archive.by_index(index) {
                Ok(entry) if entry.is_dir() => continue,
                Ok(mut entry) => (entry.name().to_owned(), read_head(&mut entry)),
                Err(e) => {
                    self.unreadable.push((format!("{}: entry {index}", path.display()), e.to_string()));
                    continue;
                }
            };
            match head {
                Ok(head) => self.head(Source::ZipEntry { archive: path.to_owned(), index, name }, &head),
                Err(e) => self.unreadable.push((format!("{}:{name}", path.display()), e.to_string())),
            }
        }
    }

    fn head(&mut self, source: Source, head: &Bytes) {
        let Some(part10) = Part10::split(head).ok().filter(|part10| !part10.meta.elements().is_empty()) else {
            self.passed_over += 1;
            return;
        };
        match (part10.sop_class(), part10.sop_instance(), part10.transfer_syntax()) {
            (Ok(sop_class), ..) if sop_class.as_str() == DICOMDIR => self.passed_over += 1,
            (Ok(sop_class), Ok(_), Ok(transfer_syntax)) => self.items.push(Item { source, sop_class, transfer_syntax }),
            (Err(e), ..) | (_, Err(e), _) | (.., Err(e)) => self.unreadable.push((source.to_string(), e.to_string())),
        }
    }
}

fn read_head(from: &mut impl Read) -> std::io::Result<Bytes> {
    let mut head = Vec::new();
    from.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head.into())
}

fn read_limited(from: impl Read) -> std::io::Result<Bytes> {
    let mut whole = Vec::new();
    from.take(MAX_INSTANCE_BYTES + 1).read_to_end(&mut whole)?;
    if whole.len() as u64 > MAX_INSTANCE_BYTES {
        return Err(std::io::Error::other("larger than 4 GiB"));
    }
    Ok(whole.into())
}
