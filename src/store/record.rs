//! Recording an instance that has arrived: the first of the four hand-overs.
//!
//! file written → named → synced with its folder, while the row is prepared → row committed, with all others that wait
//! ([`super::queue`]) → the caller may acknowledge. The commit waits for the disk only where the row could not be made again
//! ([`super::writer`]). What was begun goes on to its end even where the caller has gone.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::AssertSqlSafe;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, block_in_place, spawn_blocking};

use super::aside::{KeptAside, blocking, keep_aside};
use super::commit::{Commit, Committed, NewRow, Source};
use super::durable::OnDisk;
use super::error::StoreError;
use super::ids::{InstanceKey, SeriesKey};
use super::in_flight::Reservation;
use super::incoming::{Arrived, IncomingFile, NewInstance};
use super::instance::{COLUMNS, StoredInstance, TABLES, from_row, signed};
use super::layout::{Layout, Origin, free_bytes, sync_content, sync_folder};
use super::place::{Placing, place, place_over};
use super::row::IndexRow;
use super::same::{Content, same_content};
use super::{Inner, Store};
use crate::clock::Timestamp;
use crate::dicom::data_set::DataSet;
use crate::dicom::uid::{SopInstanceUid, TransferSyntaxUid};

/// How an instance came.
#[derive(Debug, Clone)]
pub struct Reception<'a> {
    /// The elements before the pixel data.
    pub header: &'a DataSet,
    /// The association, as the log has it: unique over restarts.
    pub association_id: &'a str,
    /// Where the peer is.
    pub peer_address: SocketAddr,
    /// When its last fragment came.
    pub received_at: Timestamp,
}

/// What became of an instance that arrived whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// It is new: its file is on the disk and its row committed: 0000H.
    Stored(StoredInstance),
    /// The same content was stored before: 0000H, nothing has changed.
    Duplicate(StoredInstance),
    /// Other content has its SOP Instance UID: a warning status.
    KeptAside(Box<KeptAside>),
}

impl Store {
    /// Makes room for an instance. Cheap: asks for the free space, touches no file.
    ///
    /// # Errors
    /// [`StoreError::DiskReserve`]: answer A700H before any data is taken.
    pub fn begin_instance(&self, instance: NewInstance) -> Result<IncomingFile, StoreError> {
        let inner = &self.inner;
        inner.reserve.check(free_bytes(inner.layout.root())?)?;
        Ok(IncomingFile::new(inner.layout.clone(), instance))
    }

    /// Makes the file of an instance durable and commits its row. When this returns, the sender may be told so.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] where the data set lacks what the index needs (the file is then gone), else what the
    /// disk or the database said: nothing was promised, the sender must send again.
    pub async fn record_instance(
        &self,
        mut file: IncomingFile,
        reception: Reception<'_>,
    ) -> Result<Recorded, StoreError> {
        let row = IndexRow::from_header(reception.header, &file.instance)?;
        let source = Source {
            association_id: reception.association_id.into(),
            calling_ae_title: file.instance.calling_ae_title.as_str().to_owned(),
            peer_address: reception.peer_address.to_string(),
        };
        file.settle().await?;
        self.inner.record(file, row, Origin::Received, Some(source), reception.received_at).await
    }

    /// The instance with this SOP Instance UID, received or made here.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn instance(&self, uid: &SopInstanceUid) -> Result<Option<StoredInstance>, StoreError> {
        self.inner.instance(uid).await
    }
}

/// A file with its row to be, on a blocking thread.
struct Recording {
    arrived: Arrived,
    row: IndexRow,
    origin: Origin,
    source: Option<Source>,
    received_at: Timestamp,
    folder: PathBuf,
    target: PathBuf,
}

/// What the blocking part has done.
enum Step {
    /// The writer has it.
    Committing,
    /// A file has the name already.
    Exists(Box<Recording>, Reservation),
}

/// Where the blocking part was done.
enum Blocking {
    Done(Result<Step, StoreError>),
    Elsewhere(JoinHandle<Result<Step, StoreError>>),
}

impl Blocking {
    async fn step(self) -> Result<Step, StoreError> {
        match self {
            Self::Done(step) => step,
            Self::Elsewhere(task) => task.await.map_err(|_| StoreError::Closed)?,
        }
    }
}

