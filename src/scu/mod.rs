//! Results leave: outbox row → association → C-STORE, one lane for each destination, the fourth hand-over.

mod lane;

pub mod outcome;

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::association::Timers;
use crate::association::requestor::PeerAddress;
use crate::clock::{Clock, Timestamp};
use crate::dicom::ae::AeTitle;
use crate::store::{Store, StoreError};
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
}

/// How a lane ended: whose it was, and when the destination may be called again.
struct Ended {
    destination: AeTitle,
    rest_until: Option<Timestamp>,
}

impl Delivery {
    /// Opens a lane for each destination that has something due, until `stop`; lanes then end after what they are
    /// sending.
    pub async fn run(self, stop: CancellationToken) {
        let mut changed = self.store.deliveries_changed();
        let mut lanes: JoinSet<Ended> = JoinSet::new();
        let mut busy: HashMap<AeTitle, ()> = HashMap::new();
        let mut resting: HashMap<AeTitle, Timestamp> = HashMap::new();
        while !stop.is_cancelled() {
            let sleep = match self.open_lanes(&mut lanes, &mut busy, &resting, &stop).await {
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
                Some(ended) = lanes.join_next() => match ended {
                    Ok(Ended { destination, rest_until }) => {
                        busy.remove(&destination);
                        match rest_until {
                            Some(until) => resting.insert(destination, until),
                            None => resting.remove(&destination),
                        };
                    }
                    // A lane that panicked has left its delivery in «sending»; the next start puts it back.
                    Err(error) => {
                        tracing::error!(%error, "a lane ended unexpectedly");
                        busy.clear();
                    }
                },
            }
        }
        while lanes.join_next().await.is_some() {}
    }

    /// Gives the time until the next delivery is due.
    async fn open_lanes(
        &self,
        lanes: &mut JoinSet<Ended>,
        busy: &mut HashMap<AeTitle, ()>,
        resting: &HashMap<AeTitle, Timestamp>,
        stop: &CancellationToken,
    ) -> Result<Duration, StoreError> {
        let mut sleep = LONGEST_SLEEP;
        for (destination, due) in self.store.destinations_waiting().await? {
            let due = due.max(resting.get(&destination).copied().unwrap_or_default());
            let wait = due.since(self.clock.now());
            if wait > 0 {
                sleep = sleep.min(Duration::from_millis(u64::try_from(wait).unwrap_or(0)));
            } else if busy.insert(destination.clone(), ()).is_none() {
                let (delivery, stop) = (self.clone(), stop.clone());
                lanes.spawn(async move {
                    let rest_until = lane::drain(&delivery, &destination, &stop).await;
                    Ended { destination, rest_until }
                });
            }
        }
        Ok(sleep)
    }
}
