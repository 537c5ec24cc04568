//! overread, in the order in which data travels.
//!
//! `ARCHITECTURE.md` is the map.

pub mod clock;

pub mod dicom;

pub mod config;

pub mod association;

pub mod scp;

pub mod store;

pub mod completeness;

#[cfg(feature = "torch")]
pub mod worker;

pub mod volume;

pub mod inference;

pub mod results;

pub mod scu;

#[cfg(feature = "torch")]
pub mod node;

#[cfg(feature = "torch")]
pub mod cli;
