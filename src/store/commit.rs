//! Instance rows are committed in groups: all rows that wait, of all associations, in one transaction.

use std::collections::HashMap;
use std::fs;
use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use sqlx::sqlite::{Sqlite, SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row};
use tokio::sync::oneshot;

use super::durable::{NotDurable, OnDisk, is_synced, sync, sync_file};
use super::error::StoreError;
use super::ids::{InstanceKey, SeriesKey};
use super::in_flight::Reservation;
use super::instance::signed;
use super::journal::Journal;
use super::known::{Known, KnownSeries};
use super::layout::{Layout, Origin};
use super::row::IndexRow;
use super::writer::{Commits, Writer, Writing};
use crate::clock::Timestamp;

/// An instance whose file has its name, and which waits for its row.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) new: NewRow,
    /// How far its file is on the disk.
    pub(super) file: OnDisk,
    pub(super) reservation: Reservation,
    pub(super) reply: oneshot::Sender<Result<Committed, StoreError>>,
}

/// A row to be made.
#[derive(Debug)]
pub(super) struct NewRow {
    pub(super) row: IndexRow,
    pub(super) origin: Origin,
    pub(super) source: Option<Source>,
    /// The folder in which the file has got its name, not yet synced.
    pub(super) folder: PathBuf,
    pub(super) file_bytes: u64,
    pub(super) data_set_offset: u64,
    pub(super) received_at: Timestamp,
}

impl NewRow {
    /// Where its file lies.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.dcm", self.row.instance.uid))
    }

    /// The same below the data folder.
    pub(super) fn place(&self) -> String {
        Layout::place(self.origin, &self.row.study.uid, &self.row.series.uid, &self.row.instance.uid)
    }
}

/// From whom an instance came.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) association_id: Arc<str>,
    pub(super) calling_ae_title: String,
    pub(super) peer_address: String,
}

/// What became of a row.
#[derive(Debug)]
pub(super) enum Committed {
    /// It is committed, and its file is on the disk.
    Inserted(NewRow, InstanceKey, SeriesKey),
    /// The SOP Instance UID has a row already.
    Taken(NewRow, Reservation),
}

impl Commit {
    /// Makes the file durable by itself; gives itself back where that went well, else it has been answered. Blocks.
    pub(super) fn synced(mut self, journal: &Journal) -> Option<Self> {
        if let OnDisk::Not(spool, _) = &self.file {
            if let Err(error) = sync_file(spool, &self.new) {
                self.refuse(error, journal);
                return None;
            }
            self.file = OnDisk::ByItself;
        }
        Some(self)
    }

    /// Nobody is promised the instance, and its sender is told why; and its file must not stay, for a whole file is taken for an
    /// instance. Where the next start may write it again it stays all the same: else another could take its place before. Blocks.
    pub(super) fn refuse(self, error: StoreError, journal: &Journal) {
        if journal.forget(&self.new.place()).is_ok() {
            let _ = fs::remove_file(self.new.file());
        }
        let _ = self.reply.send(Err(error));
    }
}

/// Where rows and small files go, and who waits for the database.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) writer: Writer,
    pub(super) journal: Arc<Journal>,
    pub(super) runtime: tokio::runtime::Handle,
}

/// Why a batch was not committed.
struct NotCommitted {
    error: StoreError,
    /// Which of its rows is at fault, where it is one: the others can be committed without it.
    at: Option<usize>,
}

impl<E: Into<StoreError>> From<E> for NotCommitted {
    fn from(error: E) -> Self {
        Self { error: error.into(), at: None }
    }
}

impl From<NotDurable> for NotCommitted {
    fn from(NotDurable { at, error }: NotDurable) -> Self {
        Self { error, at: Some(at) }
    }
}

