//! The one connection that writes, and what it need not wait for.
//!
//! A commit is on the disk when it returns, but for one kind: rows of instances whose series the disk knows to be
//! receiving. Their files are on the disk, and at the start after a crash the folders of receiving series are looked
//! through for files without a row ([`super::clear_up`]); so such a row is not lost where the end of the log is, and its sender
//! waits for one sync less. The next commit of any other kind that changes something takes the log with it.

use std::collections::HashSet;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::sqlite::SqliteConnection;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::error::StoreError;
use super::ids::SeriesKey;
use super::known::KnownSeries;

/// How many series are remembered before all are forgotten.
const MOST_KNOWN: usize = 20_000;

/// The connection that writes. Whoever writes holds it.
#[derive(Debug, Clone)]
pub(super) struct Writer(Arc<Mutex<Writing>>);

/// What commits of rows need to know of those before them.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) connection: SqliteConnection,
    /// What the connection's next commit waits for, where that is known.
    commits: Option<Commits>,
    pub(super) receiving: Receiving,
}

/// When a commit returns (SQLite's `synchronous`, in WAL mode).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commits {
    /// When it is on the disk.
    Durable,
    /// When it is in the log; a crash of the machine may take it, and with it all that came after it.
    Later,
}

/// The series that are receiving on the disk, as far as is known, with the associations of which the disk knows that they
/// sent of them.
#[derive(Debug, Default)]
pub(super) struct Receiving(HashSet<(SeriesKey, i64)>);

impl Receiving {
    /// How rows of these series may be committed. Those that no association brought are durable.
    pub(super) fn commits(&self, rows: &[KnownSeries]) -> Commits {
        let is_receiving = |row: &KnownSeries| row.association_key.is_some_and(|by| self.0.contains(&(row.key, by)));
        if rows.iter().all(is_receiving) { Commits::Later } else { Commits::Durable }
    }

    /// A commit that is on the disk made these receiving.
    pub(super) fn are_durable(&mut self, rows: &[KnownSeries]) {
        if self.0.len() >= MOST_KNOWN {
            self.0.clear();
        }
        self.0.extend(rows.iter().filter_map(|row| Some((row.key, row.association_key?))));
    }

    /// Somebody may have changed any of them.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

impl Writer {
    /// `connection` commits durably.
    pub(super) fn new(connection: SqliteConnection) -> Self {
        let receiving = Receiving::default();
        Self(Arc::new(Mutex::new(Writing { connection, commits: Some(Commits::Durable), receiving })))
    }

    /// The connection for anything but rows of instances: what it changes is on the disk when it is committed, and with that
    /// all that was committed before.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(super) async fn lock(&self) -> Result<Held, StoreError> {
        let mut writing = self.0.clone().lock_owned().await;
        writing.receiving.forget();
        writing.set(Commits::Durable).await?;
        Ok(Held(writing))
    }

    /// The connection for rows of instances.
    pub(super) async fn lock_for_instances(&self) -> OwnedMutexGuard<Writing> {
        self.0.clone().lock_owned().await
    }
}

impl Writing {
    /// Has the next transaction commit so. To be called between transactions.
    pub(super) async fn set(&mut self, commits: Commits) -> Result<(), StoreError> {
        if self.commits != Some(commits) {
            self.commits = None;
            // Not prepared for later: SQLite obeys when it reads the statement, not when it runs it.
            let pragma = match commits {
                Commits::Durable => "PRAGMA synchronous = FULL",
                Commits::Later => "PRAGMA synchronous = NORMAL",
            };
            sqlx::raw_sql(pragma).execute(&mut self.connection).await?;
            self.commits = Some(commits);
        }
        Ok(())
    }
}

/// The connection, held, whose commits are durable.
#[derive(Debug)]
pub(super) struct Held(OwnedMutexGuard<Writing>);

impl Deref for Held {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.0.connection
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.0.connection
    }
}
