//! Who commits: the first thread that brings a row while nobody does commits its own and all that others bring meanwhile.
//!
//! While one transaction is being made durable the next rows gather; nothing waits on purpose. No thread is woken only to
//! commit: where an association is alone, its row goes from the thread that synced its file straight into the database.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::commit::{Commit, Destination, commit_all};
use super::error::StoreError;
use super::known::Known;

/// How many rows one transaction takes: below SQLite's number of parameters, and short enough not to hold others up.
const MOST_ROWS: usize = 64;

/// Files up to this size are synced while their row is being made, with the database held, where nobody else waits for it.
const SYNCED_WITHIN: u64 = 8 << 20;

/// Rows on their way into the database.
#[derive(Debug)]
pub(super) struct CommitQueue {
    waiting: Mutex<Waiting>,
    /// Of whoever commits.
    known: Mutex<Known>,
    to: Destination,
    series_changed: watch::Sender<()>,
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
    pub(super) fn new(to: Destination, series_changed: watch::Sender<()>) -> Self {
        Self { waiting: Mutex::default(), known: Mutex::default(), to, series_changed }
    }

    /// Has a row committed, here or by the thread that is at it, its file made durable before. Its sender is told, also where
    /// the store is closed. Blocks; where `answers`, somebody waits for this very thread, for one transaction at most.
    pub(super) fn commit(self: &Arc<Self>, commit: Commit, answers: bool) {
        let mut commit = commit;
        let mut waiting = self.waiting();
        let is_alone = answers && !waiting.committing && commit.new.file_bytes <= SYNCED_WITHIN;
        let is_small = commit.file.is_small() && self.to.journal.takes_next();
        if !is_small && !is_alone {
            drop(waiting);
            // Files of several associations are synced side by side, while the rows of others are committed.
            let Some(synced) = commit.synced(&self.to.journal) else { return };
            commit = synced;
            waiting = self.waiting();
        }
        if waiting.closed {
            drop(waiting);
            return commit.refuse(StoreError::Closed, &self.to.journal);
        }
        waiting.rows.push_back(commit);
        if waiting.committing {
            return;
        }
        waiting.committing = true;
        drop(waiting);
        let mut turn = Turn { queue: self.clone(), ended: false };
        if !answers {
            while turn.commit_next() {}
            return;
        }
        turn.commit_next();
        if turn.is_needed() {
            // What others brought meanwhile must not keep this caller from its answer.
            self.to.runtime.spawn_blocking(move || while turn.commit_next() {});
        }
    }

    /// Forgets what is known of the rows, which somebody else has changed.
    pub(super) fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).forget();
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
struct Turn {
    queue: Arc<CommitQueue>,
    ended: bool,
}

impl Turn {
    /// Commits the rows that wait; the turn ends with the look that finds none, and then there is nothing more to do.
    fn commit_next(&mut self) -> bool {
        let batch = self.next();
        if batch.is_empty() {
            return false;
        }
        let queue = &self.queue;
        let mut known = queue.known.lock().unwrap_or_else(|poisoned| {
            // What was known when somebody panicked may never have been committed.
            let mut known = poisoned.into_inner();
            known.forget();
            known
        });
        commit_all(batch, &mut known, &queue.to);
        queue.series_changed.send_replace(());
        true
    }

    fn next(&mut self) -> Vec<Commit> {
        let mut waiting = self.queue.waiting();
        let count = waiting.rows.len().min(MOST_ROWS);
        if count == 0 {
            self.ended = true;
            waiting.end_turn();
        }
        waiting.rows.drain(..count).collect()
    }

    /// Whether rows wait; else the turn ends.
    fn is_needed(&mut self) -> bool {
        let mut waiting = self.queue.waiting();
        if waiting.rows.is_empty() {
            self.ended = true;
            waiting.end_turn();
        }
        !self.ended
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.ended {
            let left = {
                let mut waiting = self.queue.waiting();
                waiting.end_turn();
                std::mem::take(&mut waiting.rows)
            };
            for commit in left {
                commit.refuse(StoreError::Closed, &self.queue.to.journal);
            }
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

#[cfg(test)]
mod tests;
