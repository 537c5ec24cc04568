//! An instance that is stored.

use std::path::{Path, PathBuf};

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::error::StoreError;
use super::ids::{InstanceKey, SeriesKey};
use super::layout::{Layout, Origin};
use crate::clock::Timestamp;
use crate::dicom::uid::{
    SeriesInstanceUid, SopClassUid, SopInstanceUid, StudyInstanceUid, TransferSyntaxUid, UidError,
};

/// An instance whose file is durable and whose row is committed. Only the store makes one, so holding it is the right to say 0000H.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInstance {
    pub(super) key: InstanceKey,
    pub(super) series_key: SeriesKey,
    pub(super) study: StudyInstanceUid,
    pub(super) series: SeriesInstanceUid,
    pub(super) sop_instance_uid: SopInstanceUid,
    pub(super) sop_class_uid: SopClassUid,
    pub(super) transfer_syntax_uid: TransferSyntaxUid,
    pub(super) origin: Origin,
    pub(super) path: PathBuf,
    pub(super) file_bytes: u64,
    pub(super) data_set_offset: u64,
    pub(super) received_at: Timestamp,
}

impl StoredInstance {
    /// Its number in the index.
    #[must_use]
    pub const fn key(&self) -> InstanceKey {
        self.key
    }

    /// Its series in the index.
    #[must_use]
    pub const fn series_key(&self) -> SeriesKey {
        self.series_key
    }

    /// Study Instance UID.
    #[must_use]
    pub const fn study_instance_uid(&self) -> &StudyInstanceUid {
        &self.study
    }

    /// Series Instance UID.
    #[must_use]
    pub const fn series_instance_uid(&self) -> &SeriesInstanceUid {
        &self.series
    }

    /// SOP Instance UID.
    #[must_use]
    pub const fn sop_instance_uid(&self) -> &SopInstanceUid {
        &self.sop_instance_uid
    }

    /// SOP Class UID.
    #[must_use]
    pub const fn sop_class_uid(&self) -> &SopClassUid {
        &self.sop_class_uid
    }

    /// How the data set in the file is encoded.
    #[must_use]
    pub const fn transfer_syntax_uid(&self) -> &TransferSyntaxUid {
        &self.transfer_syntax_uid
    }

    /// From a peer, or made here.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The Part 10 file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file.
    #[must_use]
    pub const fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Where in the file the data set begins, after preamble and file meta information.
    #[must_use]
    pub const fn data_set_offset(&self) -> u64 {
        self.data_set_offset
    }

    /// When it was recorded.
    #[must_use]
    pub const fn received_at(&self) -> Timestamp {
        self.received_at
    }
}

/// The columns that [`from_row`] reads; `instance`, `series` and `study` must be joined under these names.
pub(super) const COLUMNS: &str = "instance.instance_key, instance.series_key, study.study_instance_uid, \
     series.series_instance_uid, instance.sop_instance_uid, instance.sop_class_uid, instance.transfer_syntax_uid, \
     series.origin, instance.file_bytes, instance.data_set_offset, instance.received_at";

/// The tables that [`COLUMNS`] come from.
pub(super) const TABLES: &str = "instance JOIN series ON series.series_key = instance.series_key \
     JOIN study ON study.study_key = series.study_key";

/// Reads [`COLUMNS`].
pub(super) fn from_row(row: &SqliteRow, layout: &Layout) -> Result<StoredInstance, StoreError> {
    let study = uid(row.try_get("study_instance_uid")?, StudyInstanceUid::parse)?;
    let series = uid(row.try_get("series_instance_uid")?, SeriesInstanceUid::parse)?;
    let sop_instance_uid = uid(row.try_get("sop_instance_uid")?, SopInstanceUid::parse)?;
    let origin = Origin::from_word(row.try_get("origin")?)?;
    Ok(StoredInstance {
        key: row.try_get("instance_key")?,
        series_key: row.try_get("series_key")?,
        path: layout.instance(origin, &study, &series, &sop_instance_uid),
        study,
        series,
        sop_instance_uid,
        sop_class_uid: uid(row.try_get("sop_class_uid")?, SopClassUid::parse)?,
        transfer_syntax_uid: uid(row.try_get("transfer_syntax_uid")?, TransferSyntaxUid::parse)?,
        origin,
        file_bytes: unsigned(row.try_get("file_bytes")?),
        data_set_offset: unsigned(row.try_get("data_set_offset")?),
        received_at: Timestamp(row.try_get("received_at")?),
    })
}

/// A UID that we wrote ourselves.
pub(super) fn uid<T>(text: &str, parse: fn(&str) -> Result<T, UidError>) -> Result<T, StoreError> {
    parse(text).map_err(|e| StoreError::Damaged(format!("«{text}»: {e}")))
}

/// A count or length, which SQL keeps signed.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A count or length for SQL.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
