//! What is given up unasked, and what is kept of a peer's answers.

use super::working::{result, title};
use super::*;

/// Two results for `PACS` and two for `ARCHIVE`, put into the outbox at [`START`].
async fn waiting() -> Bench {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let job = bench.claim().await.unwrap();
    bench.store.finish_job(job, "read", vec![result(1), result(2)], None, bench.clock.now()).await.unwrap();
    bench
}

#[tokio::test]
async fn what_has_waited_too_long_is_given_up_and_nothing_else() {
    let bench = waiting().await;
    let (pacs, later) = (title("PACS"), START.plus_ms(1000));
    let one = bench.store.claim_delivery(&pacs, START).await.unwrap().unwrap();
    assert_eq!(bench.store.give_up_waiting(&pacs, START.plus_ms(-1), "gone").await.unwrap(), 0, "not so long yet");
    assert_eq!(bench.store.give_up_waiting(&pacs, START, "gone").await.unwrap(), 1);
    let states = "SELECT group_concat(destination || ' ' || state || ' ' || no_answer, ', ') \
        FROM (SELECT * FROM delivery ORDER BY destination, state)";
    let expected = "ARCHIVE pending , ARCHIVE pending , PACS dead gone, PACS sending ";
    assert_eq!(bench.text(states).await, expected, "what is being sent is its lane's");
    bench.store.mark_delivered(one, PeerAnswer { status: Some(0), comment: "" }, later).await.unwrap();
    assert_eq!(bench.store.resend(&Resend::Dead, later).await.unwrap(), 1);
    assert_eq!(bench.store.give_up_waiting(&pacs, START, "gone").await.unwrap(), 0, "it was asked for anew");
}

#[tokio::test]
async fn the_last_answer_stays_beside_the_reason_why_there_is_none_now() {
    let bench = waiting().await;
    let pacs = title("PACS");
    let busy = PeerAnswer { status: Some(0xA700), comment: "out of space" };
    let silent = PeerAnswer { status: None, comment: "connection refused" };
    let kept = "SELECT coalesce(last_status, 0) || '|' || last_comment || '|' || no_answer || '|' || \
        coalesce(answered_at - 1767225600000, '') FROM delivery WHERE delivery_id = \
        (SELECT min(delivery_id) FROM delivery WHERE destination = 'PACS')";
    for (at, answer, expected) in [
        (0, silent, "0||connection refused|"),
        (1000, busy, "42752|out of space||1000"),
        (2000, silent, "42752|out of space|connection refused|1000"),
        (3000, PeerAnswer { status: Some(0xA700), comment: "" }, "42752|||3000"),
    ] {
        let now = START.plus_ms(at);
        let delivery = bench.store.claim_delivery(&pacs, now).await.unwrap().unwrap();
        assert_eq!((&*delivery.source_series, delivery.instance.study_instance_uid().as_str()), ("1.2.1.1", "1.2.1"));
        bench.store.retry_delivery(delivery, answer, START).await.unwrap();
        assert_eq!(bench.text(kept).await, expected);
    }
}
