//! What the log tells of a day at the node, and what it never tells above level debug: who the patients are.

#![cfg(feature = "torch")]

use bytes::Bytes;
use dicom_dictionary_std::uids;
use overread::association::requestor::OutgoingInstance;
use overread::dicom::data_set::DataSet;
use overread::dicom::{VR, tags};
use serde_json::Value as Json;

use crate::testkit::chest::Series;
use crate::testkit::phantom::part10;
use crate::testkit::receiver::{Answer, Receiver};
use crate::testkit::site::{Process, QUICK, Site, run};

/// Even in length, as a peer's comment must be.
const NAME: &str = "Zwetschgenbaum^Quirina";
const PATIENT: &str = "PID-8850317";
const ACCESSION: &str = "ACC-6620934";
const BIRTH_DATE: &str = "19370228";
/// The start of a name that stands where a UID should.
const MISPLACED: &str = "Knickebein";

/// A slice of somebody who can be told from everybody else, also by what people write into descriptions.
fn slice(series: &Series, number: usize, change: impl Fn(&mut DataSet)) -> Bytes {
    let mut slice = series.data_set(number);
    slice.put_text(tags::PATIENT_NAME, VR::PN, NAME);
    slice.put_text(tags::PATIENT_ID, VR::LO, PATIENT);
    slice.put_text(tags::PATIENT_BIRTH_DATE, VR::DA, BIRTH_DATE);
    slice.put_text(tags::ACCESSION_NUMBER, VR::SH, ACCESSION);
    for description in [tags::STUDY_DESCRIPTION, tags::SERIES_DESCRIPTION, tags::PROTOCOL_NAME] {
        slice.put_text(description, VR::LO, &format!("CT of {NAME}"));
    }
    change(&mut slice);
    part10(&slice, uids::EXPLICIT_VR_LITTLE_ENDIAN)
}

fn slices(series: &Series, change: impl Fn(usize, &mut DataSet)) -> Vec<Bytes> {
    (0..series.slices).map(|number| slice(series, number, |slice| change(number, slice))).collect()
}

/// What the node answers to one instance over an association of its own.
async fn offered(node: &Process, file: &Bytes) -> u16 {
    let mut association = node.associate("CT1").await.unwrap();
    let status = association.store(&OutgoingInstance::from_file(file).unwrap()).await.unwrap().status.0;
    association.release().await.unwrap();
    status
}

async fn find(node: &Process, key: &str) -> String {
    let to = format!("OVERREAD@{}", node.address());
    let found = run(&["find", "--to", &to, "--level", "STUDY", key, "AccessionNumber=", "PatientBirthDate="]).await;
    String::from_utf8_lossy(&found.stdout).into_owned()
}

