//! A store full of made-up studies, and the same as plain rows.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use overread::clock::{Clock, Timestamp};
use overread::dicom::ae::AeTitle;
use overread::dicom::data_set::DataSet;
use overread::dicom::encode::{Layout, encode};
use overread::dicom::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid};
use overread::dicom::{Tag, VR, tags};
use overread::store::{NewInstance, Reception, Store, StoreOptions};
use tempfile::TempDir;

/// The study that [`Archive::add_instances`] makes.
pub const BIG_STUDY: &str = "1.9.9";
/// Its series of CT images.
pub const BIG_SERIES: &str = "1.9.9.1";

/// xorshift64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// All attributes of an instance, its series, its study and its patient, as texts.
#[derive(Debug, Clone, Default)]
pub struct Row(BTreeMap<Tag, (VR, String)>);

impl Row {
    pub fn text(&self, tag: Tag) -> &str {
        self.0.get(&tag).map_or("", |(_, text)| text)
    }

    fn put(&mut self, tag: Tag, vr: VR, text: &str) {
        self.0.insert(tag, (vr, text.to_owned()));
    }

    fn header(&self) -> DataSet {
        let mut header = DataSet::new();
        header.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
        let mut request = DataSet::new();
        for (tag, (vr, text)) in &self.0 {
            match *tag {
                tags::SCHEDULED_PROCEDURE_STEP_ID | tags::REQUESTED_PROCEDURE_ID => request.put_text(*tag, *vr, text),
                _ => header.put_text(*tag, *vr, text),
            }
        }
        if !request.elements().is_empty() {
            header.put_items(tags::REQUEST_ATTRIBUTES_SEQUENCE, vec![request]);
        }
        header
    }
}

/// The store and what was put into it.
pub struct Archive {
    pub store: Store,
    pub rows: Vec<Row>,
    _folder: TempDir,
}

const NAMES: [&str; 14] = [
    "Smith^John",
    "SMITH^Jane^^Dr",
    "Smithson^Ann",
    "Иванов^Пётр",
    "Иванова^Анна^Петровна",
    "Müller^Jürgen",
    "Muller^Hans",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "Yamamoto^Hana=山本^花",
    "Hong^Gildong=洪^吉洞=홍^길동",
    "O'Neil [Jr]^Pat",
    "Smith",
    "",
    "Łukasz^Żak",
];
const DATES: [&str; 8] = ["20231231", "20240101", "20240115", "20240131", "20240201", "20240229", "2024.03.01", ""];
const TIMES: [&str; 8] = ["10", "1030", "103015", "103015.25", "103015.250000", "235959.999999", "000000", ""];
const DESCRIPTIONS: [&str; 6] = ["CT CHEST", "Ct chest [low*dose]", "Lunge \"nativ\"", "КТ лёгких", "HEAD", ""];
const MODALITIES: [(&str, &str); 4] = [
    ("CT", "1.2.840.10008.5.1.4.1.1.2"),
    ("MR", "1.2.840.10008.5.1.4.1.1.4"),
    ("SR", "1.2.840.10008.5.1.4.1.1.88.34"),
    ("SEG", "1.2.840.10008.5.1.4.1.1.66.4"),
];
const IMAGE_TYPES: [&str; 3] = ["ORIGINAL\\PRIMARY\\AXIAL", "DERIVED\\SECONDARY", ""];

impl Archive {
    pub async fn with_studies(studies: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp(1_767_225_600_000));
        let options = StoreOptions { reserve_bytes: 0, ..StoreOptions::default() };
        let store = Store::open(folder.path(), options, clock).await.unwrap();
        let mut random = Random(0xA11CE);
        let mut rows = Vec::new();
        for number in 0..studies {
            study(number, &mut random, &mut rows);
        }
        let archive = Self { store, rows, _folder: folder };
        let arriving = archive.rows.iter().map(|row| record(&archive.store, row));
        futures_util::future::join_all(arriving).await;
        archive
    }

    /// See [`add_big_study`].
    pub async fn add_instances(&self, count: usize) {
        add_big_study(&self.store, count).await;
    }
}

