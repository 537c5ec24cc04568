//! Finding patients, studies, series and instances by what the index holds of them (PS3.4 section C.2.2.2).

mod attribute;
mod query;
mod sql;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};
use tokio::time::timeout;

use super::Store;
use super::error::StoreError;
use sql::{Bind, Plan};

pub use attribute::{Attribute, Level};
pub use query::{Condition, FindQuery, Matching};

/// How many matches are read at a time. Between pages no snapshot of the database is held, so that a slow peer keeps
/// neither the log from being checkpointed nor a connection from others.
const PAGE: usize = 512;

/// The longest time that the database may work on a page.
const LONGEST: Duration = Duration::from_secs(60);

/// How many steps SQLite takes between two looks at whether it should go on: some tens of microseconds.
const STEPS: i32 = 2000;

/// The matches of a query, page by page. What is deleted meanwhile is left out; what arrives meanwhile may be. The database
/// stops working on it when this is dropped.
#[derive(Debug)]
pub struct Matches {
    finders: SqlitePool,
    plan: Plan,
    next: Next,
    longest: Duration,
    /// Nobody waits for it any more.
    is_over: Arc<AtomicBool>,
    /// Of the store.
    is_closing: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Next {
    First,
    /// Keys of the matches that are still to be read.
    Rest(Vec<i64>),
    Nothing,
}

/// Some matches, as they came from the database.
#[derive(Debug)]
pub struct Page {
    json: String,
}

/// The values of one match in the order of [`FindQuery::returned`], multiple values joined by backslashes; empty where
/// the index has none.
#[derive(Debug, Deserialize)]
pub struct Match<'a>(i64, #[serde(borrow)] Vec<Value<'a>>);

#[derive(Debug, Deserialize)]
struct Value<'a>(#[serde(borrow)] Cow<'a, str>);

impl Store {
    /// The matches of a question to the index. Nothing is read before the first page is asked for.
    #[must_use]
    pub fn find(&self, query: &FindQuery) -> Matches {
        Matches {
            finders: self.finders().clone(),
            plan: Plan::new(query),
            next: Next::First,
            longest: LONGEST,
            is_over: Arc::default(),
            is_closing: self.inner.is_closing.clone(),
        }
    }
}

#[cfg(test)]
impl Store {
    /// Every connection for questions of peers: as long as they are held, none is answered.
    pub(crate) async fn occupy_finders(&self) -> Vec<impl Sized + use<>> {
        let mut held = Vec::new();
        for _ in 0..self.inner.options.finders {
            held.extend(self.finders().acquire().await);
        }
        held
    }
}

impl Matches {
    /// The next page; `None` after the last. A page is empty where all of its matches have been deleted meanwhile.
    ///
    /// # Errors
    /// [`StoreError::TooLong`] when the index takes too long, [`StoreError::Closed`] when the store is closed meanwhile,
    /// [`StoreError::Database`] when the index cannot be read.
    pub async fn next_page(&mut self) -> Result<Option<Page>, StoreError> {
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Nothing => Ok(None),
            Next::First => self.first_page().await,
            Next::Rest(mut keys) => {
                let rest = keys.split_off(keys.len().min(PAGE));
                if !rest.is_empty() {
                    self.next = Next::Rest(rest);
                }
                self.page_of(&keys).await.map(Some)
            }
        }
    }

    /// Most queries end here; only one that gives a full page asks for the keys of all its matches.
    async fn first_page(&mut self) -> Result<Option<Page>, StoreError> {
        let page = Page { json: self.text(self.plan.first(PAGE), &self.plan.binds).await? };
        let sent: HashSet<i64> = page.matches()?.iter().map(|m| m.0).collect();
        if sent.is_empty() {
            return Ok(None);
        }
        if sent.len() == PAGE {
            let keys = self.text(self.plan.keys(), &self.plan.binds).await?;
            let mut keys: Vec<i64> = read(&keys)?;
            keys.retain(|key| !sent.contains(key));
            self.next = if keys.is_empty() { Next::Nothing } else { Next::Rest(keys) };
        }
        Ok(Some(page))
    }

    async fn page_of(&self, keys: &[i64]) -> Result<Page, StoreError> {
        let keys = keys.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        Ok(Page { json: self.text(self.plan.by_keys(), &[Bind::Text(format!("[{keys}]"))]).await? })
    }

    /// Runs a statement that gives one text.
    async fn text(&self, sql: String, binds: &[Bind]) -> Result<String, StoreError> {
        // The text holds column names from the table of attributes and question marks; what peers say is bound.
        let mut statement = sqlx::query(AssertSqlSafe(sql));
        for bind in binds {
            statement = match bind {
                Bind::Text(text) => statement.bind(text.clone()),
                Bind::Number(number) => statement.bind(*number),
            };
        }
        let statement = statement.persistent(self.plan.is_usual);
        let answered = self.answer(statement).await;
        if self.is_closing.load(Ordering::Relaxed) {
            return Err(StoreError::Closed);
        }
        Ok(answered?.try_get(0)?)
    }

    /// Lets SQLite work on a statement as long as somebody waits: it does so on a thread of its own and would not see it.
    async fn answer(&self, statement: Query<'_, Sqlite, SqliteArguments>) -> Result<SqliteRow, StoreError> {
        let mut connection = self.finders.acquire().await?;
        let (is_over, is_closing) = (self.is_over.clone(), self.is_closing.clone());
        let goes_on = move || !is_over.load(Ordering::Relaxed) && !is_closing.load(Ordering::Relaxed);
        connection.lock_handle().await?.set_progress_handler(STEPS, goes_on);
        let Ok(answered) = timeout(self.longest, statement.fetch_one(&mut *connection)).await else {
            self.is_over.store(true, Ordering::Relaxed);
            return Err(StoreError::TooLong(self.longest));
        };
        Ok(answered?)
    }
}

impl Drop for Matches {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Page {
    /// The matches of this page.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the database gave something else.
    pub fn matches(&self) -> Result<Vec<Match<'_>>, StoreError> {
        read(&self.json)
    }
}

impl Match<'_> {
    /// The value at this place of [`FindQuery::returned`].
    #[must_use]
    pub fn value(&self, index: usize) -> &str {
        self.1.get(index).map_or("", |v| v.0.as_ref())
    }

    /// Whether all values are ASCII.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.1.iter().all(|v| v.0.is_ascii())
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|e| StoreError::Damaged(e.to_string()))
}
