//! SIGKILL at any point: what was acknowledged is there, and in the end each series has one set of results, delivered.

#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests and what they share")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use overread::association::requestor::OutgoingInstance;
use overread::clock::Clock;
use overread::dicom::tags;
use overread::dicom::uid::SopInstanceUid;
use overread::store::{DeliveryState, JobState, SeriesState, Store};
use tokio::sync::watch;

use crate::testkit::chest::Series;
use crate::testkit::receiver::{Answer, Receiver, Sent, eventually};
use crate::testkit::site::{Process, Site, WAITS, associate};

/// A chest that is complete with its last slice, however long that takes.
fn announced(name: &str) -> Series {
    Series { announces: true, ..Series::chest(name) }
}

/// Completes by nothing but the announced number.
fn site(receiver: &Receiver) -> Site {
    Site::measuring_for(receiver).with("completeness.quiet_seconds", "3600").with("completeness.on_release", "true")
}

/// What the receiver has got of a series: by SOP Instance UID, every copy.
fn copies(receiver: &Receiver, series: &Series) -> BTreeMap<String, Vec<Sent>> {
    let mut copies: BTreeMap<String, Vec<Sent>> = BTreeMap::new();
    for sent in receiver.sent() {
        if sent.header().text(tags::STUDY_INSTANCE_UID).as_deref() == Some(&series.study) {
            copies.entry(sent.sop_instance.clone()).or_default().push(sent);
        }
    }
    copies
}

/// Waits until a series is read and its results are delivered, then looks at everything that must hold of them. `kills`: how
/// often the node died when an object may just have been taken: it sends that one again, and never more than that one.
async fn must_be_read_once(site: &Site, receiver: &Receiver, series: &Series, kills: usize) {
    let story = eventually("the series is read and its results delivered", async || {
        let story = site.series(&series.series).await?;
        let results: Vec<_> = story.jobs.iter().flat_map(|job| &job.results).collect();
        let mut deliveries = results.iter().flat_map(|result| &result.deliveries);
        let done = results.len() == 2 && deliveries.all(|delivery| delivery.state == DeliveryState::Delivered);
        done.then_some(story)
    })
    .await;
    let [job] = &story.jobs[..] else { panic!("one job: {:?}", story.jobs) };
    assert_eq!((job.state, job.outcome.as_str(), job.revision), (JobState::Done, "read", 14));
    assert_eq!(story.state, SeriesState::Read);
    let copies = copies(receiver, series);
    let made: BTreeSet<String> = job.results.iter().map(|result| result.sop_instance_uid.clone()).collect();
    assert_eq!(copies.keys().cloned().collect::<BTreeSet<_>>(), made, "no other object was ever sent");
    let store = Store::open_beside(&site.data(), Clock::System).await.unwrap();
    for (uid, copies) in copies {
        assert!(copies.iter().all(|copy| copy.data_set == copies[0].data_set), "a resend is the same to the byte");
        let stored = store.instance(&SopInstanceUid::parse(&uid).unwrap()).await.unwrap().unwrap();
        let file = std::fs::read(stored.path()).unwrap();
        assert!(file.ends_with(&copies[0].data_set), "and what the node keeps");
        let taken = copies.iter().filter(|copy| copy.answer == Answer::Status(0)).count();
        assert!((1..=1 + kills).contains(&taken), "{uid} was taken {taken} times, the node died {kills} times");
    }
}

