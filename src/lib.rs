//! overread, in the order in which data travels.

pub mod clock;

pub mod dicom;

pub mod config;

pub mod association;

pub mod store;

pub mod scp;

pub mod volume;

pub mod inference;

pub mod completeness;

pub mod scu;

pub mod cli;
