//! What several tests need.

pub mod phantom;
