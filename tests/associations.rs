//! Associations with peers of good and of ill will, by raw bytes.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use overread::association::requestor::{ContextProposal, PeerAddress, RequestError, Requestor};
use overread::association::{AssociationError, Expired, KnownPeer, Permissions, RejectionReason, Timers};
use overread::dicom::ae::AeTitle;
use overread::dicom::uid::{SopClassUid, TransferSyntaxUid};
use tokio::net::{TcpListener, TcpStream};

use crate::testkit::parrot::Parrot;
use crate::testkit::wire::{
    A_ABORT, A_RELEASE_RP, A_RELEASE_RQ, COMMAND, CT, EXPLICIT_LE, IMPLICIT_LE, LAST_COMMAND, LAST_DATA, VERIFICATION,
    associate_ac, associate_rq, echo, element, p_data, pdu, uid,
};
use crate::testkit::{Node, NodeBuilder};

const ECHO: &[(u8, &str, &[&str])] = &[(1, VERIFICATION, &[IMPLICIT_LE])];

#[tokio::test]
async fn an_echo_in_many_fragments_and_empty_ones_is_answered() {
    let node = Node::start().await;
    let mut peer = node.parrot().await;
    peer.associate(ECHO).await;
    let command = echo(77);
    let (begin, end) = command.split_at(11);
    // Two values in one PDU, an empty one, a PDU cut in two by the network.
    peer.say(&p_data(&[(1, COMMAND, begin), (1, COMMAND, b"")])).await;
    let rest = p_data(&[(1, COMMAND, end), (1, LAST_COMMAND, b"")]);
    peer.say(&rest[..9]).await;
    peer.say(&rest[9..]).await;
    let response = peer.hear_command().await;
    assert_eq!((response.context, response.field(), response.message_id(), response.status()), (1, 0x8030, 77, 0));
    // Two requests in one write are two answers.
    peer.say(&[p_data(&[(1, LAST_COMMAND, &echo(78))]), p_data(&[(1, LAST_COMMAND, &echo(79))])].concat()).await;
    assert_eq!(peer.hear_command().await.message_id(), 78);
    assert_eq!(peer.hear_command().await.message_id(), 79);
    peer.say(&A_RELEASE_RQ).await;
    assert_eq!(peer.hear().await.as_deref(), Some(A_RELEASE_RP.as_slice()));
    peer.must_be_closed().await;
}

#[tokio::test]
async fn what_is_no_dicom_is_aborted_at_once() {
    let node = Node::start().await;
    let tls: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];
    for garbage in [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(), tls, b"\0\0\0\0", b"\xFF", b"\x08\0\0\0\0\0"] {
        let mut peer = node.parrot().await;
        peer.say(garbage).await;
        peer.must_hear_abort(0, 0).await;
    }
    node.must_answer_echo().await;
}

