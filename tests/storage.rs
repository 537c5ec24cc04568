//! C-STORE: what is stored, what is refused, and what is left behind.

use std::collections::BTreeSet;

use bytes::Bytes;
use dicom_dictionary_std::uids;
use overread::association::requestor::{ContextProposal, Converted, OutgoingInstance, Requestor};
use overread::association::{KnownPeer, Permissions, Timers};
use overread::dicom::ae::AeTitle;
use overread::dicom::data_set::{DataSet, Value};
use overread::dicom::encode::{Layout, encode};
use overread::dicom::sop_class::Service;
use overread::dicom::uid::{SopClassUid, TransferSyntaxUid};
use overread::dicom::{VR, tags};
use overread::store::StoreOptions;

use crate::testkit::instance::{ct, explicit, file, four_gigabytes, ten_thousand_deep};
use crate::testkit::peers::python;
use crate::testkit::wire::{
    A_ABORT, A_RELEASE_RP, A_RELEASE_RQ, CT, DATA, EXPLICIT_LE, IMPLICIT_LE, LAST_COMMAND, LAST_DATA, VERIFICATION,
    associate_rq, echo, p_data, store,
};
use crate::testkit::{Node, NodeBuilder, Parrot};

const CONTEXT: &[(u8, &str, &[&str])] = &[(1, CT, &[EXPLICIT_LE])];

async fn say_store(peer: &mut Parrot, message_id: u16, instance: &str, data_set: &[u8]) {
    peer.say_message(&store(message_id, instance), data_set).await;
}

#[tokio::test]
async fn an_instance_is_stored_byte_for_byte_and_only_once() {
    let node = Node::start().await;
    let data_set = explicit(&ct("1.2.3.4.5"));
    let mut peer = node.parrot().await;
    peer.associate(CONTEXT).await;
    for message_id in [1, 2] {
        say_store(&mut peer, message_id, "1.2.3.4.5", &data_set).await;
        let response = peer.hear_command().await;
        assert_eq!((response.field(), response.message_id(), response.status()), (0x8001, message_id, 0));
    }
    let files = node.files();
    assert_eq!(files.len(), 1);
    let stored = node.instance("1.2.3.4.5").await.unwrap();
    assert_eq!(stored.path(), files[0]);
    let content = std::fs::read(&files[0]).unwrap();
    assert_eq!(&content[usize::try_from(stored.data_set_offset()).unwrap()..], data_set);
}

