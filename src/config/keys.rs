//! Every key of the file with its bounds and its default.

use std::path::Path;
use std::time::Duration;

use super::section::Section;
use super::{Association, Completeness, Delivery, Destination, Jobs, Late, Node, NodeConfig, Results, peers};
use crate::clock::Zone;
use crate::dicom::ae::AeTitle;

/// Reads everything, so that every error is found. A wrong value counts as its default, for what else can be looked at.
pub(super) fn read(root: &Section<'_>, base: &Path) -> Option<NodeConfig> {
    let node = read_node(&root.section("node"), base);
    let association = read_association(&root.section("association"));
    let completeness = read_completeness(&root.section("completeness"));
    let jobs = read_jobs(&root.section("jobs"));
    let results = read_results(&root.section("results"));
    let delivery = read_delivery(&root.section("delivery"));
    let peers = peers::read_peers(root);
    let routes = peers::read_routes(root, &peers.titles);
    if let Some(Some(Destination::Peer(title))) = completeness.as_ref().map(|c| &c.ask_count)
        && !peers.titles.contains(title)
    {
        root.wrong("completeness.ask_count", format!("no [[peer]] has the AE title {title}"));
    }
    Some(NodeConfig {
        node: node?,
        association: association?,
        completeness: completeness?,
        jobs: jobs?,
        results: results?,
        delivery: delivery?,
        peers: peers.whole,
        routes,
    })
}

fn read_node(s: &Section<'_>, base: &Path) -> Option<Node> {
    let ae_title = s.parsed("ae_title", Some("OVERREAD"), AeTitle::parse);
    let listen = s.texts("listen", &["0.0.0.0:11112"]);
    for address in &listen {
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            s.wrong("listen", format!("«{address}» is not host:port"));
        }
    }
    if listen.is_empty() {
        s.wrong("listen", "names no address");
    }
    let data = s.text("data", Some("data")).map(|folder| base.join(folder));
    let models = s.text("models", Some("models")).map(|folder| base.join(folder));
    let device = s.parsed("device", Some("auto"), device_name);
    let any_peer = s.flag("any_peer", false);
    let reserve_mb = s.whole("reserve_mb", Some(1024), 0, 1 << 30);
    let memory_mb = s.whole("memory_mb", Some(0), 0, 1 << 30);
    let log = s.parsed("log", Some("human"), |text| match text {
        "human" => Ok(false),
        "json" => Ok(true),
        other => Err(format!("should be human or json, is «{other}»")),
    });
    let log_level = s.parsed("log_level", Some("info"), |text| match text {
        "error" | "warn" | "info" | "debug" => Ok(text.to_owned()),
        other => Err(format!("should be error, warn, info or debug, is «{other}»")),
    });
    s.note_unknown();
    Some(Node {
        ae_title: ae_title?,
        listen,
        data: data?,
        models: models?,
        device: device?,
        any_peer,
        reserve_bytes: reserve_mb? << 20,
        memory_bytes: memory_mb.map(|megabytes| (megabytes > 0).then_some(megabytes * 1_000_000))?,
        log_json: log?,
        log_level: log_level?,
    })
}

fn device_name(text: &str) -> Result<String, String> {
    let cuda = text.strip_prefix("cuda:").is_some_and(|n| n.parse::<u8>().is_ok());
    if text == "auto" || text == "cpu" || cuda {
        Ok(text.to_owned())
    } else {
        Err(format!("should be auto, cpu or cuda:0 (1, 2 …), is «{text}»"))
    }
}

fn read_association(s: &Section<'_>) -> Option<Association> {
    let max_associations = s.whole("max_associations", Some(400), 1, 10_000);
    let max_pdu = s.whole("max_pdu", Some(131_072), 4096, 1 << 20);
    let max_instance_mb = s.whole("max_instance_mb", Some(4096), 1, 1 << 20);
    let artim = at_least_a_second(s, "artim_seconds", 30);
    let idle = at_least_a_second(s, "idle_seconds", 300);
    let read = at_least_a_second(s, "read_seconds", 60);
    let write = at_least_a_second(s, "write_seconds", 60);
    let connect = at_least_a_second(s, "connect_seconds", 10);
    let response = at_least_a_second(s, "response_seconds", 120);
    let drain = seconds(s, "drain_seconds", 20);
    s.note_unknown();
    Some(Association {
        max_associations: usize::try_from(max_associations?).ok()?,
        max_pdu: u32::try_from(max_pdu?).ok()?,
        max_instance_bytes: max_instance_mb? << 20,
        artim: artim?,
        idle: idle?,
        read: read?,
        write: write?,
        connect: connect?,
        response: response?,
        drain: drain?,
    })
}

