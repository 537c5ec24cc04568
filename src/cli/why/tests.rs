use super::*;
use crate::dicom::ae::AeTitle;
use crate::dicom::{VR, tags};
use crate::store::PeerAnswer;
use crate::store::tests::{Bench, Sample, result};

/// What is told of the bench's only study.
async fn told(bench: &Bench) -> String {
    let studies = bench.store.why("1.2.1").await.unwrap();
    story(&studies[0], bench.clock.now())
}

fn must_say(told: &str, lines: &[&str]) {
    for line in lines {
        assert!(told.lines().any(|found| found.trim() == *line), "«{line}» is no line of: {told}");
    }
}

#[tokio::test]
async fn a_description_with_a_newline_forges_no_line() {
    let bench = Bench::new().await;
    let mut sample = Sample::ct(1, 1, 1);
    let forged = "chest\n    complete at 2026-01-01 00:00:00Z: released\rby nobody";
    sample.data_set.put_text(tags::SERIES_DESCRIPTION, VR::LO, forged);
    bench.send(&sample).await.unwrap();
    let told = told(&bench).await;
    assert!(!told.contains('\r'), "{told:?}");
    assert!(!told.lines().any(|line| line.trim().starts_with("complete at")), "{told}");
    assert!(told.lines().any(|line| line.contains("chest") && line.contains("released")), "{told}");
}

#[tokio::test]
async fn a_job_that_waits_says_since_when_and_until_when() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let queued = "job 1 by model lung 1 (revision 3): queued at 2026-01-01 00:00:00Z";
    must_say(&told(&bench).await, &[queued]);
    let (job, now) = (bench.claim().await.unwrap(), bench.clock.now());
    bench.store.retry_job(job, "out of memory", now.plus_ms(60_000), now).await.unwrap();
    must_say(&told(&bench).await, &[&format!("{queued}, next attempt at 2026-01-01 00:01:00Z")]);
    bench.clock.advance_ms(60_000);
    must_say(&told(&bench).await, &[queued]);
}

#[tokio::test]
async fn signals_of_earlier_revisions_are_told_and_instances_that_are_gone_are_not_counted() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    bench.clock.advance_ms(60_000);
    bench.send(&Sample::ct(1, 1, 4)).await.unwrap();
    let first = "revision 3 was complete at 2026-01-01 00:00:00Z: quiet for 20 s";
    must_say(&told(&bench).await, &[first, "not complete yet: 4 instances so far, the last one 0 s ago"]);
    bench.store.spoil("UPDATE series SET number_of_instances = 2").await;
    must_say(&told(&bench).await, &["not complete yet: 2 instances so far, the last one 0 s ago"]);
    bench.complete_late(5, &["lung"]).await;
    must_say(&told(&bench).await, &[first, "complete at 2026-01-01 00:01:00Z: quiet"]);
}

#[tokio::test]
async fn no_route_was_asked_of_what_reindex_has_found() {
    let bench = Bench::new().await;
    bench.complete(&[]).await;
    bench.store.spoil("DELETE FROM route_decision").await;
    must_say(&told(&bench).await, &["no route is configured: nothing reads it"]);
    bench.store.spoil("DELETE FROM instance; DELETE FROM series_source; DELETE FROM series; DELETE FROM study").await;
    bench.store.reindex(false, |_, _| {}).await.unwrap();
    let reread = "no route was asked: it was found by reindex; overread reread has it read";
    must_say(&told(&bench).await, &[reread]);
}

#[tokio::test]
async fn the_last_answer_and_why_there_is_none_now_are_both_told() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let job = bench.claim().await.unwrap();
    bench.store.finish_job(job, "read", vec![result(1)], None, bench.clock.now()).await.unwrap();
    let silent = PeerAnswer { status: None, comment: "connection refused" };
    let busy = PeerAnswer { status: Some(0xA700), comment: "no room" };
    let pacs = AeTitle::parse("PACS").unwrap();
    for (answer, said) in [
        (silent, "1 attempt, no answer: connection refused"),
        (busy, "2 attempts, last answer A700H «no room»"),
        (silent, "3 attempts, last answer A700H «no room» at 2026-01-01 00:00:00Z, none since: connection refused"),
    ] {
        let now = bench.clock.now();
        let delivery = bench.store.claim_delivery(&pacs, now).await.unwrap().unwrap();
        bench.store.retry_delivery(delivery, answer, now).await.unwrap();
        must_say(
            &told(&bench).await,
            &[&format!("to PACS: pending, it is sent when its destination is called next ({said})")],
        );
    }
}
