//! What overread can do, one file for each capability.

mod testkit;

mod writes_results;
