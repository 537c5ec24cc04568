//! A node to talk to, and peers of every kind that talk to it.

pub(crate) mod instance;

pub(crate) mod node;

pub(crate) mod parrot;

pub(crate) mod wire;

pub(crate) use node::{Node, NodeBuilder};
pub(crate) use parrot::Parrot;