impl Inner {
    async fn record(
        self: &Arc<Self>,
        file: IncomingFile,
        row: IndexRow,
        origin: Origin,
        source: Option<Source>,
        received_at: Timestamp,
    ) -> Result<Recorded, StoreError> {
        let reservation = self.in_flight.reserve(&row.instance.uid).await;
        let (reply, answer) = oneshot::channel();
        let inner = self.clone();
        let alone = Alone::among(&self.recording);
        let here = alone.is_so() && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
        let work = move || -> Result<Step, StoreError> {
            let folder = inner.layout.series(origin, &row.study.uid, &row.series.uid);
            let target = inner.layout.instance(origin, &row.study.uid, &row.series.uid, &row.instance.uid);
            let mut recording = Recording { arrived: file.finish()?, row, origin, source, received_at, folder, target };
            match place(&mut recording.arrived.spool, &recording.folder, &recording.target)? {
                Placing::Placed => {
                    let (new, file) = recording.into_row();
                    inner.queue.commit(Commit { new, file, reservation, reply }, here);
                    Ok(Step::Committing)
                }
                Placing::Exists => Ok(Step::Exists(Box::new(recording), reservation)),
            }
        };
        let blocking =
            if here { Blocking::Done(block_in_place(work)) } else { Blocking::Elsewhere(spawn_blocking(work)) };
        // The answer comes from whoever commits, past the blocking thread, which ends unobserved where all goes well.
        if let Ok(committed) = answer.await {
            return self.clone().committed(committed?).await;
        }
        match blocking.step().await? {
            Step::Committing => Err(StoreError::Closed),
            Step::Exists(recording, reservation) => self.clone().exists(*recording, reservation).await,
        }
    }

    async fn committed(self: Arc<Self>, committed: Committed) -> Result<Recorded, StoreError> {
        match committed {
            Committed::Inserted(new, instance, series) => Ok(Recorded::Stored(self.stored(new, instance, series))),
            Committed::Taken(new, reservation) => {
                // Goes on where the caller is dropped, so that no file stays without a row.
                let task = tokio::spawn(async move { self.taken(&new, &reservation).await });
                task.await.map_err(|_| StoreError::Closed)?
            }
        }
    }

    /// The name was free but the SOP Instance UID was not: the row is for another study or series, or its file was lost.
    async fn taken(&self, new: &NewRow, _reservation: &Reservation) -> Result<Recorded, StoreError> {
        let uid = &new.row.instance.uid;
        let taken_by = self
            .instance(uid)
            .await?
            .ok_or_else(|| StoreError::Damaged(format!("instance {uid} is taken and not there")))?;
        let path = new.file();
        let (journal, place) = (self.journal.clone(), new.place());
        if taken_by.path != path {
            blocking(move || journal.forget(&place)).await?;
            return self.taken_elsewhere(path, new, taken_by).await;
        }
        let folder = new.folder.clone();
        blocking(move || {
            // What the journal has of the lost one must not come back in its stead.
            sync_content(&path)?;
            folder.ancestors().take(3).try_for_each(sync_folder)?;
            journal.forget(&place)
        })
        .await?;
        tracing::warn!(sop_instance.uid = %uid, "the file of this instance was lost and has been sent again");
        sqlx::query(
            "UPDATE instance SET transfer_syntax_uid = $1, file_bytes = $2, data_set_offset = $3 \
             WHERE instance_key = $4",
        )
        .bind(new.row.instance.transfer_syntax_uid.as_str())
        .bind(signed(new.file_bytes))
        .bind(signed(new.data_set_offset))
        .bind(taken_by.key)
        .execute(&mut *self.writer.lock().await?)
        .await?;
        Ok(Recorded::Duplicate(self.instance(uid).await?.unwrap_or(taken_by)))
    }

    /// The row is for a file elsewhere: a result of ours that comes back is the same instance, or it is another.
    async fn taken_elsewhere(
        &self,
        path: PathBuf,
        new: &NewRow,
        taken_by: StoredInstance,
    ) -> Result<Recorded, StoreError> {
        if taken_by.study != new.row.study.uid || taken_by.series != new.row.series.uid {
            return Ok(Recorded::KeptAside(Box::new(keep_aside(self, path, new, taken_by).await?)));
        }
        let (transfer_syntax, offset) = (new.row.instance.transfer_syntax_uid.clone(), new.data_set_offset);
        let (path, taken_by, same) = blocking(move || {
            let arrived = Content { path: &path, transfer_syntax: &transfer_syntax, data_set_offset: offset };
            let same = is_same(arrived, &taken_by)?;
            if same {
                fs::remove_file(&path).map_err(StoreError::file("remove", &path))?;
            }
            Ok((path, taken_by, same))
        })
        .await?;
        if same {
            return Ok(Recorded::Duplicate(taken_by));
        }
        Ok(Recorded::KeptAside(Box::new(keep_aside(self, path, new, taken_by).await?)))
    }

