//! How libtorch's threads wait for each other.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Any of these says that whoever runs the node has chosen.
const CHOICES: [&str; 2] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];

/// Has OpenMP's threads sleep while they wait, instead of spinning: while anything else uses the cores (a series being
/// received, another one decoded) spinning makes a model five to eight times slower.
///
/// OpenMP reads its environment when it is loaded, before `main`, so the process starts itself afresh, once, under the
/// same process id. Call it before anything is open. Where that fails the models run all the same.
pub(super) fn wait_passively() {
    if CHOICES.iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    let mut arguments = std::env::args_os();
    let mut afresh = Command::new(super::own_program());
    if let Some(name) = arguments.next() {
        afresh.arg0(name);
    }
    // Comes back only with an error.
    let error = afresh.args(arguments).env("OMP_WAIT_POLICY", "passive").exec();
    super::say(format_args!("OMP_WAIT_POLICY=passive could not be set, models may run slowly: {error}"));
}
