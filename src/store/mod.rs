//! Everything that must survive: the files, and the index, the series, the jobs and the outbox in SQL. The only SQL.
//!
//! # What an acknowledgement promises
//! [`Store::record_instance`] returns when the content of the file, its name and the names of its folders are on the disk
//! (`durable.rs`: a small file as a copy in the journal), and its row is committed (`writer.rs`: not always on the disk): in
//! this order, so that a crash at any point leaves either nothing, or a file. At the next start what the journal holds is
//! written again, and files that were still arriving are removed. Files without a row get one where they are whole; else
//! they are moved to `aside/` (their sender, who had no answer, will send them again). A file that is sent again before that
//! replaces the one without a row.
//!
//! What is made here follows the same order: a result or a file of embeddings has its name on the disk before its row is
//! committed, and the next attempt replaces what was left without one.
//!
//! # The same again
//! The same SOP Instance UID with the same content is one row and one file; with other content the first stays and the
//! other is kept aside. Content is compared when a SOP Instance UID comes a second time, byte for byte and, for native
//! transfer syntaxes, element for element; so nothing is computed for those that come once. Pixel data compressed in
//! another way is other content.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sqlx::ConnectOptions;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use tokio::sync::watch;

use crate::clock::Clock;

mod error;

mod options;

mod ids;

mod layout;

mod connect;

mod log;

mod fold;

mod row;

mod instance;

mod portion;

mod incoming;

mod in_flight;

mod place;

mod file_system;

mod journal;

mod durable;

mod same;

mod columns;

mod known;

mod writer;

mod commit;

mod queue;

mod aside;

mod reserve;

mod record;

mod series;

mod completion;

mod unreadable;

mod jobs;

mod finish;

mod embedding;

mod outbox;

mod state;

mod story;

mod clear_up;

mod stored_file;

mod reindex;

mod reread;

mod find;

#[cfg(test)]
pub(crate) mod tests;

pub use aside::KeptAside;
pub use embedding::{
    EmbeddingFile, EmbeddingOf, EmbeddingTensor, KeptEmbeddings, NewEmbeddings, TensorOutline, embedding_file,
};
pub use error::{StoreError, Unusable};
pub use find::{Attribute, Condition, FindQuery, Level, Match, Matches, Matching, Page};
pub use finish::NewResult;
pub use fold::fold_person_name;
pub use ids::{DeliveryId, InstanceKey, JobId, SeriesKey};
pub use incoming::{IncomingFile, NewInstance};
pub use instance::StoredInstance;
pub use jobs::{ClaimedJob, JobEnd, Lease};
pub use layout::Origin;
pub use options::StoreOptions;
pub use outbox::{ClaimedDelivery, PeerAnswer, Resend, WaitingDestination};
pub use record::{Reception, Recorded};
pub use reindex::Reindexed;
pub use reread::Reread;
pub use series::{Completed, Completion, CompressedArrivals, NewJob, ReceivingSeries, RouteDecision, StudySeries};
pub use state::{DeliveryState, JobState, SeriesState};
pub use story::{
    AttemptStory, CompletionStory, DeliveryStory, EmbeddingStory, JobStory, KeptAsideStory, ResultStory, RouteStory,
    SeriesStory, SourceStory, StudyStory,
};

use commit::Destination;
use connect::{connect_options, pool};
use in_flight::InFlight;
use journal::Journal;
use layout::Layout;
use queue::CommitQueue;
use reserve::Reserve;
use unreadable::Unreadable;
use writer::Writer;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How many questions of our own the database answers at a time.
const READERS: u32 = 4;

