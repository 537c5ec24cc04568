//! overread, in the order in which data travels.

pub mod clock;

pub mod dicom;

pub mod volume;

pub mod inference;

pub mod results;
