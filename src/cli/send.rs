//! `overread send`: C-STORE of everything that is found, over several associations.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::gather::{self, Gathered, Sendable, gather};
use super::query::aligned;
use super::{Caller, exit, say};
use crate::association::requestor::{ContextProposal, OutgoingInstance, PeerAddress, RequestError, Requestor};
use crate::association::{AssociationError, Timers};
use crate::dicom::status::{Category, Status};
use crate::dicom::uid::{SopClassUid, TransferSyntaxUid};

/// How often an instance is offered when associations break under it.
const TRIES: u8 = 3;
/// What is on its way.
type Item = gather::Item<Sendable>;

/// Presentation contexts in one association request (PS3.8 section 9.3.2.2: odd identifiers below 256).
const MAX_CONTEXTS: usize = 128;

/// Send files, folders or zip archives by C-STORE
#[derive(Debug, clap::Args)]
pub(super) struct Send {
    /// Where to: AE title, host and port of the peer
    #[arg(long, value_name = "AE@HOST:PORT")]
    to: PeerAddress,
    #[command(flatten)]
    caller: Caller,
    /// How many associations send at the same time
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    associations: u8,
    /// Files, folders and zip archives
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// What became of all instances.
#[derive(Debug, Default)]
struct Report {
    stored: usize,
    with_warning: usize,
    bytes: u64,
    /// By what the peer (or the network) said: how many, and the first of them.
    refused: BTreeMap<String, (usize, String)>,
}

impl Report {
    fn refuse(&mut self, why: String, item: &Item) {
        self.refused.entry(why).or_insert_with(|| (0, item.source.to_string())).0 += 1;
    }