/// The store; clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Arc<Layout>,
    options: StoreOptions,
    clock: Clock,
    /// Of this opening: leases and attempts are marked with it.
    boot: String,
    writer: Writer,
    /// For what the node itself wants to know.
    readers: SqlitePool,
    /// For what peers ask: slow questions of theirs hold up nothing of ours.
    finders: SqlitePool,
    /// Told to those that answer peers.
    is_closing: Arc<AtomicBool>,
    queue: Arc<CommitQueue>,
    journal: Arc<Journal>,
    /// Instances that are being recorded now.
    recording: AtomicUsize,
    in_flight: Arc<InFlight>,
    /// Until when the jobs that run here are their workers', by [`Clock::steady_ms`].
    leases: std::sync::Mutex<HashMap<JobId, i64>>,
    unreadable: Unreadable,
    reserve: Reserve,
    changes: Changes,
    /// Held as long as the store is open for running; nothing for a tool that looks in beside a running node.
    lock: Option<File>,
}

/// Wakes the loops; what there is to do they read from the database.
#[derive(Debug)]
struct Changes {
    series: watch::Sender<()>,
    jobs: watch::Sender<()>,
    deliveries: watch::Sender<()>,
}

impl Store {
    /// Opens the data folder for a node: makes what is missing, brings the schema up to date, and clears up after a
    /// process that ended without [`Store::close`].
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another node runs on the folder, [`StoreError::IndexLost`] where there are instances
    /// that no index knows of, else what the disk or the database says.
    pub async fn open(data: &Path, options: StoreOptions, clock: Clock) -> Result<Self, StoreError> {
        let (layout, lock) = Self::take(data).await?;
        if layout.index_is_lost()? {
            return Err(StoreError::IndexLost(data.to_owned()));
        }
        let store = Self::connect(layout, options, clock, Some(lock)).await?;
        store.clear_up().await?;
        store.begin_running().await?;
        store.lengthen_log().await;
        Ok(store)
    }

    /// Opens the data folder for [`Store::reindex`], which looks at every file itself: none is moved before it was read.
    /// Where the index is lost, no node runs until that has come to its end.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where a node runs on the folder, else what the disk or the database says.
    pub async fn open_for_reindex(data: &Path, options: StoreOptions, clock: Clock) -> Result<Self, StoreError> {
        let (layout, lock) = Self::take(data).await?;
        if layout.index_is_lost()? {
            layout.mark_rebuilding()?;
        }
        let store = Self::connect(layout, options, clock, Some(lock)).await?;
        store.clear_up().await?;
        Ok(store)
    }

    /// Where that cannot be done, transactions take longer at first and nothing else.
    async fn lengthen_log(&self) {
        let lengthened = log::lengthen(self.inner.clone()).await;
        if let Err(error) = lengthened {
            tracing::warn!(%error, "the database's log keeps its length");
        }
    }

    /// The data folder for this process alone, with all files that were acknowledged.
    async fn take(data: &Path) -> Result<(Layout, File), StoreError> {
        let data = data.to_owned();
        aside::blocking(move || {
            std::fs::create_dir_all(&data).map_err(StoreError::file("make the folder", &data))?;
            let layout = Layout::create(&data)?;
            let lock = layout.take_lock()?;
            clear_up::before_all(&layout)?;
            Ok((layout, lock))
        })
        .await
    }

    /// Opens the data folder for a tool that changes something while a node may be running on it. Nothing is made, and the
    /// schema stays as it is.
    ///
    /// # Errors
    /// [`StoreError::NoData`] where there is no database, [`StoreError::OtherSchema`] where it is of another version, else
    /// what the disk or the database says.
    pub async fn open_beside(data: &Path, clock: Clock) -> Result<Self, StoreError> {
        Self::look_in(data, clock, false).await
    }

    /// As [`Self::open_beside`], for a tool that only looks: it changes nothing.
    ///
    /// # Errors
    /// As [`Self::open_beside`].
    pub async fn open_to_look(data: &Path, clock: Clock) -> Result<Self, StoreError> {
        Self::look_in(data, clock, true).await
    }

