//! The time, as a parameter: everything that decides by time is given it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use dicom_core::chrono::{self, TimeZone};

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

/// Whose time of day it is, as the configuration has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// The machine's, in summer and in winter: `TZ`, or else the system's.
    Local,
    /// Always as far from UTC.
    Fixed(time::UtcOffset),
}

impl Zone {
    /// The offset from UTC at a point in time; UTC itself where the machine cannot tell.
    #[must_use]
    pub fn offset_at(self, at: Timestamp) -> time::UtcOffset {
        let local = || {
            let there = chrono::Local.timestamp_millis_opt(at.0).single()?;
            time::UtcOffset::from_whole_seconds(there.offset().local_minus_utc()).ok()
        };
        match self {
            Self::Local => local().unwrap_or(time::UtcOffset::UTC),
            Self::Fixed(offset) => offset,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Set for a process of its own only: it cannot be changed in this one.
    const CENTRAL_EUROPE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    #[test]
    fn the_machines_offset_is_that_of_the_time_that_is_asked_about() {
        let itself = std::env::current_exe().unwrap();
        let name = "clock::tests::in_central_europe";
        let run = std::process::Command::new(itself)
            .args(["--exact", name, "--ignored"])
            .env("TZ", CENTRAL_EUROPE)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "run by the test above, in a time zone of its own"]
    fn in_central_europe() {
        if std::env::var("TZ").as_deref() != Ok(CENTRAL_EUROPE) {
            return;
        }
        let hours = |at: i64| Zone::Local.offset_at(Timestamp(at)).whole_minutes() / 60;
        // 15 January and 15 July 2026, 12:00 UTC; the last second of summer time and the first one after.
        assert_eq!([1_768_478_400_000, 1_784_116_800_000].map(hours), [1, 2]);
        assert_eq!([1_792_889_999_000, 1_792_890_000_000].map(hours), [2, 1]);
    }

    #[test]
    fn a_fixed_offset_holds_always() {
        let offset = time::UtcOffset::from_hms(-3, -30, 0).unwrap();
        assert_eq!(Zone::Fixed(offset).offset_at(Timestamp(0)), offset);
    }
}
