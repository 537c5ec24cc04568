//! The addresses of peers that are configured by name, as the name service has given them last.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::negotiation::HostAddresses;

/// How long a name service may take while a caller waits.
const NAME_LOOKUP: Duration = Duration::from_secs(5);
/// How long a caller that calls from a known address is not asked about again.
const FRESH: Duration = Duration::from_secs(60);

/// How long a name service that did not answer is not asked again.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// What names stand for; kept, so that peers are known while the name service is not there.
#[derive(Debug, Default)]
pub struct KnownHosts {
    hosts: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    /// Nothing where the name could never be looked up.
    addresses: Option<Vec<IpAddr>>,
    /// When they were found, or last served in place of an answer.
    at: Instant,
    /// When the name service failed, where it did since.
    failed_at: Option<Instant>,
}

impl KnownHosts {
    /// The addresses of these names; a name that could not be looked up, neither now nor before, has no entry.
    pub(super) async fn look_up(&self, names: impl Iterator<Item = &str>, caller: IpAddr) -> HostAddresses {
        let resolve = async |name: String| {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        };
        self.look_up_by(names, caller.to_canonical(), Instant::now(), resolve).await
    }

    async fn look_up_by(
        &self,
        names: impl Iterator<Item = &str>,
        caller: IpAddr,
        now: Instant,
        resolve: impl AsyncFn(String) -> io::Result<Vec<IpAddr>>,
    ) -> HostAddresses {
        let mut hosts = HostAddresses::new();
        for name in names {
            let last = self.known().get(name).cloned();
            if let Some(known) = last.as_ref().filter(|known| known.is_enough_for(caller, now)) {
                hosts.extend(known.addresses.clone().map(|addresses| (name.to_owned(), addresses)));
                continue;
            }
            let found = timeout(NAME_LOOKUP, resolve(name.to_owned())).await;
            let known = match found.unwrap_or(Err(io::ErrorKind::TimedOut.into())) {
                Ok(addresses) => Known { addresses: Some(addresses), at: now, failed_at: None },
                Err(error) => {
                    let known = last.as_ref().is_some_and(|known| known.addresses.is_some());
                    tracing::warn!(host = name, %error, known, "the name of a peer cannot be looked up");
                    Known::after_failure(last, caller, now)
                }
            };
            hosts.extend(known.addresses.clone().map(|addresses| (name.to_owned(), addresses)));
            self.known().insert(name.to_owned(), known);
        }
        hosts
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether the name service need not be asked: it has just failed, or has lately named this caller.
    fn is_enough_for(&self, caller: IpAddr, now: Instant) -> bool {
        let is_fresh = now.duration_since(self.at) < FRESH && self.names(caller);
        is_fresh || self.failed_at.is_some_and(|at| now.duration_since(at) < AFTER_FAILURE)
    }

    fn names(&self, caller: IpAddr) -> bool {
        self.addresses.iter().flatten().any(|address| address.to_canonical() == caller)
    }

    /// What was known stays; for a caller that it names it is as good as found anew.
    fn after_failure(last: Option<Self>, caller: IpAddr, now: Instant) -> Self {
        let known = last.unwrap_or(Self { addresses: None, at: now, failed_at: None });
        Self { at: if known.names(caller) { now } else { known.at }, failed_at: Some(now), ..known }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: [&str; 1] = ["ct.example"];

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn the_last_addresses_stay_while_the_name_service_fails() {
        let (known, now) = (KnownHosts::default(), Instant::now());
        let fails = async |_| Err(io::Error::other("temporary failure in name resolution"));
        let caller = address("10.0.0.9");
        assert!(known.look_up_by(NAME.into_iter(), caller, now, fails).await.is_empty());
        let now = now + AFTER_FAILURE;
        let found = known.look_up_by(NAME.into_iter(), caller, now, async |_| Ok(vec![caller])).await;
        assert_eq!(found["ct.example"], [caller]);
        assert_eq!(known.look_up_by(NAME.into_iter(), caller, now + FRESH, fails).await["ct.example"], [caller]);
    }

    #[tokio::test]
    async fn a_caller_who_is_known_is_not_asked_about_and_one_who_is_not_is() {
        let (known, now) = (KnownHosts::default(), Instant::now());
        let (old, new) = (address("10.0.0.9"), address("10.0.0.10"));
        known.look_up_by(NAME.into_iter(), old, now, async |_| Ok(vec![old])).await;
        let moved = async |_| Ok(vec![new]);
        assert_eq!(known.look_up_by(NAME.into_iter(), old, now, moved).await["ct.example"], [old]);
        assert_eq!(known.look_up_by(NAME.into_iter(), new, now, moved).await["ct.example"], [new]);
    }

    #[tokio::test]
    async fn a_name_service_that_is_down_is_not_asked_at_every_call() {
        let (known, now) = (KnownHosts::default(), Instant::now());
        let (his, other) = (address("10.0.0.9"), address("10.0.0.10"));
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let fails = async |_| {
            asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Err(io::Error::other("temporary failure in name resolution"))
        };
        let times = || asked.load(std::sync::atomic::Ordering::Relaxed);
        known.look_up_by(NAME.into_iter(), his, now, async |_| Ok(vec![his])).await;
        let down = now + FRESH;
        for caller in [his, his, other] {
            assert_eq!(known.look_up_by(NAME.into_iter(), caller, down, fails).await["ct.example"], [his]);
        }
        assert_eq!(times(), 1);
        known.look_up_by(NAME.into_iter(), his, down + AFTER_FAILURE, fails).await;
        assert_eq!(times(), 1, "he is known");
        known.look_up_by(NAME.into_iter(), other, down + AFTER_FAILURE, fails).await;
        assert_eq!(times(), 2);
        let back = async |_| Ok(vec![other]);
        let later = down + AFTER_FAILURE * 2;
        assert_eq!(known.look_up_by(NAME.into_iter(), other, later, back).await["ct.example"], [other]);
    }
}