/// The P-DATA-TF of a data set: PDUs of these lengths in turn, each holding one value, or many short and empty ones.
fn cut(data_set: &[u8], lengths: &[usize], short_values: bool) -> Vec<u8> {
    let mut pdus = Vec::new();
    let mut rest = data_set;
    for length in lengths.iter().cycle() {
        let (piece, after) = rest.split_at(rest.len().min(*length));
        if short_values {
            let values: Vec<_> = piece.chunks(997).flat_map(|value| [(1, DATA, value), (1, DATA, &[][..])]).collect();
            pdus.extend(p_data(&values));
        } else {
            pdus.extend(p_data(&[(1, DATA, piece)]));
        }
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    pdus.extend(p_data(&[(1, LAST_DATA, b"")]));
    pdus
}

#[tokio::test]
async fn however_an_instance_is_cut_into_pdus_and_packets_it_is_stored_byte_for_byte() {
    const LONGEST: usize = 131_066;
    let mut builder = NodeBuilder::new();
    builder.options.policy.max_pdu = 131_072;
    let node = builder.start().await;
    let mut peer = node.parrot().await;
    peer.associate(CONTEXT).await;
    let lengths: [&[usize]; 6] =
        [&[LONGEST], &[16_378], &[LONGEST, 10, 70_000, 2], &[65_530], &[65_536, 32_768, 4084], &[120_000]];
    let mut number = 0;
    for (lengths, short_values) in lengths.iter().flat_map(|lengths| [(lengths, false), (lengths, true)]) {
        for packet in [usize::MAX, 100_003, 7919] {
            number += 1;
            let uid = format!("1.2.3.4.5.{number}");
            let mut instance = ct(&uid);
            instance.put_bytes(
                tags::PIXEL_DATA,
                VR::OW,
                (0..700_002_u32).map(|i| (i * 31 % 251) as u8).collect::<Vec<u8>>(),
            );
            let data_set = explicit(&instance);
            // Values of a PDU have heads of six bytes.
            let shorter: Vec<_> =
                lengths.iter().map(|length| if short_values { length * 9 / 10 } else { *length }).collect();
            peer.say(&p_data(&[(1, LAST_COMMAND, &store(1, &uid))])).await;
            for packet in cut(&data_set, &shorter, short_values).chunks(packet) {
                peer.say(packet).await;
            }
            assert_eq!(peer.hear_command().await.status(), 0, "{shorter:?}, packets of {packet}");
            let stored = node.instance(&uid).await.unwrap();
            let content = std::fs::read(stored.path()).unwrap();
            assert!(
                content[usize::try_from(stored.data_set_offset()).unwrap()..] == data_set,
                "{shorter:?}, packets of {packet}"
            );
        }
    }
}

#[tokio::test]
async fn other_content_under_the_same_uid_is_a_warning() {
    let node = Node::start().await;
    let mut peer = node.parrot().await;
    peer.associate(CONTEXT).await;
    say_store(&mut peer, 1, "1.2.3.4.5", &explicit(&ct("1.2.3.4.5"))).await;
    assert_eq!(peer.hear_command().await.status(), 0);
    let mut other = ct("1.2.3.4.5");
    other.put_bytes(tags::PIXEL_DATA, VR::OW, vec![8; 32]);
    say_store(&mut peer, 2, "1.2.3.4.5", &explicit(&other)).await;
    assert_eq!(peer.hear_command().await.status(), 0xB000);
    assert_eq!(node.files().len(), 1);
}

#[tokio::test]
async fn data_sets_that_cannot_be_stored_are_refused_by_their_status_and_leave_nothing() {
    let node = Node::start().await;
    let whole = explicit(&ct("1.2.3.4.5"));
    let with = |change: &dyn Fn(&mut DataSet)| {
        let mut ds = ct("1.2.3.4.5");
        change(&mut ds);
        explicit(&ds)
    };
    let study = (0x0020, 0x000D);
    let series = (0x0020, 0x000E);
    /// What it is, its bytes, the status that is due, the offending element.
    type Case = (&'static str, Vec<u8>, u16, Option<(u16, u16)>);
    let cases: Vec<Case> = vec![
        ("ends early", whole[..whole.len() - 5].to_vec(), 0xC000, Some((0x7FE0, 0x0010))),
        ("empty", Vec::new(), 0xC000, Some(study)),
        ("4 GB in 28 bytes", four_gigabytes(), 0xC000, Some((0x7FE0, 0x0010))),
        ("10,000 deep", ten_thousand_deep(), 0xC000, None),
        ("no data set at all", vec![0xAB; 500], 0xC000, None),
        ("other instance", explicit(&ct("1.2.3.4.6")), 0xA900, Some((0x0008, 0x0018))),
        ("other class", with(&|ds| ds.put_uid(tags::SOP_CLASS_UID, "1.2.3")), 0xA900, Some((0x0008, 0x0016))),
        ("no study", with(&|ds| drop(ds.remove(tags::STUDY_INSTANCE_UID))), 0xC000, Some(study)),
        ("study ..", with(&|ds| ds.put_uid(tags::STUDY_INSTANCE_UID, "../../x")), 0xC000, Some(study)),
        ("series /", with(&|ds| ds.put_uid(tags::SERIES_INSTANCE_UID, "1/2")), 0xC000, Some(series)),
        ("series spaces", with(&|ds| ds.put_uid(tags::SERIES_INSTANCE_UID, "1. 2")), 0xC000, Some(series)),
        ("series 65", with(&|ds| ds.put_uid(tags::SERIES_INSTANCE_UID, &"1".repeat(65))), 0xC000, Some(series)),
    ];
    let mut peer = node.parrot().await;
    peer.associate(CONTEXT).await;
    for (what, data_set, status, offending) in cases {
        say_store(&mut peer, 1, "1.2.3.4.5", &data_set).await;
        let response = peer.hear_command().await;
        assert_eq!(response.status(), status, "{what}: {}", response.comment());
        if offending.is_some() {
            assert_eq!(response.offending().first().copied(), offending, "{what}");
        }
        assert!(!response.comment().is_empty(), "{what}");
    }
    assert_eq!((node.files().len(), node.arriving()), (0, 0));
    // The association is as good as before.
    say_store(&mut peer, 2, "1.2.3.4.5", &whole).await;
    assert_eq!(peer.hear_command().await.status(), 0);
}

#[tokio::test]
async fn commands_with_impossible_uids_are_refused_after_their_data_set() {
    let node = Node::start().await;
    let mut peer = node.parrot().await;
    peer.associate(CONTEXT).await;
    for uid in ["../../../tmp/x", "1.2/3", "1 2", &"1".repeat(65)] {
        say_store(&mut peer, 1, uid, &explicit(&ct("1.2.3.4.5"))).await;
        let response = peer.hear_command().await;
        assert_eq!((response.status(), response.offending()), (0x0117, vec![(0, 0x1000)]), "{uid}");
    }
    let other_class =
        [crate::testkit::wire::element(2, b"1.2.840.10008.5.1.4.1.1.4\0"), store(1, "1.2.3.4.5")[34..].to_vec()]
            .concat();
    peer.say(&p_data(&[(1, LAST_COMMAND, &other_class), (1, LAST_DATA, b"")])).await;
    assert_eq!(peer.hear_command().await.status(), 0x0122);
    assert_eq!((node.files().len(), node.arriving()), (0, 0));
}

#[tokio::test]
async fn a_full_disk_and_a_data_set_beyond_the_limit_are_out_of_resources() {
    let mut builder = NodeBuilder::new();
    builder.options.max_instance_bytes = 100_000;
    let node = builder.start().await;
    let mut peer = node.parrot().await;
    peer.associate(CONTEXT).await;
    let mut large = ct("1.2.3.4.5");
    large.put_bytes(tags::PIXEL_DATA, VR::OW, vec![1; 400_000]);
    say_store(&mut peer, 1, "1.2.3.4.5", &explicit(&large)).await;
    assert_eq!(peer.hear_command().await.status(), 0xA700);
    say_store(&mut peer, 2, "1.2.3.4.5", &explicit(&ct("1.2.3.4.5"))).await;
    assert_eq!(peer.hear_command().await.status(), 0);

    let mut builder = NodeBuilder::new();
    builder.store = StoreOptions { reserve_bytes: u64::MAX, ..StoreOptions::default() };
    let full = builder.start().await;
    let mut peer = full.parrot().await;
    peer.associate(CONTEXT).await;
    say_store(&mut peer, 1, "1.2.3.4.5", &explicit(&ct("1.2.3.4.5"))).await;
    assert_eq!(peer.hear_command().await.status(), 0xA700);
    assert_eq!((full.files().len(), full.arriving()), (0, 0));
}

#[tokio::test]
async fn a_store_that_is_cut_anywhere_is_not_stored_and_leaves_no_file() {
    let node = Node::start().await;
    let mut large = ct("1.2.3.4.5");
    large.put_bytes(tags::PIXEL_DATA, VR::OW, vec![1; 600_000]);
    let data_set = explicit(&large);
    let mut said = vec![associate_rq("PARROT", "OVERREAD", CONTEXT)];
    said.push(p_data(&[(1, LAST_COMMAND, &store(1, "1.2.3.4.5"))]));
    said.extend(data_set.chunks(16_000).map(|piece| p_data(&[(1, DATA, piece)])));
    for pdus in (1..said.len()).step_by(5) {
        for cut in [0, 9] {
            let mut peer = node.parrot().await;
            let bytes = said[..pdus].concat();
            peer.try_say(&bytes[..bytes.len() - cut]).await;
            peer.reset();
        }
    }
    node.must_answer_echo().await;
    while node.arriving() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(node.instance("1.2.3.4.5").await.is_none());
    assert_eq!(node.files().len(), 0);
}

#[tokio::test]
async fn while_one_peer_hangs_in_a_data_set_others_are_served() {
    let node = Node::start().await;
    let mut hanging = Vec::new();
    for _ in 0..20 {
        let mut peer = node.parrot().await;
        peer.associate(CONTEXT).await;
        peer.say(&p_data(&[(1, LAST_COMMAND, &store(1, "1.2.3.4.5")), (1, DATA, &[8, 0, 5, 0])])).await;
        hanging.push(peer);
    }
    node.must_answer_echo().await;
    let mut peer = node.parrot().await;
    peer.associate(CONTEXT).await;
    say_store(&mut peer, 1, "1.2.3.4.6", &explicit(&ct("1.2.3.4.6"))).await;
    assert_eq!(peer.hear_command().await.status(), 0);
}

#[tokio::test]
async fn a_peer_that_may_not_store_gets_no_context_for_it() {
    let title = AeTitle::parse("PARROT").unwrap();
    let may = Permissions { echo: true, store: false, find: true };
    let peer = KnownPeer { ae_title: title, host: "127.0.0.1".to_owned(), may };
    let node = NodeBuilder::new().with_peers(vec![peer]).start().await;
    let mut peer = node.parrot().await;
    peer.associate(&[(1, CT, &[EXPLICIT_LE]), (3, VERIFICATION, &[IMPLICIT_LE])]).await;
    peer.say(&p_data(&[(1, LAST_COMMAND, &store(1, "1.2.3.4.5"))])).await;
    peer.must_hear_abort(2, 6).await;
}

#[tokio::test]
async fn our_own_requestor_sends_as_it_is_or_written_anew() {
    let node = Node::start().await;
    let as_is = file(&explicit(&ct("1.2.3.4.5")), "1.2.3.4.5", EXPLICIT_LE);
    let mut association = node.associate(CT, &[EXPLICIT_LE]).await.unwrap();
    let instance = OutgoingInstance::from_file(&as_is).unwrap();
    assert_eq!(association.store_context(&instance).unwrap().1, Converted::Not);
    assert_eq!(association.store(&instance).await.unwrap().status.0, 0);
    let implicit = encode(&ct("1.2.3.4.6"), Layout::ImplicitLe);
    let instance = OutgoingInstance::from_file(&file(&implicit, "1.2.3.4.6", IMPLICIT_LE)).unwrap();
    assert_eq!(association.store_context(&instance).unwrap().1, Converted::ExplicitLe);
    assert_eq!(association.store(&instance).await.unwrap().status.0, 0);
    association.release().await.unwrap();
    let stored = node.instance("1.2.3.4.6").await.unwrap();
    let content = std::fs::read(stored.path()).unwrap();
    assert_eq!(&content[usize::try_from(stored.data_set_offset()).unwrap()..], explicit(&ct("1.2.3.4.6")));
}

#[tokio::test]
async fn compressed_instances_are_not_sent_where_their_syntax_was_not_accepted() {
    let node = Node::start().await;
    let mut compressed = ct("1.2.3.4.5");
    compressed.put(
        tags::PIXEL_DATA,
        VR::OB,
        Value::Fragments(vec![Bytes::new(), Bytes::from_static(b"\xFF\xD8\xFF\xD9")]),
    );
    let jpeg_ls = "1.2.840.10008.1.2.4.80";
    let instance = OutgoingInstance::from_file(&file(&explicit(&compressed), "1.2.3.4.5", jpeg_ls)).unwrap();
    let mut plain = node.associate(CT, &[EXPLICIT_LE]).await.unwrap();
    assert!(plain.store(&instance).await.is_err());
    plain.release().await.unwrap();
    let mut association = node.associate(CT, &[jpeg_ls, EXPLICIT_LE]).await.unwrap();
    assert_eq!(association.store(&instance).await.unwrap().status.0, 0);
    association.release().await.unwrap();
}

/// Storage classes of editions later than pydicom's dictionary.
const LATER_CLASSES: [&str; 10] = [
    uids::CT_IMAGE_STORAGE_FOR_PROCESSING,
    uids::ENHANCED_CT_IMAGE_STORAGE_FOR_PROCESSING,
    uids::LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE_FOR_PROCESSING,
    uids::WAVEFORM_PRESENTATION_STATE_STORAGE,
    uids::WAVEFORM_ACQUISITION_PRESENTATION_STATE_STORAGE,
    uids::LABEL_MAP_SEGMENTATION_STORAGE,
    uids::HEIGHT_MAP_SEGMENTATION_STORAGE,
    uids::THERMOGRAPHY_IMAGE_STORAGE,
    uids::THERMOGRAPHY_MULTI_FRAME_IMAGE_STORAGE,
    uids::ULTRASOUND_WAVEFORM_STORAGE,
];

/// Named so, and of no patient's study: commitment, directories, and what PS3.4 annex GG stores.
const NOT_OF_A_PATIENT: [&str; 12] = [
    "1.2.840.10008.1.20.1",
    "1.2.840.10008.1.20.2",
    uids::MEDIA_STORAGE_DIRECTORY_STORAGE,
    uids::CT_DEFINED_PROCEDURE_PROTOCOL_STORAGE,
    uids::PROTOCOL_APPROVAL_STORAGE,
    uids::XA_DEFINED_PROCEDURE_PROTOCOL_STORAGE,
    uids::INVENTORY_STORAGE,
    uids::HANGING_PROTOCOL_STORAGE,
    uids::COLOR_PALETTE_STORAGE,
    uids::GENERIC_IMPLANT_TEMPLATE_STORAGE,
    uids::IMPLANT_ASSEMBLY_TEMPLATE_STORAGE,
    uids::IMPLANT_TEMPLATE_GROUP_STORAGE,
];

/// Syntaxes that pydicom's dictionary lacks: deflated frames, JPEG XL, and the one vendor's.
const MORE_SYNTAXES: [&str; 5] = [
    "1.2.840.10008.1.2.8.1",
    "1.2.840.10008.1.2.4.110",
    "1.2.840.10008.1.2.4.111",
    "1.2.840.10008.1.2.4.112",
    "1.2.840.113619.5.2",
];

/// Of those that it has: MIME, XML and SMPTE ST 2110 hold no stored data set.
const NOT_STORED: [&str; 5] = [
    "1.2.840.10008.1.2.6.1",
    "1.2.840.10008.1.2.6.2",
    "1.2.840.10008.1.2.7.1",
    "1.2.840.10008.1.2.7.2",
    "1.2.840.10008.1.2.7.3",
];

#[tokio::test]
async fn every_storage_class_in_every_syntax_of_the_dictionary_is_accepted() {
    let dictionary = python("storage_dictionary.py", &[] as &[&str]);
    assert!(dictionary.success, "{}", dictionary.text);
    let lines = || dictionary.text.lines();
    let named = |kind: &'static str| lines().filter_map(move |line| line.strip_prefix(kind)?.strip_prefix(' '));
    let classes = named("class").chain(LATER_CLASSES).filter(|uid| !NOT_OF_A_PATIENT.contains(uid));
    let classes: BTreeSet<SopClassUid> = classes.map(|uid| SopClassUid::parse(uid).unwrap()).collect();
    let syntaxes = named("syntax").chain(MORE_SYNTAXES).filter(|uid| !NOT_STORED.contains(uid));
    let syntaxes: BTreeSet<TransferSyntaxUid> = syntaxes.map(|uid| TransferSyntaxUid::parse(uid).unwrap()).collect();
    assert_eq!((classes.len(), syntaxes.len()), (205, 59));
    for uid in NOT_OF_A_PATIENT {
        assert_ne!(Service::of(&SopClassUid::parse(uid).unwrap()), Some(Service::Storage), "{uid}");
    }
    let node = Node::start().await;
    let proposals: Vec<ContextProposal> = classes
        .iter()
        .flat_map(|class| {
            syntaxes.iter().map(|syntax| ContextProposal {
                abstract_syntax: class.clone(),
                transfer_syntaxes: vec![syntax.clone()],
            })
        })
        .collect();
    let own = AeTitle::parse("SENDER").unwrap();
    let mut accepted = 0;
    // As many as an association can have.
    for proposals in proposals.chunks(128) {
        let association = Requestor::connect(&node.as_peer(), &own, proposals, &Timers::default()).await.unwrap();
        let contexts = association.contexts().iter();
        let agreed: BTreeSet<_> =
            contexts.map(|context| (context.abstract_syntax(), context.transfer_syntax())).collect();
        let asked = proposals.iter().map(|asked| (&asked.abstract_syntax, &asked.transfer_syntaxes[0])).collect();
        assert_eq!(agreed, asked, "refused: {:?}", association.refused());
        accepted += agreed.len();
        association.release().await.unwrap();
    }
    assert_eq!(accepted, 205 * 59);
}

#[tokio::test]
async fn a_shutdown_lets_a_message_that_has_begun_come_to_its_end() {
    let node = Node::start().await;
    let data_set = explicit(&ct("1.2.3.4.5"));
    let mut peer = node.parrot().await;
    peer.associate(CONTEXT).await;
    peer.say(&p_data(&[(1, LAST_COMMAND, &store(1, "1.2.3.4.5")), (1, DATA, &data_set[..50])])).await;
    node.must_answer_echo().await;
    node.shutdown.cancel();
    peer.say(&p_data(&[(1, LAST_DATA, &data_set[50..])])).await;
    assert_eq!(peer.hear_command().await.status(), 0);
    peer.must_hear_abort(0, 0).await;
    drop(peer);
    assert!(node.instance("1.2.3.4.5").await.is_some());
    node.stop().await;
}

#[tokio::test]
async fn a_command_without_its_data_set_is_refused() {
    let node = Node::start().await;
    let mut peer = node.parrot().await;
    peer.associate(CONTEXT).await;
    let mut command = store(4, "1.2.3.4.5");
    let at = command.windows(4).position(|w| w == [0, 0, 0, 8]).unwrap();
    command[at + 8..at + 10].copy_from_slice(&[1, 1]);
    peer.say(&p_data(&[(1, LAST_COMMAND, &command)])).await;
    let response = peer.hear_command().await;
    assert_eq!((response.message_id(), response.status()), (4, 0x0106));
    peer.say(&p_data(&[(1, LAST_COMMAND, &echo(5))])).await;
    assert_eq!(peer.hear_command().await.status(), 0x0122, "an echo in a context for CT");
}

#[tokio::test]
async fn a_release_is_a_signal_to_completeness_and_an_abort_is_none() {
    let node = Node::start().await;
    for (uid, ends_with_release) in [("1.2.3.4.5", false), ("1.2.3.4.6", true)] {
        let mut peer = node.parrot().await;
        peer.associate(CONTEXT).await;
        say_store(&mut peer, 1, uid, &explicit(&ct(uid))).await;
        assert_eq!(peer.hear_command().await.status(), 0);
        peer.say(if ends_with_release { &A_RELEASE_RQ } else { &A_ABORT }).await;
        if ends_with_release {
            assert_eq!(peer.hear().await.as_deref(), Some(A_RELEASE_RP.as_slice()));
        }
        peer.must_be_closed().await;
        let series = node.store.series_receiving().await.unwrap();
        assert_eq!((series.len(), series[0].released_at.is_some()), (1, ends_with_release));
    }
}
