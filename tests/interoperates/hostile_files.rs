//! Every malformed and odd file of the shared collection, through the whole node. The collection is no part of the project:
//! where it does not lie beside the checkout, there is nothing to send.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use overread::association::Timers;
use overread::association::requestor::{ContextProposal, OutgoingInstance, RequestError, Requestor};
use overread::dicom::ae::AeTitle;
use overread::dicom::encode::part10_header;
use overread::dicom::inflate::inflate;
use overread::dicom::parse::parse;
use overread::dicom::part10::Part10;
use overread::dicom::tags;
use overread::dicom::transfer_syntax::Encoding;
use overread::dicom::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid};

use crate::testkit::peers::{Server, free_port, wait_until};
use crate::testkit::running_node::{RunningNode, files_below};
use crate::testkit::shared_data::shared_data;
use crate::testkit::wire::{CT, VERIFICATION};

const FOLDERS: [&str; 7] = ["nasty", "fuzz", "pydicom-test-files", "codec", "charset", "seg-sr-reference", "ct-other"];
/// What the node may take beyond what it has when it is ready: the largest file decodes to 50 MB.
const MEMORY: u64 = 400 << 20;
const PLAIN: [&str; 3] = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"];
const INFLATED: usize = 64 << 20;

/// A file as it is sent.
struct Sample {
    path: PathBuf,
    file: Bytes,
    instance: OutgoingInstance,
}

impl Sample {
    /// The data set as it lies in the file, under the UIDs that it names itself where it can be read.
    fn read(path: PathBuf) -> Self {
        let content = Bytes::from(std::fs::read(&path).unwrap());
        let meta = Part10::split(&content).ok();
        let (syntax, data_set) = match meta.as_ref().map(|part10| (part10.transfer_syntax(), &part10.data_set)) {
            Some((Ok(syntax), data_set)) => (syntax, data_set.clone()),
            _ => without_meta(&content),
        };
        let encoding = Encoding::of(&syntax);
        let plain = match encoding {
            Encoding::DeflatedExplicitLe => inflate(&data_set, INFLATED).unwrap_or_default(),
            _ => data_set.clone(),
        };
        let read = parse(&plain, encoding).ok();
        let read = read.as_ref();
        let class = read.and_then(|ds| ds.uid(tags::SOP_CLASS_UID, SopClassUid::parse).ok());
        let class = class.or_else(|| meta.as_ref()?.sop_class().ok());
        let instance = read.and_then(|ds| ds.uid(tags::SOP_INSTANCE_UID, SopInstanceUid::parse).ok());
        let instance = instance.or_else(|| meta.as_ref()?.sop_instance().ok());
        let class = class.unwrap_or_else(|| SopClassUid::parse(CT).unwrap());
        let instance = instance.unwrap_or_else(|| SopInstanceUid::parse("1.2.3.4").unwrap());
        let mut file = part10_header(&class, &instance, &syntax, None);
        file.extend_from_slice(&data_set);
        let file = Bytes::from(file);
        Self { path, instance: OutgoingInstance::from_file(&file).unwrap(), file }
    }

    fn data_set(&self) -> Bytes {
        Part10::split(&self.file).unwrap().data_set
    }

    /// Over an association of its own; the status, or none where its class or syntax is not taken.
    async fn send(&self, to: &str) -> Option<u16> {
        let proposal = ContextProposal {
            abstract_syntax: self.instance.sop_class().clone(),
            transfer_syntaxes: vec![self.instance.transfer_syntax().clone()],
        };
        let own = AeTitle::parse("SENDER").unwrap();
        let peer = to.parse().unwrap();
        let mut association = Requestor::connect(&peer, &own, &[proposal], &Timers::default()).await.unwrap();
        let status = match association.store(&self.instance).await {
            Ok(response) => Some(response.status.0),
            Err(RequestError::NoContext { .. }) => None,
            Err(error) => panic!("{}: {error}", self.path.display()),
        };
        association.release().await.unwrap();
        status
    }
}

/// Where the file meta information cannot be read, or is not there: from the SOP Class UID on if that is found.
fn without_meta(content: &Bytes) -> (TransferSyntaxUid, Bytes) {
    let explicit = b"\x08\x00\x16\x00UI";
    match content.windows(explicit.len()).position(|window| window == explicit) {
        Some(at) => (TransferSyntaxUid::explicit_le(), content.slice(at..)),
        None => (TransferSyntaxUid::implicit_le(), content.clone()),
    }
}

/// Ends what waits for it, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn samples(shared: &Path) -> Vec<Sample> {
    let paths = FOLDERS.iter().flat_map(|folder| files_below(&shared.join(folder)));
    paths.map(Sample::read).collect()
}

/// Asks for a sign of life, over an association of its own each time, until told to stop; gives the longest that it took.
fn echo_until(stop: &AtomicBool, echoes: &AtomicUsize, to: &str) -> Duration {
    let verification = ContextProposal {
        abstract_syntax: SopClassUid::parse(VERIFICATION).unwrap(),
        transfer_syntaxes: vec![TransferSyntaxUid::implicit_le()],
    };
    let (peer, own) = (to.parse().unwrap(), AeTitle::parse("MONITOR").unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let echo = || async {
        let proposals = std::slice::from_ref(&verification);
        let mut association = Requestor::connect(&peer, &own, proposals, &Timers::default()).await.unwrap();
        assert_eq!(association.echo().await.unwrap().status.0, 0);
        association.release().await.unwrap();
    };
    let mut longest = Duration::ZERO;
    runtime.block_on(async {
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            echo().await;
            longest = longest.max(begun.elapsed());
            echoes.fetch_add(1, Ordering::Relaxed);
        }
    });
    longest
}

