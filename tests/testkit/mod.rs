//! A node to talk to, and peers of every kind that talk to it.

pub mod node;

pub mod parrot;

pub mod wire;

pub use node::{Node, NodeBuilder};
pub use parrot::Parrot;
