//! Signals to processes, without a program that sends them: a small system has none.

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

/// SIGTERM, as an operator or the system ends a program.
pub(crate) fn terminate(process: &Child) {
    kill_process(Pid::from_child(process), Signal::TERM).unwrap();
}

/// SIGINT, as Ctrl-C does.
pub(crate) fn interrupt(process: &Child) {
    kill_process(Pid::from_child(process), Signal::INT).unwrap();
}
