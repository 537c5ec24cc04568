//! The node: store, models and the five loops; started in order, drained in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::association::Timers;
use crate::association::requestor::PeerAddress;
use crate::clock::Clock;
use crate::completeness::Watch;
use crate::completeness::routing::{Routing, orders};
use crate::config::{NodeConfig, Route};
use crate::dicom::ae::AeTitle;
use crate::inference::engine::{Engine, end_without_waiting, limit_memory};
use crate::inference::manifest::Manifest;
use crate::inference::package::{Packages, packages_of};
use crate::scp::{BindError, Listener, ScpOptions};
use crate::scu::Delivery;
use crate::scu::outcome::Patience;
use crate::store::{InstanceKey, Store, StoreError, StoreOptions};
use crate::worker::Worker;
use crate::worker::early::{EarlyDecoder, EarlySlices};
use crate::worker::reading::{Gates, Writing};

/// Why a node did not start. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The models or the device, one line for each fault.
    #[error("{0}")]
    Models(String),
}

/// A node that runs.
pub struct Node {
    addresses: Vec<SocketAddr>,
    store: Store,
    stop: CancellationToken,
    drained: CancellationToken,
    exhausted: CancellationToken,
    drain: Duration,
    scp: JoinHandle<()>,
    watch: JoinHandle<()>,
    workers: Vec<JoinHandle<()>>,
    delivery: JoinHandle<()>,
    early_decoder: JoinHandle<()>,
}

impl Node {
    /// Opens the store, loads the models, starts the loops, and only then accepts associations.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(config: &NodeConfig, clock: Clock) -> Result<Self, StartError> {
        Self::start_told(config, clock, |_| ()).await
    }

    /// The same; `proved` is told of the engine as soon as it has computed the golden cases, also where a package that is not
    /// served ends the start.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_told(
        config: &NodeConfig,
        clock: Clock,
        proved: impl FnOnce(&Engine) + Send + 'static,
    ) -> Result<Self, StartError> {
        let engine = Arc::new(start_engine(config, proved).await?);
        // Before the store is open, which then has to be closed in order.
        let listener = Listener::bind(&config.node.listen).await?;
        let store = Store::open(&config.node.data, StoreOptions::from(config), clock.clone()).await?;
        let addresses = listener.local_addresses().to_vec();
        let (stop, drained) = (CancellationToken::new(), CancellationToken::new());
        let models: Vec<Manifest> = engine.served().map(|package| package.manifest().clone()).collect();
        let served: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
        tracing::info!(
            ae_title = %config.node.ae_title, addresses = ?addresses, device = engine.device(), models = ?served,
            routes = config.routes.len(), peers = config.peers.len(), version = env!("CARGO_PKG_VERSION"),
            "the node is ready"
        );
        let exhausted = CancellationToken::new();
        let early = Arc::new(EarlySlices::new(config.jobs.decode_early_bytes));
        let last = store.last_instance().await?;
        let decoder = early_decoder(config, &store, &clock, &models, (&early, last));
        let early_decoder = tokio::spawn(decoder.run(stop.clone()));
        let worker = worker(config, &store, &clock, &engine, &early, &exhausted);
        let workers =
            (0..config.jobs.workers).map(|_| tokio::spawn(worker.clone().run(stop.clone(), drained.clone()))).collect();
        let watch = tokio::spawn(watch(config, &store, &clock, models).run(stop.clone()));
        let delivery = tokio::spawn(delivery(config, &store, &clock).run(stop.clone(), drained.clone()));
        let scp = tokio::spawn(listener.serve(store.clone(), clock, ScpOptions::from(config), stop.clone()));
        let drain = config.association.drain;
        Ok(Self { addresses, store, stop, drained, exhausted, drain, scp, watch, workers, delivery, early_decoder })
    }

    /// Where associations are accepted.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The store, to look into.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Waits until the engine takes no more work: runs that were given up never ended, or the device has failed for good.
    /// Jobs stay queued from then on, until another process runs on the data folder.
    pub async fn exhausted(&self) {
        self.exhausted.cancelled().await;
    }

    /// Ends in order: no new associations, those that stand may go on for the drain time, running jobs end or are put
    /// back, what is being sent is sent or put back.
    ///
    /// # Errors
    /// When the store could not be closed; what was acknowledged is durable all the same.
    pub async fn drain(self) -> Result<(), StoreError> {
        tracing::info!(seconds = self.drain.as_secs(), "the node is draining");
        self.stop.cancel();
        let drained = self.drained.clone();
        let time = self.drain;
        let alarm = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            drained.cancel();
        });
        for task in [self.scp, self.watch, self.delivery, self.early_decoder].into_iter().chain(self.workers) {
            if let Err(error) = task.await {
                tracing::error!(%error, "a loop had ended unexpectedly");
            }
        }
        alarm.abort();
        if self.drained.is_cancelled() {
            // A job that was put back may be inside libtorch still.
            end_without_waiting();
        }
        self.store.close().await?;
        tracing::info!("the node has ended");
        Ok(())
    }
}

