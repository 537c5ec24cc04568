//! A series pushed to the node comes back as a report and a segmentation: once, and only where a model reads it.

#![cfg(feature = "torch")]

use bytes::Bytes;
use dicom_dictionary_std::uids;
use overread::association::requestor::OutgoingInstance;
use overread::dicom::tags;
use overread::store::{DeliveryState, JobState, SeriesState};

use crate::testkit::chest::Series;
use crate::testkit::receiver::{Receiver, Sent, eventually};
use crate::testkit::site::{Process, QUICK, Site};

/// What was made of a series, in the order in which it was taken.
fn results(receiver: &Receiver, series: &Series) -> Vec<Sent> {
    let of_series =
        |sent: &Sent| sent.header().text(tags::STUDY_INSTANCE_UID).as_deref() == Some(series.study.as_str());
    receiver.taken().into_iter().filter(of_series).collect()
}

fn classes(results: &[Sent]) -> Vec<&str> {
    let mut classes: Vec<&str> = results.iter().map(|sent| sent.sop_class.as_str()).collect();
    classes.sort_unstable();
    classes
}

const BOTH: [&str; 2] = [uids::SEGMENTATION_STORAGE, uids::COMPREHENSIVE3_DSR_STORAGE];
const REPORT: [&str; 1] = [uids::COMPREHENSIVE3_DSR_STORAGE];

async fn wait_for(receiver: &Receiver, series: &Series, count: usize) -> Vec<Sent> {
    let what = format!("{count} results");
    eventually(&what, async || Some(results(receiver, series)).filter(|found| found.len() >= count)).await
}

