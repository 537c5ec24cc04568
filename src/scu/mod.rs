//! Results leave: outbox row → association → C-STORE, one lane for each destination.

pub mod outcome;
