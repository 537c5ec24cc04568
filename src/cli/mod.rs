//! The command line: one file a command.

mod log;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::dicom::ae::AeTitle;

/// Exit codes, documented in the README and in `--help`.
pub mod exit {
    /// Everything asked for was done.
    pub const DONE: u8 = 0;
    /// It could not be done: configuration, database, network. What was wrong is on standard error.
    pub const FAILED: u8 = 1;
    /// The command line is not understood (clap's own).
    pub const USAGE: u8 = 2;
    /// Done in part: some instances were refused.
    pub const PARTLY: u8 = 3;
    /// Nothing was found for what was asked.
    pub const NOTHING: u8 = 4;
}

/// The second reading: stores what it is sent, runs a model on each complete series, sends back reports and segmentations.
#[derive(Debug, Parser)]
#[command(name = "overread", version, about, max_term_width = 110, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 done in part (some instances were refused), \
                        4 nothing found.\nNot for diagnostic use."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node in the foreground; SIGTERM or Ctrl-C drains it and ends with 0
    Run(WithConfig),
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
struct WithConfig {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "OVERREAD_CONFIG", default_value = "overread.toml")]
    config: PathBuf,
}

/// An Application Entity somewhere: `TITLE@HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AeAddress {
    /// Its title.
    pub ae_title: AeTitle,
    /// Name or address.
    pub host: String,
    /// Where it listens.
    pub port: u16,
}

impl std::str::FromStr for AeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("«{text}» is not TITLE@HOST:PORT");
        let (title, address) = text.rsplit_once('@').ok_or_else(shape)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(shape)?;
        let ae_title = AeTitle::parse(title).map_err(|e| e.to_string())?;
        let port = port.parse().ok().filter(|&p| p != 0).ok_or_else(shape)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() { Err(shape()) } else { Ok(Self { ae_title, host, port }) }
    }
}

/// Understands the command line, does it, and says how it went by the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let _ = arguments;
    ExitCode::from(exit::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let address: AeAddress = "PACS@10.0.0.1:104".parse().unwrap();
        assert_eq!((address.ae_title.as_str(), address.host.as_str(), address.port), ("PACS", "10.0.0.1", 104));
        let address: AeAddress = "A@B@[::1]:11112".parse().unwrap();
        assert_eq!((address.ae_title.as_str(), address.host.as_str()), ("A@B", "::1"));
        for wrong in ["PACS", "PACS@host", "@host:1", "P@host:0", "P@:1", "P@h:99999"] {
            assert!(wrong.parse::<AeAddress>().is_err(), "{wrong}");
        }
    }
}
