//! The addresses of peers that are configured by name, as the name service has given them last.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::negotiation::HostAddresses;

/// How long a name service may take while a caller waits.
const NAME_LOOKUP: Duration = Duration::from_secs(5);
/// How long a caller that calls from a known address is not asked about again.
const FRESH: Duration = Duration::from_secs(60);

/// What names stand for; kept, so that peers are known while the name service is not there.
#[derive(Debug, Default)]
pub struct KnownHosts {
    hosts: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    addresses: Vec<IpAddr>,
    at: Instant,
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
            let last = self.hosts.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
            let is_his = |known: &Known| known.addresses.iter().any(|address| address.to_canonical() == caller);
            if let Some(known) = last.as_ref().filter(|known| now.duration_since(known.at) < FRESH && is_his(known)) {
                hosts.insert(name.to_owned(), known.addresses.clone());
                continue;
            }
            match timeout(NAME_LOOKUP, resolve(name.to_owned())).await.unwrap_or(Err(io::ErrorKind::TimedOut.into())) {
                Ok(addresses) => {
                    let known = Known { addresses: addresses.clone(), at: now };
                    self.hosts.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), known);
                    hosts.insert(name.to_owned(), addresses);
                }
                Err(error) => {
                    tracing::warn!(host = name, %error, known = last.is_some(), "the name of a peer cannot be looked up");
                    hosts.extend(last.map(|known| (name.to_owned(), known.addresses)));
                }
            }
        }
        hosts
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
}
