//! Jobs that end badly: each with its cause, and none holds up another.

use super::working::{LEASE_MS, result};
use super::*;

#[tokio::test]
async fn a_job_that_cannot_be_read_fails_with_its_cause_and_holds_up_no_other() {
    for spoilt in [
        "UPDATE job SET destinations = 'A TITLE THAT IS FAR TOO LONG' WHERE model_name = 'bad'",
        "UPDATE job SET route = 'no number' WHERE model_name = 'bad'",
    ] {
        let bench = Bench::new().await;
        bench.complete(&["bad", "good"]).await;
        bench.store.spoil(spoilt).await;
        let unreadable = bench.store.claim_job(bench.clock.now(), LEASE_MS).await;
        assert!(matches!(unreadable, Err(StoreError::UnreadableJob { .. })), "{unreadable:?}");
        let next = bench.store.claim_job(bench.clock.now(), LEASE_MS).await.unwrap().expect("the good one");
        assert_eq!(next.model_name, "good");
        assert_eq!(bench.text("SELECT state FROM job WHERE model_name = 'bad'").await, "failed");
        assert_eq!(bench.text("SELECT ending FROM job_attempt ORDER BY job_id LIMIT 1").await, "failed");
        let cause = bench.text("SELECT cause FROM job WHERE model_name = 'bad'").await;
        assert!(cause.contains("TITLE") || cause.contains("route") || cause.contains("16"), "{cause}");
    }
}

#[tokio::test]
async fn the_last_attempt_of_an_old_revision_gives_way_to_a_later_one_as_any_other() {
    let bench = Bench::with(StoreOptions { reserve_bytes: 0, job_attempts: 1, ..StoreOptions::default() }).await;
    bench.complete(&["lung"]).await;
    let early = bench.claim().await.unwrap();
    bench.complete_late(4, &["lung"]).await;
    let now = bench.clock.now();
    assert_eq!(bench.store.retry_job(early, "out of memory", now, now).await.unwrap(), JobEnd::Superseded);
    assert_eq!(bench.job_states().await, "lung 3 done superseded by revision 4, lung 4 queued ");
    let late = bench.claim().await.unwrap();
    assert_eq!(bench.store.retry_job(late, "out of memory", now, now).await.unwrap(), JobEnd::Failed);
    assert_eq!(bench.text("SELECT group_concat(ending) FROM job_attempt").await, "retry,failed");
}

#[tokio::test]
async fn a_job_whose_results_could_not_be_saved_ends_with_that_cause() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let job = bench.claim().await.unwrap();
    let lease = job.lease();
    let broken = NewResult { kind: "report", file: bytes::Bytes::from_static(b"no DICOM") };
    let refused = bench.store.finish_job(job, "read", vec![broken], None, bench.clock.now()).await;
    assert!(matches!(refused, Err(StoreError::Unusable(_))), "{refused:?}");
    bench.store.fail_lease(&lease, "no DICOM", bench.clock.now()).await.unwrap();
    assert_eq!(bench.job_states().await, "lung 3 failed ");
    assert_eq!(bench.text("SELECT ending || ' ' || cause FROM job_attempt").await, "failed no DICOM");
}

#[tokio::test]
async fn a_job_that_the_disk_had_no_room_for_is_tried_again_with_that_cause() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    bench
        .store
        .spoil("CREATE TRIGGER full BEFORE INSERT ON result BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
        .await;
    let job = bench.claim().await.unwrap();
    let (lease, now) = (job.lease(), bench.clock.now());
    let error = bench.store.finish_job(job, "read", vec![result(1)], None, now).await.unwrap_err();
    let later = now.plus_ms(5000);
    assert_eq!(bench.store.retry_lease(&lease, &error.to_string(), later, now).await.unwrap(), JobEnd::Queued);
    assert!(bench.text("SELECT cause FROM job_attempt WHERE ending = 'retry'").await.contains("the disk is full"));
    assert!(bench.claim().await.is_none(), "not at once");
    let again = bench.store.retry_lease(&lease, "", later, now).await;
    assert!(matches!(again, Err(StoreError::LeaseLost(_))), "{again:?}");
    bench.store.spoil("DROP TRIGGER full").await;
    bench.clock.advance_ms(5000);
    let job = bench.claim().await.unwrap();
    assert!(job.cause.contains("the disk is full"));
    bench.store.finish_job(job, "read", vec![result(1)], None, bench.clock.now()).await.unwrap();
}

#[tokio::test]
async fn a_job_whose_worker_vanished_too_often_is_claimed_once_more_where_that_is_to_be_reported() {
    for (report_failures, rounds) in [(false, 2), (true, 3)] {
        let options = StoreOptions { reserve_bytes: 0, job_attempts: 2, report_failures, ..StoreOptions::default() };
        let bench = Bench::with(options).await;
        bench.complete(&["lung"]).await;
        for round in 1..=rounds {
            let job = bench.claim().await.unwrap();
            assert_eq!((job.tries, job.cause.is_empty()), (round, round == 1));
            bench.clock.advance_ms(LEASE_MS);
        }
        assert!(bench.claim().await.is_none());
        assert_eq!(bench.job_states().await, "lung 3 failed ");
        assert_eq!(
            bench.number("SELECT count(*) FROM job_attempt WHERE ending = 'lease lost'").await,
            i64::from(rounds)
        );
    }
}

#[tokio::test]
async fn what_the_index_will_never_say_is_told_from_what_it_cannot_say_now() {
    for spoilt in [
        "UPDATE instance SET sop_class_uid = 'no uid' WHERE instance_key = 1",
        "UPDATE instance SET file_bytes = 'no number' WHERE instance_key = 1",
    ] {
        let bench = Bench::new().await;
        bench.complete(&["lung"]).await;
        bench.store.spoil(spoilt).await;
        let job = bench.claim().await.unwrap();
        let error = bench.store.series_instances(job.series, job.revision).await.unwrap_err();
        assert!(error.is_damage(), "{spoilt}: {error}");
        bench.store.close().await.unwrap();
        let error = bench.store.series_instances(job.series, job.revision).await.unwrap_err();
        assert!(!error.is_damage(), "{error}");
    }
}
