//! The store against a real folder and a real database.

use std::net::SocketAddr;

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::dicom::ae::AeTitle;
use crate::dicom::data_set::DataSet;
use crate::dicom::encode::{Layout as Encoded, encode};
use crate::dicom::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid};

mod crashing;

mod damage;

mod delivering;

mod embedding;

mod ending;

mod planning;

mod power;

mod recording;

mod reindexing;

mod rereading;

mod revising;

mod studies;

mod working;

pub(crate) use working::result;

/// 2026-01-01 00:00:00 UTC.
const START: Timestamp = Timestamp(1_767_225_600_000);

impl Store {
    /// Changes the database as only a fault does.
    pub(crate) async fn spoil(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut *self.inner.writer.lock().await.unwrap()).await.unwrap();
    }
}

/// A store in a folder of its own, with a clock that stands.
pub(crate) struct Bench {
    folder: TempDir,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(StoreOptions { reserve_bytes: 0, ..StoreOptions::default() }).await
    }

    async fn with(options: StoreOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let store = Store::open(folder.path(), options, clock.clone()).await.unwrap();
        Self { folder, clock, store }
    }

    /// Opens the folder again as after the process was killed: nothing is closed in order.
    async fn after_crash(self) -> Self {
        let Self { folder, clock, store } = self;
        drop(store);
        let options = StoreOptions { reserve_bytes: 0, ..StoreOptions::default() };
        // What still runs in the background lets go of the lock when it has ended.
        let store = loop {
            match Store::open(folder.path(), options.clone(), clock.clone()).await {
                Err(StoreError::InUse(_)) => tokio::task::yield_now().await,
                other => break other.unwrap(),
            }
        };
        Self { folder, clock, store }
    }

    pub(crate) async fn send(&self, sample: &Sample) -> Result<Recorded, StoreError> {
        self.send_by(sample, "a1").await
    }

    async fn send_by(&self, sample: &Sample, association_id: &str) -> Result<Recorded, StoreError> {
        let mut file = self.store.begin_instance(sample.announced())?;
        for portion in sample.bytes().chunks(100_000) {
            file.write(portion).await?;
        }
        let reception = Reception {
            header: &sample.data_set,
            association_id,
            peer_address: SocketAddr::from(([192, 0, 2, 7], 40_000)),
            received_at: self.clock.now(),
        };
        self.store.record_instance(file, reception).await
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.store.readers()).await.unwrap()
    }

    pub(crate) async fn text(&self, sql: &'static str) -> String {
        sqlx::query_scalar(sql).fetch_one(self.store.readers()).await.unwrap()
    }

    /// Every file below the data folder but the database's, relative and in order.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path.strip_prefix(self.folder.path()).unwrap().display().to_string());
                }
            }
        }
        files.retain(|f| f.ends_with(".dcm") || f.ends_with(".part"));
        files.sort();
        files
    }
}

/// An instance as a peer would send it.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) data_set: DataSet,
    transfer_syntax: &'static str,
}

impl Sample {
    /// A CT image `1.2.STUDY.SERIES.NUMBER` of 64 by 64 pixels.
    pub(crate) fn ct(study: u32, series: u32, number: u32) -> Self {
        let mut ds = DataSet::new();
        ds.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
        ds.put_uid(tags::SOP_CLASS_UID, uids::CT_IMAGE_STORAGE);
        ds.put_uid(tags::SOP_INSTANCE_UID, &format!("1.2.{study}.{series}.{number}"));
        ds.put_uid(tags::STUDY_INSTANCE_UID, &format!("1.2.{study}"));
        ds.put_uid(tags::SERIES_INSTANCE_UID, &format!("1.2.{study}.{series}"));
        ds.put_text(tags::STUDY_DATE, VR::DA, "20260101");
        ds.put_text(tags::STUDY_TIME, VR::TM, "101500.5");
        ds.put_text(tags::ACCESSION_NUMBER, VR::SH, &format!("A{study}"));
        ds.put_text(tags::MODALITY, VR::CS, "CT");
        ds.put_text(tags::PATIENT_NAME, VR::PN, "Ивано́в^Пётр");
        ds.put_text(tags::PATIENT_ID, VR::LO, &format!("P{study}"));
        ds.put_text(tags::SERIES_NUMBER, VR::IS, &series.to_string());
        ds.put_text(tags::INSTANCE_NUMBER, VR::IS, &number.to_string());
        ds.put_us(tags::ROWS, &[64]);
        ds.put_us(tags::COLUMNS, &[64]);
        ds.put_bytes(tags::PIXEL_DATA, VR::OW, vec![number.to_le_bytes()[0]; 64 * 64 * 2]);
        Self { data_set: ds, transfer_syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN }
    }

    fn implicit(mut self) -> Self {
        self.transfer_syntax = uids::IMPLICIT_VR_LITTLE_ENDIAN;
        self
    }

    /// As if compressed: the pixels are what they were, and nobody looks at them here.
    pub(crate) fn compressed(mut self) -> Self {
        self.transfer_syntax = uids::JPEG2000_LOSSLESS;
        self
    }

    fn with_pixels(mut self, pixels: Vec<u8>) -> Self {
        self.data_set.put_bytes(tags::PIXEL_DATA, VR::OW, pixels);
        self
    }

    pub(crate) fn uid(&self) -> SopInstanceUid {
        self.data_set.uid(tags::SOP_INSTANCE_UID, SopInstanceUid::parse).unwrap()
    }

    pub(crate) fn announced(&self) -> NewInstance {
        NewInstance {
            sop_class_uid: self.data_set.uid(tags::SOP_CLASS_UID, SopClassUid::parse).unwrap(),
            sop_instance_uid: self.uid(),
            transfer_syntax_uid: TransferSyntaxUid::parse(self.transfer_syntax).unwrap(),
            calling_ae_title: AeTitle::parse("MODALITY").unwrap(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let layout = if self.transfer_syntax == uids::IMPLICIT_VR_LITTLE_ENDIAN {
            Encoded::ImplicitLe
        } else {
            Encoded::ExplicitLe
        };
        encode(&self.data_set, layout)
    }
}
