//! Volume becomes prediction. In: a [`crate::volume::Volume`] and a model package. Out: a [`prediction::Prediction`].
//! The only place that knows tensors; no async, no SQL, no sockets.

pub mod prediction;
