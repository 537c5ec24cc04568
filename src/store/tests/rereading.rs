use super::working::new_job;
use super::*;
use crate::dicom::uid::StudyInstanceUid;

const LEASE_MS: i64 = 60_000;

impl Bench {
    async fn study(&self) -> StudyInstanceUid {
        let rows: String =
            sqlx::query_scalar("SELECT study_instance_uid FROM study").fetch_one(self.store.readers()).await.unwrap();
        StudyInstanceUid::parse(&rows).unwrap()
    }
}

#[tokio::test]
async fn a_failed_job_has_all_its_attempts_again() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let attempts = 3;
    for attempt in 1..=attempts {
        let job = bench.store.claim_job(bench.clock.now(), LEASE_MS).await.unwrap().unwrap();
        assert_eq!(job.attempt, attempt);
        let now = bench.clock.now();
        if attempt == attempts {
            bench.store.fail_job(job, "the model raised", now).await.unwrap();
        } else {
            bench.store.retry_job(job, "out of memory", now, now).await.unwrap();
        }
    }
    assert!(bench.store.claim_job(bench.clock.now(), LEASE_MS).await.unwrap().is_none());
    let again = bench.store.reread(&bench.study().await, bench.clock.now()).await.unwrap();
    assert_eq!(again, Reread { jobs: 1, series: 0 });
    let job = bench.store.claim_job(bench.clock.now(), LEASE_MS).await.unwrap().unwrap();
    assert_eq!(job.attempt, attempts + 1, "the number of an attempt stays unique");
    let now = bench.clock.now();
    assert_eq!(bench.store.retry_job(job, "again", now, now).await.unwrap(), JobEnd::Queued, "the count starts anew");
}

#[tokio::test]
async fn a_series_that_no_job_has_read_is_decided_on_anew() {
    let bench = Bench::new().await;
    bench.complete(&[]).await;
    assert!(bench.store.series_receiving().await.unwrap().is_empty());
    let again = bench.store.reread(&bench.study().await, bench.clock.now()).await.unwrap();
    assert_eq!(again, Reread { jobs: 0, series: 1 });
    let series = bench.store.series_receiving().await.unwrap().remove(0);
    assert_eq!(series.completed_revision, None, "it is not late any more");
    let jobs = [new_job("lung")];
    let completion =
        Completion { series: series.key, revision: series.revision, signal: "quiet", decisions: &[], jobs: &jobs };
    let completed = bench.store.complete_series(&completion, bench.clock.now()).await.unwrap();
    assert!(matches!(completed, Completed::Complete(queued) if queued.len() == 1));
    let again = bench.store.reread(&bench.study().await, bench.clock.now()).await.unwrap();
    assert_eq!(again, Reread { jobs: 0, series: 0 }, "a queued job is not made twice");
}
