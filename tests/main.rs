//! What overread can do, one file for each capability.

mod inference;