    async fn look_in(data: &Path, clock: Clock, read_only: bool) -> Result<Self, StoreError> {
        let layout = Layout::at(data);
        if !layout.database().is_file() {
            return Err(StoreError::NoData(data.to_owned()));
        }
        let options = connect_options(&layout.database()).create_if_missing(false).read_only(read_only);
        let mut connection = options.connect().await?;
        let there: Option<i64> =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(&mut connection).await?;
        let wanted = MIGRATIONS.iter().map(|migration| migration.version).max();
        if there != wanted {
            return Err(StoreError::OtherSchema { data: data.to_owned(), is_newer: there > wanted });
        }
        Ok(Self::with(layout, StoreOptions::default(), clock, None, connection))
    }

    async fn connect(
        layout: Layout,
        options: StoreOptions,
        clock: Clock,
        lock: Option<File>,
    ) -> Result<Self, StoreError> {
        let mut connection = connect_options(&layout.database()).connect().await?;
        MIGRATIONS.run(&mut connection).await?;
        Ok(Self::with(layout, options, clock, lock, connection))
    }

    fn with(
        layout: Layout,
        options: StoreOptions,
        clock: Clock,
        lock: Option<File>,
        connection: SqliteConnection,
    ) -> Self {
        let reading = connect_options(&layout.database()).create_if_missing(false).read_only(true);
        // What the node itself asks finds its pages by keys, and needs few of them.
        let readers = pool(READERS, reading.clone().pragma("cache_size", "-8192"));
        let finders = pool(options.finders, reading);
        let writer = Writer::new(connection);
        let changes = Changes {
            series: watch::Sender::new(()),
            jobs: watch::Sender::new(()),
            deliveries: watch::Sender::new(()),
        };
        let reserve = Reserve::new(options.reserve_bytes);
        let runtime = tokio::runtime::Handle::current();
        let layout = Arc::new(layout);
        let journal = Arc::new(Journal::new(layout.clone(), options.reserve_bytes));
        let to = Destination { writer: writer.clone(), journal: journal.clone(), runtime };
        let queue = Arc::new(CommitQueue::new(to, changes.series.clone()));
        Self {
            inner: Arc::new(Inner {
                layout,
                options,
                clock,
                boot: uuid::Uuid::new_v4().to_string(),
                writer,
                readers,
                finders,
                is_closing: Arc::default(),
                queue,
                journal,
                recording: AtomicUsize::new(0),
                in_flight: Arc::default(),
                leases: std::sync::Mutex::default(),
                unreadable: Unreadable::default(),
                reserve,
                changes,
                lock,
            }),
        }
    }

    /// Ends in order: what is being committed is committed, what peers have asked is not answered any more, and the next
    /// start need not clear up.
    ///
    /// # Errors
    /// What the disk or the database says; everything acknowledged is durable all the same.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.inner.is_closing.store(true, Ordering::Relaxed);
        self.inner.queue.close().await;
        let journal = self.inner.journal.clone();
        aside::blocking(move || journal.close()).await?;
        self.inner.readers.close().await;
        self.inner.finders.close().await;
        let mut writer = self.inner.writer.lock().await?;
        sqlx::query("PRAGMA optimize").execute(&mut *writer).await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *writer).await?;
        if self.inner.lock.is_some() {
            // Rows may wait for the next sync, and a tool that looks in keeps the log from being emptied.
            log::sync(self.inner.clone()).await?;
            self.inner.layout.mark_ended()?;
        }
        Ok(())
    }

    /// Connections that read, for questions of our own.
    pub(super) fn readers(&self) -> &SqlitePool {
        &self.inner.readers
    }

    /// Connections that read, for questions of peers.
    pub(super) fn finders(&self) -> &SqlitePool {
        &self.inner.finders
    }

    /// Changes when instances have been recorded or an association has ended.
    #[must_use]
    pub fn series_changed(&self) -> watch::Receiver<()> {
        self.inner.changes.series.subscribe()
    }

    /// Changes when there may be a job to claim.
    #[must_use]
    pub fn jobs_changed(&self) -> watch::Receiver<()> {
        self.inner.changes.jobs.subscribe()
    }

    /// Changes when there may be a delivery to claim.
    #[must_use]
    pub fn deliveries_changed(&self) -> watch::Receiver<()> {
        self.inner.changes.deliveries.subscribe()
    }
}