#[test]
fn hostile_files_go_through_storage_volume_and_worker() {
    let Some(shared) = shared_data("") else { return };
    let samples = samples(&shared);
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = Command::new("storescp");
    command.args(["+xa", "-uf", "--ignore", "-od"]).arg(folder.path()).arg(port.to_string());
    let _receiver = Server::start(&mut command, &folder.path().join("log"));
    let node = RunningNode::reading(&format!(
        "[completeness]\nquiet_seconds = 1\n[[peer]]\nae_title = \"RECEIVER\"\nhost = \"127.0.0.1\"\nport = {port}\n\
         [[route]]\nmodel = \"lung-densitometry\"\nsend_to = [\"RECEIVER\"]\n"
    ));
    node.forget_peak_memory();
    let before = node.peak_memory();
    let (stop, echoes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (statuses, longest) = std::thread::scope(|scope| {
        let echo = scope.spawn(|| echo_until(&stop, &echoes, &node.address()));
        let stopping = Stop(&stop);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let statuses: Vec<Option<u16>> =
            samples.iter().map(|sample| runtime.block_on(sample.send(&node.address()))).collect();
        wait_until("every series is read", || all_is_done(&node));
        drop(stopping);
        (statuses, echo.join().unwrap())
    });

    let mut by_status: BTreeMap<String, usize> = BTreeMap::new();
    for status in &statuses {
        let word = status.map_or_else(|| "not negotiated".to_owned(), |status| format!("{status:04X}H"));
        *by_status.entry(word).or_default() += 1;
    }
    let grown = node.peak_memory().saturating_sub(before);
    let ends: Vec<_> = node.logged("job done").iter().map(|line| line["outcome"].to_string()).collect();
    eprintln!(
        "{} files: {by_status:?}; {} jobs done; {} echoes answered meanwhile, the slowest in {longest:?}; {} MB more memory",
        samples.len(),
        ends.len(),
        echoes.load(Ordering::Relaxed),
        grown >> 20
    );
    assert!(longest < Duration::from_secs(10), "C-ECHO took {longest:?}");
    assert!(grown < MEMORY, "{} MB more than the {} MB at the start", grown >> 20, before >> 20);
    what_was_acknowledged_is_there(&node, &samples, &statuses);
    let panics: Vec<_> = node.log().into_iter().filter(|line| line.to_string().contains("panicked")).collect();
    assert!(panics.is_empty(), "{panics:#?}");
    assert_eq!(node.stop(), Some(0));
}

/// Every series that has files is complete, every job has ended, and every result is delivered.
fn all_is_done(node: &RunningNode) -> bool {
    // One Series Instance UID stands in two studies.
    let series = node.files("instances").into_iter().filter_map(|path| Some(path.parent()?.to_owned()));
    let series: BTreeSet<PathBuf> = series.collect();
    let complete = node.logged("series complete");
    let completed: BTreeSet<(&str, &str)> =
        complete.iter().filter_map(|line| Some((line["study.uid"].as_str()?, line["series.uid"].as_str()?))).collect();
    let jobs: u64 = complete.iter().filter_map(|line| line["jobs"].as_u64()).sum();
    let ended = node.logged("job done").len() + node.logged("job failed").len();
    completed.len() == series.len()
        && ended as u64 == jobs
        && node.logged("delivered").len() == node.files("results").len()
}

fn what_was_acknowledged_is_there(node: &RunningNode, samples: &[Sample], statuses: &[Option<u16>]) {
    let content = |path: &PathBuf| Part10::split(&Bytes::from(std::fs::read(path).unwrap())).unwrap().data_set;
    let aside: Vec<Bytes> = node.files("aside").iter().map(content).collect();
    for (sample, status) in samples.iter().zip(statuses) {
        match status {
            Some(0x0000) => {
                let stored = node.stored(sample.instance.sop_instance().as_str());
                let stored = stored.unwrap_or_else(|| panic!("{}: not there", sample.path.display()));
                // A success without a file of its own: the instance was there already, written in another plain syntax.
                let is_repeat = samples.iter().zip(statuses).any(|(earlier, status)| {
                    *status == Some(0)
                        && earlier.instance.sop_instance() == sample.instance.sop_instance()
                        && earlier.instance.transfer_syntax() != sample.instance.transfer_syntax()
                        && [earlier, sample].iter().all(|s| PLAIN.contains(&s.instance.transfer_syntax().as_str()))
                        && earlier.data_set() == content(&stored)
                });
                let is_it = content(&stored) == sample.data_set();
                assert!(is_it || is_repeat, "{}: other bytes", sample.path.display());
            }
            Some(0xB000) => assert!(aside.contains(&sample.data_set()), "{}: not kept aside", sample.path.display()),
            Some(status) => assert!(
                matches!(status, 0xA900 | 0xC000),
                "{}: refused with {status:04X}H, which says nothing about the data set",
                sample.path.display()
            ),
            None => {}
        }
    }
}
