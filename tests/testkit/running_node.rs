//! The program as an operator runs it: a process with a configuration file, in a folder and on a port of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use super::node::TITLE;
use super::peers::{Judgement, Server, judge, root, wait_for};
use super::signals;

/// The binary under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_overread");

/// A node in a process of its own.
pub(crate) struct RunningNode {
    folder: tempfile::TempDir,
    process: Server,
    port: u16,
}

impl RunningNode {
    /// A node without models, to which anybody may talk.
    pub(crate) fn storing() -> Self {
        let models = tempfile::tempdir().unwrap();
        Self::start(models.path(), true, "")
    }

    /// A node with the project's models. `more` is what follows `[node]` in the configuration file.
    pub(crate) fn reading(more: &str) -> Self {
        Self::start(&root().join("models"), true, more)
    }

    /// A node without models to which only the peers in `more` may talk.
    pub(crate) fn strict(more: &str) -> Self {
        let models = tempfile::tempdir().unwrap();
        Self::start(models.path(), false, more)
    }

    fn start(models: &Path, any_peer: bool, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("overread.toml");
        let text = format!(
            "[node]\nae_title = \"{TITLE}\"\nlisten = [\"127.0.0.1:0\"]\ndata = \"data\"\nmodels = \"{}\"\n\
             device = \"cpu\"\nany_peer = {any_peer}\nreserve_mb = 0\nlog = \"json\"\n\n{more}",
            models.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--config"]).arg(&config).env("XDG_STATE_HOME", folder.path());
        let mut process = Server::start(&mut command, &folder.path().join("log"));
        let port = wait_for("the node is ready", || {
            let lines = read_log(folder.path());
            let ended = process.has_ended();
            let ready = lines.iter().find(|line| line["message"] == "the node is ready");
            assert!(ready.is_some() || !ended, "the node ended: {lines:#?}");
            let addresses = ready?["addresses"].as_str()?.trim_end_matches(']').to_owned();
            addresses.rsplit_once(':')?.1.parse().ok()
        });
        Self { folder, process, port }
    }

    /// Where it accepts associations, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// As `--to` of the tools wants it.
    pub(crate) fn address(&self) -> String {
        format!("{TITLE}@127.0.0.1:{}", self.port)
    }

    /// The lines of its log so far.
    pub(crate) fn log(&self) -> Vec<Json> {
        read_log(self.folder.path())
    }

    /// Lines with this message.
    pub(crate) fn logged(&self, message: &str) -> Vec<Json> {
        self.log().into_iter().filter(|line| line["message"] == message).collect()
    }

    /// Every file below a part of the data folder: `instances`, `results`, `aside`, `incoming`.
    pub(crate) fn files(&self, part: &str) -> Vec<PathBuf> {
        files_below(&self.folder.path().join("data").join(part))
    }

    /// The stored file of an instance.
    pub(crate) fn stored(&self, sop_instance: &str) -> Option<PathBuf> {
        let name = format!("{sop_instance}.dcm");
        self.files("instances").into_iter().find(|path| path.file_name() == Some(OsStr::new(&name)))
    }

    /// Lets the peak begin anew from what it has now.
    pub(crate) fn forget_peak_memory(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.0.id()), "5").unwrap();
    }

    /// The most memory that it has had, bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Asks it to end, as an operator does, and gives what it ended with.
    pub(crate) fn stop(mut self) -> Option<i32> {
        signals::terminate(&self.process.0);
        self.process.0.wait().unwrap().code()
    }
}

/// Runs a command of the program.
pub(crate) fn overread(arguments: &[impl AsRef<OsStr>]) -> Judgement {
    judge(PROGRAM, arguments)
}

/// Every file below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn read_log(folder: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(folder.join("log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| Json::String(line.to_owned()))).collect()
}
