//! The command line: one file a command.

mod check;

mod compare;

mod echo;

mod embeddings;

#[cfg(feature = "torch")]
mod environment;

mod find;

mod gather;

mod log;

mod models;

mod query;

mod read;

mod reindex;

mod reread;

mod resend;

mod run;

mod send;

mod similar;

mod why;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::clock::Timestamp;
use crate::config::NodeConfig;
use crate::dicom::ae::AeTitle;

/// Exit codes, documented in the README and in `--help`.
pub mod exit {
    /// Everything asked for was done.
    pub const DONE: u8 = 0;
    /// It could not be done: configuration, database, network. What was wrong is on standard error.
    pub const FAILED: u8 = 1;
    /// The command line is not understood (clap's own).
    pub const USAGE: u8 = 2;
    /// Done in part: some instances were refused, some series could not be read.
    pub const PARTLY: u8 = 3;
    /// Nothing was found for what was asked.
    pub const NOTHING: u8 = 4;
}

/// The second reading: stores what it is sent, runs a model on each complete series, sends back reports and segmentations.
#[derive(Debug, Parser)]
#[command(name = "overread", version, about, max_term_width = 110, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 done in part (some instances were refused, \
                        some series could not be read, some packages are faulty or unproven), 4 nothing found.\nNot for diagnostic use."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node in the foreground; SIGTERM or Ctrl-C drains it
    Run(WithConfig),
    /// Read the configuration and every model package, call every peer, print all errors
    Check(WithConfig),
    Read(read::Read),
    Models(models::Models),
    Send(send::Send),
    Echo(echo::Echo),
    Find(find::Find),
    Why(why::Why),
    Resend(resend::Resend),
    Reread(reread::Reread),
    Reindex(reindex::Reindex),
    Embeddings(embeddings::Embeddings),
    Similar(similar::Similar),
    Compare(compare::Compare),
    /// Do nothing and end with a code
    #[command(hide = true)]
    EndWith {
        /// The exit code
        code: u8,
    },
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
struct WithConfig {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "OVERREAD_CONFIG", default_value = "overread.toml")]
    config: PathBuf,
}

/// Who calls.
#[derive(Debug, Clone, clap::Args)]
struct Caller {
    /// Our own AE title in the call
    #[arg(long = "as", value_name = "AE", default_value = "OVERREAD", value_parser = AeTitle::parse)]
    calling: AeTitle,
}

/// Understands the command line, does it, and says how it went by the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(feature = "torch")]
    if matches!(
        arguments.command,
        Command::Run(_) | Command::Read(_) | Command::Check(_) | Command::Compare(_) | Command::Models(_)
    ) {
        environment::settle();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("the runtime cannot be started: {error}"));
            return ExitCode::from(exit::FAILED);
        }
    };
    let code = runtime.block_on(done(arguments.command));
    // A model that hangs on a blocking thread must not keep the process from ending.
    runtime.shutdown_background();
    #[cfg(feature = "torch")]
    if crate::inference::engine::gave_up() {
        leave(code);
    }
    ExitCode::from(code)
}

/// Ends the process with this code though a thread runs inside libtorch: by becoming another one, which ends all threads at
/// once and unloads nothing under them. Comes back only where that fails.
#[cfg(feature = "torch")]
fn leave(code: u8) {
    use std::os::unix::process::CommandExt;
    let error = std::process::Command::new(own_program()).args(["end-with", &code.to_string()]).exec();
    say(format_args!("the process could not be left in order: {error}"));
}

async fn done(command: Command) -> u8 {
    match command {
        Command::Run(arguments) => run::run(arguments).await,
        Command::Check(arguments) => check::check(arguments).await,
        Command::Read(arguments) => read::read(arguments).await,
        Command::Models(arguments) => models::models(arguments).await,
        Command::Send(arguments) => send::send(arguments).await,
        Command::Echo(arguments) => echo::echo(arguments).await,
        Command::Find(arguments) => find::find(arguments).await,
        Command::Why(arguments) => why::why(arguments).await,
        Command::Resend(arguments) => resend::resend(arguments).await,
        Command::Reread(arguments) => reread::reread(arguments).await,
        Command::Reindex(arguments) => reindex::reindex(arguments).await,
        Command::Embeddings(arguments) => embeddings::embeddings(arguments).await,
        Command::Similar(arguments) => similar::similar(arguments).await,
        Command::Compare(arguments) => compare::compare(&arguments),
        Command::EndWith { code } => code,
    }
}

/// The program that runs, by its own path, so that the process keeps its name; by the kernel's link where the file was
/// replaced meanwhile.
fn own_program() -> PathBuf {
    std::env::current_exe().ok().filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

/// The configuration; what is wrong with it goes to standard error, all of it.
fn load_config(from: &WithConfig) -> Option<NodeConfig> {
    match NodeConfig::load(&from.config) {
        Ok(config) => Some(config),
        Err(errors) => {
            for error in errors {
                say(format_args!("{error}"));
            }
            None
        }
    }
}

/// A time as people write it, in UTC.
fn shown_time(time: Timestamp) -> String {
    let time = time.utc();
    let (date, (hour, minute, second)) = (time.date(), time.to_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02}Z")
}

/// How many there are, in words: `1 instance`, `2 instances`.
fn counted(count: impl TryInto<u64>, one: &str, several: &str) -> String {
    let count = count.try_into().unwrap_or(0);
    format!("{count} {}", if count == 1 { one } else { several })
}

/// A line of what was asked for, on standard output. A reader that is gone is no error of ours.
fn print(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{}", shown(line));
}

/// A line about how it went, on standard error.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{}", shown(line));
}

/// As a terminal may be given it: what others have written (peers, senders, names of files) must not move its cursor or
/// change its colours.
fn shown(line: std::fmt::Arguments<'_>) -> String {
    let plain = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { ' ' } else { c };
    line.to_string().chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_written_gives_a_terminal_no_orders() {
        let name = "Doe\x1b[2J^Jane\u{9b}31m\r\x07";
        assert_eq!(shown(format_args!("a\tb\n«{name}» é")), "a\tb\n«Doe [2J^Jane 31m  » é");
    }
}
