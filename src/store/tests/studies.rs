//! The series of a study, as one of them is decided on.

use super::working::{result, title};
use super::*;

#[tokio::test]
async fn the_series_of_a_study_say_where_they_stand_and_which_models_have_jobs_for_them() {
    let bench = Bench::new().await;
    bench.complete(&["lung", "findings"]).await;
    bench.clock.advance_ms(1000);
    bench.send_by(&Sample::ct(1, 2, 1), "a2").await.unwrap();
    bench.send_by(&Sample::ct(2, 1, 1), "a2").await.unwrap();
    let job = bench.claim().await.unwrap();
    bench.store.finish_job(job, "read", vec![result(1)], None, bench.clock.now()).await.unwrap();
    let receiving = bench.store.series_receiving().await.unwrap();
    let second = receiving.iter().find(|series| series.series_instance_uid.as_str() == "1.2.1.2").unwrap();
    let study = bench.store.series_of_study(second.key).await.unwrap();
    let uids: Vec<&str> = study.iter().map(|beside| beside.series.series_instance_uid.as_str()).collect();
    assert_eq!(uids, ["1.2.1.1", "1.2.1.2"], "neither results nor other studies");
    assert_eq!((study[0].state, study[1].state), (SeriesState::Complete, SeriesState::Receiving));
    assert_eq!(study[0].models, ["findings", "lung"]);
    assert!(study[1].models.is_empty());
    assert_eq!(study[1].series, *second);
    assert_eq!(study[0].series.sender, Some(title("MODALITY")));
    let same = bench.store.series_of_study(study[0].series.key).await.unwrap();
    assert_eq!(same, study, "whichever of them asks");

    bench.send(&Sample::ct(1, 1, 4)).await.unwrap();
    let late = bench.store.series_of_study(second.key).await.unwrap().remove(0);
    assert_eq!(
        (late.state, late.series.revision, late.series.completed_revision),
        (SeriesState::Receiving, 4, Some(3))
    );
    assert_eq!(late.models, ["findings", "lung"], "jobs of an earlier revision count");

    bench.store.spoil("UPDATE series SET series_instance_uid = 'no uid' WHERE series_instance_uid = '1.2.1.1'").await;
    let left = bench.store.series_of_study(second.key).await.unwrap();
    assert_eq!(left.len(), 1, "one that cannot be read holds up no other");
}
