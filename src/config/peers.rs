//! Peers and routes: who may call, whom we call, and which model reads what for whom.

use std::net::IpAddr;
use std::time::Duration;

use super::Late;
use super::section::Section;
use crate::dicom::ae::{AeTitle, AeTitleError};
use crate::dicom::wildcard::wildcard_matches;

/// How long a required series is waited for where its route does not say.
const PATIENCE_SECONDS: u64 = 1800;

/// Another Application Entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its title.
    pub ae_title: AeTitle,
    /// Name or address; associations under this title must come from there.
    pub host: String,
    /// Where it accepts associations.
    pub port: u16,
    /// What it may ask of us.
    pub may: Vec<May>,
    /// Its key in the configuration, `peer[0]`, by which its place there is found.
    pub key: String,
}

/// A service that a peer may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// C-ECHO.
    Echo,
    /// C-STORE.
    Store,
    /// C-FIND.
    Find,
}

impl May {
    /// As written in the configuration.
    ///
    /// # Errors
    /// The words that are known.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "echo" => Ok(Self::Echo),
            "store" => Ok(Self::Store),
            "find" => Ok(Self::Find),
            other => Err(format!("should hold echo, store or find, holds «{other}»")),
        }
    }
}

/// Where results go, or whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The peer that sent the series.
    Sender,
    /// A peer by its title.
    Peer(AeTitle),
}

impl Destination {
    /// `sender` or an AE title.
    ///
    /// # Errors
    /// When it is no title.
    pub fn parse(text: &str) -> Result<Self, AeTitleError> {
        if text == "sender" { Ok(Self::Sender) } else { AeTitle::parse(text).map(Self::Peer) }
    }
}

/// How many of the series of a study that take a route are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesChoice {
    /// Each of them.
    Every,
    /// The one that the model reads best, by the order that its manifest has.
    Preferred,
}

impl SeriesChoice {
    /// As written in the configuration.
    ///
    /// # Errors
    /// The words that are known.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "every" => Ok(Self::Every),
            "preferred" => Ok(Self::Preferred),
            other => Err(format!("should be every or preferred, is «{other}»")),
        }
    }
}

/// Which series a model reads, and where its results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Name of a model package.
    pub model: String,
    /// Destinations; never empty.
    pub send_to: Vec<Destination>,
    /// Modalities; empty: any.
    pub modality: Vec<String>,
    /// Calling AE titles, with wildcards; empty: any.
    pub calling_ae: Vec<String>,
    /// Series descriptions, with wildcards; empty: any.
    pub series_description: Vec<String>,
    /// Quiet time of its series, where `[completeness]` does not say it.
    pub quiet: Option<Duration>,
    /// Whether a release completes its series, likewise.
    pub on_release: Option<bool>,
    /// What a late instance does, likewise.
    pub late: Option<Late>,
    /// Descriptions of series that the study must hold before a series is read, with wildcards; empty: none.
    pub required_series: Vec<String>,
    /// How long after the last instance of a series these are waited for.
    pub required_patience: Duration,
    /// Which of the study's series that fulfil the conditions are read.
    pub series: SeriesChoice,
    /// How long after the last instance of a series the others that one is chosen from are waited for.
    pub preferred_patience: Duration,
    /// Its key in the configuration, `route[0]`, by which its place there is found.
    pub key: String,
}

impl Route {
    /// Whether a series takes this route; if not, which condition it fails, in words.
    ///
    /// # Errors
    /// The first condition that does not hold.
    pub fn matches(&self, modality: &str, calling_ae: &str, series_description: &str) -> Result<(), String> {
        let conditions = [
            ("modality", &self.modality, modality),
            ("calling_ae", &self.calling_ae, calling_ae),
            ("series_description", &self.series_description, series_description),
        ];
        for (name, patterns, value) in conditions {
            if !patterns.is_empty() && !patterns.iter().any(|pattern| wildcard_matches(pattern, value)) {
                return Err(format!("{name} «{value}» is none of {}", patterns.join(", ")));
            }
        }
        Ok(())
    }
}

