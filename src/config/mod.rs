//! The configuration: one TOML file, any key from the environment, all errors at once.

mod peers;

mod keys;

mod section;

mod tree;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Zone;
use crate::dicom::ae::AeTitle;
pub use peers::{Destination, May, Peer, Route, SeriesChoice};
use section::{Errors, Section};
pub use tree::ConfigError;
use tree::{Tree, variables};

/// The whole configuration, every value in its bounds.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// `[node]`.
    pub node: Node,
    /// `[association]`.
    pub association: Association,
    /// `[completeness]`.
    pub completeness: Completeness,
    /// `[jobs]`.
    pub jobs: Jobs,
    /// `[results]`.
    pub results: Results,
    /// `[delivery]`.
    pub delivery: Delivery,
    /// `[[peer]]`.
    pub peers: Vec<Peer>,
    /// `[[route]]`.
    pub routes: Vec<Route>,
}

/// Who and where the node is.
#[derive(Debug, Clone)]
pub struct Node {
    /// Our own title.
    pub ae_title: AeTitle,
    /// Where associations are accepted.
    pub listen: Vec<String>,
    /// Folder of all that is kept.
    pub data: PathBuf,
    /// Folder of the model packages.
    pub models: PathBuf,
    /// Where models run, as written: `auto`, `cpu`, `cuda:0`.
    pub device: String,
    /// Whether callers that no peer names are accepted.
    pub any_peer: bool,
    /// Disk space that reception leaves free, bytes.
    pub reserve_bytes: u64,
    /// Memory that the process does with, bytes, where it is not that of the machine or the control group.
    pub memory_bytes: Option<u64>,
    /// One JSON object a line instead of text.
    pub log_json: bool,
    /// Least level that is logged.
    pub log_level: String,
}

/// Limits and timers of associations.
#[derive(Debug, Clone)]
pub struct Association {
    /// At the same time, all peers together.
    pub max_associations: usize,
    /// Largest PDU received, bytes.
    pub max_pdu: u32,
    /// Largest data set received, bytes.
    pub max_instance_bytes: u64,
    /// From connection to request.
    pub artim: Duration,
    /// Between messages.
    pub idle: Duration,
    /// Inside a message.
    pub read: Duration,
    /// For one write.
    pub write: Duration,
    /// To open a connection to a peer.
    pub connect: Duration,
    /// For a peer's response.
    pub response: Duration,
    /// After SIGTERM.
    pub drain: Duration,
}

/// What to do with an instance that comes after its series was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// It is stored and that is all.
    Ignore,
    /// The series is read again; the new results name their predecessors.
    Rerun,
    /// The series waits for a person.
    Hold,
}

impl Late {
    /// As written in the configuration.
    ///
    /// # Errors
    /// The words that are known.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "ignore" => Ok(Self::Ignore),
            "rerun" => Ok(Self::Rerun),
            "hold" => Ok(Self::Hold),
            other => Err(format!("should be ignore, rerun or hold, is «{other}»")),
        }
    }
}

/// When a series is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completeness {
    /// Quiet time, where nothing more special applies.
    pub quiet: Duration,
    /// Quiet time by modality.
    pub quiet_by_modality: Vec<(String, Duration)>,
    /// Quiet time by calling AE title.
    pub quiet_by_calling_ae: Vec<(String, Duration)>,
    /// Whether the release of the sending association completes a series.
    pub on_release: bool,
    /// Whom to ask for the number of instances.
    pub ask_count: Option<Destination>,
    /// How long to wait for instances that the peer says exist.
    pub count_patience: Duration,
    /// What a late instance does.
    pub late: Late,
}

impl Completeness {
    /// What holds for the series of a route: its own words go first.
    #[must_use]
    pub fn of_route(&self, route: &Route) -> Self {
        let mut own = self.clone();
        if let Some(quiet) = route.quiet {
            own = Self { quiet, quiet_by_modality: Vec::new(), quiet_by_calling_ae: Vec::new(), ..own };
        }
        own.on_release = route.on_release.unwrap_or(own.on_release);
        own.late = route.late.unwrap_or(own.late);
        own
    }
}

/// How jobs are tried.
#[derive(Debug, Clone)]
pub struct Jobs {
    /// In all.
    pub attempts: u32,
    /// Before the second; doubled for each further one.
    pub retry: Duration,
    /// Silence after which a job is taken from its worker.
    pub lease: Duration,
    /// Models that score each slice by itself too, where they can.
    pub per_slice: Vec<String>,
    /// How many are worked on side by side.
    pub workers: usize,
    /// Memory for slices that are decoded while their series still arrives.
    pub decode_early_bytes: usize,
}

