//! Who commits: the first thread that brings a row while nobody does commits its own and all that others bring meanwhile.
//!
//! While one transaction is being made durable the next rows gather; nothing waits on purpose. No thread is woken only to
//! commit: where an association is alone, its row goes from the thread that synced its file straight into the database.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::commit::{Commit, Writer, commit_all};
use super::error::StoreError;
use super::known::Known;

/// How many rows one transaction takes: below SQLite's number of parameters, and short enough not to hold others up.
const MOST_ROWS: usize = 64;

/// Rows on their way into the database.
#[derive(Debug)]
pub(super) struct CommitQueue {
    waiting: Mutex<Waiting>,
    /// Of whoever commits.
    known: Mutex<Known>,
    writer: Writer,
    series_changed: watch::Sender<()>,
    runtime: tokio::runtime::Handle,
}

#[derive(Debug, Default)]
struct Waiting {
    rows: VecDeque<Commit>,
    /// Somebody commits, and looks here before it ends.
    committing: bool,
    closed: bool,
    /// Told when nobody commits any more.
    idle: Vec<oneshot::Sender<()>>,
}

impl CommitQueue {
    pub(super) fn new(writer: Writer, series_changed: watch::Sender<()>, runtime: tokio::runtime::Handle) -> Self {
        Self { waiting: Mutex::default(), known: Mutex::default(), writer, series_changed, runtime }
    }

    /// Has a row committed, here or by the thread that is at it. Its sender is told; blocks.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub(super) fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return Err(StoreError::Closed);
        }
        waiting.rows.push_back(commit);
        if waiting.committing {
            return Ok(());
        }
        waiting.committing = true;
        drop(waiting);
        let turn = Turn(self);
        let mut known = self.known.lock().unwrap_or_else(|poisoned| {
            // What was known when somebody panicked may never have been committed.
            let mut known = poisoned.into_inner();
            known.forget();
            known
        });
        while let Some(batch) = turn.next() {
            commit_all(batch, &mut known, &self.writer, &self.runtime);
            self.series_changed.send_replace(());
        }
        Ok(())
    }

    /// Takes no more rows and waits until all that were taken are committed.
    pub(super) async fn close(&self) {
        let ended = {
            let mut waiting = self.waiting();
            waiting.closed = true;
            waiting.committing.then(|| {
                let (done, ended) = oneshot::channel();
                waiting.idle.push(done);
                ended
            })
        };
        if let Some(ended) = ended {
            let _ = ended.await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to commit. Given back when it is dropped, also by a panic: the rows that wait are then refused, and the next
/// one is committed again.
struct Turn<'a>(&'a CommitQueue);

impl Turn<'_> {
    /// The rows that wait; the turn ends with the look that finds none.
    fn next(&self) -> Option<Vec<Commit>> {
        let mut waiting = self.0.waiting();
        let count = waiting.rows.len().min(MOST_ROWS);
        if count > 0 {
            return Some(waiting.rows.drain(..count).collect());
        }
        waiting.end_turn();
        None
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        if std::thread::panicking() {
            waiting.rows.clear();
            waiting.end_turn();
        }
    }
}

impl Waiting {
    fn end_turn(&mut self) {
        self.committing = false;
        for done in self.idle.drain(..) {
            let _ = done.send(());
        }
    }
}
