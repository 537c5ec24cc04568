//! How the store behaves.

use crate::config::NodeConfig;

/// How the store behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// Bytes that stay free where the data lie: below, nothing more is taken in.
    pub reserve_bytes: u64,
    /// How often a job is tried before it has failed, whatever the cause.
    pub job_attempts: u32,
    /// Whether a job that failed for good leaves a report: one whose worker vanished too often is then claimed once more,
    /// to be reported.
    pub report_failures: bool,
    /// How many questions of peers the database answers at a time.
    pub finders: u32,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { reserve_bytes: 2 << 30, job_attempts: 5, report_failures: false, finders: 4 }
    }
}

impl From<&NodeConfig> for StoreOptions {
    fn from(config: &NodeConfig) -> Self {
        Self {
            reserve_bytes: config.node.reserve_bytes,
            job_attempts: config.jobs.attempts,
            report_failures: config.results.send_failures,
            ..Self::default()
        }
    }
}
