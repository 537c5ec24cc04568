//! The bar, and the log above it.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

const TICK: Duration = Duration::from_millis(250);

/// Counts the files that are looked into.
pub(super) fn looking() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} files looked into  {per_sec}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

/// Counts series, with their rate and the time that is left.
pub(super) fn reading(series: usize) -> ProgressBar {
    let bar = ProgressBar::new(series as u64);
    let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
        // A text in memory takes everything.
        let _ = write!(text, "{:.1}/min", state.per_sec() * 60.0);
    };
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} series  {rate}  {elapsed} gone, {eta} left")
    {
        bar.set_style(style.with_key("rate", rate));
    }
    bar.enable_steady_tick(TICK);
    bar
}

/// Writes lines of the log above a bar.
#[derive(Clone)]
pub(super) struct Above(pub(super) ProgressBar);

impl Write for Above {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Above {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
