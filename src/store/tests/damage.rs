//! Rows that cannot be read: each ends where it would go round for ever, and holds up no other.

use super::working::{result, title};
use super::*;

#[tokio::test]
async fn a_series_whose_row_cannot_be_read_is_passed_over_and_told_once() {
    for spoilt in [
        "UPDATE series SET series_instance_uid = 'no uid' WHERE series_instance_uid = '1.2.1.1'",
        "UPDATE study SET study_instance_uid = 'no uid' WHERE study_instance_uid = '1.2.1'",
        "UPDATE series SET modality = x'00' WHERE series_instance_uid = '1.2.1.1'",
        "UPDATE series SET last_received_at = 'noon' WHERE series_instance_uid = '1.2.1.1'",
        "UPDATE series SET announced_instances = 'many' WHERE series_instance_uid = '1.2.1.1'",
        "UPDATE association SET calling_ae_title = x'00' WHERE association_id = 'bad'",
    ] {
        let bench = Bench::new().await;
        bench.send_by(&Sample::ct(1, 1, 1), "bad").await.unwrap();
        bench.send(&Sample::ct(2, 1, 1)).await.unwrap();
        bench.store.spoil(spoilt).await;
        let receiving = bench.store.series_receiving().await.unwrap();
        let uids: Vec<&str> = receiving.iter().map(|series| series.series_instance_uid.as_str()).collect();
        assert_eq!(uids, ["1.2.2.1"], "{spoilt}");
    }
}

#[tokio::test]
async fn a_compressed_instance_whose_row_cannot_be_read_is_passed_over() {
    let bench = Bench::new().await;
    for series in [1, 2] {
        bench.send(&Sample::ct(1, series, 1).compressed()).await.unwrap();
    }
    let last = bench.store.last_instance().await.unwrap();
    bench.store.spoil("UPDATE instance SET sop_class_uid = 'no uid' WHERE sop_instance_uid = '1.2.1.1.1'").await;
    let arrivals = async |after, most| {
        let found = bench.store.compressed_arrivals(after, &["CT".to_owned()], most).await.unwrap();
        let uids: Vec<String> = found.instances.iter().map(|found| found.sop_instance_uid().to_string()).collect();
        (uids, found.last)
    };
    let second = vec!["1.2.1.2.1".to_owned()];
    assert_eq!(arrivals(InstanceKey(0), 64).await, (second.clone(), Some(last)));
    // A look at the damaged one alone is not yet the end.
    let (none, first) = arrivals(InstanceKey(0), 1).await;
    assert!(none.is_empty());
    assert_eq!(arrivals(first.unwrap(), 1).await, (second, Some(last)));
    assert_eq!(arrivals(last, 1).await, (Vec::new(), None));
}

/// A job that is done with two results for `PACS` and two for `ARCHIVE`.
async fn delivering() -> Bench {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let job = bench.claim().await.unwrap();
    bench.store.finish_job(job, "read", vec![result(1), result(2)], None, bench.clock.now()).await.unwrap();
    bench
}

async fn waiting(bench: &Bench) -> Vec<String> {
    let mut waiting: Vec<String> =
        bench.store.destinations_waiting().await.unwrap().iter().map(|w| w.ae_title.to_string()).collect();
    waiting.sort();
    waiting
}

#[tokio::test]
async fn a_destination_whose_rows_cannot_be_read_is_given_up_and_holds_up_no_other() {
    for spoilt in [
        "UPDATE delivery SET destination = 'A TITLE THAT IS FAR TOO LONG' WHERE destination = 'ARCHIVE'",
        "UPDATE delivery SET destination = x'41' WHERE destination = 'ARCHIVE'",
        "UPDATE delivery SET destination = 'ARCHIVE ' WHERE destination = 'ARCHIVE'",
        "UPDATE delivery SET next_attempt_at = 'soon' WHERE destination = 'ARCHIVE'",
        "UPDATE delivery SET resent_at = 'never' WHERE destination = 'ARCHIVE'",
    ] {
        let bench = delivering().await;
        bench.store.spoil(spoilt).await;
        assert_eq!(waiting(&bench).await, ["PACS"], "{spoilt}");
        assert_eq!(bench.number("SELECT count(*) FROM delivery WHERE state = 'dead'").await, 2, "{spoilt}");
        let comment = bench.text("SELECT DISTINCT no_answer FROM delivery WHERE state = 'dead'").await;
        assert!(comment.contains("the index is damaged"), "{comment}");
    }
}

#[tokio::test]
async fn of_a_destination_only_the_rows_that_cannot_be_read_are_given_up_and_a_person_revives_them() {
    let bench = delivering().await;
    bench
        .store
        .spoil(
            "UPDATE delivery SET next_attempt_at = 'soon' WHERE delivery_id = (SELECT min(delivery_id) FROM delivery)",
        )
        .await;
    assert_eq!(waiting(&bench).await, ["ARCHIVE", "PACS"]);
    assert_eq!(bench.number("SELECT count(*) FROM delivery WHERE state = 'dead'").await, 1);
    assert_eq!(bench.store.resend(&Resend::Dead, bench.clock.now()).await.unwrap(), 1);
    assert_eq!(waiting(&bench).await, ["ARCHIVE", "PACS"]);
    assert_eq!(bench.number("SELECT count(*) FROM delivery WHERE state = 'pending'").await, 4);
}

#[tokio::test]
async fn a_delivery_of_which_anything_cannot_be_read_is_dead_and_holds_up_no_other() {
    for spoilt in [
        "UPDATE delivery SET created_at = 'once' WHERE delivery_id = 1",
        "UPDATE instance SET file_bytes = 'long' WHERE instance_key = (SELECT instance_key FROM delivery WHERE delivery_id = 1)",
    ] {
        let bench = delivering().await;
        bench.store.spoil(spoilt).await;
        let (now, pacs) = (bench.clock.now(), title("PACS"));
        let unreadable = bench.store.claim_delivery(&pacs, now).await;
        assert!(matches!(unreadable, Err(StoreError::UnreadableDelivery { .. })), "{spoilt}: {unreadable:?}");
        assert_eq!(bench.text("SELECT state FROM delivery WHERE delivery_id = 1").await, "dead");
        assert!(bench.store.claim_delivery(&pacs, now).await.unwrap().is_some());
        assert!(bench.store.claim_delivery(&pacs, now).await.unwrap().is_none());
    }
}
