//! `overread run`: the node in the foreground.

use tokio::signal::unix::{SignalKind, signal};

use super::{WithConfig, exit, load_config, log};
use crate::clock::Clock;
use crate::node::Node;

/// Runs until SIGTERM or SIGINT; a second one ends at once.
pub(super) async fn run(arguments: WithConfig) -> u8 {
    let Some(config) = load_config(&arguments) else { return exit::FAILED };
    log::start(config.node.log_json, &config.node.log_level);
    let node = match Node::start(&config, Clock::System).await {
        Ok(node) => node,
        Err(error) => {
            tracing::error!(%error, "the node cannot start");
            return exit::FAILED;
        }
    };
    if let Err(error) = signalled().await {
        tracing::error!(%error, "signals cannot be waited for; the node ends");
    }
    tokio::select! {
        drained = node.drain() => match drained {
            Ok(()) => exit::DONE,
            Err(error) => {
                tracing::error!(%error, "the store could not be closed");
                exit::FAILED
            }
        },
        _ = signalled() => {
            tracing::warn!("a second signal: the node ends at once; what was acknowledged is safe");
            exit::FAILED
        }
    }
}

async fn signalled() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
