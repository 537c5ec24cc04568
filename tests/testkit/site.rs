//! The whole node as a hospital runs it: the real program with a configuration file, a data folder and models.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use overread::association::requestor::{ContextProposal, OutgoingInstance, PeerAddress, Requestor};
use overread::association::{AssociationError, Timers};
use overread::clock::Clock;
use overread::dicom::ae::AeTitle;
use overread::dicom::uid::{SopClassUid, TransferSyntaxUid};
use overread::store::{SeriesStory, Store, StudyStory};
use serde_json::Value as Json;
use tokio::net::TcpStream;

use super::node::TITLE;
use super::receiver::{Receiver, eventually};
use super::signals;
use super::wire::{CT, EXPLICIT_LE};

/// What a node logs when it accepts associations.
const READY: &str = "the node is ready";

/// The name of the small model.
pub(crate) const QUICK: &str = "good";

/// The name of the model that waits.
pub(crate) const WAITS: &str = "waits";

/// The file in the node's working directory that this model waits for.
const MAY_END: &str = "may-end";

/// What files begin with in which the loader writes down what it does.
const LOADER: &str = "loader";

/// Folder, configuration and models of a node, which runs, dies and runs again.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    settings: String,
    peers: String,
    routes: String,
    /// Whether the loader of programs writes down what it does.
    traced: bool,
}

