//! Results leave: outbox row → association → C-STORE, one lane for each destination, the fourth hand-over.

mod lane;

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
            let due = waiting.due.max(lanes.rest_of(&waiting));
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
    /// Until when a destination is left alone; a person who has resent something since its last attempt ends that.
    fn rest_of(&self, waiting: &WaitingDestination) -> Timestamp {
        let end =
            self.ended.get(&waiting.ae_title).filter(|end| waiting.resent_at.is_none_or(|at| at < end.last_attempt));
        end.and_then(|end| end.rest_until).unwrap_or_default()
    }
}
