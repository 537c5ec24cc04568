//! What hostile peers send to the program takes none of its memory.

use std::net::SocketAddr;

use overread::dicom::{VR, tags};

use crate::testkit::Parrot;
use crate::testkit::instance::{ct, explicit, four_gigabytes, ten_thousand_deep};
use crate::testkit::running_node::RunningNode;
use crate::testkit::wire::{
    CT, EXPLICIT_LE, IMPLICIT_LE, LAST_COMMAND, STUDY_ROOT, VERIFICATION, echo, find, p_data, store,
};

const STORE: &[(u8, &str, &[&str])] = &[(1, CT, &[EXPLICIT_LE])];
const FIND: &[(u8, &str, &[&str])] = &[(1, STUDY_ROOT, &[EXPLICIT_LE])];
const ECHO: &[(u8, &str, &[&str])] = &[(1, VERIFICATION, &[IMPLICIT_LE])];
/// How much more than before the node may have at any time, bytes.
const MORE: u64 = 48 << 20;

async fn associated(address: SocketAddr, contexts: &[(u8, &str, &[&str])]) -> Parrot {
    let mut peer = Parrot::connect(address).await;
    peer.associate(contexts).await;
    peer
}

/// What C-STORE and C-FIND are answered with, over an association of their own each.
async fn answers(address: SocketAddr, data_set: &[u8]) -> [u16; 2] {
    let mut sender = associated(address, STORE).await;
    sender.say_message(&store(1, "1.2.3.4.5"), data_set).await;
    let stored = sender.hear_command().await.status();
    let mut asking = associated(address, FIND).await;
    asking.say_message(&find(1), data_set).await;
    [stored, asking.hear_command().await.status()]
}

/// PDUs that declare 4 GB, before an association and in one.
async fn declare_four_gigabytes(address: SocketAddr) {
    for kind in [0x01, 0x04] {
        let mut bytes = vec![kind, 0, 0xFF, 0xFF, 0xFF, 0xFF];
        bytes.resize(100, 0);
        let mut stranger = Parrot::connect(address).await;
        stranger.try_say(&bytes).await;
        stranger.must_hear_abort(0, 0).await;
        let mut peer = associated(address, ECHO).await;
        peer.try_say(&bytes).await;
        let abort = peer.hear().await.expect("an abort");
        assert_eq!((abort[0], abort[8]), (0x07, 2));
    }
}

#[tokio::test]
async fn no_declared_length_no_depth_and_no_crowd_takes_the_nodes_memory() {
    let node = RunningNode::storing();
    let address = SocketAddr::from(([127, 0, 0, 1], node.port()));
    // What every node has after its first instance and its first query.
    assert_eq!(answers(address, &explicit(&ct("1.2.3.4.5"))).await, [0, 0xA900]);
    node.forget_peak_memory();
    let before = node.peak_memory();

    for _ in 0..20 {
        declare_four_gigabytes(address).await;
        let mut undefined = explicit(&ct("1.2.3.4.5"));
        undefined.truncate(undefined.len() - 44);
        undefined.extend([0x11, 0, 0x10, 0, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(answers(address, &undefined).await, [0xC000, 0xA900]);
        for bytes in [four_gigabytes(), ten_thousand_deep()] {
            assert_eq!(answers(address, &bytes).await, [0xC000, 0xA900]);
        }
        let mut long = ct("1.2.3.4.5");
        long.put_bytes(tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA, VR::OW, vec![0; 8 << 20]);
        // The content is another's.
        assert_eq!(answers(address, &explicit(&long)).await, [0xB000, 0xA700]);
    }
    must_have_grown_little(&node, before, "what they declare");

    node.forget_peak_memory();
    let before = node.peak_memory();
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(associated(address, ECHO).await);
        crowd.push(Parrot::connect(address).await);
    }
    let mut other = associated(address, ECHO).await;
    other.say(&p_data(&[(1, LAST_COMMAND, &echo(1))])).await;
    assert_eq!(other.hear_command().await.status(), 0);
    must_have_grown_little(&node, before, "200 idle associations and as many connections");
    drop(crowd);
    assert_eq!(node.stop(), Some(0));
}

fn must_have_grown_little(node: &RunningNode, before: u64, what: &str) {
    let more = node.peak_memory().saturating_sub(before);
    eprintln!("{what}: {} kB more than the {} MB before", more >> 10, before >> 20);
    assert!(more < MORE, "{what}: {} MB more than the {} MB before", more >> 20, before >> 20);
}