impl Site {
    /// Short times, any caller, no peers, no routes.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("models")).unwrap();
        let settings = "node.listen = [\"127.0.0.1:0\"]\nnode.any_peer = true\nnode.device = \"cpu\"\n\
                        node.reserve_mb = 0\nnode.log = \"json\"\ncompleteness.quiet_seconds = 1\n\
                        jobs.retry_seconds = 0\ndelivery.retry_seconds = 1\n";
        Self { folder, settings: settings.to_owned(), peers: String::new(), routes: String::new(), traced: false }
    }

    /// The built-in model for every series, results to `receiver` as `PACS`.
    pub(crate) fn reading_for(receiver: &Receiver) -> Self {
        Self::new().with_peer("PACS", receiver.address).with_model("models/lung-densitometry").with_route(
            "lung-densitometry",
            &["PACS"],
            "",
        )
    }

    /// As [`Self::reading_for`], with a small model that is quick to start and finds every body dense.
    pub(crate) fn measuring_for(receiver: &Receiver) -> Self {
        Self::new().with_peer("PACS", receiver.address).with_quick_model().with_route(QUICK, &["PACS"], "")
    }

    /// The small model, whose results may leave.
    pub(crate) fn with_quick_model(self) -> Self {
        self.with_model("tests/fixtures/models/good").with("results.allow_untrained", "true")
    }

    /// A key of the configuration, dotted, and its value in TOML. Later ones win.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        let others: Vec<&str> = self.settings.lines().filter(|line| !line.starts_with(&format!("{key} ="))).collect();
        self.settings = format!("{}\n{key} = {value}\n", others.join("\n"));
        self
    }

    pub(crate) fn with_peer(mut self, ae_title: &str, address: SocketAddr) -> Self {
        let (host, port) = (address.ip(), address.port());
        writeln!(self.peers, "[[peer]]\nae_title = \"{ae_title}\"\nhost = \"{host}\"\nport = {port}").unwrap();
        self
    }

    /// A package by its folder in the project.
    pub(crate) fn with_model(self, package: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(package);
        let name = source.file_name().unwrap().to_owned();
        std::os::unix::fs::symlink(&source, self.folder.path().join("models").join(name)).unwrap();
        self
    }

    /// The tiny variant of a package in `models`, called `PACKAGE-tiny`.
    pub(crate) fn with_tiny_model(self, package: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(package).join("tiny");
        let name = format!("{package}-tiny");
        std::os::unix::fs::symlink(&source, self.folder.path().join("models").join(name)).unwrap();
        self
    }

    /// A package of `tests/fixtures/models` with other words in its manifest.
    pub(crate) fn with_changed_model(self, package: &str, changes: &[(&str, &str)]) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(package);
        let target = self.folder.path().join("models").join(package);
        std::fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(source.join("model.pt"), target.join("model.pt")).unwrap();
        let mut manifest = std::fs::read_to_string(source.join("model.toml")).unwrap();
        for (from, to) in changes {
            assert!(manifest.contains(from), "{package} says «{from}»");
            manifest = manifest.replace(from, to);
        }
        std::fs::write(target.join("model.toml"), manifest).unwrap();
        self
    }

    /// A model whose runs last until [`Self::let_models_end`].
    pub(crate) fn with_waiting_model(self) -> Self {
        std::fs::write(self.folder.path().join(MAY_END), [0, 0]).unwrap();
        self.with_model("tests/fixtures/models/waits").with("results.allow_untrained", "true")
    }

    /// Lets the runs of the waiting model end, and those that come.
    pub(crate) fn let_models_end(&self) {
        // At once: what is read is never half a file.
        let new = self.folder.path().join("new");
        std::fs::write(&new, [1, 1]).unwrap();
        std::fs::rename(new, self.folder.path().join(MAY_END)).unwrap();
    }

    /// Has glibc's loader write down which programs a process of the node becomes: [`Self::programs`].
    pub(crate) fn traced(mut self) -> Self {
        self.traced = true;
        self
    }

    /// How many programs the node's process was, one after the other.
    pub(crate) fn programs(&self) -> usize {
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let traces = files.filter(|path| path.file_stem().is_some_and(|stem| stem == LOADER));
        let texts = traces.map(|path| std::fs::read_to_string(path).unwrap());
        texts.map(|text| text.matches("transferring control: ").count()).sum()
    }

    /// `more`: further keys of the route.
    pub(crate) fn with_route(mut self, model: &str, send_to: &[&str], more: &str) -> Self {
        writeln!(self.routes, "[[route]]\nmodel = \"{model}\"\nsend_to = {send_to:?}\n{more}").unwrap();
        self
    }

    /// Where the configuration is; written anew.
    pub(crate) fn configuration(&self) -> PathBuf {
        let path = self.folder.path().join("overread.toml");
        std::fs::write(&path, format!("{}\n{}\n{}", self.settings, self.peers, self.routes)).unwrap();
        path
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What `overread models --json` says where the node runs.
    pub(crate) async fn models(&self) -> Json {
        let folder = self.folder.path().to_owned();
        let mut command = overread(&["models", "--json", "--device", "cpu", "--models"]);
        command.arg(folder.join("models")).env("XDG_STATE_HOME", folder.join("state"));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// Starts the node, which may fail.
    pub(crate) fn spawn(&self) -> Process {
        Process::spawn(&self.configuration(), self.traced)
    }

    /// Starts the node and waits until it accepts associations.
    pub(crate) async fn start(&self) -> Process {
        let process = self.spawn();
        process.logged(READY, 1).await;
        process
    }

    /// The stories of the studies that a UID names.
    pub(crate) async fn stories(&self, uid: &str) -> Vec<StudyStory> {
        let store = Store::open_beside(&self.data(), Clock::System).await.unwrap();
        store.why(uid).await.unwrap()
    }

    /// The story of one series.
    pub(crate) async fn series(&self, uid: &str) -> Option<SeriesStory> {
        let studies = self.stories(uid).await;
        studies.into_iter().flat_map(|study| study.series).find(|series| series.series_instance_uid == uid)
    }
}

/// A node that runs. Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    fn spawn(configuration: &Path, traced: bool) -> Self {
        let mut command = overread(&["run", "--config"]);
        let folder = configuration.parent().unwrap();
        command.arg(configuration).current_dir(folder).env("XDG_STATE_HOME", folder.join("state"));
        if traced {
            command.env("LD_DEBUG", "files").env("LD_DEBUG_OUTPUT", folder.join(LOADER));
        }
        command.stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, stderr) = (log.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Self { child, log }
    }

    /// Everything logged so far.
    pub(crate) fn text(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The log's lines with this message.
    pub(crate) fn lines(&self, message: &str) -> Vec<Json> {
        let log = self.log.lock().unwrap();
        let lines = log.iter().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }

    /// Where it accepts associations.
    pub(crate) fn address(&self) -> SocketAddr {
        let ready = self.lines(READY).pop().unwrap();
        ready["addresses"].as_str().unwrap().trim_matches(['[', ']']).parse().unwrap()
    }

    /// Waits until so many lines with this message have been logged.
    pub(crate) async fn logged(&self, message: &str, count: usize) -> Vec<Json> {
        let found = eventually(message, async || Some(self.lines(message)).filter(|lines| lines.len() >= count));
        tokio::select! {
            found = found => found,
            () = self.ended() => panic!("the node ended before it logged «{message}»: {}", self.text()),
        }
    }

    async fn ended(&self) {
        let path = format!("/proc/{}/stat", self.child.id());
        let zombie = || std::fs::read_to_string(&path).map_or(true, |stat| stat.contains(") Z "));
        while !zombie() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        // What it said last may still be on its way through the pipe.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }

    /// SIGKILL: the process stops where it is.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        signals::terminate(&self.child);
    }

    /// How it has ended, if it has: the exit code, or the signal as a negative number.
    pub(crate) fn ended_with(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap()?;
        Some(status.code().unwrap_or_else(|| -status.signal().unwrap()))
    }

    /// Waits for the end: the exit code, or the signal as a negative number.
    pub(crate) async fn exit_code(&mut self) -> i32 {
        eventually("the end of the node", async || self.ended_with()).await
    }

    /// An association for CT images, as `title`.
    pub(crate) async fn associate(&self, title: &str) -> Result<Requestor<TcpStream>, AssociationError> {
        associate(self.address(), title).await
    }

    /// Sends all files over one association; each must be answered with 0000H.
    pub(crate) async fn push(&self, title: &str, files: &[Bytes]) {
        let mut association = self.associate(title).await.unwrap();
        for file in files {
            let response = association.store(&OutgoingInstance::from_file(file).unwrap()).await.unwrap();
            assert_eq!(response.status.0, 0, "{:?}", response.comment);
        }
        association.release().await.unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the node's log:\n{}", self.text());
        }
    }
}

/// An association for CT images with the node at `address`, as `title`.
pub(crate) async fn associate(address: SocketAddr, title: &str) -> Result<Requestor<TcpStream>, AssociationError> {
    let peer: PeerAddress = format!("{TITLE}@{address}").parse().unwrap();
    let proposal = ContextProposal {
        abstract_syntax: SopClassUid::parse(CT).unwrap(),
        transfer_syntaxes: vec![TransferSyntaxUid::parse(EXPLICIT_LE).unwrap()],
    };
    Requestor::connect(&peer, &AeTitle::parse(title).unwrap(), &[proposal], &Timers::default()).await
}

/// The program with these arguments, and nothing of the environment that configures it; what it remembers is not the user's.
pub(crate) fn overread(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overread"));
    command.args(arguments).stdin(Stdio::null()).env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OVERREAD")) {
        command.env_remove(name);
    }
    command
}

/// Runs the program to its end without holding up the peers that the test plays.
pub(crate) async fn run(arguments: &[&str]) -> Output {
    let mut command = overread(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}
