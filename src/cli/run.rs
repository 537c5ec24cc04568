//! `overread run`: the node in the foreground.

use std::os::unix::process::CommandExt;
use std::process::Command;

use tokio::signal::unix::{SignalKind, signal};

use super::{WithConfig, exit, load_config, log};
use crate::clock::Clock;
use crate::node::Node;

/// Runs until SIGTERM or SIGINT; a second one ends at once. Starts anew where only that helps.
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
    let exhausted = tokio::select! {
        signal = signalled() => {
            if let Err(error) = signal {
                tracing::error!(%error, "signals cannot be waited for; the node ends");
            }
            false
        }
        () = node.exhausted() => true,
    };
    tokio::select! {
        drained = node.drain() => match drained {
            Ok(()) if exhausted => start_anew(),
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

/// Replaces this process by a new one of the same number: runs of models that never end, end with the old one.
fn start_anew() -> u8 {
    tracing::warn!("the node starts anew, because runs of models that were given up never ended");
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "overread".into());
    let error = Command::new(super::own_program()).arg0(name).args(arguments).exec();
    tracing::error!(%error, "the node could not start anew");
    exit::FAILED
}

async fn signalled() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
