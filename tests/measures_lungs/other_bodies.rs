//! Real heads and abdomens, and a piece of a chest, of the shared collection, through the whole node.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use overread::dicom::data_set::DataSet;
use overread::dicom::parse::parse;
use overread::dicom::part10::Part10;
use overread::dicom::uid::SeriesInstanceUid;
use overread::dicom::{VR, tags};
use overread::store::JobState;

use crate::testkit::phantom::{decimals, part10};
use crate::testkit::receiver::{Receiver, eventually};
use crate::testkit::running_node::files_below;
use crate::testkit::shared_data::{shared_data, unpacked};
use crate::testkit::site::{Process, Site};

const REPORT: &str = "1.2.840.10008.5.1.4.1.1.88.34";
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";

fn data_set(path: &Path) -> DataSet {
    let part10 = Part10::split(&Bytes::from(std::fs::read(path).unwrap())).unwrap();
    parse(&part10.data_set, part10.encoding).unwrap()
}

fn files(series: &[DataSet]) -> Vec<Bytes> {
    series.iter().map(|ds| part10(ds, EXPLICIT_LE)).collect()
}

/// The same images as if the gantry had stood upright and every slice been 5 mm from the next, as another series.
fn straightened(series: &[DataSet]) -> Vec<DataSet> {
    let mut slices = series.to_vec();
    let height = |ds: &DataSet| {
        let position = ds.text(tags::IMAGE_POSITION_PATIENT).unwrap();
        position.rsplit('\\').next().unwrap().trim().parse::<f64>().unwrap()
    };
    slices.sort_by(|one, other| height(one).total_cmp(&height(other)));
    for (number, ds) in slices.iter_mut().enumerate() {
        for tag in [tags::SERIES_INSTANCE_UID, tags::SOP_INSTANCE_UID] {
            let uid = SeriesInstanceUid::derived(&["straightened", &ds.text(tag).unwrap()]);
            ds.put_uid(tag, uid.as_str());
        }
        ds.put_text(tags::GANTRY_DETECTOR_TILT, VR::DS, "0");
        ds.put_text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0");
        ds.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, &decimals(&[-125.0, -125.0, 5.0 * number as f64]));
    }
    slices
}

/// Sends a series, which must end with `outcome`: as a result, a report that gives the reason and no segmentation.
async fn must_end(site: &Site, node: &Process, receiver: &Receiver, series: &[DataSet], outcome: &str) {
    let before = receiver.sent().len();
    node.push("CT1", &files(series)).await;
    eventually(outcome, async || (receiver.sent().len() > before).then_some(())).await;
    let uid = series[0].text(tags::SERIES_INSTANCE_UID).unwrap();
    let story = site.series(&uid).await.unwrap();
    let [job] = &story.jobs[..] else { panic!("one job, not {:?}", story.jobs) };
    assert_eq!((job.state, job.outcome.as_str()), (JobState::Done, outcome));
    let [result] = &job.results[..] else { panic!("one result, not {:?}", job.results) };
    let sent = receiver.sent();
    let [report] = &sent[before..] else { panic!("one object, not {}", sent.len() - before) };
    assert_eq!((report.sop_class.as_str(), &report.sop_instance), (REPORT, &result.sop_instance_uid));
    let said = String::from_utf8_lossy(&report.data_set);
    assert!(said.contains(&format!("[{outcome}]")), "{outcome}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_head_an_abdomen_and_a_piece_of_a_chest_end_with_a_report_that_says_why() {
    let Some((_folder, head)) = unpacked("ct-other/head-ge-gantry-tilt.tar.xz") else { return };
    let Some(abdomen) = shared_data("ct-other/abdomen-3slices") else { return };
    let Some(slab) = shared_data("ct-chest/lidc-idri-0003-slab") else { return };
    let read = |files: Vec<PathBuf>| files.iter().map(|path| data_set(path)).collect::<Vec<_>>();
    let head = read(head);
    assert_eq!(head.len(), 28);
    let receiver = Receiver::start();
    let site = Site::reading_for(&receiver);
    let node = site.start().await;
    for (series, outcome) in [
        (straightened(&head), "not-a-chest-ct"),
        (read(files_below(&abdomen)), "not-a-chest-ct"),
        (read(files_below(&slab)), "lungs-cut-off"),
        (head, "gantry-tilt"),
    ] {
        must_end(&site, &node, &receiver, &series, outcome).await;
    }
}
