use super::working::{new_job, refused_route};
use super::*;
use crate::dicom::uid::StudyInstanceUid;

const LEASE_MS: i64 = 60_000;

impl Bench {
    async fn study(&self) -> StudyInstanceUid {
        let rows: String =
            sqlx::query_scalar("SELECT study_instance_uid FROM study").fetch_one(self.store.readers()).await.unwrap();
        StudyInstanceUid::parse(&rows).unwrap()
    }

    /// The series that is decided on anew is complete by these routes, with a job for each model that has none yet.
    async fn decide_anew(&self, decision: RouteDecision, models: &[&str]) -> usize {
        let series = self.store.series_receiving().await.unwrap().remove(0);
        let jobs: Vec<NewJob> = models.iter().map(|model| new_job(model)).collect();
        let completion = Completion {
            series: series.key,
            revision: series.revision,
            signal: "quiet",
            decisions: &[decision],
            jobs: &jobs,
        };
        match self.store.complete_series(&completion, self.clock.now()).await.unwrap() {
            Completed::Complete(queued) => queued.len(),
            Completed::NotThisRevision => panic!("not complete"),
        }
    }
}

fn fitting_route() -> RouteDecision {
    RouteDecision { matched: true, ..refused_route() }
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
    let again = bench.store.reread(&bench.study().await, &["lung", "cxr"], bench.clock.now()).await.unwrap();
    assert_eq!(again, Reread { jobs: 1, series: 1 }, "and another model's route had not fitted");
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
    let again = bench.store.reread(&bench.study().await, &["lung", "cxr"], bench.clock.now()).await.unwrap();
    assert_eq!(again, Reread { jobs: 0, series: 1 });
    let series = bench.store.series_receiving().await.unwrap().remove(0);
    assert_eq!(series.completed_revision, None, "it is not late any more");
    assert_eq!(bench.decide_anew(fitting_route(), &["lung"]).await, 1);
    let again = bench.store.reread(&bench.study().await, &["lung", "cxr"], bench.clock.now()).await.unwrap();
    assert_eq!(again, Reread { jobs: 0, series: 0 }, "a queued job is not made twice");
}

#[tokio::test]
async fn a_model_whose_route_did_not_fit_reads_it_too_and_the_one_that_has_does_not_again() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let job = bench.claim().await.unwrap();
    bench.store.finish_job(job, "read", vec![], None, bench.clock.now()).await.unwrap();
    let again = bench.store.reread(&bench.study().await, &["lung", "cxr"], bench.clock.now()).await.unwrap();
    assert_eq!(again, Reread { jobs: 0, series: 1 });
    assert_eq!(bench.decide_anew(fitting_route(), &["lung", "cxr"]).await, 1);
    let job = bench.claim().await.unwrap();
    assert_eq!(job.model_name, "cxr");
    assert!(bench.claim().await.is_none());
    bench.store.finish_job(job, "read", vec![], None, bench.clock.now()).await.unwrap();
    let again = bench.store.reread(&bench.study().await, &["lung", "cxr"], bench.clock.now()).await.unwrap();
    assert_eq!(again, Reread { jobs: 0, series: 0 });
}

#[tokio::test]
async fn a_model_whose_route_is_new_reads_it_too() {
    let bench = Bench::new().await;
    bench.complete(&["lung", "cxr"]).await;
    for _ in 0..2 {
        let job = bench.claim().await.unwrap();
        bench.store.finish_job(job, "read", vec![], None, bench.clock.now()).await.unwrap();
    }
    // From now on every route has fitted.
    bench.store.reread(&bench.study().await, &[], bench.clock.now()).await.unwrap();
    bench.decide_anew(fitting_route(), &[]).await;
    let study = bench.study().await;
    let reread = async |models: &[&str]| bench.store.reread(&study, models, bench.clock.now()).await.unwrap();
    assert_eq!(reread(&["lung", "cxr"]).await, Reread { jobs: 0, series: 0 });
    assert_eq!(reread(&["lung", "liver", "cxr"]).await, Reread { jobs: 0, series: 1 });
    assert_eq!(bench.decide_anew(fitting_route(), &["lung", "liver", "cxr"]).await, 1);
    assert_eq!(bench.claim().await.unwrap().model_name, "liver");
    assert_eq!(reread(&["lung", "liver", "cxr"]).await, Reread { jobs: 0, series: 0 });
}

#[tokio::test]
async fn a_series_that_is_decided_on_anew_to_no_end_is_read_since_it_was() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    let job = bench.claim().await.unwrap();
    bench.store.finish_job(job, "read", vec![], None, START.plus_ms(1000)).await.unwrap();
    let read = "SELECT state || ' ' || (read_at - 1767225600000) FROM series WHERE origin = 'received'";
    assert_eq!(bench.text(read).await, "read 1000");
    bench.clock.advance_ms(60_000);
    bench.store.reread(&bench.study().await, &["lung", "cxr"], bench.clock.now()).await.unwrap();
    assert_eq!(bench.text("SELECT state FROM series").await, "receiving");
    assert_eq!(bench.decide_anew(refused_route(), &["lung"]).await, 0);
    assert_eq!(bench.text(read).await, "read 1000");
}

#[tokio::test]
async fn a_route_that_was_taken_away_decides_nothing_more() {
    let bench = Bench::new().await;
    bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
    let series = bench.store.series_receiving().await.unwrap().remove(0);
    let decisions = [RouteDecision { route: 0, ..fitting_route() }, refused_route()];
    let jobs = [new_job("lung")];
    let completion = Completion {
        series: series.key,
        revision: series.revision,
        signal: "quiet",
        decisions: &decisions,
        jobs: &jobs,
    };
    bench.store.complete_series(&completion, bench.clock.now()).await.unwrap();
    let study = bench.study().await;
    let again = bench.store.reread(&study, &["lung"], bench.clock.now()).await.unwrap();
    assert_eq!(again.series, 1, "its second route had not fitted");
    // Of which none is left now.
    bench.decide_anew(RouteDecision { route: 0, ..fitting_route() }, &["lung"]).await;
    assert_eq!(bench.number("SELECT count(*) FROM route_decision").await, 1);
    let again = bench.store.reread(&study, &["lung"], bench.clock.now()).await.unwrap();
    assert_eq!(again.series, 0);
}
