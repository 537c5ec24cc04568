//! Compressed slices are decoded while their series still arrives, and make the same volume.

#![cfg(feature = "torch")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use overread::clock::{Clock, Timestamp};
use overread::dicom::ae::AeTitle;
use overread::dicom::part10::Part10;
use overread::store::{Completion, NewInstance, Reception, Recorded, Store, StoreOptions};
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

/// A store and a decoder that has seen that nothing is there yet.
async fn decoder(modality: &str, most_bytes: usize) -> (tempfile::TempDir, Store, EarlyDecoder) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let decoder = EarlyDecoder {
        store: store.clone(),
        clock: Clock::System,
        modalities: vec![modality.to_owned()],
        slices: Arc::new(EarlySlices::new(most_bytes)),
        last: store.last_instance().await.unwrap(),
    };
    (folder, store, decoder)
}

/// What one of the slices needs to be decoded, and what is kept of it, bytes.
fn needed_and_kept() -> (usize, usize) {
    let kept = decode_instance(InstanceSource::File(slices()[0].clone()), usize::MAX).unwrap().unwrap().bytes();
    (kept + PIXELS * 2, kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decoded_early_makes_the_same_volume_and_is_given_away_once() {
    let (_folder, store, decoder) = decoder("CT", usize::MAX).await;
    let (early, stop) = (decoder.slices.clone(), CancellationToken::new());
    tokio::spawn(decoder.run(stop.clone()));
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
fn what_needs_more_memory_than_there_is_room_for_is_not_decoded() {
    let slice = || InstanceSource::File(slices()[0].clone());
    // Pixels count in their larger form, and the header counts as well.
    let (needed, kept) = needed_and_kept();
    assert!(kept > PIXELS * 2 + 1000, "{kept}");
    assert!(decode_instance(slice(), needed - 1).unwrap().is_none());
    assert_eq!(decode_instance(slice(), needed).unwrap().unwrap().bytes(), kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_and_what_no_model_reads_is_left_alone() {
    // The first slice fits, no other does.
    let (_folder, store, mut decoder_) = decoder("CT", needed_and_kept().0).await;
    let (_other_folder, other_store, mut other) = decoder("MR", usize::MAX).await;
    for path in slices() {
        receive(&store, &path).await;
        receive(&other_store, &path).await;
    }
    for decoder in [&mut decoder_, &mut other] {
        decoder.look(&CancellationToken::new()).await.unwrap();
    }
    assert_eq!((decoder_.slices.count(), other.slices.count()), (1, 0));
    assert_eq!(decoder_.last, store.last_instance().await.unwrap(), "all were looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_of_a_series_that_no_job_will_read_make_room() {
    let (_folder, store, mut decoder) = decoder("CT", usize::MAX).await;
    let stop = CancellationToken::new();
    for path in &slices()[..3] {
        receive(&store, path).await;
    }
    decoder.look(&stop).await.unwrap();
    decoder.look(&stop).await.unwrap();
    assert_eq!(decoder.slices.count(), 3, "the series is receiving");
    let series = store.series_receiving().await.unwrap().remove(0);
    let complete =
        Completion { series: series.key, revision: series.revision, signal: "quiet", decisions: &[], jobs: &[] };
    store.complete_series(&complete, Timestamp(1_767_225_700_000)).await.unwrap();
    decoder.look(&stop).await.unwrap();
    assert_eq!(decoder.slices.count(), 0, "no route reads it");
}
