use super::*;

pub(super) const LEASE_MS: i64 = 60_000;

pub(super) fn title(text: &str) -> AeTitle {
    AeTitle::parse(text).unwrap()
}

pub(super) fn new_job(model: &str) -> NewJob {
    NewJob {
        model_name: model.to_owned(),
        model_version: "1".to_owned(),
        model_hash: "00".to_owned(),
        route: 0,
        reason: "CT, 3 instances".to_owned(),
        destinations: vec![title("PACS"), title("ARCHIVE")],
    }
}

pub(super) fn refused_route() -> RouteDecision {
    RouteDecision {
        route: 1,
        model_name: "cxr".to_owned(),
        matched: false,
        reason: "modality is CT, not CR".to_owned(),
    }
}

/// A result as the encoder makes it: a Part 10 file.
pub(crate) fn result(number: u32) -> NewResult {
    let mut sample = Sample::ct(1, 900, number);
    sample.data_set.put_text(tags::MODALITY, VR::CS, "SEG");
    let announced = sample.announced();
    let mut file = crate::dicom::encode::part10_header(
        &announced.sop_class_uid,
        &announced.sop_instance_uid,
        &announced.transfer_syntax_uid,
        None,
    );
    file.extend(sample.bytes());
    NewResult { kind: "segmentation", file: file.into() }
}

impl Bench {
    /// Sends a series of three and takes it as complete, with a job for each model.
    pub(crate) async fn complete(&self, models: &[&str]) -> Vec<JobId> {
        for number in 1..=3 {
            self.send(&Sample::ct(1, 1, number)).await.unwrap();
        }
        let series = self.store.series_receiving().await.unwrap().remove(0);
        let jobs: Vec<NewJob> = models.iter().map(|m| new_job(m)).collect();
        let completion = Completion {
            series: series.key,
            revision: series.revision,
            signal: "quiet for 20 s",
            decisions: &[refused_route()],
            jobs: &jobs,
        };
        match self.store.complete_series(&completion, self.clock.now()).await.unwrap() {
            Completed::Complete(jobs) => jobs,
            Completed::NotThisRevision => panic!("not complete"),
        }
    }

    pub(crate) async fn claim(&self) -> Option<ClaimedJob> {
        self.store.claim_job(self.clock.now(), LEASE_MS).await.unwrap()
    }
}

#[tokio::test]
async fn a_series_that_is_receiving_says_who_sends_it_and_when_they_ended() {
    let bench = Bench::new().await;
    bench.send_by(&Sample::ct(1, 1, 1), "a1").await.unwrap();
    bench.clock.advance_ms(1000);
    bench.send_by(&Sample::ct(1, 1, 2), "a2").await.unwrap();
    bench.store.association_released("a1", START.plus_ms(2000)).await.unwrap();
    let series = bench.store.series_receiving().await.unwrap().remove(0);
    assert_eq!((series.revision, series.open_associations), (2, 1));
    assert_eq!((series.first_received_at, series.last_received_at), (START, START.plus_ms(1000)));
    assert_eq!(series.sender, Some(title("MODALITY")));
    assert_eq!(series.released_at, Some(START.plus_ms(2000)));
    let mut changed = bench.store.series_changed();
    bench.store.association_released("a2", START.plus_ms(3000)).await.unwrap();
    changed.changed().await.unwrap();
}

#[tokio::test]
async fn an_association_that_broke_after_the_release_of_another_leaves_the_series_without_one() {
    let bench = Bench::new().await;
    bench.send_by(&Sample::ct(1, 1, 1), "a1").await.unwrap();
    bench.send_by(&Sample::ct(1, 1, 2), "a2").await.unwrap();
    bench.store.association_broken("a1", START.plus_ms(1000)).await.unwrap();
    let series = bench.store.series_receiving().await.unwrap().remove(0);
    assert_eq!((series.open_associations, series.released_at), (1, None));
    bench.store.association_released("a2", START.plus_ms(2000)).await.unwrap();
    let series = bench.store.series_receiving().await.unwrap().remove(0);
    assert_eq!((series.open_associations, series.released_at), (0, Some(START.plus_ms(2000))));
    bench.send_by(&Sample::ct(1, 1, 3), "a3").await.unwrap();
    bench.store.association_broken("a3", START.plus_ms(3000)).await.unwrap();
    let series = bench.store.series_receiving().await.unwrap().remove(0);
    assert_eq!((series.open_associations, series.released_at), (0, None), "the last to end broke");
}

