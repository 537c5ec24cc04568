//! Peers of ill will ask: by identifiers that are none, without listening, and gone before the answer.

use std::time::Duration;

use overread::association::AssociationError;
use overread::association::requestor::{FindResponse, Requestor};
use overread::dicom::data_set::DataSet;
use overread::dicom::uid::SopClassUid;
use overread::dicom::{Tag, VR, tags};
use tokio::net::{TcpSocket, TcpStream};

use super::archive::{BIG_SERIES, BIG_STUDY, add_big_study};
use super::identifier;
use crate::testkit::instance::{explicit, four_gigabytes, ten_thousand_deep};
use crate::testkit::receiver::eventually;
use crate::testkit::wire::{A_ABORT, EXPLICIT_LE, LAST_COMMAND, STUDY_ROOT, element, find, p_data, uid};
use crate::testkit::{Node, NodeBuilder, Parrot};

const CONTEXT: &[(u8, &str, &[&str])] = &[(1, STUDY_ROOT, &[EXPLICIT_LE])];
const MATCHES: usize = 1000;

/// All images of the big study.
fn everything() -> DataSet {
    let keys = [
        (tags::STUDY_INSTANCE_UID, VR::UI, BIG_STUDY),
        (tags::SERIES_INSTANCE_UID, VR::UI, BIG_SERIES),
        (tags::SOP_INSTANCE_UID, VR::UI, ""),
    ];
    identifier("IMAGE", &keys)
}

/// How many images of the big study are answered to a peer of good will.
async fn answered(mut association: Requestor<TcpStream>) -> usize {
    let mut responses = association.find(&SopClassUid::study_root_find(), &everything()).await.unwrap();
    let mut matches = 0;
    while let Some(response) = responses.next().await.unwrap() {
        match response {
            FindResponse::Match(_) => matches += 1,
            FindResponse::Final(last) => assert_eq!(last.status.0, 0),
        }
    }
    association.release().await.unwrap();
    matches
}

#[tokio::test]
async fn identifiers_that_are_none_are_refused_and_the_association_goes_on() {
    let node = Node::start().await;
    let mut peer = node.parrot().await;
    peer.associate(CONTEXT).await;
    let nobody = explicit(&identifier("STUDY", &[(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3")]));
    let mut undefined = nobody.clone();
    undefined.extend([0x11, 0, 0x10, 0, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4]);
    let cases = [
        ("garbage", vec![0xAB; 500], 0xA900),
        ("empty", Vec::new(), 0xA900),
        ("ends early", nobody[..nobody.len() - 5].to_vec(), 0xA900),
        ("4 GB in 28 bytes", four_gigabytes(), 0xA900),
        ("FFFFFFFFH", undefined, 0xA900),
        ("10,000 deep", ten_thousand_deep(), 0xA900),
        ("longer than 1 MiB", vec![0; 1024 * 1024 + 2], 0xA700),
    ];
    for (what, bytes, status) in cases {
        peer.say_message(&find(7), &bytes).await;
        let refused = peer.hear_command().await;
        assert_eq!((refused.field(), refused.message_id(), refused.status()), (0x8020, 7, status), "{what}");
        let comment = refused.comment();
        assert!(!comment.is_empty() && comment.len() <= 64, "{what}: {comment}");
        peer.say_message(&find(8), &nobody).await;
        let answer = peer.hear_command().await;
        assert_eq!((answer.message_id(), answer.status()), (8, 0), "after {what}");
    }
    let without = [
        element(0x0002, &uid(STUDY_ROOT)),
        element(0x0100, &[0x20, 0]),
        element(0x0110, &[9, 0]),
        element(0x0800, &[1, 1]),
    ];
    peer.say(&p_data(&[(1, LAST_COMMAND, &without.concat())])).await;
    assert_eq!(peer.hear_command().await.status(), 0x0106);
}

#[tokio::test]
async fn peers_that_are_gone_after_the_first_answers_keep_nothing_of_the_node() {
    let node = Node::start().await;
    add_big_study(&node.store, MATCHES).await;
    // More of them than there are connections to the database.
    for round in 0..12 {
        let mut peer = node.parrot().await;
        peer.associate(CONTEXT).await;
        peer.say_message(&find(1), &explicit(&everything())).await;
        let first = peer.hear().await.expect("a response");
        assert_eq!(first[0], 0x04, "round {round}");
        if round % 2 == 0 {
            peer.try_say(&A_ABORT).await;
        }
        peer.reset();
    }
    node.must_answer_echo().await;
    assert_eq!(answered(node.associate(STUDY_ROOT, &[EXPLICIT_LE]).await.unwrap()).await, MATCHES);
}

#[tokio::test]
async fn a_peer_that_asks_for_thousands_of_answers_and_takes_none_loses_its_place() {
    let mut builder = NodeBuilder::new();
    builder.options.max_associations = 1;
    builder.options.timers.write = Duration::from_millis(300);
    // Nothing else ends it.
    builder.options.timers.idle = Duration::from_secs(3600);
    let node = builder.start().await;
    add_big_study(&node.store, MATCHES).await;

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = Parrot::over(socket.connect(node.address).await.unwrap());
    deaf.associate(CONTEXT).await;
    // Each key is repeated in every answer: more than the system keeps for a peer.
    let mut asked = everything();
    (0..1000).for_each(|number| asked.put_text(Tag(0x0011, 0x1000 + number), VR::LO, ""));
    deaf.say_message(&find(1), &explicit(&asked)).await;

    let next = eventually("the place of the peer that takes nothing is free", async || {
        match node.associate(STUDY_ROOT, &[EXPLICIT_LE]).await {
            Ok(association) => Some(association),
            Err(AssociationError::Rejected(rejection)) if rejection.transient => None,
            Err(error) => panic!("{error}"),
        }
    });
    assert_eq!(answered(next.await).await, MATCHES);
}
