//! Services that peers use: the listening loop, Verification, Storage and Query.

pub mod listener;

mod conversation;

mod verification;

#[cfg(test)]
mod tests;

mod storage;

pub mod find;

mod query;

mod refusal;

use std::time::Duration;

pub use listener::{BindError, Listener};

use crate::association::{AcceptorPolicy, Timers};
use crate::config::NodeConfig;

/// How the SCP behaves.
#[derive(Debug, Clone)]
pub struct ScpOptions {
    /// Who may associate, and as whom we answer.
    pub policy: AcceptorPolicy,
    /// How long peers are waited for.
    pub timers: Timers,
    /// Associations at a time; another one is rejected for now.
    pub max_associations: usize,
    /// The longest data set that is taken.
    pub max_instance_bytes: u64,
    /// How long associations may go on after a shutdown has begun.
    pub drain: Duration,
}

impl From<&NodeConfig> for ScpOptions {
    fn from(config: &NodeConfig) -> Self {
        Self {
            policy: AcceptorPolicy {
                ae_title: config.node.ae_title.clone(),
                peers: config.peers.iter().map(Into::into).collect(),
                any_peer: config.node.any_peer,
                max_pdu: config.association.max_pdu,
            },
            timers: Timers::from(&config.association),
            max_associations: config.association.max_associations,
            max_instance_bytes: config.association.max_instance_bytes,
            drain: config.association.drain,
        }
    }
}
