//! A file of the data folder, looked at as reception looks at what arrives: only one that is whole and lies where it
//! belongs stands for an instance.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use dicom_dictionary_std::tags;

use super::clear_up::{folders_in, names_in};
use super::commit::{NewRow, Source};
use super::error::StoreError;
use super::incoming::NewInstance;
use super::layout::{Layout, Origin};
use super::row::IndexRow;
use crate::clock::Timestamp;
use crate::dicom::ae::AeTitle;
use crate::dicom::part10::Part10;
use crate::dicom::scan::Scanner;

/// The file meta information must end within so many bytes: ours has some hundred.
const MOST_META: u64 = 1 << 20;
/// How much of a file is in memory at a time.
const PORTION: usize = 256 * 1024;

/// A file that may hold an instance.
#[derive(Debug, Clone)]
pub(super) struct StoredFile {
    pub(super) origin: Origin,
    pub(super) path: PathBuf,
    pub(super) modified: Timestamp,
}

/// Why a file stands for no row.
#[derive(Debug)]
pub(super) enum NoRow {
    /// The disk does not say what it holds.
    Unreadable(io::Error),
    /// It is cut short, no DICOM file, or not what its name says.
    Unfit(String),
}

impl From<io::Error> for NoRow {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl StoredFile {
    /// A file that is there. Blocks.
    pub(super) fn at(origin: Origin, path: PathBuf) -> Result<Self, StoreError> {
        let modified = modified(&path).map_err(StoreError::file("look at", &path))?;
        Ok(Self { origin, path, modified })
    }

    /// All instance files in the order in which they came, as far as the disk knows. Blocks.
    pub(super) fn all(layout: &Layout) -> Result<Vec<Self>, StoreError> {
        let mut files = Vec::new();
        for origin in [Origin::Received, Origin::Result] {
            for study in folders_in(&layout.folder(origin))? {
                for series in folders_in(&study)? {
                    for name in names_in(&series)? {
                        files.push(Self::at(origin, series.join(name))?);
                    }
                }
            }
        }
        Self::sort(&mut files);
        Ok(files)
    }

    /// Brings files into the order in which they came.
    pub(super) fn sort(files: &mut [Self]) {
        files.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
    }

    /// The row that the file stands for. The whole file is looked at, and its header is held. Blocks.
    pub(super) fn read(&self, layout: &Layout) -> Result<NewRow, NoRow> {
        let text = |e: &dyn std::fmt::Display| NoRow::Unfit(e.to_string());
        let mut file = File::open(&self.path)?;
        let mut head = Vec::new();
        (&mut file).take(MOST_META).read_to_end(&mut head)?;
        let head = Bytes::from(head);
        let part10 = Part10::split_own(&head).map_err(|e| text(&e))?;
        let data_set_offset = (head.len() - part10.data_set.len()) as u64;
        let mut scanner = Scanner::new(part10.encoding);
        file.seek(SeekFrom::Start(data_set_offset))?;
        let mut portion = vec![0; PORTION];
        let mut file_bytes = data_set_offset;
        loop {
            let read = file.read(&mut portion)?;
            if read == 0 {
                break;
            }
            file_bytes += read as u64;
            scanner.feed(&portion[..read]).map_err(|e| text(&e))?;
        }
        let header = scanner.finish().map_err(|e| text(&e))?;
        let source_title = part10.meta.text(tags::SOURCE_APPLICATION_ENTITY_TITLE).unwrap_or_default();
        let announced = NewInstance {
            sop_class_uid: part10.sop_class().map_err(|e| text(&e))?,
            sop_instance_uid: part10.sop_instance().map_err(|e| text(&e))?,
            transfer_syntax_uid: part10.transfer_syntax().map_err(|e| text(&e))?,
            calling_ae_title: AeTitle::parse(&source_title)
                .or_else(|_| AeTitle::parse("UNKNOWN"))
                .map_err(|e| text(&e))?,
        };
        let row = IndexRow::from_header(&header, &announced).map_err(|e| text(&e))?;
        self.row(layout, row, &announced, (file_bytes, data_set_offset))
    }

    fn row(
        &self,
        layout: &Layout,
        row: IndexRow,
        announced: &NewInstance,
        (file_bytes, data_set_offset): (u64, u64),
    ) -> Result<NewRow, NoRow> {
        let place = layout.instance(self.origin, &row.study.uid, &row.series.uid, &row.instance.uid);
        if place != self.path {
            let place = place.strip_prefix(layout.root()).unwrap_or(&place);
            return Err(NoRow::Unfit(format!("it belongs at {}", place.display())));
        }
        let source = (self.origin == Origin::Received).then(|| Source {
            association_id: format!("found on the disk, sent by {}", announced.calling_ae_title).into(),
            calling_ae_title: announced.calling_ae_title.as_str().to_owned(),
            peer_address: String::new(),
        });
        Ok(NewRow {
            folder: layout.series(self.origin, &row.study.uid, &row.series.uid),
            row,
            origin: self.origin,
            source,
            file_bytes,
            data_set_offset,
            received_at: self.modified,
        })
    }
}

/// When a file was last changed. Blocks.
pub(super) fn modified(path: &Path) -> io::Result<Timestamp> {
    let modified = fs::metadata(path)?.modified()?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Ok(Timestamp(i64::try_from(since).unwrap_or(i64::MAX)))
}