    /// A file has the name: it is the same instance, or another, or was left by a crash and promised to nobody.
    async fn exists(self: Arc<Self>, recording: Recording, reservation: Reservation) -> Result<Recorded, StoreError> {
        let Some(stored) = self.instance(&recording.row.instance.uid).await? else {
            return self.replace(recording, reservation).await;
        };
        let task = tokio::spawn(async move {
            let (mut recording, stored, same) = blocking(move || compare(recording, stored)).await?;
            if same {
                return Ok(Recorded::Duplicate(stored));
            }
            let path = recording.arrived.spool.path().to_owned();
            recording.arrived.spool.keep();
            let (new, _) = recording.into_row();
            let kept = keep_aside(&self, path, &new, stored).await?;
            drop(reservation);
            Ok(Recorded::KeptAside(Box::new(kept)))
        });
        task.await.map_err(|_| StoreError::Closed)?
    }

    async fn replace(
        self: Arc<Self>,
        mut recording: Recording,
        reservation: Reservation,
    ) -> Result<Recorded, StoreError> {
        tracing::info!(
            sop_instance.uid = %recording.row.instance.uid,
            "a file left by a crash before it was acknowledged is replaced"
        );
        let (reply, answer) = oneshot::channel();
        let inner = self.clone();
        blocking(move || {
            inner.journal.forget(&recording.place())?;
            place_over(&mut recording.arrived.spool, &recording.folder, &recording.target)?;
            let (new, file) = recording.into_row();
            inner.queue.commit(Commit { new, file, reservation, reply }, false);
            Ok(())
        })
        .await?;
        match answer.await.map_err(|_| StoreError::Closed)?? {
            Committed::Inserted(new, instance, series) => Ok(Recorded::Stored(self.stored(new, instance, series))),
            Committed::Taken(new, reservation) => self.taken(&new, &reservation).await,
        }
    }

    fn stored(&self, new: NewRow, key: InstanceKey, series_key: SeriesKey) -> StoredInstance {
        let NewRow { row, origin, file_bytes, data_set_offset, received_at, .. } = new;
        StoredInstance {
            key,
            series_key,
            path: self.layout.instance(origin, &row.study.uid, &row.series.uid, &row.instance.uid),
            study: row.study.uid,
            series: row.series.uid,
            sop_instance_uid: row.instance.uid,
            sop_class_uid: row.instance.sop_class_uid,
            transfer_syntax_uid: row.instance.transfer_syntax_uid,
            origin,
            file_bytes,
            data_set_offset,
            received_at,
        }
    }

    pub(super) async fn instance(&self, uid: &SopInstanceUid) -> Result<Option<StoredInstance>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE instance.sop_instance_uid = $1");
        let row = sqlx::query(AssertSqlSafe(sql)).bind(uid.as_str()).fetch_optional(&self.readers).await?;
        row.map(|row| from_row(&row, &self.layout)).transpose()
    }
}

impl Recording {
    /// Where it is to lie below the data folder.
    fn place(&self) -> String {
        Layout::place(self.origin, &self.row.study.uid, &self.row.series.uid, &self.row.instance.uid)
    }

    /// What the row needs, and the file.
    fn into_row(self) -> (NewRow, OnDisk) {
        let Arrived { spool, file_bytes, data_set_offset, small } = self.arrived;
        let new = NewRow {
            row: self.row,
            origin: self.origin,
            source: self.source,
            folder: self.folder,
            file_bytes,
            data_set_offset,
            received_at: self.received_at,
        };
        (new, OnDisk::Not(spool, small))
    }
}

/// Whether an instance is the only one that is being recorded. An association that is alone gains nothing from two threads
/// that wake each other: all is done on the thread that received it, and the runtime goes on without it. Among several,
/// threads of their own share syncs and transactions better.
struct Alone<'a> {
    recording: &'a AtomicUsize,
    others: usize,
}

impl<'a> Alone<'a> {
    fn among(recording: &'a AtomicUsize) -> Self {
        let others = recording.fetch_add(1, Ordering::Relaxed);
        Self { recording, others }
    }

    const fn is_so(&self) -> bool {
        self.others == 0
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.recording.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether what arrived is what is stored. Blocks.
fn compare(recording: Recording, stored: StoredInstance) -> Result<(Recording, StoredInstance, bool), StoreError> {
    let transfer_syntax: &TransferSyntaxUid = &recording.row.instance.transfer_syntax_uid;
    let arrived = Content {
        path: recording.arrived.spool.path(),
        transfer_syntax,
        data_set_offset: recording.arrived.data_set_offset,
    };
    let same = stored.path == recording.target && is_same(arrived, &stored)?;
    Ok((recording, stored, same))
}

/// Whether what arrived is what is stored; not where that file is gone. Blocks.
fn is_same(arrived: Content<'_>, stored: &StoredInstance) -> Result<bool, StoreError> {
    let there = Content {
        path: &stored.path,
        transfer_syntax: &stored.transfer_syntax_uid,
        data_set_offset: stored.data_set_offset,
    };
    match same_content(arrived, there) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        same => same.map_err(StoreError::file("compare", &stored.path)),
    }
}