/// What is read of all `[[peer]]`.
pub(super) struct Peers {
    /// Those of which everything could be read.
    pub(super) whole: Vec<Peer>,
    /// The titles of all: one whose port is wrong is still a peer that routes may name.
    pub(super) titles: Vec<AeTitle>,
}

pub(super) fn read_peers(root: &Section<'_>) -> Peers {
    let (mut whole, mut titles) = (Vec::new(), Vec::new());
    for s in root.sections("peer") {
        let ae_title = s.parsed("ae_title", None, AeTitle::parse);
        let host = s.parsed("host", None, host_name);
        let port = s.whole("port", None, 1, 65_535);
        let may = s
            .texts("may", &["echo", "store", "find"])
            .iter()
            .filter_map(|word| May::parse(word).map_err(|e| s.wrong("may", e)).ok())
            .collect();
        s.note_unknown();
        let Some(ae_title) = ae_title else { continue };
        if titles.contains(&ae_title) {
            s.wrong("ae_title", format!("another [[peer]] has the title {ae_title} too"));
        }
        titles.push(ae_title.clone());
        if let (Some(host), Some(port)) = (host, port.and_then(|p| u16::try_from(p).ok())) {
            whole.push(Peer { ae_title, host, port, may, key: s.path().to_owned() });
        }
    }
    Peers { whole, titles }
}

fn host_name(text: &str) -> Result<String, String> {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.parse::<IpAddr>().is_ok() || (!text.is_empty() && text.chars().all(name)) {
        Ok(text.to_owned())
    } else {
        Err(format!("«{text}» is neither a host name nor an IP address"))
    }
}

pub(super) fn read_routes(root: &Section<'_>, peers: &[AeTitle]) -> Vec<Route> {
    root.sections("route").iter().filter_map(|s| read_route(s, peers)).collect()
}

/// Nothing where it names no model.
fn read_route(s: &Section<'_>, peers: &[AeTitle]) -> Option<Route> {
    let model = s.text("model", None);
    let send_to = read_destinations(s, peers);
    let modality = s.texts("modality", &[]);
    let calling_ae = s.texts("calling_ae", &[]);
    let series_description = s.texts("series_description", &[]);
    let quiet = s.is_given("quiet_seconds").then(|| s.whole("quiet_seconds", None, 0, 86_400)).flatten();
    let on_release = s.is_given("on_release").then(|| s.flag("on_release", false));
    let late = s.is_given("late").then(|| s.parsed("late", None, Late::parse)).flatten();
    let required_series = s.texts("required_series", &[]);
    let required_patience = s.whole("required_patience_seconds", Some(PATIENCE_SECONDS), 0, 86_400);
    if s.is_given("required_patience_seconds") && !s.is_given("required_series") {
        s.wrong("required_patience_seconds", "has no meaning without required_series");
    }
    let series = s.parsed("series", Some("every"), SeriesChoice::parse);
    let preferred_patience = s.whole("preferred_patience_seconds", Some(PATIENCE_SECONDS), 0, 86_400);
    if s.is_given("preferred_patience_seconds") && series == Some(SeriesChoice::Every) {
        s.wrong("preferred_patience_seconds", "has no meaning without series = \"preferred\"");
    }
    s.note_unknown();
    Some(Route {
        model: model?,
        send_to,
        modality,
        calling_ae,
        series_description,
        quiet: quiet.map(Duration::from_secs),
        on_release,
        late,
        required_series,
        required_patience: Duration::from_secs(required_patience?),
        series: series?,
        preferred_patience: Duration::from_secs(preferred_patience?),
        key: s.path().to_owned(),
    })
}

fn read_destinations(s: &Section<'_>, peers: &[AeTitle]) -> Vec<Destination> {
    let send_to: Vec<Destination> = s
        .texts("send_to", &[])
        .iter()
        .filter_map(|text| Destination::parse(text).map_err(|e| s.wrong("send_to", e.to_string())).ok())
        .collect();
    if send_to.is_empty() {
        s.wrong("send_to", "names no destination: AE titles of peers, or \"sender\"");
    }
    for destination in &send_to {
        if let Destination::Peer(title) = destination
            && !peers.contains(title)
        {
            s.wrong("send_to", format!("no [[peer]] has the AE title {title}"));
        }
    }
    send_to
}
