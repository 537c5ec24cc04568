//! Services that peers use.

pub mod find;
