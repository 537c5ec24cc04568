//! `overread run`: the node in the foreground.

use std::os::unix::process::CommandExt;
use std::process::Command;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::models::state::{Checks, Outcome};
use super::{WithConfig, exit, load_config, log};
use crate::clock::Clock;
use crate::inference::engine::{Engine, end_without_waiting};
use crate::node::Node;

/// Runs until SIGTERM or SIGINT; a second one ends at once. Starts anew where only that helps.
pub(super) async fn run(arguments: WithConfig) -> u8 {
    let Some(config) = load_config(&arguments) else { return exit::FAILED };
    log::start(config.node.log_json, &config.node.log_level);
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "signals cannot be waited for; the node does not start");
            return exit::FAILED;
        }
    };
    tracing::debug!("the node starts");
    let started = tokio::select! {
        started = Node::start_told(&config, Clock::System, remember) => started,
        () = signals.next() => {
            tracing::info!("the node ends before it was ready: nothing was accepted");
            // A golden case may be computed meanwhile.
            end_without_waiting();
            return exit::DONE;
        }
    };
    let node = match started {
        Ok(node) => node,
        Err(error) => {
            tracing::error!(%error, "the node cannot start");
            return exit::FAILED;
        }
    };
    let exhausted = tokio::select! {
        () = signals.next() => false,
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
        () = signals.next() => {
            tracing::warn!("a second signal: the node ends at once; what was acknowledged is safe");
            end_without_waiting();
            exit::FAILED
        }
    }
}

/// Keeps how the golden cases came out, for `overread models` to tell.
fn remember(engine: &Engine) {
    let Some(checks) = Checks::of_user() else { return };
    for outcome in Outcome::of_all(engine, Clock::System.now()) {
        if let Err(error) = checks.keep(&outcome) {
            tracing::warn!(model.name = outcome.model, %error, "the outcome of a golden case could not be remembered");
        }
    }
}

/// Replaces this process by a new one of the same number: runs of models that never end, end with the old one, and a device
/// that has failed for good is begun with anew.
fn start_anew() -> u8 {
    tracing::warn!("the node starts anew: its engine takes no more work, for the cause that was logged");
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "overread".into());
    let error = Command::new(super::own_program()).arg0(name).args(arguments).exec();
    tracing::error!(%error, "the node could not start anew");
    exit::FAILED
}

/// What ends a node: SIGTERM, SIGINT. Listened for from before the models are loaded, which takes seconds.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