fn read_completeness(s: &Section<'_>) -> Option<Completeness> {
    let by_name = |name| -> Vec<(String, Duration)> {
        s.numbers_by_name(name).into_iter().map(|(key, n)| (key, Duration::from_secs(n))).collect()
    };
    let quiet = seconds(s, "quiet_seconds", 20);
    let quiet_by_modality = by_name("quiet_by_modality");
    let quiet_by_calling_ae = by_name("quiet_by_calling_ae");
    let on_release = s.flag("on_release", false);
    let ask_count = s.parsed("ask_count", Some(""), |text| match text {
        "" => Ok(None),
        other => Destination::parse(other).map(Some),
    });
    let count_patience = seconds(s, "count_patience_seconds", 300);
    let late = s.parsed("late", Some("rerun"), Late::parse);
    s.note_unknown();
    Some(Completeness {
        quiet: quiet?,
        quiet_by_modality,
        quiet_by_calling_ae,
        on_release,
        ask_count: ask_count?,
        count_patience: count_patience?,
        late: late?,
    })
}

fn read_jobs(s: &Section<'_>) -> Option<Jobs> {
    let attempts = s.whole("attempts", Some(3), 1, 100);
    let retry = seconds(s, "retry_seconds", 30);
    let lease = s.whole("lease_seconds", Some(60), 5, 86_400).map(Duration::from_secs);
    let early = s.whole("decode_early_mb", Some(128), 0, 1_000_000);
    let workers = s.whole("workers", Some(2), 1, 64);
    let per_slice = s.texts("per_slice", &[]);
    s.note_unknown();
    Some(Jobs {
        attempts: u32::try_from(attempts?).ok()?,
        retry: retry?,
        lease: lease?,
        per_slice,
        workers: usize::try_from(workers?).ok()?,
        decode_early_bytes: usize::try_from(early?).ok()? << 20,
    })
}

/// `+02:00`, `-03:30`.
fn offset(text: &str) -> Result<time::UtcOffset, String> {
    let read = || {
        let (sign, digits) = text.split_at_checked(1)?;
        let (hours, minutes) = digits.split_once(':').filter(|(h, m)| (h.len(), m.len()) == (2, 2))?;
        let (hours, minutes): (i8, i8) = (hours.parse().ok()?, minutes.parse().ok()?);
        let sign = match sign {
            "+" => 1,
            "-" => -1,
            _ => return None,
        };
        // PS3.3 C.12.1.1.8
        let known = (0..=14).contains(&hours) && (0..60).contains(&minutes);
        time::UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok().filter(|_| known)
    };
    read().ok_or_else(|| format!("should be local, or an offset from UTC such as +02:00, is «{text}»"))
}

fn read_results(s: &Section<'_>) -> Option<Results> {
    let short_ascii = |text: &str| {
        if text.is_empty() || text.len() > 64 || !text.is_ascii() || text.contains('\\') {
            return Err(format!("should be 1 to 64 ASCII characters without backslash, is «{text}»"));
        }
        Ok(text.to_owned())
    };
    let default = Results::default();
    let allow_untrained = s.flag("allow_untrained", default.allow_untrained);
    let send_failures = s.flag("send_failures", default.send_failures);
    let series_number_base = s.whole("series_number_base", Some(default.series_number_base.into()), 0, 1_000_000_000);
    let manufacturer = s.parsed("manufacturer", Some(&default.manufacturer), short_ascii);
    let device_serial_number = s.parsed("device_serial_number", Some(&default.device_serial_number), short_ascii);
    let utc_offset = s.parsed("utc_offset", Some("local"), |text| {
        if text == "local" { Ok(Zone::Local) } else { offset(text).map(Zone::Fixed) }
    });
    s.note_unknown();
    Some(Results {
        allow_untrained,
        send_failures,
        series_number_base: u32::try_from(series_number_base?).ok()?,
        manufacturer: manufacturer?,
        device_serial_number: device_serial_number?,
        utc_offset: utc_offset?,
    })
}

fn read_delivery(s: &Section<'_>) -> Option<Delivery> {
    // Without a pause a PACS that is down would be called without end.
    let pause = |name, default| s.whole(name, Some(default), 1, 86_400).map(Duration::from_secs);
    let retry = pause("retry_seconds", 10);
    let longest_retry = pause("longest_retry_seconds", 3600);
    let give_up = s.whole("give_up_hours", Some(168), 1, 10_000).map(|hours| Duration::from_secs(hours * 3600));
    s.note_unknown();
    Some(Delivery { retry: retry?, longest_retry: longest_retry?, give_up: give_up? })
}

/// A timer that has run out when it is set would end every association.
fn at_least_a_second(s: &Section<'_>, name: &'static str, default: u64) -> Option<Duration> {
    s.whole(name, Some(default), 1, 86_400).map(Duration::from_secs)
}

fn seconds(s: &Section<'_>, name: &'static str, default: u64) -> Option<Duration> {
    s.whole(name, Some(default), 0, 86_400).map(Duration::from_secs)
}
