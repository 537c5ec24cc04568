//! Later revisions of a series, and the jobs of earlier ones.

use super::working::{new_job, result};
use super::*;

impl Bench {
    /// One more slice comes late, and the series is complete again.
    pub(crate) async fn complete_late(&self, number: u32, models: &[&str]) -> Vec<JobId> {
        self.send(&Sample::ct(1, 1, number)).await.unwrap();
        let series = self.store.series_receiving().await.unwrap().remove(0);
        let jobs: Vec<NewJob> = models.iter().map(|m| new_job(m)).collect();
        let completion =
            Completion { series: series.key, revision: series.revision, signal: "quiet", decisions: &[], jobs: &jobs };
        match self.store.complete_series(&completion, self.clock.now()).await.unwrap() {
            Completed::Complete(jobs) => jobs,
            Completed::NotThisRevision => panic!("not complete"),
        }
    }

    pub(crate) async fn job_states(&self) -> String {
        self.text(
            "SELECT group_concat(model_name || ' ' || revision || ' ' || state || ' ' || outcome, ', ') \
             FROM (SELECT * FROM job ORDER BY job_id)",
        )
        .await
    }
}

#[tokio::test]
async fn a_job_that_waits_for_its_next_attempt_gives_way_to_a_later_revision() {
    let bench = Bench::new().await;
    bench.complete(&["lung", "heart"]).await;
    let now = bench.clock.now();
    for _ in 0..2 {
        let early = bench.claim().await.unwrap();
        bench.store.retry_job(early, "out of memory", now.plus_ms(5000), now).await.unwrap();
    }
    bench.complete_late(4, &["lung"]).await;
    bench.clock.advance_ms(5000);
    let mut order = Vec::new();
    while let Some(job) = bench.claim().await {
        order.push((job.model_name.clone(), job.revision));
        bench.store.finish_job(job, "read", vec![], None, bench.clock.now()).await.unwrap();
    }
    order.sort();
    assert_eq!(order, [("heart".to_owned(), 3), ("lung".to_owned(), 4)]);
    assert_eq!(bench.job_states().await, "lung 3 done superseded by revision 4, heart 3 done read, lung 4 done read");
    assert_eq!(
        bench
            .store
            .reread(&crate::dicom::uid::StudyInstanceUid::parse("1.2.1").unwrap(), &["lung"], now)
            .await
            .unwrap()
            .jobs,
        0
    );
}

#[tokio::test]
async fn two_revisions_of_a_series_are_never_read_side_by_side_and_a_cut_off_one_does_not_come_back() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let early = bench.claim().await.unwrap();
    bench.complete_late(4, &["lung"]).await;
    assert!(bench.claim().await.is_none(), "the later one waits for the one that runs");
    let now = bench.clock.now();
    let end = bench.store.retry_job(early, "out of memory", now, now).await.unwrap();
    assert_ne!(end, JobEnd::Queued);
    let late = bench.claim().await.unwrap();
    assert_eq!(late.revision, 4);
    assert!(bench.claim().await.is_none());
    bench.store.finish_job(late, "read", vec![], None, now).await.unwrap();
    assert!(bench.claim().await.is_none());
    assert_eq!(bench.job_states().await, "lung 3 done superseded by revision 4, lung 4 done read");
    assert_eq!(bench.text("SELECT state FROM series WHERE origin = 'received'").await, "read");
}

#[tokio::test]
async fn the_report_of_a_later_revision_names_the_last_one_that_there_is() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let job = bench.claim().await.unwrap();
    bench.store.finish_job(job, "read", vec![result(1)], None, bench.clock.now()).await.unwrap();
    bench.complete_late(4, &["lung"]).await;
    bench.complete_late(5, &["lung"]).await;
    let job = bench.claim().await.unwrap();
    assert_eq!(job.revision, 5);
    assert_eq!(bench.store.predecessors(&job).await.unwrap().len(), 1, "revision 4 made nothing");
}

#[tokio::test]
async fn a_job_of_an_old_revision_that_failed_is_not_read_again() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let job = bench.claim().await.unwrap();
    bench.store.fail_job(job, "broken", bench.clock.now()).await.unwrap();
    bench.complete_late(4, &["lung"]).await;
    let job = bench.claim().await.unwrap();
    bench.store.finish_job(job, "read", vec![], None, bench.clock.now()).await.unwrap();
    let study = crate::dicom::uid::StudyInstanceUid::parse("1.2.1").unwrap();
    assert_eq!(bench.store.reread(&study, &["lung"], bench.clock.now()).await.unwrap(), Reread { jobs: 0, series: 0 });
    assert!(bench.claim().await.is_none());
}