/// What goes into results and which may leave.
#[derive(Debug, Clone)]
pub struct Results {
    /// Whether untrained models' results may leave.
    pub allow_untrained: bool,
    /// Whether a failed job sends a report.
    pub send_failures: bool,
    /// Where series numbers of results begin.
    pub series_number_base: u32,
    /// Manufacturer of the equipment.
    pub manufacturer: String,
    /// Serial number of the node.
    pub device_serial_number: String,
    /// Of the dates and times in results of sources that name none in (0008,0201).
    pub utc_offset: Zone,
}

impl Default for Results {
    /// What holds where the configuration does not say.
    fn default() -> Self {
        Self {
            allow_untrained: false,
            send_failures: false,
            series_number_base: 9000,
            manufacturer: "overread".to_owned(),
            device_serial_number: "1".to_owned(),
            utc_offset: Zone::Local,
        }
    }
}

/// How results are delivered.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Before the second attempt; doubled for each further one.
    pub retry: Duration,
    /// The longest wait between attempts.
    pub longest_retry: Duration,
    /// After this a delivery is dead.
    pub give_up: Duration,
}

impl NodeConfig {
    /// Reads `file` and the process's environment.
    ///
    /// # Errors
    /// Every [`ConfigError`] there is, in the order of the keys.
    pub fn load(file: &Path) -> Result<Self, Vec<ConfigError>> {
        Inspected::load(file)?.whole()
    }

    /// Reads a text that stands for `file`, with an environment of the caller's.
    ///
    /// # Errors
    /// Every [`ConfigError`] there is.
    pub fn from_text(
        file: &Path,
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Vec<ConfigError>> {
        Inspected::from_text(file, text, environment)?.whole()
    }

    /// The peer with this title.
    #[must_use]
    pub fn peer(&self, title: &AeTitle) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.ae_title == *title)
    }
}

/// A configuration with everything that is wrong with it, for whoever looks further than its errors.
#[derive(Debug)]
pub struct Inspected {
    /// What could be read: a wrong value counts as its default, a peer or a route that lacks something is left out.
    /// No node may run by it while there are errors.
    pub config: NodeConfig,
    /// Everything that is wrong, in the order of the keys.
    pub errors: Vec<ConfigError>,
    tree: Tree,
}

impl Inspected {
    /// Reads `file` and the process's environment.
    ///
    /// # Errors
    /// Where nothing can be read: the file is not there, or is no TOML.
    pub fn load(file: &Path) -> Result<Self, Vec<ConfigError>> {
        let text = std::fs::read_to_string(file).map_err(|e| {
            let message = format!("cannot be read: {e}");
            vec![ConfigError { origin: file.display().to_string(), key: String::new(), message }]
        })?;
        let (environment, wrong) = variables(std::env::vars_os());
        match Self::from_text(file, &text, environment.into_iter()) {
            Ok(mut inspected) => {
                inspected.errors.extend(wrong);
                Ok(inspected)
            }
            Err(errors) => Err([errors, wrong].concat()),
        }
    }

    fn from_text(
        file: &Path,
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Vec<ConfigError>> {
        let tree = Tree::merge(file, text, environment)?;
        let errors = Errors::default();
        let root = Section::new(&tree, &errors, "", Some(tree.root()));
        let base = file.parent().unwrap_or(Path::new("."));
        let config = keys::read(&root, base);
        root.note_unknown();
        let errors = errors.into_vec();
        match config {
            Some(config) => Ok(Self { config, errors, tree }),
            None => Err(errors),
        }
    }

    fn whole(self) -> Result<NodeConfig, Vec<ConfigError>> {
        if self.errors.is_empty() { Ok(self.config) } else { Err(self.errors) }
    }

    /// Whether something is wrong with a key itself, such as `node.models`.
    #[must_use]
    pub fn is_wrong(&self, key: &str) -> bool {
        self.errors.iter().any(|error| error.key == key)
    }

    /// What is found to be wrong with a key beyond the configuration, with the place of the key.
    #[must_use]
    pub fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError { origin: self.tree.origin(key), key: key.to_owned(), message: message.into() }
    }
}

#[cfg(test)]
mod tests;
