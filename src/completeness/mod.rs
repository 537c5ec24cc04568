//! Which series are complete, and which models read them.

pub mod rule;
