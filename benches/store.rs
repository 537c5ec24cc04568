//! How many instances a second become durable, by size and by number of associations, without any network.
//!
//! `cargo bench --bench store -- [FOLDER]`: FOLDER (by default below `target/`) decides which disk is measured.
#![expect(clippy::print_stdout, reason = "a table is what it is for")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use overread::clock::{Clock, Timestamp};
use overread::dicom::ae::AeTitle;
use overread::dicom::data_set::DataSet;
use overread::dicom::encode::{Layout, encode};
use overread::dicom::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid};
use overread::store::{NewInstance, Reception, Recorded, Store, StoreOptions};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a network reader hands over at a time.
const FRAGMENT: usize = 64 * 1024;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let folder = PathBuf::from(folder.unwrap_or_else(|| "target/bench-store".to_owned()));
    println!(
        "{:>8} {:>12} {:>12} {:>9} {:>9} {:>9}",
        "pixels", "associations", "instances/s", "MB/s", "p50 ms", "p99 ms"
    );
    for side in [512, 64] {
        for associations in [1, 2, 4, 8] {
            measure(&folder, side, associations, if side == 512 { 1600 } else { 4000 }).await?;
        }
    }
    Ok(())
}

/// Sends `total` instances of `side` by `side` pixels, shared among the associations, and prints one line.
async fn measure(folder: &Path, side: u16, associations: u32, total: u32) -> Result<(), Failure> {
    let _ = std::fs::remove_dir_all(folder);
    let store = Store::open(folder, StoreOptions::default(), Clock::System).await?;
    let begun = Instant::now();
    let tasks: Vec<_> =
        (0..associations).map(|a| tokio::spawn(send(store.clone(), a, side, total / associations))).collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let rate = times.len() as f64 / seconds;
    let megabytes = rate * f64::from(side) * f64::from(side) * 2.0 / 1e6;
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("{side:>8} {associations:>12} {rate:>12.0} {megabytes:>9.0} {p50:>9.2} {p99:>9.2}");
    store.close().await?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// One association with one series; gives the milliseconds from the first byte to the acknowledgement of each instance.
async fn send(store: Store, association: u32, side: u16, count: u32) -> Result<Vec<f64>, Failure> {
    let mut times = Vec::new();
    for number in 0..count {
        let header = header(association, number, side);
        let mut data_set = header.clone();
        data_set.put_bytes(tags::PIXEL_DATA, VR::OW, vec![0; usize::from(side) * usize::from(side) * 2]);
        let encoded = encode(&data_set, Layout::ExplicitLe);
        let announced = NewInstance {
            sop_class_uid: SopClassUid::parse(uids::CT_IMAGE_STORAGE)?,
            sop_instance_uid: header.uid(tags::SOP_INSTANCE_UID, SopInstanceUid::parse)?,
            transfer_syntax_uid: TransferSyntaxUid::parse(uids::EXPLICIT_VR_LITTLE_ENDIAN)?,
            calling_ae_title: AeTitle::parse("BENCH")?,
        };
        let begun = Instant::now();
        let mut file = store.begin_instance(announced)?;
        for at in (0..encoded.len()).step_by(FRAGMENT) {
            file.write(&encoded[at..encoded.len().min(at + FRAGMENT)]).await?;
        }
        let reception = Reception {
            header: &header,
            association_id: &association.to_string(),
            peer_address: SocketAddr::from(([127, 0, 0, 1], 104)),
            received_at: Timestamp(0),
        };
        let recorded = store.record_instance(file, reception).await?;
        if !matches!(recorded, Recorded::Stored(_)) {
            return Err("an instance was not stored".into());
        }
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

fn header(association: u32, number: u32, side: u16) -> DataSet {
    let mut header = DataSet::new();
    header.put_uid(tags::SOP_CLASS_UID, uids::CT_IMAGE_STORAGE);
    header.put_uid(tags::SOP_INSTANCE_UID, &format!("1.2.826.0.1.3680043.8.498.1{association}.2.{number}"));
    header.put_uid(tags::STUDY_INSTANCE_UID, &format!("1.2.826.0.1.3680043.8.498.1{association}"));
    header.put_uid(tags::SERIES_INSTANCE_UID, &format!("1.2.826.0.1.3680043.8.498.1{association}.2"));
    header.put_text(tags::MODALITY, VR::CS, "CT");
    header.put_text(tags::PATIENT_NAME, VR::PN, "Bench^Store");
    header.put_text(tags::PATIENT_ID, VR::LO, &format!("B{association}"));
    header.put_text(tags::ACCESSION_NUMBER, VR::SH, &association.to_string());
    header.put_text(tags::INSTANCE_NUMBER, VR::IS, &number.to_string());
    header.put_us(tags::ROWS, &[side]);
    header.put_us(tags::COLUMNS, &[side]);
    header
}
