//! Peers that leave, or cancel, while the index has not answered yet.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dicom_core::VR;
use dicom_dictionary_std::tags;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{Listener, ScpOptions};
use crate::association::requestor::{ContextProposal, FindResponse, RequestError, Requestor};
use crate::association::{Abort, AcceptorPolicy, AssociationError, Timers};
use crate::clock::Clock;
use crate::dicom::ae::AeTitle;
use crate::dicom::data_set::DataSet;
use crate::dicom::status::Status;
use crate::dicom::uid::{SopClassUid, TransferSyntaxUid};
use crate::store::{Store, StoreOptions};

/// A node that takes one association at a time.
struct Node {
    _folder: TempDir,
    store: Store,
    address: SocketAddr,
}

impl Node {
    async fn start(idle: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions { reserve_bytes: 0, finders: 1, ..StoreOptions::default() };
        let store = Store::open(folder.path(), options, Clock::System).await.unwrap();
        let listener = Listener::bind(&["127.0.0.1:0".to_owned()]).await.unwrap();
        let address = listener.local_addresses()[0];
        let ae_title = AeTitle::parse("OVERREAD").unwrap();
        let options = ScpOptions {
            policy: AcceptorPolicy { ae_title, peers: Vec::new(), any_peer: true, max_pdu: 16_384 },
            timers: Timers { idle, ..Timers::default() },
            max_associations: 1,
            max_instance_bytes: 1 << 20,
            drain: Duration::from_secs(1),
        };
        tokio::spawn(listener.serve(store.clone(), Clock::System, options, CancellationToken::new()));
        Self { _folder: folder, store, address }
    }

    async fn associate(&self) -> Result<Requestor<TcpStream>, AssociationError> {
        let proposals = [
            ContextProposal::study_root_find(),
            ContextProposal {
                abstract_syntax: SopClassUid::verification(),
                transfer_syntaxes: vec![TransferSyntaxUid::implicit_le()],
            },
        ];
        let peer = format!("OVERREAD@{}", self.address).parse().unwrap();
        Requestor::connect(&peer, &AeTitle::parse("PEER").unwrap(), &proposals, &Timers::default()).await
    }
}

fn all_studies() -> DataSet {
    let mut identifier = DataSet::new();
    identifier.put_text(tags::QUERY_RETRIEVE_LEVEL, VR::CS, "STUDY");
    identifier.put_uid(tags::STUDY_INSTANCE_UID, "");
    identifier
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it ends soon")
}

#[tokio::test]
async fn a_peer_that_leaves_before_its_answer_frees_its_place() {
    let node = Node::start(Duration::from_secs(300)).await;
    let _held = node.store.occupy_finders().await;
    let mut association = node.associate().await.unwrap();
    association.find(&SopClassUid::study_root_find(), &all_studies()).await.unwrap();
    assert!(node.associate().await.is_err(), "one at a time");
    drop(association);
    soon(async {
        while node.associate().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_query_is_cancelled_before_the_index_has_answered_and_the_association_goes_on() {
    let node = Node::start(Duration::from_secs(300)).await;
    let held = node.store.occupy_finders().await;
    let mut association = node.associate().await.unwrap();
    let identifier = all_studies();
    let mut responses = association.find(&SopClassUid::study_root_find(), &identifier).await.unwrap();
    responses.cancel().await.unwrap();
    let last = soon(responses.next()).await.unwrap().unwrap();
    assert!(matches!(last, FindResponse::Final(ref response) if response.status == Status::CANCEL), "{last:?}");
    drop(held);
    let mut responses = association.find(&SopClassUid::study_root_find(), &identifier).await.unwrap();
    let last = soon(responses.next()).await.unwrap().unwrap();
    assert!(matches!(last, FindResponse::Final(ref response) if response.status == Status::SUCCESS), "{last:?}");
    association.release().await.unwrap();
}

#[tokio::test]
async fn a_peer_that_waits_for_its_answer_is_not_idle() {
    let node = Node::start(Duration::from_millis(100)).await;
    let held = node.store.occupy_finders().await;
    let mut association = node.associate().await.unwrap();
    let identifier = all_studies();
    let mut responses = association.find(&SopClassUid::study_root_find(), &identifier).await.unwrap();
    let mut next = Box::pin(responses.next());
    assert!(tokio::time::timeout(Duration::from_millis(400), &mut next).await.is_err());
    drop(held);
    let last = soon(next).await.unwrap().unwrap();
    assert!(matches!(last, FindResponse::Final(ref response) if response.status == Status::SUCCESS), "{last:?}");
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// As long as the guard lives.
    fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let logging = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(logging))
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the log says of how an association ended.
async fn ending(log: &Log) -> String {
    soon(async {
        loop {
            let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
            match text.lines().find_map(|line| line.split_once(" ended=")) {
                Some((_, ended)) => return ended.to_owned(),
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

/// PS3.7 section D.3.3.3: without asynchronous operations negotiated, one operation at a time.
#[tokio::test]
async fn a_request_before_the_answer_to_a_query_ends_the_association_and_the_log_says_why() {
    let (log, _logging) = Log::begin();
    let node = Node::start(Duration::from_secs(300)).await;
    let _held = node.store.occupy_finders().await;
    let mut association = node.associate().await.unwrap();
    association.find(&SopClassUid::study_root_find(), &all_studies()).await.unwrap();
    let refused = soon(association.echo()).await;
    let Err(RequestError::Association(AssociationError::Aborted(abort))) = refused else { panic!("{refused:?}") };
    assert_eq!(abort, Abort::SERVICE_USER);
    let ended = ending(&log).await;
    assert!(
        ended.contains("while a C-FIND was being answered") && ended.contains("asynchronous operations"),
        "{ended}"
    );
}

#[tokio::test]
async fn a_release_before_the_answer_to_a_query_ends_the_association_and_the_log_says_why() {
    let (log, _logging) = Log::begin();
    let node = Node::start(Duration::from_secs(300)).await;
    let _held = node.store.occupy_finders().await;
    let mut association = node.associate().await.unwrap();
    association.find(&SopClassUid::study_root_find(), &all_studies()).await.unwrap();
    let refused = soon(association.release()).await;
    assert!(matches!(refused, Err(AssociationError::Aborted(Abort::SERVICE_USER))), "{refused:?}");
    let ended = ending(&log).await;
    assert!(ended.contains("asked for a release while an answer was due"), "{ended}");
}
