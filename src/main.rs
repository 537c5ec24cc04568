//! The `overread` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    overread::cli::main()
}
