//! Volume becomes prediction. In: a [`crate::volume::Volume`] and a model package. Out: a [`prediction::Prediction`].
//! The only place that knows tensors; no async, no SQL, no sockets.
//!
//! What needs libtorch stands behind the feature `torch`; the rest (manifest, orientation, plans, comparisons) does not.

pub mod prediction;

pub mod manifest;

pub mod package;

pub mod bundle;

pub mod subject;

pub mod accept;

pub mod prefer;

mod body_part;

pub mod orientation;

pub mod steps;

pub mod sliding_window;

pub mod generate;

#[cfg(feature = "torch")]
pub mod text;

pub mod golden;

pub mod difference;

pub mod npz;

pub mod error;

pub mod device;

#[cfg(feature = "torch")]
mod libtorch;

#[cfg(feature = "torch")]
mod heap;

#[cfg(feature = "torch")]
pub mod engine;