/// Each of these lines must name what it is about, and how long that took.
fn must_have(lines: &[Json], count: usize, id: &str) {
    assert_eq!(lines.len(), count, "{lines:#?}");
    let mut ids: Vec<&str> = lines.iter().map(|line| line[id].as_str().unwrap()).collect();
    assert!(ids.iter().all(|id| !id.is_empty()), "{lines:#?}");
    assert!(lines.iter().all(|line| line["duration_ms"].is_u64() || line["duration_ms"].is_i64()), "{lines:#?}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "one line each: {lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_has_a_line_for_each_association_series_job_and_delivery_and_names_nobody() {
    let receiver = Receiver::start();
    receiver.answer(|class| match class {
        uids::SEGMENTATION_STORAGE => Answer::Comment(0xB000, NAME),
        _ => Answer::Comment(0xA900, NAME),
    });
    let site = Site::measuring_for(&receiver).with_model("tests/fixtures/models/raises").with_route(
        "raises",
        &["PACS"],
        "calling_ae = [\"POISON\"]",
    );
    // As the small model's route takes every caller: what comes from POISON has a job of each.
    let mut node = site.start().await;
    let (chest, poison, mixed) = (Series::chest("read"), Series::chest("not read"), Series::chest("of several"));
    node.push("CT1", &slices(&chest, |_, _| {})).await;
    node.push("POISON", &slices(&poison, |_, _| {})).await;
    let other_name = |number, slice: &mut DataSet| {
        if number == 3 {
            slice.put_text(tags::PATIENT_NAME, VR::PN, "Zwetschgenbaum^Quirina^^Frau");
        }
    };
    node.push("CT1", &slices(&mixed, other_name)).await;
    let aside = slice(&chest, 0, |slice| slice.put_text(tags::PATIENT_COMMENTS, VR::LT, NAME));
    assert_eq!(offered(&node, &aside).await, 0xB000);
    let refused = slice(&chest, 1, |slice| slice.put_uid(tags::STUDY_INSTANCE_UID, MISPLACED));
    assert_eq!(offered(&node, &refused).await, 0xC000);

    let found = find(&node, &format!("PatientName={NAME}*")).await;
    for value in [NAME, ACCESSION, BIRTH_DATE] {
        assert!(found.contains(value), "those who may ask are told: {found}");
    }
    // No date: refused.
    assert!(!find(&node, &format!("StudyDate={NAME}")).await.contains(ACCESSION));

    node.logged("series complete", 3).await;
    node.logged("job failed", 2).await;
    node.logged("delivered", 2).await;
    node.logged("delivery is dead; overread resend revives it", 2).await;
    node.terminate();
    assert_eq!(node.exit_code().await, 0);

    must_have(&node.lines("association"), 7, "association.id");
    must_have(&node.lines("series complete"), 3, "series.uid");
    must_have(&node.lines("job done"), 2, "job.id");
    must_have(&node.lines("job failed"), 2, "job.id");
    must_have(&node.lines("delivered"), 2, "delivery.id");
    must_have(&node.lines("delivery is dead; overread resend revives it"), 2, "delivery.id");
    for line in [node.lines("delivered"), node.lines("delivery is dead; overread resend revives it")].concat() {
        let of = [&chest, &poison].into_iter().find(|series| line["series.uid"] == *series.series);
        assert!(of.is_some_and(|series| line["study.uid"] == *series.study), "{line:#?}");
        let made = node.lines("job done").into_iter().find(|job| job["job.id"] == line["job.id"]);
        assert_eq!(made.unwrap()["series.uid"], line["series.uid"]);
    }
    let calls = node.lines("association to a destination");
    must_have(&calls, calls.len(), "association.id");
    let sum = |field: &str| calls.iter().map(|call| call[field].as_u64().unwrap()).sum::<u64>();
    // Each report is refused in Explicit and in Implicit VR.
    assert_eq!((sum("instances"), sum("refused")), (2, 4), "{calls:#?}");
    assert!(calls.iter().all(|call| call["peer.ae_title"] == "PACS" && call["ended"] == "released"), "{calls:#?}");
    assert!(node.lines("job done").iter().all(|line| line["model.name"] == QUICK));
    let log = node.text().to_lowercase();
    for value in ["Zwetschgenbaum", "Quirina", PATIENT, ACCESSION, BIRTH_DATE, MISPLACED] {
        assert!(!log.contains(&value.to_lowercase()), "«{value}» stands in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_one_error_however_many_instances_are_refused() {
    let site = Site::new().with("node.reserve_mb", "1073741824");
    let mut node = site.start().await;
    let chest = Series::chest("without room");
    let mut association = node.associate("CT1").await.unwrap();
    for file in chest.files() {
        let refused = association.store(&OutgoingInstance::from_file(&file).unwrap()).await.unwrap();
        assert_eq!(refused.status.0, 0xA700);
    }
    association.release().await.unwrap();
    node.terminate();
    assert_eq!(node.exit_code().await, 0);
    let told = node.lines("the disk is full up to the reserve: C-STORE is answered A700H; make room");
    assert_eq!(told.len(), 1, "{}", node.text());
    assert_eq!((told[0]["level"].as_str(), told[0]["reserve_mb"].as_u64()), (Some("ERROR"), Some(1 << 30)));
    assert_eq!(node.lines("a request is refused").len(), chest.slices);
}
