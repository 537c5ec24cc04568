//! What libraries read from the environment before `main`.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// OpenMP's threads sleep while they wait, instead of spinning: while anything else uses the cores (a series being received,
/// another one decoded) spinning makes a model five to eight times slower.
const WAITING: (&str, &str) = ("OMP_WAIT_POLICY", "passive");

/// Whoever runs the node has chosen where one of these is set.
const CHOICES: [&str; 2] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];

/// Makes sure of the setting that models run better with.
///
/// It is read when the libraries are loaded, so the process starts itself afresh, once, under the same process id. Call
/// it before anything is open. Where that fails the models run all the same.
pub(super) fn settle() {
    if CHOICES.iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    let mut arguments = std::env::args_os();
    let mut afresh = Command::new(super::own_program());
    if let Some(name) = arguments.next() {
        afresh.arg0(name);
    }
    // Comes back only with an error.
    let error = afresh.args(arguments).env(WAITING.0, WAITING.1).exec();
    super::say(format_args!("{} could not be set, models may run slowly: {error}", WAITING.0));
}
