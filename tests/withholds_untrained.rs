//! Results of untrained models stay here unless the configuration says otherwise: when the job is queued, when it ends, and
//! for as long as they wait to be sent.

#![cfg(feature = "torch")]

use std::path::PathBuf;

use overread::store::{DeliveryState, JobState, JobStory};

use crate::testkit::chest::Series;
use crate::testkit::receiver::{Receiver, eventually};
use crate::testkit::site::{Process, QUICK, Site, WAITS, run};

/// The site's job of this series, in this state.
async fn job(site: &Site, series: &Series, state: JobState) -> JobStory {
    eventually(&format!("a job that is {state}"), async || {
        site.series(&series.series).await?.jobs.pop().filter(|job| job.state == state)
    })
    .await
}

/// What `overread why` says of a series.
async fn why(site: &Site, series: &Series) -> String {
    let told = run(&["why", "--config", site.configuration().to_str().unwrap(), &series.series]).await;
    assert!(told.status.success(), "{told:?}");
    String::from_utf8(told.stdout).unwrap()
}

async fn push(node: &Process, name: &str) -> Series {
    let chest = Series::chest(name);
    node.push("CT1", &chest.files()).await;
    chest
}

fn deliveries(job: &JobStory) -> usize {
    job.results.iter().map(|result| result.deliveries.len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_results_of_an_untrained_model_go_to_nobody_and_why_says_so() {
    let receiver = Receiver::start();
    let site = Site::new().with_peer("PACS", receiver.address).with_model("tests/fixtures/models/good").with_route(
        QUICK,
        &["PACS"],
        "",
    );
    let node = site.start().await;
    let chest = push(&node, "untrained").await;
    let done = job(&site, &chest, JobState::Done).await;
    assert_eq!((done.outcome.as_str(), done.results.len(), deliveries(&done)), ("read", 2, 0));
    let story = why(&site, &chest).await;
    let reason = "nothing is sent: the model is untrained, and results.allow_untrained is false";
    assert!(story.contains(reason) && story.contains("goes to nobody"), "{story}");
    assert_eq!(receiver.associations(), 0);
}

/// The waiting model with weights that are said to be trained; gives the path of its manifest.
fn trained_and_waiting(receiver: &Receiver) -> (Site, PathBuf) {
    let site = Site::new()
        .with_peer("PACS", receiver.address)
        .with_waiting_model()
        .with("results.allow_untrained", "false")
        .with_route(WAITS, &["PACS"], "");
    let models = site.data().with_file_name("models");
    std::fs::remove_file(models.join(WAITS)).unwrap();
    let site = site.with_changed_model(WAITS, &[("origin = \"untrained\"", "origin = \"trained\"")]);
    (site, models.join(WAITS).join("model.toml"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_trained_package_that_an_untrained_one_ends_goes_to_nobody() {
    let receiver = Receiver::start();
    let (site, manifest) = trained_and_waiting(&receiver);
    let node = site.start().await;
    let chest = push(&node, "queued").await;
    assert_eq!(job(&site, &chest, JobState::Running).await.destinations, ["PACS"]);
    node.kill();
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("origin = \"trained\"", "origin = \"untrained\"")).unwrap();
    site.let_models_end();
    let node = site.start().await;
    let done = job(&site, &chest, JobState::Done).await;
    assert_eq!((done.results.len(), deliveries(&done), done.untrained), (2, 0, true), "{done:?}");
    let said =
        &node.logged("results are not sent: the model is untrained, and results.allow_untrained is false", 1).await[0];
    assert!(said["destinations"].to_string().contains("PACS") && said["model.name"] == WAITS, "{said}");
    let story = why(&site, &chest).await;
    assert!(story.contains("goes to nobody: the model that read it is untrained"), "{story}");
    assert_eq!(receiver.associations(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_to_be_sent_stays_here_once_it_is_allowed_no_more_and_whoever_resends_it() {
    let mut receiver = Receiver::closed();
    let site = Site::measuring_for(&receiver);
    let mut node = site.start().await;
    let chest = push(&node, "pending").await;
    node.logged("not delivered yet", 1).await;
    assert_eq!(deliveries(&job(&site, &chest, JobState::Done).await), 2);
    node.terminate();
    node.exit_code().await;

    receiver.open();
    let site = site.with("results.allow_untrained", "false");
    let node = site.start().await;
    let both_dead = async || {
        eventually("both deliveries dead", async || {
            let job = job(&site, &chest, JobState::Done).await;
            let mut all = job.results.iter().flat_map(|result| &result.deliveries);
            all.all(|d| d.state == DeliveryState::Dead).then_some(job)
        })
        .await
    };
    let dead = both_dead().await;
    let comment = &dead.results[0].deliveries[0].no_answer;
    assert!(comment.contains("its model is untrained, and results.allow_untrained is false"), "{comment}");
    let attempts = dead.results[0].deliveries[0].attempts;
    assert!(why(&site, &chest).await.contains("results.allow_untrained is false"));

    let resent = run(&["resend", "--dead", "--config", site.configuration().to_str().unwrap()]).await;
    assert!(resent.status.success(), "{resent:?}");
    node.logged("delivery is dead; overread resend revives it", 4).await;
    assert_eq!(both_dead().await.results.len(), 2, "after {attempts} attempts");
    assert_eq!(receiver.associations(), 0, "nothing was offered");
}