#[tokio::test]
async fn a_series_is_completed_only_in_the_revision_that_was_looked_at() {
    let bench = Bench::new().await;
    bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
    let seen = bench.store.series_receiving().await.unwrap().remove(0);
    bench.send(&Sample::ct(1, 1, 2)).await.unwrap();
    let jobs = [new_job("lung-densitometry")];
    let mut completion =
        Completion { series: seen.key, revision: seen.revision, signal: "quiet", decisions: &[], jobs: &jobs };
    assert_eq!(bench.store.complete_series(&completion, START).await.unwrap(), Completed::NotThisRevision);
    assert_eq!(bench.number("SELECT count(*) FROM job").await, 0);
    completion.revision = 2;
    let completed = bench.store.complete_series(&completion, START).await.unwrap();
    assert!(matches!(completed, Completed::Complete(j) if j.len() == 1));
    assert_eq!(bench.store.complete_series(&completion, START).await.unwrap(), Completed::NotThisRevision);
    assert_eq!(bench.number("SELECT count(*) FROM job").await, 1);
}

#[tokio::test]
async fn a_late_instance_opens_a_new_revision_and_the_old_job_reads_the_old_one() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    bench.send(&Sample::ct(1, 1, 4)).await.unwrap();
    let late = bench.store.series_receiving().await.unwrap().remove(0);
    assert_eq!((late.revision, late.completed_revision), (4, Some(3)));
    let job = bench.claim().await.unwrap();
    assert_eq!(job.revision, 3);
    assert_eq!(bench.store.series_instances(job.series, job.revision).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_job_that_lacked_memory_beside_others_runs_alone_and_that_attempt_does_not_count() {
    let bench = Bench::new().await;
    bench.complete(&["large", "small", "other"]).await;
    let (large, small) = (bench.claim().await.unwrap(), bench.claim().await.unwrap());
    assert!(!large.alone);
    let id = large.id();
    let cause = "it needs 10 MB, 5 MB are free";
    let end = bench.store.put_back_to_run_alone(large, cause, bench.clock.now()).await.unwrap();
    assert_eq!(end, JobEnd::Queued);
    assert_eq!(bench.text("SELECT ending FROM job_attempt WHERE ended_at IS NOT NULL").await, "put back");
    assert!(bench.claim().await.is_none(), "it is the next one, and waits for those that run");
    bench.store.finish_job(small, "read", Vec::new(), None, bench.clock.now()).await.unwrap();
    let large = bench.claim().await.unwrap();
    assert_eq!((large.id(), large.alone, large.attempt, large.tries), (id, true, 2, 1));
    assert!(bench.claim().await.is_none(), "none runs beside it");
    // It was the memory of others after all: from now on it counts.
    bench.store.retry_job(large, cause, bench.clock.now(), bench.clock.now()).await.unwrap();
    let other = bench.claim().await.unwrap();
    assert_eq!(other.model_name, "other");
    bench.store.finish_job(other, "read", Vec::new(), None, bench.clock.now()).await.unwrap();
    let large = bench.claim().await.unwrap();
    assert_eq!((large.alone, large.attempt, large.tries), (true, 3, 2));
}

#[tokio::test]
async fn a_lease_that_ran_out_gives_the_job_to_another_and_the_first_can_do_nothing_with_it() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let slow = bench.claim().await.unwrap();
    assert!(bench.claim().await.is_none());
    bench.clock.advance_ms(LEASE_MS - 1);
    bench.store.renew_job(&slow, bench.clock.now(), LEASE_MS).await.unwrap();
    bench.clock.advance_ms(LEASE_MS);
    let other = bench.claim().await.unwrap();
    assert_eq!((other.id(), other.attempt), (slow.id(), 2));
    assert!(matches!(bench.store.renew_job(&slow, bench.clock.now(), LEASE_MS).await, Err(StoreError::LeaseLost(_))));
    let lost = bench.store.finish_job(slow, "read", vec![result(1)], None, bench.clock.now()).await;
    assert!(matches!(lost, Err(StoreError::LeaseLost(_))));
    assert_eq!(bench.files().len(), 3);
    bench.store.finish_job(other, "read", vec![result(1)], None, bench.clock.now()).await.unwrap();
    assert_eq!(bench.text("SELECT ending FROM job_attempt WHERE attempt = 1").await, "lease lost");
}

#[tokio::test]
async fn a_poison_series_ends_failed_however_its_process_dies_and_blocks_no_other() {
    let mut bench = Bench::new().await;
    let jobs = bench.complete(&["poison", "good"]).await;
    for _ in 0..5 {
        loop {
            let job = bench.claim().await.unwrap();
            if job.id() == jobs[0] {
                break;
            }
            bench.store.finish_job(job, "read", vec![], None, bench.clock.now()).await.unwrap();
        }
        bench = bench.after_crash().await;
    }
    assert!(bench.claim().await.is_none());
    assert_eq!(bench.text("SELECT state FROM job WHERE model_name = 'poison'").await, "failed");
    assert_eq!(bench.number("SELECT count(*) FROM job_attempt WHERE ending = 'lease lost'").await, 5);
    assert_eq!(bench.text("SELECT state FROM job WHERE model_name = 'good'").await, "done");
    assert_eq!(bench.text("SELECT state FROM series WHERE origin = 'received'").await, "read");
}

