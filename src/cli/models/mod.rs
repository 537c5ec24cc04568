//! `overread models`: the packages that are there, whether each computes what it must, and new ones.

mod check;

mod import;

mod list;

mod new;

pub(super) mod state;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use self::state::Checks;
use super::{exit, print, say};
use crate::inference::device::DeviceChoice;
use crate::inference::manifest::Manifest;

/// List, check, begin and import model packages
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Without a command: every package below --models, its origin, the SHA-256 of its weights, the device that it would run on, its \
memory estimate, and how `overread models check` went last for the package as it is now.

Exit codes: 0 done; 1 the check failed, or it could not be done; 3 some packages are faulty, or the package has no golden case \
or does not compute the same twice; 4 there is no package."
)]
pub(super) struct Models {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: list::List,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Check),
    New(new::New),
    ImportMonai(import::ImportMonai),
}

/// Where packages lie.
#[derive(Debug, Clone, clap::Args)]
struct Below {
    /// Where the model packages are
    #[arg(long = "models", value_name = "DIR", default_value = "models")]
    folder: PathBuf,
}

/// On what they would run, and where it is kept how that went.
#[derive(Debug, Clone, clap::Args)]
struct Here {
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Where the outcomes of checks are kept [default: overread in XDG_STATE_HOME, or in ~/.local/state]
    #[arg(long, value_name = "DIR", env = state::VARIABLE)]
    state: Option<PathBuf>,
}

impl Here {
    fn checks(&self) -> Option<Checks> {
        self.state.clone().or_else(state::folder).map(|folder| Checks::in_folder(&folder))
    }
}

/// Does what was asked for.
pub(super) async fn models(arguments: Models) -> u8 {
    let work = move || match arguments.command {
        None => list::list(&arguments.list),
        Some(Command::Check(arguments)) => check::check(&arguments),
        Some(Command::New(arguments)) => new::new(&arguments),
        Some(Command::ImportMonai(arguments)) => import::import(&arguments),
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(code) => code,
        Err(panic) => {
            say(format_args!("{panic}"));
            exit::FAILED
        }
    }
}

/// Writes the manifest of a new package and says which keys its author must fill in.
///
/// # Errors
/// The package is there already, or cannot be written.
fn write_manifest(folder: &Path, text: &str) -> Result<(), String> {
    let file = folder.join("model.toml");
    let wrong = |error: std::io::Error| format!("{}: {error}", file.display());
    std::fs::create_dir_all(folder).map_err(wrong)?;
    let mut opened = std::fs::File::create_new(&file).map_err(wrong)?;
    std::io::Write::write_all(&mut opened, text.as_bytes()).map_err(wrong)
}

/// Prints what a manifest that was just written still lacks.
fn print_lacking(folder: &Path, text: &str) {
    let file = folder.join("model.toml");
    let Err(faults) = Manifest::parse(text) else {
        print(format_args!("{} is whole", file.display()));
        return;
    };
    print(format_args!("{} is written; fill in {} keys:", file.display(), faults.len()));
    for fault in faults {
        print(format_args!("  line {:>3}  {:<44} {}", fault.line, fault.key, fault.message));
    }
}
