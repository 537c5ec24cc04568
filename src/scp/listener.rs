//! The listening loop: connections in, a task for each, and an orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ScpOptions;
use super::conversation::converse;
use crate::association::{KnownHosts, Rejection};
use crate::clock::Clock;
use crate::store::Store;

/// Connections beyond the associations: those that have asked for nothing yet, and those that are being rejected.
const MORE_CONNECTIONS: usize = 512;
/// After a failed accept, which mostly means that the process has no file descriptors left.
const BREATH: Duration = Duration::from_millis(100);
/// From the abort of the last associations to the end of their tasks.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Sockets that listen.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
}

/// An address cannot be listened on. The operator must act.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// As configured.
    pub address: String,
    /// What the system said.
    pub source: std::io::Error,
}

/// What all associations share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) options: ScpOptions,
    pub(super) stopping: Stopping,
    pub(super) hosts: KnownHosts,
    associations: Arc<Semaphore>,
}

/// How far a shutdown has come.
#[derive(Clone, Debug)]
pub(super) struct Stopping {
    /// No new associations; those that stand may go on for a while.
    pub(super) begun: CancellationToken,
    /// The time is over: associations end at the next message.
    pub(super) drained: CancellationToken,
    /// Associations end where they are.
    over: CancellationToken,
}

impl Shared {
    /// Counts an association in, as long as there may be more.
    pub(super) fn admit(&self) -> Result<OwnedSemaphorePermit, Rejection> {
        if self.stopping.begun.is_cancelled() {
            return Err(Rejection::CONGESTION);
        }
        Arc::clone(&self.associations).try_acquire_owned().map_err(|_| Rejection::LOCAL_LIMIT)
    }
}

impl Listener {
    /// Listens on every address, `host:port` each.
    ///
    /// # Errors
    /// [`BindError`] for the first that cannot be had.
    pub async fn bind(addresses: &[String]) -> Result<Self, BindError> {
        let mut sockets = Vec::new();
        for address in addresses {
            let bound = TcpListener::bind(address.as_str()).await;
            sockets.push(bound.map_err(|source| BindError { address: address.clone(), source })?);
        }
        Ok(Self { sockets })
    }

    /// Where it listens, with the ports that the system gave for port 0.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Serves peers until `shutdown`, then lets what stands come to its end: associations may go on for
    /// [`ScpOptions::drain`] as long as they are busy, then they are aborted. What was not acknowledged by then is not
    /// stored. Returns when the last has ended.
    pub async fn serve(self, store: Store, clock: Clock, options: ScpOptions, shutdown: CancellationToken) {
        let drain = options.drain;
        let limit = options.max_associations;
        let stopping = Stopping { begun: shutdown, drained: CancellationToken::new(), over: CancellationToken::new() };
        let shared = Arc::new(Shared {
            store,
            clock,
            options,
            stopping: stopping.clone(),
            hosts: KnownHosts::default(),
            associations: Arc::new(Semaphore::new(limit)),
        });
        let connections = Arc::new(Semaphore::new(limit.saturating_add(MORE_CONNECTIONS)));
        let tasks = TaskTracker::new();
        for socket in self.sockets {
            tasks.spawn(accept(socket, Arc::clone(&shared), Arc::clone(&connections), tasks.clone()));
        }
        stopping.begun.cancelled().await;
        tasks.close();
        for (wait, next) in [(drain, &stopping.drained), (LAST_WORDS, &stopping.over)] {
            if tokio::time::timeout(wait, tasks.wait()).await.is_ok() {
                return;
            }
            next.cancel();
        }
        tasks.wait().await;
    }
}

async fn accept(socket: TcpListener, shared: Arc<Shared>, connections: Arc<Semaphore>, tasks: TaskTracker) {
    let mut is_failing = false;
    loop {
        let accepted = tokio::select! {
            () = shared.stopping.begun.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        if accepted.is_ok() && std::mem::take(&mut is_failing) {
            tracing::info!("connections are accepted again");
        }
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&connections).try_acquire_owned() {
                Ok(permit) => {
                    let shared = Arc::clone(&shared);
                    tasks.spawn(async move {
                        serve_one(stream, peer, &shared).await;
                        drop(permit);
                    });
                }
                Err(_) => tracing::warn!(peer.address = %peer, "too many connections, this one is closed"),
            },
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "connections cannot be accepted");
                }
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

async fn serve_one(stream: TcpStream, peer: SocketAddr, shared: &Shared) {
    // Our answers are small packets: without this each waits for the peer's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(peer.address = %peer, %error, "the connection is gone already");
        return;
    }
    tokio::select! {
        () = converse(stream, peer, shared) => {}
        () = shared.stopping.over.cancelled() => {
            tracing::warn!(peer.address = %peer, "association cut off by the shutdown");
        }
    }
}
