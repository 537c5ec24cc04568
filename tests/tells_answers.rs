//! What a model answered of a series, and how much of the series was missing, is told by the node's log and by its report.

#![cfg(feature = "torch")]

use dicom_dictionary_std::uids;
use overread::store::JobState;
use serde_json::Value;

use crate::testkit::chest::Series;
use crate::testkit::peers::root;
use crate::testkit::receiver::{Receiver, eventually};
use crate::testkit::site::{Process, Site, run};

/// The line of the log on the one job that is done.
async fn job_done(node: &Process) -> Value {
    node.logged("job done", 1).await.remove(0)
}

/// The texts of the report that was delivered.
async fn report(receiver: &Receiver) -> String {
    let report = eventually("the report", async || {
        receiver.taken().into_iter().find(|sent| sent.sop_class == uids::COMPREHENSIVE3_DSR_STORAGE)
    });
    String::from_utf8_lossy(&report.await.data_set).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_within_the_uncertain_band_is_called_so_in_the_log_and_in_the_report() {
    let receiver = Receiver::start();
    let site = Site::new()
        .with_peer("PACS", receiver.address)
        .with("results.allow_untrained", "true")
        .with_model("models/lung-densitometry")
        .with_tiny_model("chest-ct-2p5d")
        .with_route("chest-ct-2p5d-tiny", &["PACS"], "");
    let node = site.start().await;
    let to = format!("OVERREAD@{}", node.address());
    let sent = run(&["send", "--to", &to, root().join("demo/chest-ct").to_str().unwrap()]).await;
    assert!(sent.status.success(), "{sent:?}");
    let line = job_done(&node).await;
    assert_eq!((&line["outcome"], &line["pathology"]), (&"read".into(), &"uncertain".into()), "{line}");
    let probability = line["probability"].as_f64().unwrap();
    assert!((0.45..=0.55).contains(&probability) && (probability - 0.518_895_3).abs() < 1e-3, "{line}");
    assert_eq!(line["missing_percent"], 0.0, "{line}");
    let report = report(&receiver).await;
    assert!(report.contains("Undetermined: Pathology 51.9 %."), "{report}");
    // Qualitative value «Undetermined», in the place of present or absent.
    assert!(report.contains("373068000"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_much_of_a_series_is_missing_stands_in_the_log_and_in_the_report() {
    let receiver = Receiver::start();
    let site = Site::measuring_for(&receiver);
    let node = site.start().await;
    let gap = Series { slices: 40, ..Series::chest("a gap") };
    let mut files = gap.files();
    files.remove(11);
    node.push("CT1", &files).await;
    let line = job_done(&node).await;
    assert_eq!((&line["outcome"], &line["missing_percent"]), (&"read".into(), &2.5.into()), "{line}");
    assert!(line.get("pathology").is_none() && line.get("probability").is_none(), "it does not answer that: {line}");
    let said = report(&receiver).await;
    assert!(said.contains("1 of 40 slices are missing in the source (2.5 %)"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_that_is_refused_for_its_gaps_tells_how_large_they_are() {
    let receiver = Receiver::start();
    let site = Site::measuring_for(&receiver);
    let node = site.start().await;
    let gaps = Series { slices: 40, ..Series::chest("gaps") };
    let mut files = gaps.files();
    files.drain(10..20);
    node.push("CT1", &files).await;
    let line = job_done(&node).await;
    assert_eq!((&line["outcome"], &line["missing_percent"]), (&"missing-slices".into(), &25.0.into()), "{line}");
    let job = site.series(&gaps.series).await.unwrap().jobs.remove(0);
    assert_eq!(job.state, JobState::Done);
    let said = report(&receiver).await;
    assert!(said.contains("25 % of the slices are missing (10 of 40)"), "{said}");
}
