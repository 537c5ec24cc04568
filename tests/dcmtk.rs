//! DCMTK's tools as peers. Where they are not installed, a test says so and ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bytes::Bytes;
use overread::association::Timers;
use overread::association::requestor::{ContextProposal, OutgoingInstance, Requestor};
use overread::dicom::ae::AeTitle;
use overread::dicom::data_set::Value;
use overread::dicom::encode::{Layout, encode};
use overread::dicom::part10::Part10;
use overread::dicom::{VR, tags};

use crate::testkit::instance::{ct, explicit, file};
use crate::testkit::wire::{EXPLICIT_LE, IMPLICIT_LE};
use crate::testkit::{Node, NodeBuilder};

async fn run(tool: &'static str, arguments: Vec<String>) -> Option<Output> {
    let ran = tokio::task::spawn_blocking(move || Command::new(tool).args(arguments).output()).await.unwrap();
    match ran {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("{tool} is not installed: skipped");
            None
        }
        Err(error) => panic!("{tool}: {error}"),
    }
}

fn arguments(node: &Node, more: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = ["-aec", "OVERREAD", "127.0.0.1"].map(str::to_owned).to_vec();
    all.push(node.address.port().to_string());
    all.splice(0..0, more.iter().filter(|a| a.starts_with('-')).map(|a| (*a).to_owned()));
    all.extend(more.iter().filter(|a| !a.starts_with('-')).map(|a| (*a).to_owned()));
    all
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn echoscu_is_answered_and_aborts_do_no_harm() {
    let node = Node::start().await;
    for more in [&[][..], &["--abort"]] {
        let Some(output) = run("echoscu", arguments(&node, more)).await else { return };
        assert!(output.status.success(), "{}", said(&output));
    }
    node.must_answer_echo().await;
}

/// A large explicit, a small implicit and a JPEG-LS file: UID, file, and how storescu is told to propose its syntax.
fn files(folder: &Path) -> Vec<(&'static str, PathBuf, &'static str)> {
    let mut large = ct("1.2.3.4.1");
    large.put_bytes(tags::PIXEL_DATA, VR::OW, vec![5; 700_000]);
    let mut compressed = ct("1.2.3.4.3");
    let fragments = vec![Bytes::new(), Bytes::from_static(b"\xFF\xD8\xFF\xD9")];
    compressed.put(tags::PIXEL_DATA, VR::OB, Value::Fragments(fragments));
    let files = [
        ("1.2.3.4.1", file(&explicit(&large), "1.2.3.4.1", EXPLICIT_LE), "-xe"),
        ("1.2.3.4.2", file(&encode(&ct("1.2.3.4.2"), Layout::ImplicitLe), "1.2.3.4.2", IMPLICIT_LE), "-xi"),
        ("1.2.3.4.3", file(&explicit(&compressed), "1.2.3.4.3", "1.2.840.10008.1.2.4.80"), "-xt"),
    ];
    let written = files.map(|(uid, content, option)| {
        let path = folder.join(format!("{uid}.dcm"));
        std::fs::write(&path, content).unwrap();
        (uid, path, option)
    });
    written.to_vec()
}

/// A process that ends with its test.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storescu_stores_what_it_has() {
    let node = Node::start().await;
    let folder = tempfile::tempdir().unwrap();
    for (uid, path, option) in files(folder.path()) {
        let Some(output) = run("storescu", arguments(&node, &[option, &path.display().to_string()])).await else {
            return;
        };
        assert!(output.status.success(), "{uid}: {}", said(&output));
        let stored = node.instance(uid).await.expect(uid);
        let offset = usize::try_from(stored.data_set_offset()).unwrap();
        let sent = Part10::split(&std::fs::read(&path).unwrap().into()).unwrap();
        assert_eq!(stored.transfer_syntax_uid(), &sent.transfer_syntax);
        // DCMTK parses and writes what it sends; what is small it writes as it was.
        assert_eq!(std::fs::read(stored.path()).unwrap()[offset..], sent.data_set, "{uid}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storescp_takes_what_our_requestor_sends() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _storescp = match Command::new("storescp")
        .args(["-od", &folder.path().display().to_string(), "+xa", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    {
        Ok(child) => Child(child),
        Err(_) => return eprintln!("storescp is not installed: skipped"),
    };
    let source = tempfile::tempdir().unwrap();
    let instances: Vec<OutgoingInstance> = files(source.path())
        .iter()
        .map(|(_, path, _)| OutgoingInstance::from_file(&Bytes::from(std::fs::read(path).unwrap())).unwrap())
        .collect();
    let proposals: Vec<ContextProposal> = instances
        .iter()
        .map(|instance| ContextProposal {
            abstract_syntax: instance.sop_class().clone(),
            transfer_syntaxes: vec![instance.transfer_syntax().clone()],
        })
        .collect();
    let peer = format!("ANY-SCP@127.0.0.1:{port}").parse().unwrap();
    let own = AeTitle::parse("SENDER").unwrap();
    let mut association = loop {
        match Requestor::connect(&peer, &own, &proposals, &Timers::default()).await {
            Ok(association) => break association,
            Err(overread::association::AssociationError::Io(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    for instance in &instances {
        assert_eq!(association.store(instance).await.unwrap().status.0, 0);
    }
    association.release().await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), instances.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn storescu_is_refused_as_an_unknown_caller() {
    let node = NodeBuilder::new().with_peers(Vec::new()).start().await;
    let Some(output) = run("echoscu", arguments(&node, &[])).await else { return };
    assert!(!output.status.success());
    assert!(said(&output).contains("Calling AE Title Not Recognized"), "{}", said(&output));
}
