//! When a run is given up.

use std::time::{Duration, Instant};

use super::fault::Fault;

/// When a run, or a part of it, is given up, and how long it was given: what a message says is what ended it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    until: Instant,
    allowed: Duration,
}

impl Limit {
    /// From now on.
    pub(super) fn of(allowed: Duration) -> Self {
        Self { until: Instant::now() + allowed, allowed }
    }

    /// `allowed` from now on, and never beyond this limit.
    pub(super) fn at_most(self, allowed: Duration) -> Self {
        let until = Instant::now() + allowed;
        if until < self.until { Self { until, allowed } } else { self }
    }

    /// When it is over.
    pub(super) const fn until(self) -> Instant {
        self.until
    }

    /// # Errors
    /// The time is over.
    pub(super) fn check(self) -> Result<(), Fault> {
        if Instant::now() < self.until { Ok(()) } else { Err(Fault::Late(self.allowed)) }
    }

    /// How long a run that is over its time is waited for before its thread is left alone with it: it looks at the clock
    /// between two calls of a module only, and everything that is loaded is lost with the thread.
    pub(super) fn grace(allowed: Duration) -> Duration {
        (allowed / 10).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_that_ended_it_is_the_one_that_is_said() {
        let whole = Limit::of(Duration::ZERO);
        assert!(matches!(whole.at_most(Duration::from_secs(600)).check(), Err(Fault::Late(Duration::ZERO))));
        let part = Limit::of(Duration::from_secs(600)).at_most(Duration::ZERO);
        assert!(matches!(part.check(), Err(Fault::Late(Duration::ZERO))));
        assert!(Limit::of(Duration::from_secs(600)).check().is_ok());
    }
}
