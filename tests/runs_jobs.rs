//! Jobs under bad models and bad days: each ends, none blocks another, none is done twice.

#![cfg(feature = "torch")]

use std::time::{Duration, Instant};

use dicom_dictionary_std::uids;
use overread::clock::{Clock, Timestamp};
use overread::store::{JobState, JobStory, Store};

use crate::testkit::chest::Series;
use crate::testkit::models::{fixtures, memory_in_all};
use crate::testkit::receiver::{Receiver, eventually};
use crate::testkit::site::{QUICK, Site, WAITS, run};

const REPORT: &str = uids::COMPREHENSIVE3_DSR_STORAGE;

/// The only job of a series, once it is in this state.
async fn job(site: &Site, series: &Series, state: JobState) -> JobStory {
    let what = format!("the job is {state}");
    eventually(&what, async || {
        let mut jobs = site.series(&series.series).await?.jobs;
        assert!(jobs.len() < 2, "one series, one job");
        jobs.pop().filter(|job| job.state == state)
    })
    .await
}

fn endings(job: &JobStory) -> Vec<&str> {
    job.attempts.iter().map(|attempt| attempt.ending.as_str()).collect()
}

/// What comes from `POISON` goes to a bad model, what comes from `CT1` to the good one.
fn site_with_poison(receiver: &Receiver, bad: &str) -> Site {
    Site::new()
        .with_peer("PACS", receiver.address)
        .with_quick_model()
        .with_route(bad, &["PACS"], "calling_ae = [\"POISON\"]")
        .with_route(QUICK, &["PACS"], "calling_ae = [\"CT1\"]")
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_without_a_route_are_left_alone_and_gates_of_those_with_one_are_not() {
    let receiver = Receiver::start();
    let site = Site::measuring_for(&receiver)
        .with_model("tests/fixtures/models/truncated")
        .with_model("models/lung-densitometry")
        .with_tiny_model("chest-ct-2p5d")
        .with_route("chest-ct-2p5d-tiny", &["PACS"], "");
    let mut node = site.start().await;
    let ready = &node.lines("the node is ready")[0];
    assert_eq!(ready["models"], r#"["chest-ct-2p5d-tiny", "good", "lung-densitometry"]"#, "{}", node.text());
    assert!(node.lines("a model is not served").is_empty(), "{}", node.text());
    node.terminate();
    node.exit_code().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_raises_fails_its_job_once_and_reports_it_where_that_is_wanted() {
    let receiver = Receiver::start();
    let site = site_with_poison(&receiver, "raises")
        .with_model("tests/fixtures/models/raises")
        .with("results.send_failures", "true");
    let node = site.start().await;
    let (poison, chest) = (Series::chest("poison"), Series::chest("a chest after poison"));
    node.push("POISON", &poison.files()).await;
    node.push("CT1", &chest.files()).await;
    job(&site, &chest, JobState::Done).await;
    let failed = job(&site, &poison, JobState::Failed).await;
    assert_eq!(endings(&failed), ["failed"], "what will not pass is not tried again");
    assert!(failed.cause.contains("the model does not want to"), "{}", failed.cause);
    assert_eq!(failed.results.len(), 1);
    let reported = eventually("the report of the failure", async || {
        let report = &failed.results[0].sop_instance_uid;
        receiver.taken().into_iter().find(|sent| sent.sop_instance == *report)
    });
    let reported = reported.await;
    assert_eq!(reported.sop_class, REPORT);
    assert!(String::from_utf8_lossy(&reported.data_set).contains("model-raised"));
    let line = &node.lines("job failed")[0];
    assert_eq!((line["code"].as_str(), line["series.uid"].as_str()), (Some("model-raised"), Some(&*poison.series)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_never_ends_fails_its_job_after_all_attempts_and_the_next_series_are_read() {
    let receiver = Receiver::start();
    let site = site_with_poison(&receiver, "never-ends").with_model("tests/fixtures/models/never-ends");
    let node = site.start().await;
    let poison = Series::chest("poison");
    node.push("POISON", &poison.files()).await;
    let failed = job(&site, &poison, JobState::Failed).await;
    let tried: Vec<&str> = endings(&failed).into_iter().filter(|ending| *ending != "put back").collect();
    assert_eq!(tried, ["retry", "retry", "failed"]);
    assert!(failed.cause.contains("did not end within 0.5 s"), "{}", failed.cause);
    let chest = Series::chest("after poison");
    node.push("CT1", &chest.files()).await;
    job(&site, &chest, JobState::Done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_others_leave_too_little_memory_runs_alone_before_its_attempts_count() {
    let receiver = Receiver::start();
    // As much as there is: something of it is always in use.
    let all = format!("memory_mb = {}", memory_in_all());
    let site = Site::new()
        .with("results.allow_untrained", "true")
        .with("jobs.attempts", "1")
        .with_peer("PACS", receiver.address)
        .with_changed_model("hangs", &[("memory_mb = 100", &all)])
        .with_route("hangs", &["PACS"], "");
    let node = site.start().await;
    let chest = Series::chest("large");
    node.push("CT1", &chest.files()).await;
    let failed = job(&site, &chest, JobState::Failed).await;
    assert_eq!(endings(&failed), ["put back", "failed"], "{}", node.text());
    assert!(failed.cause.contains("found too little memory free: by its estimate it needs"), "{}", failed.cause);
    assert_eq!(node.lines("job put back, to be run while no other is").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_takes_the_process_down_fails_its_job_and_no_other() {
    let receiver = Receiver::start();
    let site = site_with_poison(&receiver, "dies").with_model("tests/fixtures/models/dies");
    let (poison, chest) = (Series::chest("poison"), Series::chest("beside poison"));
    let mut node = site.start().await;
    node.push("CT1", &chest.files()[..13]).await;
    node.push("POISON", &poison.files()).await;
    let mut deaths = 0;
    loop {
        let ended = eventually("the node dies or the job has failed", async || {
            if let Some(code) = node.ended_with() {
                return Some(Some(code));
            }
            let story = site.series(&poison.series).await?;
            story.jobs.iter().any(|job| job.state == JobState::Failed).then_some(None)
        });
        match ended.await {
            Some(code) => assert!(code < 0, "by a signal, not {code}: {}", node.text()),
            None => break,
        }
        deaths += 1;
        assert!(deaths <= 3, "the poison goes on and on");
        node = site.start().await;
    }
    assert_eq!(deaths, 3);
    let failed = job(&site, &poison, JobState::Failed).await;
    assert_eq!(endings(&failed), ["lease lost"; 3]);
    assert!(failed.cause.contains("the node ended while the job was running"), "{}", failed.cause);
    node.push("CT1", &chest.files()[13..]).await;
    eventually("the other series is read", async || {
        let jobs = site.series(&chest.series).await?.jobs;
        jobs.iter().any(|job| job.revision == 14 && job.state == JobState::Done).then_some(())
    })
    .await;
    let jobs = site.series(&chest.series).await.unwrap().jobs;
    assert!(jobs.iter().all(|job| job.state == JobState::Done), "{jobs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_which_the_process_died_is_reported_where_that_is_wanted() {
    let receiver = Receiver::start();
    let site = site_with_poison(&receiver, "dies")
        .with_model("tests/fixtures/models/dies")
        .with("results.send_failures", "true");
    let poison = Series::chest("poison");
    let mut node = site.start().await;
    node.push("POISON", &poison.files()).await;
    for _ in 0..3 {
        let died = eventually("the node dies", async || node.ended_with()).await;
        assert!(died < 0, "by a signal, not {died}: {}", node.text());
        node = site.start().await;
    }
    let failed = job(&site, &poison, JobState::Failed).await;
    assert_eq!(endings(&failed), ["lease lost", "lease lost", "lease lost", "failed"]);
    assert!(failed.cause.contains("the node ended while the job was running"), "{}", failed.cause);
    let report = eventually("the report", async || receiver.taken().into_iter().find(|sent| sent.sop_class == REPORT));
    assert!(String::from_utf8_lossy(&report.await.data_set).contains("worker-vanished"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_results_cannot_be_saved_says_so_and_is_done_when_they_can() {
    let receiver = Receiver::start();
    let site = Site::measuring_for(&receiver).with("jobs.attempts", "100").with("results.send_failures", "true");
    let node = site.start().await;
    // What stands in the way of the folder of results keeps them from their names.
    let results = site.data().join("results");
    std::fs::remove_dir(&results).unwrap();
    std::fs::write(&results, b"in the way").unwrap();
    let chest = Series::chest("no room");
    node.push("CT1", &chest.files()).await;
    let cause = eventually("an attempt that could not be saved", async || {
        let jobs = site.series(&chest.series).await?.jobs;
        let tried = jobs.first()?.attempts.iter().find(|attempt| attempt.ending == "retry")?;
        Some(tried.cause.clone())
    });
    assert!(cause.await.contains("the results could not be saved"));
    std::fs::remove_file(&results).unwrap();
    let done = job(&site, &chest, JobState::Done).await;
    assert!(!endings(&done).contains(&"lease lost"), "{done:?}");
    eventually("both results", async || (receiver.taken().len() == 2).then_some(())).await;
}

/// Jobs run until they may end, on any machine.
fn waiting_site(receiver: &Receiver) -> Site {
    Site::new().with_peer("PACS", receiver.address).with_waiting_model().with_route(WAITS, &["PACS"], "")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_lease_ran_out_is_given_to_another_and_what_the_first_made_is_dropped() {
    let receiver = Receiver::start();
    let site = waiting_site(&receiver).with("jobs.lease_seconds", "5");
    let node = site.start().await;
    let chest = Series::chest("waits");
    node.push("CT1", &chest.files()).await;
    job(&site, &chest, JobState::Running).await;
    let other = Store::open_beside(&site.data(), Clock::System).await.unwrap();
    let later = Timestamp(Clock::System.now().0 + 3_600_000);
    let claimed = other.claim_job(later, 60_000).await.unwrap().expect("the lease has run out by this clock");
    assert_eq!(claimed.attempt, 2);
    site.let_models_end();
    node.logged("the job's lease was lost; its results are dropped", 1).await;
    assert_eq!(job(&site, &chest, JobState::Running).await.results, []);
    other.put_back_job(claimed, Clock::System.now()).await.unwrap();
    let done = job(&site, &chest, JobState::Done).await;
    assert_eq!(endings(&done), ["lease lost", "put back", "done"]);
    eventually("both results", async || (receiver.taken().len() == 2).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_lets_a_job_that_ends_in_time_end() {
    let receiver = Receiver::start();
    let site = waiting_site(&receiver).with("association.drain_seconds", "300").traced();
    let mut node = site.start().await;
    let chest = Series::chest("ends in time");
    node.push("CT1", &chest.files()).await;
    job(&site, &chest, JobState::Running).await;
    node.terminate();
    node.logged("the node is draining", 1).await;
    site.let_models_end();
    assert_eq!(node.exit_code().await, 0, "{}", node.text());
    assert_eq!(site.programs(), 1, "nothing goes on beside the end of the process");
    assert_eq!(endings(&job(&site, &chest, JobState::Done).await), ["done"]);
    assert!(node.associate("CT1").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_puts_a_job_back_that_does_not_end_in_time() {
    let receiver = Receiver::start();
    let site = waiting_site(&receiver).with("association.drain_seconds", "1").traced();
    let mut node = site.start().await;
    let chest = Series::chest("does not end in time");
    node.push("CT1", &chest.files()).await;
    job(&site, &chest, JobState::Running).await;
    let begun = Instant::now();
    node.terminate();
    assert_eq!(node.exit_code().await, 0, "{}", node.text());
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}, and the model waits for ever", begun.elapsed());
    assert_eq!(site.programs(), 2, "libtorch is not unloaded under the model: another program takes the place");
    assert_eq!(endings(&job(&site, &chest, JobState::Queued).await), ["put back"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_node_at_once_while_a_model_runs() {
    let receiver = Receiver::start();
    let site = waiting_site(&receiver).with("association.drain_seconds", "300").traced();
    let mut node = site.start().await;
    let chest = Series::chest("ended at once");
    node.push("CT1", &chest.files()).await;
    job(&site, &chest, JobState::Running).await;
    node.terminate();
    node.logged("the node is draining", 1).await;
    node.terminate();
    assert_eq!(node.exit_code().await, 1, "{}", node.text());
    assert_eq!(site.programs(), 2, "libtorch is not unloaded under the model");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_node_that_still_starts_though_a_golden_case_is_computed() {
    let case = ["[output.verdict]\n", "[golden]\ncase = \"golden/case.npz\"\n\n[output.verdict]\n"];
    let receiver = Receiver::start();
    let site = waiting_site(&receiver).with("node.log_level", "\"debug\"").traced();
    let waits = site.data().with_file_name("models").join(WAITS);
    std::fs::remove_file(&waits).unwrap();
    let site = site.with_changed_model(WAITS, &[(case[0], case[1])]);
    std::os::unix::fs::symlink(fixtures("models/good/golden"), waits.join("golden")).unwrap();
    let mut node = site.spawn();
    node.logged("the node starts", 1).await;
    node.terminate();
    assert_eq!(node.exit_code().await, 0, "{}", node.text());
    assert_eq!(node.lines("the node ends before it was ready: nothing was accepted").len(), 1, "{}", node.text());
    assert_eq!(site.programs(), 2, "libtorch is not unloaded under the golden case");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_jobs_are_worked_on_side_by_side_as_the_configuration_says() {
    let receiver = Receiver::start();
    let site = waiting_site(&receiver).with("jobs.workers", "3");
    let node = site.start().await;
    let chests: Vec<Series> = (0..4).map(|n| Series::chest(&format!("side by side {n}"))).collect();
    for chest in &chests {
        node.push("CT1", &chest.files()).await;
    }
    let states = async || {
        let mut states = Vec::new();
        for chest in &chests {
            states.push(site.series(&chest.series).await?.jobs.first()?.state);
        }
        Some(states)
    };
    let running = |states: &Vec<JobState>| states.iter().filter(|state| **state == JobState::Running).count();
    let states = eventually("three jobs run", async || states().await.filter(|states| running(states) >= 3)).await;
    assert_eq!(running(&states), 3, "{states:?}");
    site.let_models_end();
    for chest in &chests {
        job(&site, chest, JobState::Done).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_on_the_same_folder_does_not_start() {
    let site = Site::new();
    let _node = site.start().await;
    let second = run(&["run", "--config", site.configuration().to_str().unwrap()]).await;
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("cannot start") && said.contains("is in use by another overread"), "{said}");
}

/// The report on a chest CT that is delivered where `per_slice` is set so, and its SOP Instance UID.
async fn report_with(per_slice: &str) -> (String, Vec<u8>) {
    let receiver = Receiver::start();
    let site = Site::new()
        .with_peer("PACS", receiver.address)
        .with_model("tests/fixtures/modules/per-slice")
        .with("results.allow_untrained", "true")
        .with("jobs.per_slice", per_slice)
        .with_route("per-slice", &["PACS"], "");
    let node = site.start().await;
    node.push("CT1", &Series::chest("slice by slice").files()).await;
    let report = eventually("the report", async || receiver.taken().into_iter().find(|sent| sent.sop_class == REPORT));
    let report = report.await;
    (report.sop_instance, report.data_set)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_the_configuration_names_scores_each_slice_too() {
    let (whole, alone) = report_with("[]").await;
    let (scored, slices) = report_with("[\"per-slice\"]").await;
    let names_a_peak = |report: &[u8]| String::from_utf8_lossy(report).contains("peak slice");
    assert_eq!((names_a_peak(&alone), names_a_peak(&slices)), (false, true));
    assert_ne!(whole, scored, "what says more is another report");
}
