//! A node to talk to, peers of every kind that talk to it, and series of known truth.

pub mod instance;

pub mod node;

pub mod parrot;

pub mod peers;

pub mod phantom;

pub mod source_series;

pub mod wire;

pub(crate) use node::{Node, NodeBuilder};
pub(crate) use parrot::Parrot;
