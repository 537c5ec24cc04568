//! Instance rows are committed in groups: all rows that wait, of all associations, in one transaction.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::sqlite::{Sqlite, SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row};
use tokio::sync::{Mutex, oneshot};

use super::error::StoreError;
use super::ids::{InstanceKey, SeriesKey};
use super::in_flight::Reservation;
use super::instance::signed;
use super::known::{Known, KnownSeries};
use super::layout::{Origin, sync_folder};
use super::row::IndexRow;
use crate::clock::Timestamp;

/// The connection that writes. Whoever writes holds it.
pub(super) type Writer = Arc<Mutex<SqliteConnection>>;

/// An instance whose file is in place and synced, and which waits for its row.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) new: NewRow,
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
    /// It is durable.
    Inserted(NewRow, InstanceKey, SeriesKey),
    /// The SOP Instance UID has a row already.
    Taken(NewRow, Reservation),
}

/// Commits a batch and answers everyone in it; where one row is in the way of the others, each goes alone.
pub(super) fn commit_all(batch: Vec<Commit>, known: &mut Known, writer: &Writer, runtime: &tokio::runtime::Handle) {
    let (rows, rest): (Vec<NewRow>, Vec<_>) = batch.into_iter().map(|c| (c.new, (c.reservation, c.reply))).unzip();
    let committed = sync_folders(&rows, known)
        .and_then(|()| runtime.block_on(async { commit_rows(&mut *writer.lock().await, known, &rows).await }));
    match committed {
        Ok(keys) => {
            for ((row, (reservation, reply)), (instance, series)) in rows.into_iter().zip(rest).zip(keys) {
                drop(reservation);
                let _ = reply.send(Ok(Committed::Inserted(row, instance, series)));
            }
        }
        Err(error) if error.is_unique_violation() && rows.len() > 1 => {
            for (new, (reservation, reply)) in rows.into_iter().zip(rest) {
                commit_all(vec![Commit { new, reservation, reply }], known, writer, runtime);
            }
        }
        Err(error) => {
            for (row, (reservation, reply)) in rows.into_iter().zip(rest) {
                let answer = if error.is_unique_violation() {
                    Ok(Committed::Taken(row, reservation))
                } else {
                    // Nobody is promised it, and a whole file is taken for an instance.
                    let _ = fs::remove_file(row.file());
                    Err(error.clone())
                };
                let _ = reply.send(answer);
            }
        }
    }
}

/// Makes the names of the files durable, and those of their folders where this process has not done so before.
fn sync_folders(rows: &[NewRow], known: &mut Known) -> Result<(), StoreError> {
    let mut synced: Vec<&PathBuf> = Vec::new();
    for folder in rows.iter().map(|r| &r.folder) {
        if synced.contains(&folder) {
            continue;
        }
        sync_folder(folder)?;
        if !known.is_durable(folder) {
            for parent in folder.ancestors().skip(1).take(2) {
                sync_folder(parent)?;
            }
            known.set_durable(folder.clone());
        }
        synced.push(folder);
    }
    Ok(())
}

/// One transaction with all rows; the keys come back in the order of the rows.
async fn commit_rows(
    connection: &mut SqliteConnection,
    known: &mut Known,
    rows: &[NewRow],
) -> Result<Vec<(InstanceKey, SeriesKey)>, StoreError> {
    let committed = try_commit(connection, known, rows).await;
    if committed.is_err() {
        known.forget();
        // Fails where the transaction had not begun.
        let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
    }
    committed
}

async fn try_commit(
    connection: &mut SqliteConnection,
    known: &mut Known,
    rows: &[NewRow],
) -> Result<Vec<(InstanceKey, SeriesKey)>, StoreError> {
    let begun = !rows.iter().all(|r| known.knows(r));
    if begun {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    }
    let mut series = Vec::with_capacity(rows.len());
    for row in rows {
        series.push(known.ensure(connection, row).await?);
    }
    // Everything that needs no answer goes to the database's thread in one piece.
    let mut script = QueryBuilder::new(if begun { "" } else { "BEGIN IMMEDIATE; " });
    insert_instances(&mut script, rows, &series);
    add_up(&mut script, rows, &series);
    script.push("; COMMIT");
    let inserted = script.build().fetch_all(&mut *connection).await?;
    in_order(rows, &series, &inserted)
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
        if origin == Origin::Received {
            script.push(", state = 'receiving', signal = '', completed_at = NULL, read_at = NULL");
        }
        script.push(" WHERE series_key = ").push_bind(key);
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
