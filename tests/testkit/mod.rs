//! What the capability tests share.
#![expect(clippy::panic, unreachable_pub, reason = "shared by the files of one test binary")]

pub mod peers;

pub mod source_series;