/// A study of its own: `count` CT images in one series and an SR in another.
pub async fn add_big_study(store: &Store, count: usize) {
    let mut rows = Vec::new();
    for number in 0..=count {
        let mut row = Row::default();
        let is_report = number == count;
        let (modality, class) = MODALITIES[if is_report { 2 } else { 0 }];
        row.put(tags::PATIENT_ID, VR::LO, "BIG");
        row.put(tags::PATIENT_NAME, VR::PN, "Иванов^Пётр");
        row.put(tags::STUDY_INSTANCE_UID, VR::UI, BIG_STUDY);
        row.put(tags::SERIES_INSTANCE_UID, VR::UI, if is_report { "1.9.9.2" } else { BIG_SERIES });
        row.put(tags::SOP_INSTANCE_UID, VR::UI, &format!("1.9.9.3.{number}"));
        row.put(tags::SOP_CLASS_UID, VR::UI, class);
        row.put(tags::MODALITY, VR::CS, modality);
        if !is_report {
            row.put(tags::SCHEDULED_PROCEDURE_STEP_ID, VR::SH, "STEP7");
            row.put(tags::REQUESTED_PROCEDURE_ID, VR::SH, "PROC7");
        }
        rows.push(row);
    }
    futures_util::future::join_all(rows.iter().map(|row| record(store, row))).await;
}

async fn record(store: &Store, row: &Row) {
    let header = row.header();
    let instance = NewInstance {
        sop_class_uid: header.uid(tags::SOP_CLASS_UID, SopClassUid::parse).unwrap(),
        sop_instance_uid: header.uid(tags::SOP_INSTANCE_UID, SopInstanceUid::parse).unwrap(),
        transfer_syntax_uid: TransferSyntaxUid::parse("1.2.840.10008.1.2.1").unwrap(),
        calling_ae_title: AeTitle::parse("MODALITY").unwrap(),
    };
    let mut file = store.begin_instance(instance).unwrap();
    file.write(&encode(&header, Layout::ExplicitLe)).await.unwrap();
    let reception = Reception {
        header: &header,
        association_id: "a1",
        peer_address: SocketAddr::from(([192, 0, 2, 7], 40_000)),
        received_at: Timestamp(1_767_225_600_000),
    };
    store.record_instance(file, reception).await.unwrap();
}

/// Two patients in three have several studies; what belongs to the patient is the same in all of them.
fn study(number: usize, random: &mut Random, rows: &mut Vec<Row>) {
    let patient = number * 2 / 3;
    let mut of_patient = Random((u64::try_from(patient).unwrap() + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut study = Row::default();
    study.put(tags::PATIENT_ID, VR::LO, &format!("P{patient:03}"));
    study.put(tags::PATIENT_NAME, VR::PN, of_patient.pick(&NAMES));
    study.put(tags::PATIENT_BIRTH_DATE, VR::DA, of_patient.pick(&DATES));
    study.put(tags::PATIENT_SEX, VR::CS, of_patient.pick(&["M", "F", "O", ""]));
    study.put(tags::STUDY_INSTANCE_UID, VR::UI, &format!("1.2.{number}"));
    study.put(tags::STUDY_DATE, VR::DA, random.pick(&DATES));
    study.put(tags::STUDY_TIME, VR::TM, random.pick(&TIMES));
    study.put(tags::ACCESSION_NUMBER, VR::SH, &format!("A{}", random.below(100)));
    study.put(tags::STUDY_DESCRIPTION, VR::LO, random.pick(&DESCRIPTIONS));
    study.put(tags::REFERRING_PHYSICIAN_NAME, VR::PN, random.pick(&NAMES));
    for series_number in 1..=1 + random.below(2) {
        let mut series = study.clone();
        let (modality, class) = random.pick(&MODALITIES);
        series.put(tags::SERIES_INSTANCE_UID, VR::UI, &format!("1.2.{number}.{series_number}"));
        series.put(tags::MODALITY, VR::CS, modality);
        series.put(tags::SERIES_NUMBER, VR::IS, &series_number.to_string());
        series.put(tags::SERIES_DESCRIPTION, VR::LO, random.pick(&DESCRIPTIONS));
        series.put(tags::PERFORMING_PHYSICIAN_NAME, VR::PN, random.pick(&NAMES));
        let operators: Vec<&str> = (0..random.below(4)).map(|_| random.pick(&NAMES)).collect();
        series.put(tags::OPERATORS_NAME, VR::PN, &operators.join("\\"));
        for instance_number in 1..=1 + random.below(2) {
            let mut instance = series.clone();
            let uid = format!("1.2.{number}.{series_number}.{instance_number}");
            instance.put(tags::SOP_INSTANCE_UID, VR::UI, &uid);
            instance.put(tags::SOP_CLASS_UID, VR::UI, class);
            instance.put(tags::INSTANCE_NUMBER, VR::IS, &instance_number.to_string());
            instance.put(tags::IMAGE_TYPE, VR::CS, random.pick(&IMAGE_TYPES));
            rows.push(instance);
        }
    }
}
