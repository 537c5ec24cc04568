//! What overread can do, one file for each capability.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also outside of test functions")]

mod testkit;

mod writes_results;
