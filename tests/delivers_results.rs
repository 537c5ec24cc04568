//! Results reach their destinations: later where a PACS is down, never where it refuses for good, and no PACS waits for
//! another.

#![cfg(feature = "torch")]

use dicom_dictionary_std::uids;
use overread::store::{DeliveryState, DeliveryStory, JobState, SeriesStory};

use crate::testkit::chest::Series;
use crate::testkit::receiver::{Answer, Receiver, eventually};
use crate::testkit::site::{Process, QUICK, Site, run};
use crate::testkit::wire::IMPLICIT_LE;

const REPORT: &str = uids::COMPREHENSIVE3_DSR_STORAGE;
const SEGMENTATION: &str = uids::SEGMENTATION_STORAGE;

/// The deliveries of a series with the SOP class of what they deliver.
fn deliveries(story: &SeriesStory) -> Vec<(&str, &DeliveryStory)> {
    let results = story.jobs.iter().flat_map(|job| &job.results);
    results.flat_map(|result| result.deliveries.iter().map(|d| (result.sop_class_uid.as_str(), d))).collect()
}

/// Waits until both results of a series have deliveries to `destination` of which this holds.
async fn until(
    site: &Site,
    series: &Series,
    destination: &str,
    holds: impl Fn(&str, &DeliveryStory) -> bool,
) -> Vec<DeliveryStory> {
    let what = format!("deliveries to {destination} as they should be");
    eventually(&what, async || {
        let story = site.series(&series.series).await?;
        let all: Vec<_> = deliveries(&story).into_iter().filter(|(_, d)| d.destination == destination).collect();
        let good = all.len() == 2 && all.iter().all(|(class, delivery)| holds(class, delivery));
        good.then(|| all.into_iter().map(|(_, delivery)| delivery.clone()).collect())
    })
    .await
}

fn is_delivered(delivery: &DeliveryStory) -> bool {
    delivery.state == DeliveryState::Delivered
}

