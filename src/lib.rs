//! overread, in the order in which data travels.

pub mod clock;

pub mod dicom;

pub mod association;

pub mod volume;

pub mod inference;