/// Every file has the bytes that were acknowledged.
async fn must_be_kept(site: &Site, files: &[Bytes]) {
    let store = Store::open_beside(&site.data(), Clock::System).await.unwrap();
    for file in files {
        let sent = OutgoingInstance::from_file(file).unwrap();
        let stored = store.instance(sent.sop_instance()).await.unwrap().expect("an acknowledged instance has its row");
        let kept = std::fs::read(stored.path()).unwrap();
        assert!(kept.ends_with(&sent.data_set_for(overread::association::requestor::Converted::Not).unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_receiving() {
    let receiver = Receiver::start();
    let site = site(&receiver);
    let chest = announced("killed while receiving");
    let files = chest.files();
    let mut kept = 0;
    for point in [1, 7, 13] {
        let node = site.start().await;
        must_be_kept(&site, &files[..kept]).await;
        let mut association = node.associate("CT1").await.unwrap();
        for file in &files[kept..point] {
            let answer = association.store(&OutgoingInstance::from_file(file).unwrap()).await.unwrap();
            assert_eq!(answer.status.0, 0);
        }
        kept = point;
        node.kill();
    }
    let node = site.start().await;
    must_be_kept(&site, &files[..kept]).await;
    let story = site.series(&chest.series).await.unwrap();
    assert_eq!((story.state, story.revision), (SeriesState::Receiving, 13), "a crash is no release");
    node.push("CT1", &files).await;
    must_be_read_once(&site, &receiver, &chest, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_job_runs() {
    let receiver = Receiver::start();
    let site = Site::new()
        .with("completeness.quiet_seconds", "3600")
        .with_peer("PACS", receiver.address)
        .with_waiting_model()
        .with_route(WAITS, &["PACS"], "");
    let chest = announced("killed while a job runs");
    for attempt in 1..=2 {
        let node = site.start().await;
        node.push("CT1", &chest.files()).await;
        eventually("the job runs", async || {
            let story = site.series(&chest.series).await?;
            let job = story.jobs.first()?;
            (job.state == JobState::Running && job.attempts.len() == attempt).then_some(())
        })
        .await;
        node.kill();
    }
    let _node = site.start().await;
    site.let_models_end();
    must_be_read_once(&site, &receiver, &chest, 0).await;
    let story = site.series(&chest.series).await.unwrap();
    let endings: Vec<_> = story.jobs[0].attempts.iter().map(|attempt| attempt.ending.as_str()).collect();
    assert_eq!(endings, ["lease lost", "lease lost", "done"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_reading_and_delivering() {
    let mut receiver = Receiver::closed();
    let site = site(&receiver);
    let node = site.start().await;
    let chest = announced("killed before delivery");
    node.push("CT1", &chest.files()).await;
    node.logged("job done", 1).await;
    node.kill();
    receiver.open();
    let node = site.start().await;
    must_be_read_once(&site, &receiver, &chest, 0).await;
    assert_eq!(receiver.sent().len(), 2, "each object once");
    assert_eq!(node.lines("job done").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_delivering() {
    let receiver = Receiver::start();
    let site = site(&receiver);
    let chest = announced("killed while delivering");
    receiver.answer(|_| Answer::Stall);
    let node = site.start().await;
    node.push("CT1", &chest.files()).await;
    eventually("the first object is sent", async || (receiver.sent().len() == 1).then_some(())).await;
    node.kill();
    let mut first = true;
    receiver.answer(move |_| if std::mem::take(&mut first) { Answer::Status(0) } else { Answer::Stall });
    let node = site.start().await;
    eventually("the second object is sent", async || (receiver.sent().len() == 3).then_some(())).await;
    node.kill();
    receiver.answer(|_| Answer::Status(0));
    let _node = site.start().await;
    must_be_read_once(&site, &receiver, &chest, 0).await;
    assert_eq!(receiver.taken().len(), 2, "what was taken is not sent again");
}

/// Sends series one after the other, whatever happens to the node; gives what was acknowledged.
async fn modality(series: Vec<Series>, mut node: watch::Receiver<Option<SocketAddr>>) -> Vec<Bytes> {
    let mut acknowledged = Vec::new();
    for series in series {
        let files = series.files();
        let mut next = 0;
        while next < files.len() {
            let address = node.wait_for(Option::is_some).await.unwrap().unwrap();
            let Ok(mut association) = associate(address, "CT1").await else {
                // This one is gone: wait for the next.
                let _ = node.wait_for(|now| *now != Some(address)).await;
                continue;
            };
            while next < files.len() {
                match association.store(&OutgoingInstance::from_file(&files[next]).unwrap()).await {
                    Ok(answer) => {
                        assert_eq!(answer.status.0, 0, "{:?}", answer.comment);
                        acknowledged.push(files[next].clone());
                        next += 1;
                    }
                    Err(_) => break,
                }
            }
        }
    }
    acknowledged
}

/// xorshift: the same kills in every run.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

const KILLS: usize = 15;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_time() {
    let receiver = Receiver::start();
    let site = site(&receiver).with("jobs.attempts", "100");
    let all: Vec<Series> = (0..8).map(|n| announced(&format!("killed at any time {n}"))).collect();
    let (now, watched) = watch::channel(None);
    let sending = tokio::spawn(modality(all.clone(), watched));
    let mut state = 0x5EED_0F0E;
    for _ in 0..KILLS {
        let node = site.start().await;
        now.send_replace(Some(node.address()));
        let time = Duration::from_millis(random(&mut state) % 700);
        // The time of the kill is what is tried here; nothing is waited for.
        tokio::time::sleep(time).await;
        now.send_replace(None);
        node.kill();
    }
    let node: Process = site.start().await;
    now.send_replace(Some(node.address()));
    let acknowledged = sending.await.unwrap();
    assert_eq!(acknowledged.len(), 8 * 14);
    must_be_kept(&site, &acknowledged).await;
    for series in &all {
        must_be_read_once(&site, &receiver, series, KILLS).await;
    }
    // One object is on its way to a destination at a time.
    let taken = receiver.taken().len();
    assert!(taken <= 2 * all.len() + KILLS, "{taken} objects were taken");
}
