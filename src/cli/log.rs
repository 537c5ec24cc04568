//! The log: one line for each association, series, job and delivery, on standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging for the rest of the process: `level` for our own lines, warnings for libraries'.
///
/// `OVERREAD_LOG` overrides with a filter of its own (`overread::association=debug,overread=info`).
pub(super) fn start(json: bool, level: &str) {
    start_on(json, level, std::io::stderr);
}

/// The same, through another writer to standard error.
pub(super) fn start_on(json: bool, level: &str, writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
    let filter = std::env::var("OVERREAD_LOG")
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(format!("warn,overread={level}")));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    // A second start, as in tests that run several nodes in one process, changes nothing.
    let started = if json {
        registry.with(layer.json().flatten_event(true)).try_init()
    } else {
        use std::io::IsTerminal;
        registry.with(layer.with_ansi(std::io::stderr().is_terminal())).try_init()
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