#[tokio::test]
async fn a_job_that_may_pass_waits_and_one_that_was_put_back_is_not_counted() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let now = bench.clock.now();
    let job = bench.claim().await.unwrap();
    let end = bench.store.retry_job(job, "out of memory", now.plus_ms(5000), now).await.unwrap();
    assert_eq!(end, JobEnd::Queued);
    assert!(bench.claim().await.is_none());
    bench.clock.advance_ms(5000);
    for _ in 0..10 {
        let job = bench.claim().await.unwrap();
        assert_eq!(bench.store.put_back_job(job, bench.clock.now()).await.unwrap(), JobEnd::Queued);
    }
    let job = bench.claim().await.unwrap();
    assert_eq!(bench.store.fail_job(job, "broken model", bench.clock.now()).await.unwrap(), JobEnd::Failed);
    assert!(bench.claim().await.is_none());
    assert_eq!(bench.text("SELECT state FROM series WHERE origin = 'received'").await, "complete");
}

#[tokio::test]
async fn results_are_instances_like_any_other_and_go_to_each_destination_once() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let job = bench.claim().await.unwrap();
    bench.store.finish_job(job, "read", vec![result(1), result(2)], None, bench.clock.now()).await.unwrap();
    assert_eq!(bench.text("SELECT modalities FROM study").await, "CT\\SEG");
    assert_eq!(bench.number("SELECT number_of_instances FROM study").await, 5);
    assert!(bench.store.series_receiving().await.unwrap().is_empty());

    let now = bench.clock.now();
    assert_eq!(bench.store.destinations_waiting().await.unwrap().len(), 2);
    let pacs = title("PACS");
    let first = bench.store.claim_delivery(&pacs, now).await.unwrap().unwrap();
    let second = bench.store.claim_delivery(&pacs, now).await.unwrap().unwrap();
    assert_ne!(first.id(), second.id());
    assert!(bench.store.claim_delivery(&pacs, now).await.unwrap().is_none());
    assert!(first.instance.path().starts_with(bench.folder.path().join("results")));
    let taken = PeerAnswer { status: Some(0), comment: "" };
    bench.store.mark_delivered(first, taken, now).await.unwrap();
    let busy = PeerAnswer { status: Some(0xA700), comment: "out of space" };
    bench.store.retry_delivery(second, busy, now.plus_ms(1000)).await.unwrap();
    assert!(bench.store.claim_delivery(&pacs, now).await.unwrap().is_none());

    let bench = bench.after_crash().await;
    let again = bench.store.claim_delivery(&pacs, now.plus_ms(1000)).await.unwrap().unwrap();
    assert_eq!(again.attempt, 2);
    let bench = bench.after_crash().await;
    let again = bench.store.claim_delivery(&pacs, now.plus_ms(1000)).await.unwrap().unwrap();
    bench.store.kill_delivery(again, busy, now).await.unwrap();
    assert!(bench.store.claim_delivery(&pacs, now.plus_ms(9000)).await.unwrap().is_none());
    assert_eq!(bench.store.resend(&Resend::Dead, now).await.unwrap(), 1);
    assert_eq!(bench.store.claim_delivery(&pacs, now).await.unwrap().unwrap().attempt, 1);
}

#[tokio::test]
async fn a_delivery_whose_instance_cannot_be_named_is_dead_and_holds_up_no_other() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let job = bench.claim().await.unwrap();
    bench.store.finish_job(job, "read", vec![result(1), result(2)], None, bench.clock.now()).await.unwrap();
    sqlx::query(
        "UPDATE instance SET sop_class_uid = 'no uid' WHERE instance_key = (SELECT min(instance_key) FROM delivery)",
    )
    .execute(&mut *bench.store.inner.writer.lock().await.unwrap())
    .await
    .unwrap();
    let (now, pacs) = (bench.clock.now(), title("PACS"));
    let unreadable = bench.store.claim_delivery(&pacs, now).await;
    assert!(matches!(unreadable, Err(StoreError::UnreadableDelivery { .. })), "{unreadable:?}");
    let comment = bench.text("SELECT no_answer FROM delivery WHERE destination = 'PACS' AND state = 'dead'").await;
    assert!(comment.contains("no uid"), "{comment}");
    assert!(bench.store.claim_delivery(&pacs, now).await.unwrap().is_some());
    assert!(bench.store.claim_delivery(&pacs, now).await.unwrap().is_none());
}

