//! Peers that leave, or cancel, while the index has not answered yet.

use std::net::SocketAddr;
use std::time::Duration;

use dicom_core::VR;
use dicom_dictionary_std::tags;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{Listener, ScpOptions};
use crate::association::requestor::{ContextProposal, FindResponse, Requestor};
use crate::association::{AcceptorPolicy, AssociationError, Timers};
use crate::clock::Clock;
use crate::dicom::ae::AeTitle;
use crate::dicom::data_set::DataSet;
use crate::dicom::status::Status;
use crate::dicom::uid::SopClassUid;
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
        let proposal = ContextProposal::study_root_find();
        let peer = format!("OVERREAD@{}", self.address).parse().unwrap();
        Requestor::connect(&peer, &AeTitle::parse("PEER").unwrap(), &[proposal], &Timers::default()).await
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
