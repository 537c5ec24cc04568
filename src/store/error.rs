//! What can go wrong in the store, by who must act.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::ids::{DeliveryId, JobId};
use crate::dicom::uid::UidError;

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk is below its reserve: answer A700H. The operator must make room.
    #[error("{free} bytes are free where the data lie, {reserve} are kept in reserve")]
    DiskReserve {
        /// Bytes that are free.
        free: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },
    /// Another process runs on this folder. The operator must stop it, or start this one elsewhere.
    #[error("the data folder {} is in use by another overread", .0.display())]
    InUse(PathBuf),
    /// A tool was to look into a data folder that is none. The operator must name another.
    #[error("{} is no data folder: there is no index in it", .0.display())]
    NoData(PathBuf),
    /// A tool was to look into the index of another version. The operator must take the tool of the node's version.
    #[error(
        "the index of the data folder {} is of {} version: use the `overread` that runs on it{}",
        data.display(),
        if *is_newer { "a newer" } else { "an older" },
        if *is_newer { "" } else { ", or start this one's node on it once" }
    )]
    OtherSchema {
        /// The folder.
        data: PathBuf,
        /// Whether it is newer than this program.
        is_newer: bool,
    },
    /// There are instances, and the index that should know of them is gone or half made anew. The operator must run
    /// `overread reindex`.
    #[error(
        "the index of the data folder {} is lost or not rebuilt to its end, and there are instances: run `overread reindex`",
        .0.display()
    )]
    IndexLost(PathBuf),
    /// The data set cannot be put into the index: answer A900H or C000H. The peer must act.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// A file could not be made, written, synced or read. The operator must look at the disk.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The database refused. Ours to act, or the operator's where the disk is at fault.
    #[error("the database refused: {0}")]
    Database(Arc<sqlx::Error>),
    /// The schema could not be brought up to date: the database is of a later version, or damaged.
    #[error("the database cannot be brought up to date: {0}")]
    Migration(Arc<sqlx::migrate::MigrateError>),
    /// The job is no longer this worker's: its lease ran out and was given to another, or it has ended.
    #[error("the lease of job {0} is lost")]
    LeaseLost(JobId),
    /// The delivery is no longer this lane's.
    #[error("delivery {0} is no longer being sent from here")]
    NotSending(DeliveryId),
    /// The index cannot name the instance of a delivery, which is dead from here on. Ours to act: `overread reindex`.
    #[error("delivery {id} is given up: the index is damaged: {cause}")]
    UnreadableDelivery {
        /// Which one.
        id: DeliveryId,
        /// What is wrong with its row.
        cause: String,
    },
    /// The index cannot say what a job is to read, which has failed from here on. Ours to act: `overread reindex`.
    #[error("job {id} has failed: the index is damaged: {cause}")]
    UnreadableJob {
        /// Which one.
        id: JobId,
        /// What is wrong with its row.
        cause: String,
    },
    /// A file that should hold embeddings does not. Somebody has changed it, or the disk has.
    #[error("{} holds no embeddings: {cause}", path.display())]
    NoEmbeddings {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A question of a peer that the index could not answer in time. The peer may ask for less.
    #[error("the index has worked on it for {} s", .0.as_secs())]
    TooLong(Duration),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
    /// The database holds something that this version would not have written.
    #[error("the index is damaged: {0}")]
    Damaged(String),
}

/// Why an instance cannot be indexed: the peer that made it must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Without Study Instance UID there is no place for it.
    #[error("Study Instance UID: {0}")]
    Study(UidError),
    /// Without Series Instance UID there is no place for it.
    #[error("Series Instance UID: {0}")]
    Series(UidError),
    /// The data set and the command (or the file meta information) name different instances.
    #[error("the SOP Instance UID in the data set is not the one announced")]
    OtherInstance,
    /// The data set and the command (or the file meta information) name different SOP classes.
    #[error("the SOP Class UID in the data set is not the one announced")]
    OtherClass,
    /// A file in the data folder that is no DICOM file.
    #[error("not a DICOM file: {0}")]
    NotDicom(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Migration(Arc::new(error))
    }
}

impl StoreError {
    /// For `map_err`: an error of the system with what was tried on which file.
    pub(super) fn file<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::File { action, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Whether the database had too much to do.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Database(error) if matches!(**error, sqlx::Error::PoolTimedOut))
    }

    /// Whether the index holds what it should not: it will be no other the next time.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        use sqlx::Error::{ColumnDecode, Decode, RowNotFound};
        match self {
            Self::Damaged(_) => true,
            Self::Database(error) => matches!(**error, ColumnDecode { .. } | Decode(_) | RowNotFound),
            _ => false,
        }
    }

    /// Whether a row that must be unique is there already.
    pub(super) fn is_unique_violation(&self) -> bool {
        match self {
            Self::Database(error) => error.as_database_error().is_some_and(|e| e.is_unique_violation()),
            _ => false,
        }
    }
}