/// Commits a batch and answers everyone in it. A row whose file cannot be made durable is refused, and the others are
/// committed without it; where the database finds a row in the way of the others, each goes alone.
pub(super) fn commit_all(batch: Vec<Commit>, known: &mut Known, to: &Destination) {
    let mut files = Vec::with_capacity(batch.len());
    let mut rest = Vec::with_capacity(batch.len());
    let mut rows = Vec::with_capacity(batch.len());
    for Commit { new, file, reservation, reply } in batch {
        rows.push(new);
        files.push(file);
        rest.push((reservation, reply));
    }
    let committed = async {
        let mut writing = to.writer.lock_for_instances().await;
        commit_rows(&mut writing, known, &to.journal, &rows, &mut files).await
    };
    let NotCommitted { error, at } = match to.runtime.block_on(committed) {
        Ok(keys) => {
            for ((row, (reservation, reply)), (instance, series)) in rows.into_iter().zip(rest).zip(keys) {
                drop(reservation);
                let _ = reply.send(Ok(Committed::Inserted(row, instance, series)));
            }
            return;
        }
        Err(not_committed) => not_committed,
    };
    // What was synced stays so.
    let again = rows.into_iter().zip(files).zip(rest);
    let again = again.map(|((new, file), (reservation, reply))| Commit { new, file, reservation, reply });
    let mut again: Vec<Commit> = again.collect();
    if let Some(at) = at.filter(|at| *at < again.len()) {
        again.remove(at).refuse(error, &to.journal);
        if !again.is_empty() {
            commit_all(again, known, to);
        }
    } else if error.is_unique_violation() && again.len() > 1 {
        for commit in again {
            commit_all(vec![commit], known, to);
        }
    } else if error.is_unique_violation() {
        for Commit { new, reservation, reply, .. } in again {
            let _ = reply.send(Ok(Committed::Taken(new, reservation)));
        }
    } else {
        for commit in again {
            commit.refuse(error.clone(), &to.journal);
        }
    }
}

/// One transaction with all rows; the keys come back in the order of the rows. Blocks while the files are synced.
async fn commit_rows(
    writing: &mut Writing,
    known: &mut Known,
    journal: &Arc<Journal>,
    rows: &[NewRow],
    files: &mut [OnDisk],
) -> Result<Vec<(InstanceKey, SeriesKey)>, NotCommitted> {
    let committed = try_commit(writing, known, journal, rows, files).await;
    if committed.is_err() {
        known.forget();
        // Fails where the transaction had not begun.
        let _ = sqlx::query("ROLLBACK").execute(&mut writing.connection).await;
    }
    committed
}

async fn try_commit(
    writing: &mut Writing,
    known: &mut Known,
    journal: &Arc<Journal>,
    rows: &[NewRow],
    files: &mut [OnDisk],
) -> Result<Vec<(InstanceKey, SeriesKey)>, NotCommitted> {
    let mut series: Vec<KnownSeries> = rows.iter().map_while(|row| known.find(row)).collect();
    let begun = series.len() < rows.len();
    let commits = if begun { Commits::Durable } else { writing.receiving.commits(&series) };
    writing.set(commits).await?;
    let connection = &mut writing.connection;
    if begun {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        series.clear();
        for row in rows {
            series.push(known.ensure(connection, row).await?);
        }
    }
    let mut script = QueryBuilder::new(if begun { "" } else { "BEGIN IMMEDIATE; " });
    insert_instances(&mut script, rows, &series);
    add_up(&mut script, rows, &series);
    // Where everything is synced already, one message to the database's thread does it all.
    let at_once = is_synced(rows, files, known);
    if at_once {
        script.push("; COMMIT");
    }
    let inserted = {
        // The database's thread works on it while this one waits for the disk.
        let mut inserting = pin!(script.build().fetch_all(&mut *connection));
        let inserted = poll_fn(|context| Poll::Ready(inserting.as_mut().poll(context))).await;
        let synced = if at_once { Ok(()) } else { sync(rows, files, known, journal) };
        let inserted = match inserted {
            Poll::Ready(inserted) => inserted,
            Poll::Pending => inserting.await,
        };
        synced?;
        inserted?
    };
    let keys = in_order(rows, &series, &inserted)?;
    if !at_once {
        sqlx::query("COMMIT").execute(&mut *connection).await?;
    }
    if commits == Commits::Durable {
        writing.receiving.are_durable(&series);
    }
    Ok(keys)
}

/// One row and what follows from it, inside a transaction that the caller has begun.
pub(super) async fn insert_one(
    connection: &mut SqliteConnection,
    known: &mut Known,
    new: NewRow,
) -> Result<(InstanceKey, KnownSeries), StoreError> {
    let series = [known.ensure(connection, &new).await?];
    let rows = [new];
    let mut script = QueryBuilder::new("");
    insert_instances(&mut script, &rows, &series);
    add_up(&mut script, &rows, &series);
    // All rows, not one: asking for one would end the script with it.
    let inserted = script.build().fetch_all(&mut *connection).await?;
    let keys = in_order(&rows, &series, &inserted)?;
    let key = keys.first().ok_or_else(|| StoreError::Damaged("a row was made and not returned".to_owned()))?.0;
    Ok((key, series[0]))
}