#[tokio::test]
async fn a_result_that_is_made_again_stays_as_it_is_and_is_sent_once() {
    let bench = Bench::new().await;
    bench.complete(&["a", "b"]).await;
    for _ in 0..2 {
        let job = bench.claim().await.unwrap();
        bench.store.finish_job(job, "read", vec![result(1)], None, bench.clock.now()).await.unwrap();
    }
    assert_eq!(bench.number("SELECT number_of_instances FROM series WHERE origin = 'result'").await, 1);
    assert_eq!(bench.number("SELECT count(*) FROM delivery").await, 2);
    assert_eq!(bench.number("SELECT count(*) FROM result").await, 2);
}

#[tokio::test]
async fn the_story_tells_it_all_by_any_name_of_the_study() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let job = bench.claim().await.unwrap();
    let now = bench.clock.now();
    bench.store.finish_job(job, "read", vec![result(1)], None, now).await.unwrap();
    let delivery = bench.store.claim_delivery(&title("PACS"), now).await.unwrap().unwrap();
    let refusal = PeerAnswer { status: Some(0xA900), comment: "no SEG here" };
    bench.store.kill_delivery(delivery, refusal, now).await.unwrap();
    for name in ["A1", "1.2.1", "1.2.1.1", "1.2.1.1.2"] {
        let story = bench.store.why(name).await.unwrap();
        assert_eq!(story.len(), 1, "{name}");
        let series = &story[0].series[0];
        assert_eq!(series.sources[0].calling_ae_title, "MODALITY");
        assert_eq!((series.signal.as_str(), series.state), ("quiet for 20 s", SeriesState::Read));
        assert_eq!(series.routes[0].reason, "modality is CT, not CR");
        assert_eq!(series.jobs[0].attempts[0].ending, "done");
        let deliveries = &series.jobs[0].results[0].deliveries;
        assert_eq!((deliveries[0].state, deliveries[0].last_status), (DeliveryState::Dead, Some(0xA900)));
        assert_eq!(deliveries[1].state, DeliveryState::Pending);
    }
    assert!(bench.store.why("").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_whose_worker_vanished_runs_alone() {
    let bench = Bench::new().await;
    bench.complete(&["a", "b", "c"]).await;
    let a = bench.claim().await.unwrap();
    bench.clock.advance_ms(LEASE_MS);
    let b = bench.claim().await.unwrap();
    let c = bench.claim().await.unwrap();
    assert_eq!((&*b.model_name, &*c.model_name), ("b", "c"), "those not tried yet first");
    assert!(bench.claim().await.is_none(), "the suspect waits until nothing else runs");
    assert!(matches!(bench.store.put_back_job(a, bench.clock.now()).await, Err(StoreError::LeaseLost(_))));
    bench.store.fail_job(b, "", bench.clock.now()).await.unwrap();
    assert!(bench.claim().await.is_none());
    bench.store.put_back_job(c, bench.clock.now()).await.unwrap();
    let c = bench.claim().await.unwrap();
    assert_eq!((&*c.model_name, c.attempt, c.tries), ("c", 2, 1), "an attempt that was put back does not count");
    bench.store.retry_job(c, "", bench.clock.now(), bench.clock.now()).await.unwrap();
    let a = bench.claim().await.unwrap();
    assert_eq!((&*a.model_name, a.tries), ("a", 2));
    assert!(bench.claim().await.is_none(), "nothing runs beside it");
    bench.store.fail_job(a, "", bench.clock.now()).await.unwrap();
    assert_eq!(bench.claim().await.unwrap().model_name, "c");
}

#[tokio::test]
async fn a_result_that_its_destination_sends_back_is_the_same_instance() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let job = bench.claim().await.unwrap();
    bench.store.finish_job(job, "read", vec![result(1)], None, bench.clock.now()).await.unwrap();
    let files = bench.files();
    let mut sample = Sample::ct(1, 900, 1);
    sample.data_set.put_text(tags::MODALITY, VR::CS, "SEG");
    for again in [sample.clone(), sample.clone().implicit()] {
        let Recorded::Duplicate(stored) = bench.send(&again).await.unwrap() else { panic!("not known") };
        assert!(stored.path().starts_with(bench.folder.path().join("results")));
    }
    assert_eq!(bench.files(), files);
    assert_eq!(bench.number("SELECT count(*) FROM kept_aside").await, 0);
    let changed = sample.with_pixels(vec![9; 64 * 64 * 2]);
    assert!(matches!(bench.send(&changed).await.unwrap(), Recorded::KeptAside(_)));
}

#[tokio::test]
async fn a_clock_that_is_set_takes_no_job_from_its_worker() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let job = bench.claim().await.unwrap();
    bench.clock.set_forward_ms(3_600_000);
    assert!(bench.claim().await.is_none());
    bench.store.finish_job(job, "read", vec![], None, bench.clock.now()).await.unwrap();
    assert_eq!(bench.number("SELECT attempts FROM job").await, 1);
}
