//! How the database is reached.

use std::path::Path;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use super::log;

/// How long a question waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Connections that stay open once they are made.
pub(super) fn pool(most: u32, options: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(most.max(1))
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(LONGEST_WAIT)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// WAL and FULL: what is committed survives the loss of power, but for what [`super::writer`] says.
pub(super) fn connect_options(database: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        .foreign_keys(true)
        .statement_cache_capacity(512)
        .pragma("wal_autocheckpoint", log::LOG_PAGES.to_string())
        .pragma("cache_size", "-32768")
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}