/// Everything that was begun before has ended when a series that comes after it has been read and delivered.
async fn settle(node: &Process, receiver: &Receiver, name: &str) {
    let last = Series::head(name);
    node.push("CT1", &last.files()).await;
    wait_for(receiver, &last, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chest_comes_back_as_report_and_segmentation_and_sent_again_as_nothing_new() {
    let receiver = Receiver::start();
    let site = Site::reading_for(&receiver);
    let node = site.start().await;
    let chest = Series::chest("a chest");
    node.push("CT1", &chest.files()).await;
    let found = wait_for(&receiver, &chest, 2).await;
    assert_eq!(classes(&found), BOTH);
    assert!(found.iter().all(|sent| sent.calling == "OVERREAD"));

    node.push("CT1", &chest.files()).await;
    settle(&node, &receiver, "after a chest").await;
    assert_eq!(results(&receiver, &chest).len(), 2, "the same instances again change nothing");

    let story = site.series(&chest.series).await.unwrap();
    assert_eq!((story.state, story.revision, story.signal.as_str()), (SeriesState::Read, 14, "quiet for 1 s"));
    assert_eq!(story.sources[0].calling_ae_title, "CT1");
    let [job] = &story.jobs[..] else { panic!("one job, not {:?}", story.jobs) };
    assert_eq!((job.state, job.outcome.as_str(), job.attempts.len()), (JobState::Done, "read", 1));
    for result in &job.results {
        let [delivery] = &result.deliveries[..] else { panic!("one delivery") };
        assert_eq!((delivery.state, delivery.last_status), (DeliveryState::Delivered, Some(0)));
        assert!(found.iter().any(|sent| sent.sop_instance == result.sop_instance_uid));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_gets_a_report_that_says_so_and_a_localizer_gets_nothing() {
    let receiver = Receiver::start();
    let site = Site::reading_for(&receiver);
    let node = site.start().await;
    let head = Series::head("a head");
    let localizer = Series::localizer("a localizer").beside(&head);
    node.push("CT1", &localizer.files()).await;
    node.push("CT1", &head.files()).await;
    wait_for(&receiver, &head, 1).await;
    let localizer_read = async || {
        let story = site.series(&localizer.series).await?;
        (story.state != SeriesState::Receiving).then_some(story)
    };
    let story = eventually("the localizer is complete", localizer_read).await;
    assert!(story.jobs.is_empty());
    let [route] = &story.routes[..] else { panic!("one route") };
    assert!(!route.matched && route.reason.to_lowercase().contains("localizer"), "{}", route.reason);

    settle(&node, &receiver, "after a head").await;
    assert_eq!(classes(&results(&receiver, &head)), REPORT);
    assert_eq!(site.series(&head.series).await.unwrap().jobs[0].outcome, "not-a-chest-ct");
}

#[tokio::test(flavor = "multi_thread")]
async fn series_that_come_side_by_side_do_not_end_each_other() {
    let receiver = Receiver::start();
    let site =
        Site::reading_for(&receiver).with("completeness.on_release", "true").with("completeness.quiet_seconds", "3600");
    let node = site.start().await;
    let (one, other) = (Series::chest("one"), Series::chest("other"));
    let (one_files, other_files) = (one.files(), other.files());
    let (mut first, mut second) = (node.associate("CT1").await.unwrap(), node.associate("CT1").await.unwrap());
    let outgoing = |file: &Bytes| OutgoingInstance::from_file(file).unwrap();
    for (one, other) in one_files.iter().zip(&other_files[..13]) {
        assert_eq!(first.store(&outgoing(one)).await.unwrap().status.0, 0);
        assert_eq!(second.store(&outgoing(other)).await.unwrap().status.0, 0);
    }
    assert_eq!(first.store(&outgoing(&one_files[13])).await.unwrap().status.0, 0);
    first.release().await.unwrap();
    wait_for(&receiver, &one, 2).await;
    assert_eq!(site.series(&other.series).await.unwrap().state, SeriesState::Receiving);
    assert_eq!(second.store(&outgoing(&other_files[13])).await.unwrap().status.0, 0);
    second.release().await.unwrap();
    wait_for(&receiver, &other, 2).await;
    for series in [&one, &other] {
        let story = site.series(&series.series).await.unwrap();
        assert_eq!((story.signal.as_str(), story.jobs.len(), story.revision), ("association released", 1, 14));
    }
    assert_eq!(receiver.sent().len(), 4);
}

/// A chest whose last slice comes after the others have been read; `late` is what the configuration says about that.
async fn late_slice(late: &str) -> (Site, Process, Receiver, Series, Vec<Sent>) {
    let receiver = Receiver::start();
    let site = Site::reading_for(&receiver)
        .with("completeness.on_release", "true")
        .with("completeness.quiet_seconds", "3600")
        .with("completeness.late", &format!("\"{late}\""));
    let node = site.start().await;
    let chest = Series::chest(late);
    let files = chest.files();
    node.push("CT1", &files[..13]).await;
    let before = wait_for(&receiver, &chest, 2).await;
    node.push("CT1", &files[13..]).await;
    (site, node, receiver, chest, before)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_slice_makes_new_results_that_name_their_predecessor() {
    let (site, _node, receiver, chest, before) = late_slice("rerun").await;
    let after = wait_for(&receiver, &chest, 4).await.split_off(2);
    assert_eq!(classes(&after), BOTH);
    assert!(after.iter().all(|new| before.iter().all(|old| old.sop_instance != new.sop_instance)));
    let report = |sent: &[Sent]| sent.iter().find(|s| s.sop_class == REPORT[0]).unwrap().clone();
    let header = report(&after).header();
    let study = &header.items(tags::PREDECESSOR_DOCUMENTS_SEQUENCE)[0];
    let series = &study.items(tags::REFERENCED_SERIES_SEQUENCE)[0];
    let object = &series.items(tags::REFERENCED_SOP_SEQUENCE)[0];
    assert_eq!(object.text(tags::REFERENCED_SOP_INSTANCE_UID).unwrap(), report(&before).sop_instance);
    let story = site.series(&chest.series).await.unwrap();
    assert_eq!(story.jobs.iter().map(|job| job.revision).collect::<Vec<_>>(), [13, 14]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_slice_is_kept_and_not_read_where_the_configuration_says_ignore_or_hold() {
    for late in ["ignore", "hold"] {
        let (site, node, receiver, chest, _) = late_slice(late).await;
        settle(&node, &receiver, &format!("after {late}")).await;
        assert_eq!(results(&receiver, &chest).len(), 2);
        let story = site.series(&chest.series).await.unwrap();
        assert_eq!((story.revision, story.jobs.len()), (14, 1), "{late}");
        let said = story.routes.iter().find(|route| route.revision == 14).unwrap();
        assert!(!said.matched && said.reason.contains(late), "{}", said.reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_reads_its_series_by_its_own_signals_and_what_is_late_by_its_own_word() {
    let receiver = Receiver::start();
    let site = Site::new()
        .with_peer("PACS", receiver.address)
        .with_quick_model()
        .with("completeness.quiet_seconds", "3600")
        .with_route(QUICK, &["PACS"], "calling_ae = [\"AT_ONCE\"]\non_release = true\nlate = \"ignore\"")
        .with_route(QUICK, &["PACS"], "calling_ae = [\"CT*\"]\nquiet_seconds = 1");
    let node = site.start().await;
    let (at_once, quiet, other) = (Series::chest("at once"), Series::chest("quiet"), Series::chest("of nobody"));
    node.push("MR1", &other.files()).await;
    node.push("AT_ONCE", &at_once.files()[..13]).await;
    node.push("CT1", &quiet.files()[..13]).await;
    let signal = async |series: &Series, revision: i64| {
        let what = format!("revision {revision} of {} is complete", series.series);
        eventually(&what, async || {
            let story = site.series(&series.series).await?;
            (story.revision == revision && story.state == SeriesState::Read).then_some(story.signal)
        })
        .await
    };
    assert_eq!(signal(&at_once, 13).await, "association released");
    assert_eq!(signal(&quiet, 13).await, "quiet for 1 s");
    // A late slice each: the one route has it read, the other does not.
    node.push("AT_ONCE", &at_once.files()[13..]).await;
    node.push("CT1", &quiet.files()[13..]).await;
    assert_eq!(signal(&quiet, 14).await, "quiet for 1 s");
    let ignored = eventually("the late slice is decided on", async || {
        let story = site.series(&at_once.series).await?;
        story.routes.iter().any(|route| route.revision == 14).then_some(story)
    });
    let ignored = ignored.await;
    let why = ignored.routes.iter().find(|route| (route.revision, route.route) == (14, 0)).unwrap();
    assert!(!why.matched && why.reason.contains("late is ignore"), "{}", why.reason);
    assert_eq!(ignored.jobs.len(), 1);
    assert_eq!(site.series(&other.series).await.unwrap().state, SeriesState::Receiving, "it takes no route");
}
