//! A node to talk to, peers of every kind that talk to it, and series of known truth.

pub(crate) mod chest;

pub(crate) mod instance;

#[cfg(feature = "torch")]
pub(crate) mod models;

pub(crate) mod node;

pub(crate) mod orthanc;

pub(crate) mod parrot;

pub(crate) mod peers;

pub(crate) mod phantom;

pub(crate) mod receiver;

pub(crate) mod running_node;

pub(crate) mod shared_data;

pub(crate) mod signals;

pub(crate) mod site;

pub(crate) mod source_series;

pub(crate) mod wire;

pub(crate) use node::{Node, NodeBuilder};
pub(crate) use parrot::Parrot;
