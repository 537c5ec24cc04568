//! How jobs end: with their results, or with a report that says why there are none.

use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::config;
use crate::dicom::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid};
use crate::inference::device::DeviceChoice;
use crate::inference::manifest::Manifest;
use crate::results::{ResultObject, ResultSet};
use crate::store::tests::{Bench, Sample};
use early::EarlyDecoder;
use reading::Times;

/// A worker that serves the fixture `good` and reports failures, beside the bench's store.
fn worker(bench: &Bench, attempts: u32) -> Worker {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/good");
    Worker {
        store: bench.store.clone(),
        clock: bench.clock.clone(),
        jobs: Jobs {
            attempts,
            retry: Duration::ZERO,
            lease: Duration::from_secs(60),
            per_slice: Vec::new(),
            workers: 1,
            decode_early_bytes: 0,
        },
        engine: Arc::new(Engine::start(DeviceChoice::Cpu, vec![Manifest::load(&package).unwrap()]).unwrap()),
        gates: Arc::default(),
        writing: Arc::new(Writing::of(&config::Results::default())),
        report_failures: true,
        allow_untrained: true,
        early: Arc::new(EarlySlices::new(0)),
        exhausted: CancellationToken::new(),
    }
}

/// A reading with one object: `bytes`.
fn reading(bytes: &'static [u8]) -> Reading {
    let object = ResultObject {
        kind: ResultKind::Segmentation,
        sop_class_uid: SopClassUid::parse("1.2").unwrap(),
        sop_instance_uid: SopInstanceUid::parse("1.2").unwrap(),
        series_instance_uid: SeriesInstanceUid::parse("1.2").unwrap(),
        transfer_syntax_uid: TransferSyntaxUid::explicit_le(),
        bytes: Bytes::from_static(bytes),
    };
    Reading {
        outcome: "read".to_owned(),
        answer: None,
        missing_percent: None,
        results: ResultSet { objects: vec![object] },
        embeddings: Vec::new(),
        times: Times::default(),
        decoded_early: 0,
    }
}

/// What the job has made, and how many deliveries follow.
async fn made(bench: &Bench) -> (String, i64) {
    let kinds = bench.text("SELECT coalesce(group_concat(kind), '') FROM result").await;
    (kinds, bench.number("SELECT count(*) FROM delivery WHERE state = 'pending'").await)
}

#[tokio::test]
async fn a_job_whose_results_can_never_be_saved_is_reported() {
    let bench = Bench::new().await;
    bench.complete(&["good"]).await;
    let worker = worker(&bench, 3);
    let job = bench.claim().await.unwrap();
    let files = worker.prepare(&job).await.unwrap().files;
    worker.done(job, reading(b"no DICOM"), None, (Instant::now(), &files), &CancellationToken::new()).await;
    assert_eq!(bench.job_states().await, "good 3 failed ");
    assert_eq!(made(&bench).await, ("failure report".to_owned(), 2));
    assert!(bench.text("SELECT cause FROM job").await.contains("the results could not be saved"));
}

#[tokio::test]
async fn a_job_whose_results_were_not_saved_at_its_last_attempt_is_reported() {
    let bench = Bench::new().await;
    bench.complete(&["good"]).await;
    // As where there is no room for what was made, but for the report of a failure.
    let full =
        "CREATE TRIGGER full BEFORE INSERT ON result WHEN NEW.kind = 'report' BEGIN SELECT RAISE(ABORT, 'full'); END";
    bench.store.spoil(full).await;
    let worker = worker(&bench, 1);
    let job = bench.claim().await.unwrap();
    worker.work(job, &CancellationToken::new()).await;
    assert_eq!(bench.job_states().await, "good 3 failed ");
    assert_eq!(made(&bench).await, ("failure report".to_owned(), 2));
}

#[tokio::test]
async fn a_job_of_which_a_slice_cannot_be_looked_up_is_reported() {
    let bench = Bench::new().await;
    bench.complete(&["good"]).await;
    bench.store.spoil("UPDATE instance SET sop_class_uid = 'no uid' WHERE instance_key = 2").await;
    let job = bench.claim().await.unwrap();
    worker(&bench, 3).work(job, &CancellationToken::new()).await;
    assert_eq!(bench.job_states().await, "good 3 failed ");
    assert_eq!(made(&bench).await, ("failure report".to_owned(), 2));
    assert!(bench.text("SELECT cause FROM job").await.contains("the series could not be looked up"));
}

