//! Peers and routes: who may call, whom we call, and which model reads what for whom.

use std::net::IpAddr;
use std::time::Duration;

use super::Late;
use super::section::Section;
use crate::dicom::ae::{AeTitle, AeTitleError};

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

/// Whether `value` fits `pattern`, in which `*` stands for any text and `?` for one character; case does not matter.
#[must_use]
pub fn wildcard_matches(pattern: &str, value: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let value: Vec<char> = value.to_lowercase().chars().collect();
    let (mut p, mut v) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while v < value.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, v));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == value[v]) {
            p += 1;
            v += 1;
        } else if let Some((star_p, star_v)) = star {
            star = Some((star_p, star_v + 1));
            p = star_p + 1;
            v = star_v + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
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
    let mut routes = Vec::new();
    for s in root.sections("route") {
        let model = s.text("model", None);
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
        let modality = s.texts("modality", &[]);
        let calling_ae = s.texts("calling_ae", &[]);
        let series_description = s.texts("series_description", &[]);
        let quiet = s.is_given("quiet_seconds").then(|| s.whole("quiet_seconds", None, 0, 86_400)).flatten();
        let on_release = s.is_given("on_release").then(|| s.flag("on_release", false));
        let late = s.is_given("late").then(|| s.parsed("late", None, Late::parse)).flatten();
        s.note_unknown();
        if let Some(model) = model {
            let key = s.path().to_owned();
            let quiet = quiet.map(Duration::from_secs);
            routes.push(Route {
                model,
                send_to,
                modality,
                calling_ae,
                series_description,
                quiet,
                on_release,
                late,
                key,
            });
        }
    }
    routes
}
