//! Compressed slices are decoded while their series still arrives, and make the same volume.

#![cfg(feature = "torch")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use overread::clock::{Clock, Timestamp};
use overread::dicom::ae::AeTitle;
use overread::dicom::part10::Part10;
use overread::store::{NewInstance, Reception, Recorded, Store, StoreOptions};
use overread::volume::instance::read_header;
use overread::volume::{AssembleOptions, InstanceSource, assemble, decode_instance};
use overread::worker::early::{EarlyDecoder, EarlySlices};
use tokio_util::sync::CancellationToken;

use crate::testkit::peers::root;
use crate::testkit::receiver::eventually;

const SLICES: usize = 6;
/// Of a slice.
const PIXELS: usize = 512 * 512;

/// JPEG-LS slices of the chest CT that the project ships.
fn slices() -> Vec<PathBuf> {
    (20..20 + SLICES).map(|number| root().join(format!("demo/chest-ct/{number:03}.dcm"))).collect()
}

async fn open(folder: &Path) -> Store {
    Store::open(folder, StoreOptions { reserve_bytes: 0, ..StoreOptions::default() }, Clock::System).await.unwrap()
}

/// Has the store receive a file; gives where it put it.
async fn receive(store: &Store, path: &Path) -> PathBuf {
    let file = Bytes::from(std::fs::read(path).unwrap());
    let part10 = Part10::split(&file).unwrap();
    let header = read_header(&file).unwrap();
    let announced = NewInstance {
        sop_class_uid: header.sop_class_uid,
        sop_instance_uid: header.sop_instance_uid,
        transfer_syntax_uid: header.transfer_syntax_uid.unwrap(),
        calling_ae_title: AeTitle::parse("CT1").unwrap(),
    };
    let mut incoming = store.begin_instance(announced).unwrap();
    incoming.write(&part10.data_set).await.unwrap();
    let reception = Reception {
        header: &header.data_set,
        association_id: "a1",
        peer_address: SocketAddr::from(([192, 0, 2, 7], 40_000)),
        received_at: Timestamp(1_767_225_600_000),
    };
    match store.record_instance(incoming, reception).await.unwrap() {
        Recorded::Stored(instance) => instance.path().to_owned(),
        other => panic!("{other:?}"),
    }
}

/// A store with a decoder beside it that has seen that nothing is there yet.
async fn decoding(
    modality: &str,
    most_bytes: usize,
) -> (tempfile::TempDir, Store, Arc<EarlySlices>, CancellationToken) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let slices = Arc::new(EarlySlices::new(most_bytes));
    let stop = CancellationToken::new();
    let decoder = EarlyDecoder {
        store: store.clone(),
        clock: Clock::System,
        modalities: vec![modality.to_owned()],
        slices: slices.clone(),
        last: store.last_instance().await.unwrap(),
    };
    tokio::spawn(decoder.run(stop.clone()));
    (folder, store, slices, stop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decoded_early_makes_the_same_volume_and_is_given_away_once() {
    let (_folder, store, early, stop) = decoding("CT", usize::MAX).await;
    let mut files = Vec::new();
    for path in slices() {
        files.push(receive(&store, &path).await);
    }
    eventually("all are decoded", async || (early.count() == SLICES).then_some(())).await;
    let decoded: Vec<_> = files.iter().map(|path| early.take(path)).collect();
    assert!(decoded.iter().all(|source| matches!(source, InstanceSource::Decoded(_))));
    assert!(files.iter().all(|path| matches!(early.take(path), InstanceSource::File(_))), "once");

    let options = AssembleOptions::default();
    let late = assemble(files.into_iter().map(InstanceSource::File).collect(), &options).unwrap();
    let early = assemble(decoded, &options).unwrap();
    assert_eq!(early.voxels, late.voxels);
    assert_eq!((early.slices, early.geometry), (late.slices, late.geometry));
    stop.cancel();
}

#[test]
fn what_declares_more_pixels_than_there_is_room_for_is_not_decoded() {
    let slice = || InstanceSource::File(slices()[0].clone());
    assert!(decode_instance(slice(), PIXELS * 4 - 1).unwrap().is_none());
    assert_eq!(decode_instance(slice(), PIXELS * 4).unwrap().unwrap().bytes(), PIXELS * 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_and_what_no_model_reads_is_left_alone() {
    // Counted in their larger form, which they do not need: the first slice fits, no other does.
    let (_folder, store, early, stop) = decoding("CT", PIXELS * 4).await;
    let (_other_folder, other_store, other, other_stop) = decoding("MR", usize::MAX).await;
    for path in slices() {
        receive(&store, &path).await;
        receive(&other_store, &path).await;
    }
    eventually("one is decoded", async || (early.count() == 1).then_some(())).await;
    stop.cancel();
    other_stop.cancel();
    assert_eq!((early.count(), other.count()), (1, 0));
}