#[tokio::test]
async fn a_job_whose_series_could_not_be_looked_up_at_its_last_attempt_is_reported() {
    for (attempts, state, results) in
        [(1, "failed", ("failure report".to_owned(), 2)), (2, "queued", (String::new(), 0))]
    {
        let bench = Bench::new().await;
        bench.complete(&["good"]).await;
        let job = bench.claim().await.unwrap();
        worker(&bench, attempts).not_prepared(job, StoreError::Closed, Instant::now(), &CancellationToken::new()).await;
        assert_eq!((bench.text("SELECT state FROM job").await.as_str(), made(&bench).await), (state, results));
        assert!(bench.text("SELECT cause FROM job").await.contains("the series could not be looked up"));
    }
}

#[tokio::test]
async fn what_an_untrained_package_makes_goes_to_nobody_where_that_is_not_allowed() {
    for (allow_untrained, deliveries) in [(true, 2), (false, 0)] {
        let bench = Bench::new().await;
        bench.complete(&["good"]).await;
        let worker = Worker { allow_untrained, ..worker(&bench, 3) };
        let job = bench.claim().await.unwrap();
        let files = worker.prepare(&job).await.unwrap().files;
        worker.not_done(job, ReadingError::Unreadable, (Instant::now(), &files), &CancellationToken::new()).await;
        assert_eq!(made(&bench).await, ("failure report".to_owned(), deliveries), "allowed: {allow_untrained}");
        assert_eq!(bench.number("SELECT untrained FROM job").await, 1);
    }
}

#[tokio::test]
async fn a_job_names_the_package_that_ended_it_and_not_the_one_that_was_there_when_it_was_queued() {
    let bench = Bench::new().await;
    bench.complete(&["good"]).await;
    let named = "SELECT model_version || ' ' || model_hash FROM job";
    assert_eq!(bench.text(named).await, "1 00");
    let worker = worker(&bench, 1);
    let job = bench.claim().await.unwrap();
    worker.work(job, &CancellationToken::new()).await;
    let hash = worker.engine.manifest("good").unwrap().weights_sha256();
    assert_eq!(bench.text(named).await, format!("1.0.0 {hash}"));
}

#[tokio::test]
async fn an_instance_that_cannot_be_looked_up_keeps_no_other_from_being_decoded_early() {
    let bench = Bench::new().await;
    let last = bench.store.last_instance().await.unwrap();
    for number in [1, 2] {
        bench.send(&Sample::ct(1, 1, number).compressed()).await.unwrap();
    }
    bench.store.spoil("UPDATE instance SET sop_class_uid = 'no uid' WHERE sop_instance_uid = '1.2.1.1.2'").await;
    let mut decoder = EarlyDecoder {
        store: bench.store.clone(),
        clock: bench.clock.clone(),
        modalities: vec!["CT".to_owned()],
        slices: Arc::new(EarlySlices::new(usize::MAX)),
        last,
    };
    decoder.look(&CancellationToken::new()).await.unwrap();
    assert_eq!(decoder.last, bench.store.last_instance().await.unwrap(), "it is not looked at again and again");
}

#[tokio::test]
async fn an_outdated_job_that_fails_leaves_the_word_to_that_of_the_later_revision() {
    for (is_outdated, results) in [(false, ("failure report".to_owned(), 2)), (true, (String::new(), 0))] {
        let bench = Bench::new().await;
        bench.complete(&["good"]).await;
        let worker = worker(&bench, 3);
        let job = bench.claim().await.unwrap();
        let files = worker.prepare(&job).await.unwrap().files;
        if is_outdated {
            bench.complete_late(4, &["good"]).await;
        }
        worker.not_done(job, ReadingError::Unreadable, (Instant::now(), &files), &CancellationToken::new()).await;
        assert_eq!(bench.text("SELECT state FROM job WHERE revision = 3").await, "failed");
        assert_eq!(made(&bench).await, results, "outdated: {is_outdated}");
    }
}

#[tokio::test]
async fn a_lease_is_renewed_while_its_job_ends_and_losing_it_cuts_nothing_short() {
    let (renewed, wait) = tokio::sync::oneshot::channel();
    let ending = async {
        // Comes only where renewing goes on beside it.
        let renewed = wait.await;
        tokio::task::yield_now().await;
        renewed.is_ok()
    };
    let renewing = async { renewed.send(()).unwrap() };
    assert!(while_renewing(ending, renewing).await);
}

#[tokio::test]
async fn nothing_is_begun_beside_a_reading_whose_lease_is_lost() {
    let (ends, wait) = tokio::sync::oneshot::channel::<()>();
    let mut attending = std::pin::pin!(attended(wait, std::future::ready(()), std::future::pending()));
    assert!(futures_util::poll!(&mut attending).is_pending());
    drop(ends);
    assert!(matches!(attending.await, Attended::LeaseLost));
    let stopped = attended(std::future::pending::<()>(), std::future::ready(()), std::future::ready(()));
    let _ends = tokio::time::timeout(Duration::from_secs(10), stopped).await.unwrap();
}