async fn push(node: &Process, name: &str) -> Series {
    let chest = Series::chest(name);
    node.push("CT1", &chest.files()).await;
    chest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pacs_that_is_down_gets_the_results_when_it_is_up_again() {
    let mut receiver = Receiver::closed();
    let site = Site::measuring_for(&receiver);
    let node = site.start().await;
    let chest = push(&node, "down").await;
    let attempts = node.logged("not delivered yet", 2).await;
    assert!(attempts[0]["comment"].as_str().unwrap().contains("refused"), "{}", attempts[0]);
    receiver.open();
    let delivered = until(&site, &chest, "PACS", |_, d| is_delivered(d)).await;
    assert!(delivered.iter().any(|d| d.attempts >= 2));
    assert_eq!(receiver.sent().len(), 2, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_passes_is_waited_for_and_one_for_good_stays_dead_until_a_person_resends() {
    let receiver = Receiver::start();
    let mut full = true;
    receiver.answer(move |class| match class {
        SEGMENTATION if std::mem::take(&mut full) => Answer::Status(0xA700),
        SEGMENTATION => Answer::Status(0),
        _ => Answer::Status(0xA900),
    });
    let site = Site::measuring_for(&receiver);
    let node = site.start().await;
    let chest = push(&node, "refused").await;
    let ended = until(&site, &chest, "PACS", |class, d| match class {
        SEGMENTATION => is_delivered(d),
        _ => d.state == DeliveryState::Dead,
    });
    let ended = ended.await;
    assert_eq!(ended.iter().find(|d| is_delivered(d)).unwrap().attempts, 2);
    assert_eq!(ended.iter().find(|d| !is_delivered(d)).unwrap().last_status, Some(0xA900));
    assert_eq!(node.lines("delivery is dead; overread resend revives it").len(), 1);
    let refused = receiver.sent().into_iter().find(|sent| sent.sop_class == REPORT).unwrap();

    receiver.answer(|_| Answer::Status(0));
    let configuration = site.configuration();
    let resent = run(&["resend", "--dead", "--config", configuration.to_str().unwrap()]).await;
    assert!(resent.status.success(), "{resent:?}");
    until(&site, &chest, "PACS", |_, d| is_delivered(d)).await;
    let report = receiver.taken().into_iter().find(|sent| sent.sop_class == REPORT).unwrap();
    assert_eq!(report.data_set, refused.data_set);
    assert_eq!(receiver.taken().len(), 2, "what was delivered is not sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_is_no_refusal() {
    let receiver = Receiver::start();
    let mut aborts = 3;
    receiver.answer(move |_| {
        aborts -= 1;
        if aborts >= 0 { Answer::Abort } else { Answer::Status(0) }
    });
    let site = Site::measuring_for(&receiver);
    let node = site.start().await;
    let chest = push(&node, "aborted").await;
    until(&site, &chest, "PACS", |_, d| is_delivered(d)).await;
    assert_eq!((receiver.sent().len(), receiver.taken().len()), (5, 2));
    // Three that broke; the two objects are then due together or one after the other.
    assert!((4..=5).contains(&receiver.associations()), "{}", receiver.associations());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pacs_that_hangs_delays_no_other() {
    let (hanging, receiver) = (Receiver::start(), Receiver::start());
    hanging.answer(|_| Answer::Stall);
    let site = Site::new()
        .with_quick_model()
        .with_peer("HANGING", hanging.address)
        .with_peer("PACS", receiver.address)
        .with_route(QUICK, &["HANGING", "PACS"], "");
    let node = site.start().await;
    let first = push(&node, "first").await;
    until(&site, &first, "PACS", |_, d| is_delivered(d)).await;
    eventually("the other is sent to", async || (!hanging.sent().is_empty()).then_some(())).await;
    let second = push(&node, "second").await;
    until(&site, &second, "PACS", |_, d| is_delivered(d)).await;
    let story = site.series(&first.series).await.unwrap();
    let stuck = deliveries(&story).into_iter().filter(|(_, d)| d.destination == "HANGING");
    let mut states: Vec<DeliveryState> = stuck.map(|(_, d)| d.state).collect();
    states.sort_by_key(|state| state.word());
    assert_eq!(states, [DeliveryState::Pending, DeliveryState::Sending]);
    assert_eq!(hanging.sent().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pacs_that_hangs_does_not_keep_the_node_from_ending() {
    let hanging = Receiver::start();
    hanging.answer(|_| Answer::Stall);
    let site = Site::measuring_for(&hanging).with("association.drain_seconds", "1");
    let mut node = site.start().await;
    let chest = push(&node, "ending").await;
    eventually("something sent", async || (!hanging.sent().is_empty()).then_some(())).await;
    let begun = std::time::Instant::now();
    node.terminate();
    assert_eq!(node.exit_code().await, 0);
    assert!(
        begun.elapsed().as_secs() < 60,
        "ended after {:?}, and an answer is waited for twice as long",
        begun.elapsed()
    );
    hanging.answer(|_| Answer::Status(0));
    let _again = site.start().await;
    until(&site, &chest, "PACS", |_, d| is_delivered(d)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pacs_that_takes_no_segmentations_gets_the_report() {
    let receiver = Receiver::start();
    receiver.take(|class, _| class != SEGMENTATION);
    let site = Site::measuring_for(&receiver);
    let node = site.start().await;
    let chest = push(&node, "no segmentations").await;
    let ended = until(&site, &chest, "PACS", |class, d| match class {
        SEGMENTATION => d.state == DeliveryState::Dead,
        _ => is_delivered(d),
    });
    let dead = ended.await.into_iter().find(|d| !is_delivered(d)).unwrap();
    assert_eq!((dead.attempts, dead.last_status), (1, None));
    assert!(dead.no_answer.contains("presentation context"), "{}", dead.no_answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pacs_that_knows_only_implicit_vr_gets_the_same_elements_in_it() {
    let (old, receiver) = (Receiver::start(), Receiver::start());
    old.take(|_, syntax| syntax == IMPLICIT_LE);
    let site = Site::measuring_for(&receiver).with_peer("OLD", old.address).with_route(QUICK, &["OLD"], "");
    let node = site.start().await;
    let chest = push(&node, "implicit").await;
    until(&site, &chest, "OLD", |_, d| is_delivered(d)).await;
    until(&site, &chest, "PACS", |_, d| is_delivered(d)).await;
    for sent in receiver.taken() {
        let other = old.taken().into_iter().find(|other| other.sop_instance == sent.sop_instance).unwrap();
        assert_eq!(other.transfer_syntax, IMPLICIT_LE);
        assert_ne!(other.data_set, sent.data_set);
        let (there, here) = (other.header(), sent.header());
        for (there, here) in there.elements().iter().zip(here.elements()) {
            // Pixel data of single bits is OB where the representation is written, OW where it is not (PS3.5 section A.1).
            assert_eq!((there.tag, &there.value), (here.tag, &here.value));
        }
        assert_eq!(there.elements().len(), here.elements().len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_gets_the_results_where_the_route_says_so_and_it_is_a_peer() {
    let receiver = Receiver::start();
    let site = Site::new().with_quick_model().with_peer("CT1", receiver.address).with_route(QUICK, &["sender"], "");
    let node = site.start().await;
    let chest = push(&node, "for its sender").await;
    until(&site, &chest, "CT1", |_, d| is_delivered(d)).await;

    let stranger = Series::chest("of a stranger");
    node.push("STRANGER", &stranger.files()).await;
    let story = eventually("the stranger's series is read", async || {
        let story = site.series(&stranger.series).await?;
        story.jobs.iter().any(|job| job.state == JobState::Done).then_some(story)
    });
    let story = story.await;
    assert_eq!(deliveries(&story), []);
    assert!(story.routes[0].reason.contains("nothing is sent to STRANGER"), "{}", story.routes[0].reason);
    assert_eq!(receiver.sent().len(), 2);
}
