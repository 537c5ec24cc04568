//! The time, as a parameter: everything that decides by time is given it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

/// A point in time: milliseconds since 1970-01-01 UTC. This is what the database keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This point moved by `milliseconds`, which may be negative.
    #[must_use]
    pub const fn plus_ms(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// This point moved by `duration` into the future.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        self.plus_ms(milliseconds(duration))
    }

    /// Milliseconds from `earlier` to this point.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// As a date and time in UTC. A stored time out of range reads as 1970.
    #[must_use]
    pub fn utc(self) -> time::OffsetDateTime {
        time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
    }
}

/// A duration in whole milliseconds, as the database and the log have it.
#[must_use]
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// How long to wait after the `attempt`th attempt, from 1: `first`, doubled for each further one, never more than
/// `longest`.
#[must_use]
pub fn backoff(attempt: u32, first: Duration, longest: Duration) -> Duration {
    first.saturating_mul(1 << attempt.saturating_sub(1).min(30)).min(longest)
}

/// The machine's offset from UTC as it was when this was first asked: for the first time while the process has one thread,
/// or it cannot be told. UTC then.
pub fn local_offset() -> time::UtcOffset {
    static OFFSET: OnceLock<time::UtcOffset> = OnceLock::new();
    *OFFSET.get_or_init(|| time::UtcOffset::current_local_offset().unwrap_or(time::UtcOffset::UTC))
}

/// The time of a clock that a test moves: milliseconds.
#[derive(Debug, Default)]
pub struct ManualTime {
    now: AtomicI64,
    steady: AtomicI64,
}

/// Where the time comes from.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The system's.
    System,
    /// One that stands until a test moves it.
    Manual(Arc<ManualTime>),
}

impl Clock {
    /// A clock that stands at `start` until it is moved.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self::Manual(Arc::new(ManualTime { now: AtomicI64::new(start.0), steady: AtomicI64::new(0) }))
    }

    /// The time now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Manual(time) => Timestamp(time.now.load(Ordering::SeqCst)),
        }
    }

    /// Milliseconds since some point in time, on a clock that nobody sets: to tell how long something takes.
    #[must_use]
    pub fn steady_ms(&self) -> i64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        match self {
            Self::System => milliseconds(START.elapsed()),
            Self::Manual(time) => time.steady.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock; the system's stays as it is.
    pub fn advance_ms(&self, milliseconds: i64) {
        if let Self::Manual(time) = self {
            time.now.fetch_add(milliseconds, Ordering::SeqCst);
            time.steady.fetch_add(milliseconds, Ordering::SeqCst);
        }
    }

    /// Sets a manual clock as an operator or a time server would: no time passes.
    pub fn set_forward_ms(&self, milliseconds: i64) {
        if let Self::Manual(time) = self {
            time.now.fetch_add(milliseconds, Ordering::SeqCst);
        }
    }
}
