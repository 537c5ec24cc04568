//! The log: one line for each association, series, job and delivery, on standard error.

use std::ffi::OsString;

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
    let (filter, wrong) = filter(std::env::var_os("OVERREAD_LOG"), level);
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
    if let Some(wrong) = wrong {
        tracing::error!(cause = wrong, "OVERREAD_LOG is not understood; the usual level holds");
    }
}

/// What is logged: as the variable says, else from `level` on. Beside it what is wrong with the variable.
fn filter(variable: Option<OsString>, level: &str) -> (EnvFilter, Option<String>) {
    let usual = || EnvFilter::new(format!("warn,overread={level}"));
    let Some(variable) = variable else { return (usual(), None) };
    let text = variable.into_string().map_err(|_| "it is not UTF-8".to_owned());
    match text.and_then(|text| EnvFilter::try_new(text).map_err(|error| error.to_string())) {
        Ok(filter) => (filter, None),
        Err(wrong) => (usual(), Some(wrong)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_not_understood_is_said_and_does_not_silence_the_node() {
        use std::os::unix::ffi::OsStringExt;
        let (good, wrong) = filter(Some("overread::scp=debug,overread=info".into()), "info");
        assert_eq!((good.to_string().contains("overread::scp=debug"), wrong), (true, None));
        for wrong in [OsString::from("overread=loud"), OsString::from_vec(vec![0xfc])] {
            let (usual, said) = filter(Some(wrong), "debug");
            assert!(usual.to_string().contains("overread=debug"), "{usual}");
            assert!(said.is_some_and(|said| !said.is_empty()));
        }
        assert_eq!(filter(None, "info").1, None);
    }
}
