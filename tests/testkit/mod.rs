//! What the capability tests share.
#![expect(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "test code outside of test functions")]

pub mod peers;

pub mod source_series;
