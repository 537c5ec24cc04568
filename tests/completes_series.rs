//! A series is complete by what happened, not only by a timer: release, an announced number, a number that a peer knows.

use std::time::Duration;

use overread::association::requestor::OutgoingInstance;
use overread::clock::Clock;
use overread::config::NodeConfig;
use overread::dicom::data_set::DataSet;
use overread::dicom::{VR, tags};
use overread::node::Node as WholeNode;
use overread::store::{SeriesState, SeriesStory, Store};

use super::testkit::wire::{CT, EXPLICIT_LE};
use super::testkit::{Node, instance};

const SERIES: &str = "1.2.3.4";

/// A node without models and routes, with this `[completeness]` and these peers.
async fn node(folder: &std::path::Path, completeness: &str, peers: &str) -> WholeNode {
    std::fs::create_dir_all(folder.join("models")).unwrap();
    let text = format!(
        "[node]\nlisten = [\"127.0.0.1:0\"]\ndevice = \"cpu\"\nany_peer = true\nreserve_mb = 0\n\
         [completeness]\n{completeness}\n{peers}"
    );
    let config = NodeConfig::from_text(&folder.join("overread.toml"), &text, std::iter::empty()).unwrap();
    WholeNode::start(&config, Clock::System).await.unwrap()
}

fn slice(number: u32) -> DataSet {
    instance::ct(&format!("1.2.3.4.{number}"))
}

/// Sends slices over one association and releases it.
async fn send(to: &Node, slices: impl IntoIterator<Item = DataSet>) {
    let mut association = to.associate(CT, &[EXPLICIT_LE]).await.unwrap();
    for slice in slices {
        let uid = slice.text(tags::SOP_INSTANCE_UID).unwrap();
        let file = instance::file(&instance::explicit(&slice), &uid, EXPLICIT_LE);
        let response = association.store(&OutgoingInstance::from_file(&file).unwrap()).await.unwrap();
        assert_eq!(response.status.0, 0);
    }
    association.release().await.unwrap();
}

/// The test kit's way to talk to a whole node.
fn as_target(node: &WholeNode) -> Node {
    Node::elsewhere(node.addresses()[0], node.store().clone())
}

async fn series(store: &Store) -> Option<SeriesStory> {
    let study = store.why(SERIES).await.unwrap().into_iter().next()?;
    study.series.into_iter().next()
}

async fn completed(store: &Store) -> SeriesStory {
    let wait = async {
        loop {
            match series(store).await {
                Some(found) if found.state != SeriesState::Receiving => return found,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the series is complete in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_completes_at_once_where_the_configuration_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path(), "quiet_seconds = 86400\non_release = true", "").await;
    send(&as_target(&node), (1..=3).map(slice)).await;
    let series = completed(node.store()).await;
    assert_eq!((series.signal.as_str(), series.revision), ("association released", 3));
    node.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_announced_number_completes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path(), "quiet_seconds = 86400", "").await;
    let announced = |number| {
        let mut slice = slice(number);
        slice.put_text(tags::NUMBER_OF_SERIES_RELATED_INSTANCES, VR::IS, "3");
        slice
    };
    send(&as_target(&node), (1..=2).map(announced)).await;
    assert_eq!(series(node.store()).await.unwrap().state, SeriesState::Receiving);
    send(&as_target(&node), [announced(3)]).await;
    assert_eq!(completed(node.store()).await.signal, "3 instances, as announced in (0020,1209)");
    node.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counting_peer_bridges_a_hole_that_is_longer_than_the_quiet_time() {
    let pacs = Node::start().await;
    send(&pacs, (1..=5).map(slice)).await;
    let folder = tempfile::tempdir().unwrap();
    let peers = format!(
        "[[peer]]\nae_title = \"OVERREAD\"\nhost = \"127.0.0.1\"\nport = {}\n[[peer]]\nae_title = \"SENDER\"\n\
         host = \"127.0.0.1\"\nport = 9\n",
        pacs.address.port()
    );
    let rule = "quiet_seconds = 1\nask_count = \"OVERREAD\"\ncount_patience_seconds = 86400";
    let node = node(folder.path(), rule, &peers).await;
    let target = as_target(&node);
    send(&target, (1..=3).map(slice)).await;
    // Two quiet times pass on the clock that counts: the database's own record of the last instance.
    let begun = series(node.store()).await.unwrap().last_received_at;
    let hole = async {
        while Clock::System.now().since(begun) < 2_500 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    hole.await;
    assert_eq!(series(node.store()).await.unwrap().state, SeriesState::Receiving);
    send(&target, (4..=5).map(slice)).await;
    let series = completed(node.store()).await;
    assert_eq!((series.signal.as_str(), series.revision), ("5 instances, as the peer counts", 5));
    node.drain().await.unwrap();
    pacs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_say_the_number_holds_up_neither_other_series_nor_the_end_of_the_node() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = silent.local_addr().unwrap().port();
    let peers = format!("[[peer]]\nae_title = \"SILENT\"\nhost = \"127.0.0.1\"\nport = {port}\n");
    let rule = "quiet_seconds = 86400\nask_count = \"SILENT\"";
    let node = node(folder.path(), rule, &peers).await;
    let target = as_target(&node);
    send(&target, [slice(1)]).await;
    let asked = tokio::task::spawn_blocking(move || silent.accept().unwrap());
    let _held_open = asked.await.unwrap();
    let mut other = slice(2);
    other.put_uid(tags::SERIES_INSTANCE_UID, "1.2.3.5");
    other.put_text(tags::NUMBER_OF_SERIES_RELATED_INSTANCES, VR::IS, "1");
    send(&target, [other]).await;
    let complete = async {
        loop {
            let study = node.store().why(SERIES).await.unwrap().remove(0);
            match study.series.iter().find(|series| series.series_instance_uid == "1.2.3.5") {
                Some(found) if found.state != SeriesState::Receiving => return,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), complete).await.expect("the other series is complete in time");
    tokio::time::timeout(Duration::from_secs(60), node.drain()).await.expect("the node ends in time").unwrap();
}
