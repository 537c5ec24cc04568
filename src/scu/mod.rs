//! Results leave: outbox row → association → C-STORE, one lane for each destination, the fourth hand-over.

mod call;

mod lane;

mod record;

pub mod outcome;

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::association::Timers;
use crate::association::requestor::PeerAddress;
use crate::clock::{Clock, Timestamp};
use crate::dicom::ae::AeTitle;
use crate::store::{Store, StoreError, WaitingDestination};
use lane::LaneEnd;
use outcome::Patience;

/// The longest time without a look: another process (`overread resend`) may have put something into the outbox.
const LONGEST_SLEEP: Duration = Duration::from_secs(2);
/// After the database could not be read or written.
const AFTER_ERROR: Duration = Duration::from_secs(2);

/// Delivery and what it needs.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Whose outbox it is.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Our own title.
    pub own: AeTitle,
    /// Where the destinations are.
    pub peers: Vec<PeerAddress>,
    /// How long they are waited for.
    pub timers: Timers,
    /// How often and how long it is tried.
    pub patience: Patience,
    /// Whether results of untrained models may leave.
    pub allow_untrained: bool,
}

/// The lanes that are open.
#[derive(Default)]
struct Lanes {
    tasks: JoinSet<LaneEnd>,
    destinations: HashMap<Id, AeTitle>,
    /// How the last lane of each destination ended.
    ended: HashMap<AeTitle, LaneEnd>,
}

impl Delivery {
    /// Opens a lane for each destination that has something due, until `stop`; lanes then end after what they are
    /// sending, which they give up at `drained`.
    pub async fn run(self, stop: CancellationToken, drained: CancellationToken) {
        let mut changed = self.store.deliveries_changed();
        let mut lanes = Lanes::default();
        while !stop.is_cancelled() {
            let sleep = match self.open_lanes(&mut lanes, &stop, &drained).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(%error, "the outbox could not be read");
                    AFTER_ERROR
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(sleep) => {}
                _ = changed.changed() => {}
                Some(ended) = lanes.tasks.join_next_with_id() => self.close_lane(&mut lanes, ended).await,
            }
        }
        while lanes.tasks.join_next().await.is_some() {}
    }

    /// Gives the time until the next delivery is due.
    async fn open_lanes(
        &self,
        lanes: &mut Lanes,
        stop: &CancellationToken,
        drained: &CancellationToken,
    ) -> Result<Duration, StoreError> {
        let mut sleep = LONGEST_SLEEP;
        for waiting in self.store.destinations_waiting().await? {
            let due = waiting.due.max(lanes.rest_of(&waiting, self.clock.now()));
            let destination = waiting.ae_title;
            let wait = due.since(self.clock.now());
            if wait > 0 {
                sleep = sleep.min(Duration::from_millis(u64::try_from(wait).unwrap_or(0)));
            } else if !lanes.destinations.values().any(|busy| *busy == destination) {
                let (delivery, stop, drained) = (self.clone(), stop.clone(), drained.clone());
                let to = destination.clone();
                let failed_calls = lanes.ended.get(&to).map_or(0, |end| end.failed_calls);
                let lane = async move { lane::drain(&delivery, &to, failed_calls, &stop, &drained).await };
                let lane = lanes.tasks.spawn(lane);
                lanes.destinations.insert(lane.id(), destination);
            }
        }
        Ok(sleep)
    }

    /// Notes how a lane ended. What it has left in «sending», because the outcome could not be recorded or because it
    /// panicked, waits again: nobody else sends to its destination.
    async fn close_lane(&self, lanes: &mut Lanes, ended: Result<(Id, LaneEnd), JoinError>) {
        let (id, end) = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "a lane ended unexpectedly");
            let now = self.clock.now();
            let rest_until = Some(now.plus(AFTER_ERROR));
            (error.id(), LaneEnd { last_attempt: now, rest_until, failed_calls: 0 })
        });
        let Some(destination) = lanes.destinations.remove(&id) else { return };
        if let Err(error) = self.store.reset_sending(Some(&destination)).await {
            tracing::error!(%destination, %error, "what was being sent could not be put back into the outbox");
        }
        lanes.ended.insert(destination, end);
    }
}

impl Lanes {
    /// Until when a destination is left alone; a person who has resent something since its last attempt ends that. A time
    /// that is still to come is of a clock that was set back since, and no reason to call without end.
    fn rest_of(&self, waiting: &WaitingDestination, now: Timestamp) -> Timestamp {
        let is_resent = |end: &LaneEnd| waiting.resent_at.is_some_and(|at| end.last_attempt <= at && at <= now);
        let end = self.ended.get(&waiting.ae_title).filter(|end| !is_resent(end));
        end.and_then(|end| end.rest_until).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_who_resends_ends_the_rest_and_a_clock_that_was_set_back_does_not() {
        let pacs = AeTitle::parse("PACS").unwrap();
        let end = LaneEnd { last_attempt: Timestamp(1_000), rest_until: Some(Timestamp(9_000)), failed_calls: 3 };
        let lanes = Lanes { ended: HashMap::from([(pacs.clone(), end)]), ..Lanes::default() };
        let rest = |resent_at: Option<i64>| {
            let resent_at = resent_at.map(Timestamp);
            lanes
                .rest_of(&WaitingDestination { ae_title: pacs.clone(), due: Timestamp(0), resent_at }, Timestamp(2_000))
        };
        assert_eq!(rest(None), Timestamp(9_000));
        assert_eq!(rest(Some(999)), Timestamp(9_000), "it was tried since");
        assert_eq!(rest(Some(1_000)), Timestamp(0));
        assert_eq!(rest(Some(2_000)), Timestamp(0));
        assert_eq!(rest(Some(2_001)), Timestamp(9_000));
    }
}