/// The INSERT of all instance rows.
fn insert_instances(script: &mut QueryBuilder<Sqlite>, rows: &[NewRow], series: &[KnownSeries]) {
    script.push(
        "INSERT INTO instance (series_key, sop_instance_uid, sop_class_uid, transfer_syntax_uid, file_bytes, \
         data_set_offset, instance_number, acquisition_number, rows, columns, number_of_frames, content_date, \
         content_time, image_type, received_at) ",
    );
    script.push_values(rows.iter().zip(series), |mut values, (new, series)| {
        let instance = &new.row.instance;
        values
            .push_bind(series.key)
            .push_bind(instance.uid.as_str().to_owned())
            .push_bind(instance.sop_class_uid.as_str().to_owned())
            .push_bind(instance.transfer_syntax_uid.as_str().to_owned())
            .push_bind(signed(new.file_bytes))
            .push_bind(signed(new.data_set_offset))
            .push_bind(instance.number)
            .push_bind(instance.acquisition_number)
            .push_bind(instance.rows)
            .push_bind(instance.columns)
            .push_bind(instance.number_of_frames)
            .push_bind(instance.content_date.clone())
            .push_bind(instance.content_time.clone())
            .push_bind(instance.image_type.clone())
            .push_bind(new.received_at.0);
    });
    script.push(" RETURNING instance_key, sop_instance_uid");
}

/// The counts, times and states that follow from the new rows: one UPDATE for each series, study and source.
fn add_up(script: &mut QueryBuilder<Sqlite>, rows: &[NewRow], series: &[KnownSeries]) {
    let mut by_series: HashMap<SeriesKey, (i64, Timestamp, Origin)> = HashMap::new();
    let mut by_study: HashMap<i64, (i64, Timestamp)> = HashMap::new();
    let mut by_source: HashMap<(SeriesKey, i64), (i64, Timestamp)> = HashMap::new();
    for (new, series) in rows.iter().zip(series) {
        let at = new.received_at;
        let one = by_series.entry(series.key).or_insert((0, at, new.origin));
        *one = (one.0 + 1, one.1.max(at), new.origin);
        let one = by_study.entry(series.study_key).or_insert((0, at));
        *one = (one.0 + 1, one.1.max(at));
        if let Some(association) = series.association_key {
            let one = by_source.entry((series.key, association)).or_insert((0, at));
            *one = (one.0 + 1, one.1.max(at));
        }
    }
    for (key, (count, at, origin)) in by_series {
        script.push("; UPDATE series SET number_of_instances = number_of_instances + ").push_bind(count);
        script.push(", revision = revision + ").push_bind(count);
        script.push(", last_received_at = ").push_bind(at.0);
        script.push(" WHERE series_key = ").push_bind(key);
        if origin == Origin::Received {
            // Apart, so that the index of what is being received is left alone by a series that is in it.
            script.push(
                "; UPDATE series SET state = 'receiving', signal = '', completed_at = NULL, read_at = NULL \
                 WHERE state <> 'receiving' AND series_key = ",
            );
            script.push_bind(key);
        }
    }
    for (key, (count, at)) in by_study {
        script.push("; UPDATE study SET number_of_instances = number_of_instances + ").push_bind(count);
        script.push(", last_received_at = ").push_bind(at.0).push(" WHERE study_key = ").push_bind(key);
    }
    for ((key, association), (count, at)) in by_source {
        script.push(
            "; INSERT INTO series_source (series_key, association_key, instances, first_received_at, last_received_at) \
             VALUES (",
        );
        let mut values = script.separated(", ");
        values.push_bind(key).push_bind(association).push_bind(count).push_bind(at.0).push_bind(at.0);
        script.push(
            ") ON CONFLICT (series_key, association_key) DO UPDATE \
             SET instances = series_source.instances + excluded.instances, last_received_at = excluded.last_received_at",
        );
    }
}

/// Brings the keys that the INSERT returned into the order of the rows: no database promises one.
fn in_order(
    rows: &[NewRow],
    series: &[KnownSeries],
    inserted: &[SqliteRow],
) -> Result<Vec<(InstanceKey, SeriesKey)>, StoreError> {
    let mut keys: HashMap<&str, InstanceKey> = HashMap::with_capacity(inserted.len());
    for row in inserted {
        keys.insert(row.try_get("sop_instance_uid")?, row.try_get("instance_key")?);
    }
    rows.iter()
        .zip(series)
        .map(|(new, series)| {
            let uid = new.row.instance.uid.as_str();
            let key = keys.get(uid).ok_or_else(|| StoreError::Damaged(format!("no key for instance {uid}")))?;
            Ok((*key, series.key))
        })
        .collect()
}