#[tokio::test]
async fn pdu_lengths_that_cannot_be_are_aborted_before_anything_is_read() {
    let node = Node::start().await;
    for length in [0_u32, 1, u32::MAX] {
        let mut peer = node.parrot().await;
        let mut bytes = vec![1, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend(vec![0; length.min(1) as usize]);
        peer.say(&bytes).await;
        peer.must_hear_abort(0, 0).await;
    }
    for (length, reason) in [(0_u32, 6), (1, 6), (u32::MAX, 6), (16_385, 6)] {
        let mut peer = node.parrot().await;
        peer.associate(ECHO).await;
        let mut bytes = vec![4, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend(vec![0; length.min(1) as usize]);
        peer.say(&bytes).await;
        peer.must_hear_abort(2, reason).await;
    }
    node.must_answer_echo().await;
}

#[tokio::test]
async fn every_pdu_in_the_wrong_state_is_answered_as_the_table_says() {
    let node = Node::start().await;
    // Before an association: PS3.8 table 9-10, Sta2, AA-1. An A-ABORT or a close just ends it.
    for bytes in
        [p_data(&[(1, LAST_COMMAND, &echo(1))]), A_RELEASE_RQ.to_vec(), pdu(0x02, &[0; 70]), pdu(0x03, &[0; 4])]
    {
        let mut peer = node.parrot().await;
        peer.say(&bytes).await;
        peer.must_hear_abort(0, 0).await;
    }
    let mut peer = node.parrot().await;
    peer.say(&A_ABORT).await;
    peer.must_be_closed().await;
    // In one: Sta6, AA-8.
    let cases = [
        (associate_rq("PARROT", "OVERREAD", ECHO), 2),
        (pdu(0x02, &[0; 70]), 2),
        (A_RELEASE_RP.to_vec(), 2),
        (pdu(0x09, &[]), 1),
        (pdu(0x05, &[]), 6),
    ];
    for (bytes, reason) in cases {
        let mut peer = node.parrot().await;
        peer.associate(ECHO).await;
        peer.say(&bytes).await;
        peer.must_hear_abort(2, reason).await;
    }
}

#[tokio::test]
async fn context_ids_that_are_even_zero_or_repeated_are_aborted() {
    let node = Node::start().await;
    for ids in [[2, 1], [0, 1], [3, 3]] {
        let contexts: Vec<(u8, &str, &[&str])> = ids.iter().map(|id| (*id, CT, [EXPLICIT_LE].as_slice())).collect();
        let mut peer = node.parrot().await;
        peer.say(&associate_rq("PARROT", "OVERREAD", &contexts)).await;
        peer.must_hear_abort(0, 0).await;
    }
}

#[tokio::test]
async fn a_hundred_and_twenty_eight_contexts_of_twelve_syntaxes_are_answered_one_by_one() {
    let node = Node::start().await;
    let long = format!("1.2.840.113619.{}", "9".repeat(49));
    let mut syntaxes = vec![long.as_str(); 11];
    syntaxes.push(EXPLICIT_LE);
    let contexts: Vec<(u8, &str, &[&str])> = (1..=255).step_by(2).map(|id| (id, CT, syntaxes.as_slice())).collect();
    let mut peer = node.parrot().await;
    let answer = peer.associate(&contexts).await;
    let accepted = answer.windows(4 + EXPLICIT_LE.len()).filter(|w| w.ends_with(EXPLICIT_LE.as_bytes())).count();
    assert_eq!(accepted, 128);
}

#[tokio::test]
async fn callers_and_titles_that_do_not_fit_are_rejected_with_their_reason() {
    let known = |title: &str, host: &str| KnownPeer {
        ae_title: AeTitle::parse(title).unwrap(),
        host: host.to_owned(),
        may: Permissions { echo: true, store: false, find: false },
    };
    let peers = vec![known("HERE", "localhost"), known("ELSEWHERE", "192.0.2.1")];
    let node = NodeBuilder::new().with_peers(peers).start().await;
    for (calling, called, reason) in
        [("STRANGER", "OVERREAD", 3), ("ELSEWHERE", "OVERREAD", 3), ("HERE", "OTHER", 7), ("", "OVERREAD", 3)]
    {
        let mut peer = node.parrot().await;
        peer.say(&associate_rq(calling, called, ECHO)).await;
        peer.must_hear_rejection(1, 1, reason).await;
    }
    let mut peer = node.parrot().await;
    peer.say(&associate_rq("HERE", "OVERREAD", &[ECHO[0], (3, CT, &[EXPLICIT_LE])])).await;
    let answer = peer.hear().await.unwrap();
    let results: Vec<(u8, u8)> =
        answer.windows(8).filter(|w| w[..2] == [0x21, 0] && w[5] == 0).map(|w| (w[4], w[6])).collect();
    assert_eq!(results, [(1, 0), (3, 1)], "may echo, may not store");
}

#[tokio::test]
async fn more_associations_than_configured_are_rejected_for_now() {
    let mut builder = NodeBuilder::new();
    builder.options.max_associations = 2;
    let node = builder.start().await;
    let (mut one, mut two) = (node.parrot().await, node.parrot().await);
    one.associate(ECHO).await;
    two.associate(ECHO).await;
    let mut three = node.parrot().await;
    three.say(&associate_rq("PARROT", "OVERREAD", ECHO)).await;
    three.must_hear_rejection(2, 3, 2).await;
    let refused = node.associate(VERIFICATION, &[IMPLICIT_LE]).await.err();
    let Some(AssociationError::Rejected(rejection)) = refused else { panic!("{refused:?}") };
    assert_eq!((rejection.transient, rejection.reason), (true, RejectionReason::LocalLimitExceeded));
    one.say(&A_RELEASE_RQ).await;
    one.hear().await;
    one.must_be_closed().await;
    // The place is free as soon as the release is answered, whatever the other side does with its socket.
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed().as_secs() < 20, "the place is still taken");
        match node.associate(VERIFICATION, &[IMPLICIT_LE]).await {
            Ok(_) => break,
            Err(AssociationError::Rejected(rejection)) if rejection.transient => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn commands_that_cannot_be_answered_are_aborted_by_the_service_user() {
    let node = Node::start().await;
    let without_message_id =
        [element(2, &uid(VERIFICATION)), element(0x0100, &[0x30, 0]), element(0x0800, &[1, 1])].concat();
    let oversized = [echo(1), element(0x0902, &[b'x'; 20_000])].concat();
    for command in [without_message_id, oversized, vec![0; 3]] {
        let mut peer = node.parrot().await;
        peer.associate(ECHO).await;
        for piece in command.chunks(8_000) {
            peer.say(&p_data(&[(1, COMMAND, piece)])).await;
        }
        peer.try_say(&p_data(&[(1, LAST_COMMAND, b"")])).await;
        peer.must_hear_abort(0, 0).await;
    }
}

#[tokio::test]
async fn commands_that_are_wrong_but_known_are_answered_and_the_association_goes_on() {
    let node = Node::start().await;
    let mut peer = node.parrot().await;
    peer.associate(ECHO).await;
    let twice = [echo(5), element(0x0110, &[6, 0])].concat();
    let foreign = [echo(5), vec![8, 0, 0, 0, 0, 0, 0, 0]].concat();
    let no_class = [element(0x0100, &[0x30, 0]), element(0x0110, &[5, 0]), element(0x0800, &[1, 1])].concat();
    let n_create = [
        element(2, &uid(VERIFICATION)),
        element(0x0100, &[0x40, 1]),
        element(0x0110, &[5, 0]),
        element(0x0800, &[0, 0]),
    ]
    .concat();
    for (command, data, status, offending) in [
        (twice, false, 0x0106, vec![(0, 0x0110)]),
        (foreign, false, 0x0106, vec![(8, 0)]),
        (no_class, false, 0x0120, vec![(0, 0x0002)]),
        (n_create, true, 0x0211, vec![]),
    ] {
        peer.say(&p_data(&[(1, LAST_COMMAND, &command)])).await;
        if data {
            peer.say(&p_data(&[(1, LAST_DATA, b"12345678")])).await;
        }
        let response = peer.hear_command().await;
        assert_eq!((response.message_id(), response.status(), response.offending()), (5, status, offending));
    }
    peer.say(&p_data(&[(1, LAST_COMMAND, &echo(9))])).await;
    assert_eq!(peer.hear_command().await.status(), 0);
}

#[tokio::test]
async fn fragments_where_they_do_not_belong_are_aborted() {
    let node = Node::start().await;
    let cases: [(Vec<u8>, u8); 5] = [
        (p_data(&[(1, LAST_DATA, b"xx")]), 5),
        (p_data(&[(1, COMMAND, b"xx"), (1, LAST_DATA, b"xx")]), 5),
        (p_data(&[(1, COMMAND, b"xx"), (3, LAST_COMMAND, b"xx")]), 5),
        (p_data(&[(9, LAST_COMMAND, &echo(1))]), 6),
        // A value longer than its PDU.
        (pdu(4, &[0, 0, 0, 200, 1, 3, 0, 0]), 6),
    ];
    for (bytes, reason) in cases {
        let mut peer = node.parrot().await;
        peer.associate(ECHO).await;
        peer.say(&bytes).await;
        peer.must_hear_abort(2, reason).await;
    }
}

#[tokio::test]
async fn a_peer_that_stops_anywhere_is_given_up() {
    let short = Duration::from_millis(150);
    let mut builder = NodeBuilder::new();
    builder.options.timers.artim = short;
    builder.options.timers.read = short;
    builder.options.timers.idle = 2 * short;
    let node = builder.start().await;
    let request = associate_rq("PARROT", "OVERREAD", ECHO);
    for said in [&[][..], &request[..4], &request[..request.len() - 1]] {
        let mut peer = node.parrot().await;
        peer.say(said).await;
        peer.must_be_closed().await;
    }
    let message = p_data(&[(1, LAST_COMMAND, &echo(1))]);
    for said in [&[][..], &message[..3], &message[..10], &p_data(&[(1, COMMAND, &echo(1))])] {
        let mut peer = node.parrot().await;
        peer.associate(ECHO).await;
        peer.say(said).await;
        peer.must_hear_abort(0, 0).await;
    }
}

#[tokio::test]
async fn abort_and_reset_at_every_point_leave_the_node_as_it_was() {
    let node = Node::start().await;
    let request = associate_rq("PARROT", "OVERREAD", ECHO);
    let message = p_data(&[(1, LAST_COMMAND, &echo(1))]);
    let whole = [request.clone(), message, A_RELEASE_RQ.to_vec()].concat();
    for end in 0..=whole.len() {
        for with_abort in [false, true] {
            let mut peer = node.parrot().await;
            peer.try_say(&whole[..end]).await;
            if with_abort {
                peer.try_say(&A_ABORT).await;
            }
            peer.reset();
        }
    }
    node.must_answer_echo().await;
}

#[tokio::test]
async fn two_hundred_idle_associations_and_as_many_connections_do_not_keep_others_waiting() {
    let node = Node::start().await;
    let (mut idle, mut silent) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        let mut peer = node.parrot().await;
        peer.associate(ECHO).await;
        idle.push(peer);
        silent.push(node.parrot().await);
    }
    node.must_answer_echo().await;
    // It waited for none of them: they are all there still.
    for mut peer in idle {
        peer.say(&p_data(&[(1, LAST_COMMAND, &echo(3))])).await;
        assert_eq!(peer.hear_command().await.message_id(), 3);
    }
    for mut peer in silent {
        peer.associate(ECHO).await;
    }
}

#[tokio::test]
async fn a_shutdown_lets_no_one_in_and_ends_what_is_idle() {
    let node = Node::start().await;
    let mut idle = node.parrot().await;
    idle.associate(ECHO).await;
    let mut waiting = node.parrot().await;
    node.must_answer_echo().await;
    let address = node.address;
    node.shutdown.cancel();
    waiting.say(&associate_rq("PARROT", "OVERREAD", ECHO)).await;
    waiting.must_hear_rejection(2, 3, 1).await;
    drop(waiting);
    idle.must_hear_abort(0, 0).await;
    drop(idle);
    node.stop().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

/// A peer whose answers are written down beforehand.
async fn scripted_acceptor(answers: Vec<Vec<u8>>) -> overread::association::requestor::PeerAddress {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        for answer in answers {
            let mut head = [0; 6];
            stream.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes(head[2..].try_into().unwrap());
            let mut content = vec![0; length as usize];
            stream.read_exact(&mut content).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    format!("OLD@{address}").parse().unwrap()
}

/// An A-ASSOCIATE-AC: the first context refused without transfer syntax, the second accepted.
fn old_answer() -> Vec<u8> {
    let mut content = vec![0, 1, 0, 0];
    content.extend([b' '; 32]);
    content.extend([0; 32]);
    content.extend(b"\x10\0\0\x151.2.840.10008.3.1.1.1");
    content.extend([0x21, 0, 0, 4, 1, 0, 3, 0]);
    content.extend([0x21, 0, 0, 25, 3, 0, 0, 0]);
    content.extend(b"\x40\0\0\x111.2.840.10008.1.2");
    content.extend([0x50, 0, 0, 8, 0x51, 0, 0, 4, 0, 0, 0x40, 0]);
    pdu(2, &content)
}

fn proposals() -> Vec<overread::association::requestor::ContextProposal> {
    use overread::dicom::uid::{SopClassUid, TransferSyntaxUid};
    [CT, VERIFICATION]
        .map(|class| overread::association::requestor::ContextProposal {
            abstract_syntax: SopClassUid::parse(class).unwrap(),
            transfer_syntaxes: vec![TransferSyntaxUid::parse(IMPLICIT_LE).unwrap()],
        })
        .to_vec()
}

#[tokio::test]
async fn an_old_acceptor_that_leaves_out_transfer_syntaxes_is_understood() {
    use overread::association::Timers;
    use overread::association::requestor::Requestor;
    let response = [
        element(2, &uid(VERIFICATION)),
        element(0x0100, &[0x30, 0x80]),
        element(0x0120, &[1, 0]),
        element(0x0800, &[1, 1]),
        element(0x0900, &[0, 0]),
    ]
    .concat();
    // The release is asked for by both sides at once: ours is answered after theirs.
    let collision = [A_RELEASE_RQ, A_RELEASE_RP].concat();
    let answers = vec![old_answer(), p_data(&[(3, LAST_COMMAND, &response)]), collision];
    let peer = scripted_acceptor(answers).await;
    let own = AeTitle::parse("SENDER").unwrap();
    let mut association = Requestor::connect(&peer, &own, &proposals(), &Timers::default()).await.unwrap();
    assert_eq!(association.refused().len(), 1);
    assert_eq!(association.echo().await.unwrap().status.0, 0);
    association.release().await.unwrap();
}

#[tokio::test]
async fn an_answer_to_another_request_ends_the_association() {
    use overread::association::Timers;
    use overread::association::requestor::Requestor;
    let response =
        [element(0x0100, &[0x30, 0x80]), element(0x0120, &[99, 0]), element(0x0800, &[1, 1]), element(0x0900, &[0, 0])]
            .concat();
    let peer = scripted_acceptor(vec![old_answer(), p_data(&[(3, LAST_COMMAND, &response)])]).await;
    let own = AeTitle::parse("SENDER").unwrap();
    let mut association = Requestor::connect(&peer, &own, &proposals(), &Timers::default()).await.unwrap();
    let failed = association.echo().await;
    assert!(matches!(failed, Err(RequestError::Association(AssociationError::Violation(_)))), "{failed:?}");
}

#[tokio::test]
async fn a_peer_that_does_not_answer_is_given_up_by_the_requestor() {
    use overread::association::requestor::Requestor;
    use overread::association::{Expired, Timers};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = format!("MUTE@{}", listener.local_addr().unwrap()).parse().unwrap();
    let short = Duration::from_millis(100);
    let timers = Timers { response: short, artim: short, ..Timers::default() };
    let own = AeTitle::parse("SENDER").unwrap();
    let failed = Requestor::connect(&peer, &own, &proposals(), &timers).await.err();
    assert!(matches!(failed, Some(AssociationError::Expired(Expired::Response))), "{failed:?}");
    let (stream, _) = listener.accept().unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
}

/// Calls a parrot that answers with what this makes of an A-ASSOCIATE-AC.
async fn called(
    timers: &Timers,
    answer: impl Fn(Vec<u8>) -> Vec<u8>,
) -> (Parrot, Result<Requestor<TcpStream>, AssociationError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer: PeerAddress = format!("PARROT@{}", listener.local_addr().unwrap()).parse().unwrap();
    let accept = async {
        let mut parrot = Parrot::over(listener.accept().await.unwrap().0);
        let request = parrot.hear().await.unwrap();
        parrot.say(&answer(associate_ac(&request, &[(1, 0, IMPLICIT_LE.to_owned())]))).await;
        parrot
    };
    let own = AeTitle::parse("HERE").unwrap();
    let proposals = [ContextProposal {
        abstract_syntax: SopClassUid::parse(VERIFICATION).unwrap(),
        transfer_syntaxes: vec![TransferSyntaxUid::implicit_le()],
    }];
    tokio::join!(accept, Requestor::connect(&peer, &own, &proposals, timers))
}

#[tokio::test]
async fn a_called_peer_that_takes_no_fragment_is_aborted() {
    let timers = Timers { artim: Duration::from_millis(200), ..Timers::default() };
    let (mut parrot, association) = called(&timers, |mut answer| {
        let at = answer.windows(4).position(|item| item == [0x51, 0, 0, 4]).unwrap();
        answer[at + 4..at + 8].copy_from_slice(&7_u32.to_be_bytes());
        answer
    })
    .await;
    assert!(matches!(association.err(), Some(AssociationError::Violation(_))));
    parrot.must_hear_abort(0, 0).await;
}

#[tokio::test]
async fn a_peer_that_goes_on_sending_after_our_release_request_is_given_up() {
    let short = Duration::from_millis(300);
    let timers = Timers { response: short, artim: short, ..Timers::default() };
    let (mut parrot, association) = called(&timers, |answer| answer).await;
    let babble = async {
        loop {
            parrot.try_say(&p_data(&[(1, LAST_DATA, b"more")])).await;
            tokio::time::sleep(short / 10).await;
        }
    };
    let released = tokio::select! {
        released = tokio::time::timeout(short * 20, association.unwrap().release()) => released.expect("an end"),
        () = babble => unreachable!(),
    };
    assert!(matches!(released, Err(AssociationError::Expired(Expired::Response))), "{released:?}");
}
