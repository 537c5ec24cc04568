//! A series among others of its study: the one that the model prefers is read, those that a route requires are waited for,
//! and `overread why` says so.

#![cfg(feature = "torch")]

use bytes::Bytes;
use overread::dicom::{VR, tags};
use overread::store::{SeriesState, SeriesStory};

use crate::testkit::chest::Series;
use crate::testkit::phantom::decimals;
use crate::testkit::receiver::{Receiver, eventually};
use crate::testkit::site::{QUICK, Site, run};

/// The same scan with another kernel and so far between slices.
fn reconstructed(series: &Series, kernel: &str, mm: f64) -> Vec<Bytes> {
    series.files_with(|ds| {
        let slice = ds.integer(tags::INSTANCE_NUMBER).unwrap() - 1;
        ds.put_text(tags::CONVOLUTION_KERNEL, VR::SH, kernel);
        ds.put_text(tags::SLICE_THICKNESS, VR::DS, &mm.to_string());
        let position = [-95.0, -79.0, -300.0 + slice as f64 * mm];
        ds.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, &decimals(&position));
    })
}

/// A series once it is complete.
async fn complete(site: &Site, series: &Series) -> SeriesStory {
    let complete = async || site.series(&series.series).await.filter(|found| found.state != SeriesState::Receiving);
    eventually("the series is complete", complete).await
}

/// What `overread why` tells of a series.
async fn why(site: &Site, series: &Series) -> String {
    let told = run(&["why", "--config", site.configuration().to_str().unwrap(), &series.series]).await;
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    let told = said.split(&format!("series {}\n", series.series)).nth(1).unwrap_or_else(|| panic!("not in: {said}"));
    told.split("\n  series ").next().unwrap().to_owned()
}

fn must_say(said: &str, words: &str) {
    assert!(said.contains(words), "«{words}» is not in: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_study_of_three_series_one_is_read_and_why_tells_the_reasons() {
    let receiver = Receiver::start();
    let site = Site::new()
        .with("completeness.quiet_seconds", "2")
        .with_peer("PACS", receiver.address)
        .with_model("models/lung-densitometry")
        .with_route("lung-densitometry", &["PACS"], "series = \"preferred\"");
    let node = site.start().await;
    let sharp = Series::chest("sharp");
    let (soft, scout) = (Series::chest("soft").beside(&sharp), Series::localizer("scout").beside(&sharp));
    let (of_sharp, of_soft) = (reconstructed(&sharp, "B60f", 7.0), reconstructed(&soft, "B30f", 8.0));
    // As scanners send them: none is whole before all have begun.
    let mut files = scout.files();
    files.extend(std::iter::zip(of_sharp, of_soft).flat_map(|(one, other)| [one, other]));
    node.push("CT1", &files).await;
    let jobs = async |series: &Series| complete(&site, series).await.jobs.len();
    assert_eq!((jobs(&sharp).await, jobs(&soft).await, jobs(&scout).await), (0, 1, 0));
    node.logged("delivered", 2).await;
    assert_eq!(receiver.taken().len(), 2, "a report and a segmentation, of one series");

    let soft_kernel = "its convolution kernel is one of those that are preferred (B30f)";
    let route = "route[0] to model lung-densitometry";
    let not = |revision: u32| format!("{route} did not match (revision {revision})");
    let of_sharp = why(&site, &sharp).await;
    let preferred =
        format!("series {} of this study is preferred: {soft_kernel}, this one's is not (B60f)", soft.series);
    must_say(&of_sharp, &format!("{}: {preferred}", not(14)));
    assert!(!of_sharp.contains("job "), "{of_sharp}");
    let fits = format!("the series fits and is preferred to series {} of this study: {soft_kernel}", sharp.series);
    must_say(&why(&site, &soft).await, &format!("{route} matched (revision 14): {fits}, that one's is not (B60f)"));
    must_say(&why(&site, &scout).await, &format!("{}: The model does not read images of type", not(1)));

    let thin = Series::chest("thin").beside(&sharp);
    node.push("CT1", &reconstructed(&thin, "B30f", 6.0)).await;
    let thick = Series::chest("thick").beside(&sharp);
    assert_eq!(jobs(&thin).await, 1, "it is better than what was read");
    let better =
        format!("preferred to series {} of this study, which was read before: its slices lie 6 mm apart", soft.series);
    must_say(&why(&site, &thin).await, &better);
    node.push("CT1", &reconstructed(&thick, "B30f", 10.0)).await;
    assert_eq!(jobs(&thick).await, 0, "it is worse");
    must_say(
        &why(&site, &thick).await,
        &format!("series {} of this study is preferred: its slices lie 6 mm", thin.series),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_waits_for_those_that_its_route_requires_and_says_with_or_without_which_it_is_complete() {
    let receiver = Receiver::start();
    let requires = |caller: &str, patience: u32| {
        format!(
            "calling_ae = [\"{caller}\"]\nmodality = [\"CT\"]\nrequired_series = [\"*DOSE*\"]\n\
             required_patience_seconds = {patience}"
        )
    };
    let site = Site::new()
        .with_peer("PACS", receiver.address)
        .with_quick_model()
        .with_route(QUICK, &["PACS"], &requires("CT1", 86_400))
        .with_route(QUICK, &["PACS"], &requires("CT2", 3));
    let node = site.start().await;
    let (patient, hasty) = (Series::chest("patient"), Series::chest("hasty"));
    node.push("CT1", &patient.files()).await;
    node.push("CT2", &hasty.files()).await;
    let without = "quiet for 1 s, without «*DOSE*», which did not come in 3 s";
    assert_eq!(complete(&site, &hasty).await.signal, without);
    must_say(&why(&site, &hasty).await, without);
    // It came before the other one, and has been quiet for longer.
    assert_eq!(site.series(&patient.series).await.unwrap().state, SeriesState::Receiving);
    let dose = Series::localizer("dose").beside(&patient);
    let report = dose.files_with(|ds| {
        ds.put_text(tags::MODALITY, VR::CS, "SR");
        ds.put_text(tags::SERIES_DESCRIPTION, VR::LO, "Patient dose report");
    });
    node.push("CT1", &report).await;
    let with = "quiet for 1 s, with the required series";
    let story = complete(&site, &patient).await;
    assert_eq!((story.signal.as_str(), story.jobs.len()), (with, 1));
    must_say(&why(&site, &patient).await, with);
    let logged = node.logged("series complete", 3).await;
    assert_eq!(logged.iter().filter(|line| line["signal"] == with).count(), 1, "{logged:#?}");
}