/// Loads the packages that routes name, and their gates; what is wrong with one of them keeps the node from starting.
async fn start_engine(
    config: &NodeConfig,
    proved: impl FnOnce(&Engine) + Send + 'static,
) -> Result<Engine, StartError> {
    let folder = config.node.models.clone();
    let names: Vec<String> = config.routes.iter().map(|route| route.model.clone()).collect();
    let found = tokio::task::spawn_blocking(move || packages_of(&folder, names.iter().map(String::as_str))).await;
    let Packages { models, not_installed, faults } = found.map_err(|e| StartError::Models(e.to_string()))?;
    for fault in &faults {
        tracing::error!(%fault, "a model package is not as it should be");
    }
    for package in &not_installed {
        tracing::warn!(model.name = package.manifest.name, cause = %package, "a model is not installed");
    }
    let device = config.node.device.parse().map_err(StartError::Models)?;
    config.node.memory_bytes.into_iter().for_each(limit_memory);
    let engine = tokio::task::spawn_blocking(move || Engine::start(device, models).inspect(proved)).await;
    let engine =
        engine.map_err(|e| StartError::Models(e.to_string()))?.map_err(|e| StartError::Models(e.to_string()))?;
    for (package, reason) in engine.refused() {
        tracing::error!(model.name = package.manifest().name, %reason, "a model is not served");
    }
    let served: Vec<&str> = engine.served().map(|package| package.manifest().name.as_str()).collect();
    let missing: Vec<&str> =
        config.routes.iter().map(|route| route.model.as_str()).filter(|name| !served.contains(name)).collect();
    if missing.is_empty() {
        return in_order(config, &engine).map(|()| engine).map_err(StartError::Models);
    }
    let mut lines = vec![format!("routes name models that are not served: {}", missing.join(", "))];
    lines.extend(not_installed.iter().map(ToString::to_string));
    lines.extend(faults.iter().map(ToString::to_string));
    lines.extend(engine.refused().map(|(_, reason)| reason.to_string()));
    Err(StartError::Models(lines.join("\n")))
}

/// Routes that read one series of a study name models that prefer some to others.
fn in_order(config: &NodeConfig, engine: &Engine) -> Result<(), String> {
    let wrong = |route: &Route| {
        let model = engine.manifest(&route.model)?;
        orders(route, model).err().map(|message| format!("{}.series: {message}", route.key))
    };
    let wrong: Vec<String> = config.routes.iter().filter_map(wrong).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn worker(
    config: &NodeConfig,
    store: &Store,
    clock: &Clock,
    engine: &Arc<Engine>,
    early: &Arc<EarlySlices>,
    exhausted: &CancellationToken,
) -> Worker {
    Worker {
        store: store.clone(),
        clock: clock.clone(),
        jobs: config.jobs.clone(),
        engine: engine.clone(),
        gates: Arc::new(Gates::of_workers(config.jobs.workers)),
        writing: Arc::new(Writing::of(&config.results)),
        report_failures: config.results.send_failures,
        allow_untrained: config.results.allow_untrained,
        early: early.clone(),
        exhausted: exhausted.clone(),
    }
}

/// Decodes early what a model with a route may read.
fn early_decoder(
    config: &NodeConfig,
    store: &Store,
    clock: &Clock,
    models: &[Manifest],
    (slices, last): (&Arc<EarlySlices>, InstanceKey),
) -> EarlyDecoder {
    // A radiograph is read from its stored values, not from those that a volume is made of.
    let routed =
        |model: &&Manifest| !model.input.is_image() && config.routes.iter().any(|route| route.model == model.name);
    let mut modalities: Vec<String> =
        models.iter().filter(routed).flat_map(|model| model.accepts.modality.clone()).collect();
    modalities.sort();
    modalities.dedup();
    EarlyDecoder { store: store.clone(), clock: clock.clone(), modalities, slices: slices.clone(), last }
}

fn watch(config: &NodeConfig, store: &Store, clock: &Clock, models: Vec<Manifest>) -> Watch {
    Watch {
        store: store.clone(),
        clock: clock.clone(),
        routing: Routing {
            routes: config.routes.clone(),
            peers: config.peers.iter().map(|peer| peer.ae_title.clone()).collect(),
            models,
            completeness: config.completeness.clone(),
            allow_untrained: config.results.allow_untrained,
        },
        own: own(config),
        peers: addresses(config),
        timers: Timers::from(&config.association),
    }
}

fn delivery(config: &NodeConfig, store: &Store, clock: &Clock) -> Delivery {
    Delivery {
        store: store.clone(),
        clock: clock.clone(),
        own: own(config),
        peers: addresses(config),
        timers: Timers::from(&config.association),
        patience: Patience {
            retry: config.delivery.retry,
            longest_retry: config.delivery.longest_retry,
            give_up: config.delivery.give_up,
        },
        allow_untrained: config.results.allow_untrained,
    }
}

fn own(config: &NodeConfig) -> AeTitle {
    config.node.ae_title.clone()
}

fn addresses(config: &NodeConfig) -> Vec<PeerAddress> {
    let address = |peer: &crate::config::Peer| PeerAddress {
        ae_title: peer.ae_title.clone(),
        host: peer.host.clone(),
        port: peer.port,
    };
    config.peers.iter().map(address).collect()
}