    fn refusals(&self) -> usize {
        self.refused.values().map(|(count, _)| count).sum()
    }
}

/// One batch on its way, shared by the lanes.
struct Batch {
    queue: Mutex<VecDeque<(Item, u8)>>,
    report: Mutex<Report>,
    proposals: Vec<ContextProposal>,
    bar: ProgressBar,
}

/// Sends and says how it went.
pub(super) async fn send(arguments: Send) -> u8 {
    let gathered = gather(&arguments.paths, &ProgressBar::hidden(), Sendable::look);
    for what in &gathered.unreadable {
        say(format_args!("cannot be read: {what}"));
    }
    if gathered.items.is_empty() {
        say(format_args!("nothing to send: {} files are no DICOM instances", gathered.passed_over));
        return if gathered.unreadable.is_empty() { exit::NOTHING } else { exit::FAILED };
    }
    let started = Instant::now();
    let report = send_all(&arguments, &gathered).await;
    let seconds = started.elapsed().as_secs_f64();
    print_report(&report, &gathered, seconds);
    if report.stored == 0 {
        exit::FAILED
    } else if report.refusals() > 0 || !gathered.unreadable.is_empty() {
        exit::PARTLY
    } else {
        exit::DONE
    }
}

async fn send_all(arguments: &Send, gathered: &Gathered<Sendable>) -> Report {
    let bar = ProgressBar::new(gathered.items.len() as u64);
    let style = "{bar:40} {pos}/{len} instances  {per_sec}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let mut total = Report::default();
    for (proposals, items) in batches(&gathered.items) {
        let batch = Arc::new(Batch {
            queue: Mutex::new(items.into_iter().map(|item| (item, 0)).collect()),
            report: Mutex::new(std::mem::take(&mut total)),
            proposals,
            bar: bar.clone(),
        });
        let lanes = (0..arguments.associations)
            .map(|_| tokio::spawn(lane(batch.clone(), arguments.to.clone(), arguments.caller.clone())));
        let mut cause = String::from("no association could be made");
        for lane in lanes.collect::<Vec<_>>() {
            if let Ok(Err(error)) = lane.await {
                cause = error.to_string();
            }
        }
        let mut report = std::mem::take(&mut *batch.report.lock().await);
        for (item, _) in batch.queue.lock().await.drain(..) {
            report.refuse(format!("not sent: {cause}"), &item);
        }
        total = report;
    }
    bar.finish_and_clear();
    total
}

/// One association after the other until the queue is empty; an error where no further one can be made.
async fn lane(batch: Arc<Batch>, to: PeerAddress, caller: Caller) -> Result<(), AssociationError> {
    while !batch.queue.lock().await.is_empty() {
        let mut association = Requestor::connect(&to, &caller.calling, &batch.proposals, &Timers::default()).await?;
        match drain(&batch, &mut association).await {
            Ok(()) => {
                // Every instance was answered: how the association ends changes nothing.
                let _ = association.release().await;
            }
            Err(error) => association.end(&error).await,
        }
    }
    Ok(())
}

async fn drain(batch: &Batch, association: &mut Requestor<TcpStream>) -> Result<(), AssociationError> {
    loop {
        let Some((item, tries)) = batch.queue.lock().await.pop_front() else { return Ok(()) };
        match store(association, &item).await {
            Ok((status, comment, bytes)) => {
                let mut report = batch.report.lock().await;
                match status.category() {
                    Category::Success => report.stored += 1,
                    Category::Warning => {
                        report.stored += 1;
                        report.with_warning += 1;
                    }
                    _ => report
                        .refuse(format!("{status}{}", comment.map(|c| format!(": {c}")).unwrap_or_default()), &item),
                }
                report.bytes += bytes;
            }
            Err(Failure::Item(why)) => batch.report.lock().await.refuse(why, &item),
            Err(Failure::Association(error)) => {
                if tries + 1 < TRIES {
                    batch.queue.lock().await.push_back((item, tries + 1));
                } else {
                    batch.report.lock().await.refuse(error.to_string(), &item);
                    batch.bar.inc(1);
                }
                return Err(error);
            }
        }
        batch.bar.inc(1);
    }
}

enum Failure {
    Item(String),
    Association(AssociationError),
}

async fn store(association: &mut Requestor<TcpStream>, item: &Item) -> Result<(Status, Option<String>, u64), Failure> {
    let source = item.source.clone();
    let file = tokio::task::spawn_blocking(move || source.read())
        .await
        .map_err(|e| Failure::Item(e.to_string()))?
        .map_err(|e| Failure::Item(format!("cannot be read: {e}")))?;
    let instance = OutgoingInstance::from_file(&file).map_err(|e| Failure::Item(e.to_string()))?;
    match association.store(&instance).await {
        Ok(response) => Ok((response.status, response.comment, file.len() as u64)),
        Err(RequestError::Association(error)) => Err(Failure::Association(error)),
        Err(other) => Err(Failure::Item(other.to_string())),
    }
}

/// Items with the contexts that they need, at most 128 contexts at a time: each syntax in a context of its own, so that
/// the peer can take all of them, and one with the two plain syntaxes to fall back on.
fn batches(items: &[Item]) -> Vec<(Vec<ContextProposal>, Vec<Item>)> {
    let mut syntaxes: BTreeMap<SopClassUid, BTreeSet<TransferSyntaxUid>> = BTreeMap::new();
    for item in items {
        syntaxes.entry(item.found.sop_class.clone()).or_default().insert(item.found.transfer_syntax.clone());
    }
    let mut batches: Vec<(Vec<ContextProposal>, BTreeSet<SopClassUid>)> = Vec::new();
    for (abstract_syntax, transfer_syntaxes) in syntaxes {
        let proposal =
            |transfer_syntaxes| ContextProposal { abstract_syntax: abstract_syntax.clone(), transfer_syntaxes };
        let proposals: Vec<ContextProposal> = transfer_syntaxes
            .into_iter()
            .map(|syntax| vec![syntax])
            .chain([vec![TransferSyntaxUid::explicit_le(), TransferSyntaxUid::implicit_le()]])
            .map(proposal)
            .take(MAX_CONTEXTS)
            .collect();
        match batches.last_mut() {
            Some((last, classes)) if last.len() + proposals.len() <= MAX_CONTEXTS => {
                last.extend(proposals);
                classes.insert(abstract_syntax);
            }
            _ => batches.push((proposals, BTreeSet::from([abstract_syntax]))),
        }
    }
    batches
        .into_iter()
        .map(|(proposals, classes)| {
            (proposals, items.iter().filter(|item| classes.contains(&item.found.sop_class)).cloned().collect())
        })
        .collect()
}

fn print_report(report: &Report, gathered: &Gathered<Sendable>, seconds: f64) {
    let megabytes = report.bytes / 1_000_000;
    let warnings = match report.with_warning {
        0 => String::new(),
        n => format!(", {n} of them with a warning"),
    };
    let passed_over = match gathered.passed_over {
        0 => String::new(),
        1 => ", 1 other file passed over".to_owned(),
        n => format!(", {n} other files passed over"),
    };
    say(format_args!("{} stored{warnings}, {megabytes} MB in {seconds:.1} s{passed_over}", report.stored));
    if report.refusals() > 0 {
        let mut rows = vec![vec!["count".to_owned(), "refused because".to_owned(), "first of them".to_owned()]];
        rows.extend(
            report.refused.iter().map(|(why, (count, first))| vec![count.to_string(), why.clone(), first.clone()]),
        );
        say(format_args!("{} refused\n{}", report.refusals(), aligned(&rows)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::gather::Source;
    use super::*;

    fn item(class: &str, syntax: &str) -> Item {
        Item {
            source: Source::File(PathBuf::from(syntax)),
            argument: 0,
            found: Sendable {
                sop_class: SopClassUid::parse(class).unwrap(),
                transfer_syntax: TransferSyntaxUid::parse(syntax).unwrap(),
            },
        }
    }

    #[test]
    fn a_class_in_two_syntaxes_gets_three_contexts() {
        let batches = batches(&[item("1.1", "1.2.840.10008.1.2.4.80"), item("1.1", "1.2.840.10008.1.2")]);
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].0.len(), 3);
        assert_eq!(batches[0].1.len(), 2);
    }

    #[test]
    fn more_classes_than_one_request_can_name_go_in_several_batches() {
        let items: Vec<Item> = (1..=100).map(|n| item(&format!("1.{n}"), "1.2.840.10008.1.2")).collect();
        let batches = batches(&items);
        assert_eq!(batches.len(), 2);
        assert!(batches.iter().all(|(proposals, _)| proposals.len() <= 128));
        assert_eq!(batches.iter().map(|(_, items)| items.len()).sum::<usize>(), 100);
    }
}
