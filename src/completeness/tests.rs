//! The loop against a real store, with a clock that stands.

use super::*;
use crate::config::{Completeness, Late, Route, SeriesChoice};
use crate::dicom::{VR, tags};
use crate::inference::manifest::Manifest;
use crate::store::tests::{Bench, Sample};
use crate::store::{SeriesState, SeriesStory};

const QUIET_MS: i64 = 20_000;

/// A route of the example's model that any series takes.
pub(super) fn route() -> Route {
    let any = Vec::new;
    Route {
        model: "lung-densitometry".into(),
        send_to: vec![Destination::Sender],
        modality: any(),
        calling_ae: any(),
        series_description: any(),
        quiet: None,
        on_release: None,
        late: None,
        required_series: any(),
        required_patience: Duration::from_secs(1800),
        series: SeriesChoice::Every,
        preferred_patience: Duration::from_secs(1800),
        key: "route[0]".into(),
    }
}

fn preferring() -> Route {
    Route { series: SeriesChoice::Preferred, ..route() }
}

/// The example, which accepts short series too.
fn model() -> Manifest {
    let text = include_str!("../inference/manifest/example.toml");
    let text = text.replace("least_slices = 20", "least_slices = 3").replace("extent_mm = [100.0", "extent_mm = [1.0");
    Manifest::parse(&text).unwrap()
}

fn watch(bench: &Bench, routes: Vec<Route>, models: Vec<Manifest>) -> Watch {
    Watch {
        store: bench.store.clone(),
        clock: bench.clock.clone(),
        routing: Routing {
            routes,
            peers: Vec::new(),
            models,
            completeness: Completeness {
                quiet: Duration::from_secs(20),
                quiet_by_modality: Vec::new(),
                quiet_by_calling_ae: Vec::new(),
                on_release: false,
                ask_count: None,
                count_patience: Duration::ZERO,
                late: Late::Rerun,
            },
            allow_untrained: true,
        },
        own: AeTitle::parse("OVERREAD").unwrap(),
        peers: Vec::new(),
        timers: Timers::default(),
    }
}

/// Sends a CT `1.2.1.SERIES` of so many slices, so far apart.
async fn send(bench: &Bench, series: u32, slices: u32, mm: f64) {
    for number in 1..=slices {
        bench.send(&slice(series, number, mm)).await.unwrap();
    }
}

fn slice(series: u32, number: u32, mm: f64) -> Sample {
    let mut sample = Sample::ct(1, series, number);
    let ds = &mut sample.data_set;
    let (position, thickness) = (format!("0\\0\\{}", f64::from(number) * mm), mm.to_string());
    for (tag, vr, text) in [
        (tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\AXIAL"),
        (tags::SLICE_THICKNESS, VR::DS, &*thickness),
        (tags::IMAGE_POSITION_PATIENT, VR::DS, &*position),
        (tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0"),
        (tags::PIXEL_SPACING, VR::DS, "0.7\\0.7"),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        (tags::RESCALE_INTERCEPT, VR::DS, "-1024"),
        (tags::RESCALE_SLOPE, VR::DS, "1"),
    ] {
        ds.put_text(tag, vr, text);
    }
    ds.put_uid(tags::FRAME_OF_REFERENCE_UID, "1.2.1.99");
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 16),
        (tags::HIGH_BIT, 15),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        ds.put_us(tag, &[value]);
    }
    sample
}

/// Sends the one instance of a series `1.2.1.SERIES` with this modality and description.
async fn send_other(bench: &Bench, series: u32, modality: &str, description: &str) {
    let mut sample = Sample::ct(1, series, 1);
    sample.data_set.put_text(tags::MODALITY, VR::CS, modality);
    sample.data_set.put_text(tags::SERIES_DESCRIPTION, VR::LO, description);
    bench.send(&sample).await.unwrap();
}

/// The series of the study, in the order of their numbers.
async fn told(bench: &Bench) -> Vec<SeriesStory> {
    bench.store.why("1.2.1").await.unwrap().remove(0).series
}

/// What the last route decision about a series says, and whether a job came of it.
fn decided(story: &SeriesStory) -> (bool, &str) {
    let route = story.routes.last().unwrap();
    assert_eq!(route.matched, story.jobs.iter().any(|job| job.revision == route.revision), "{route:?}");
    (route.matched, &route.reason)
}

#[tokio::test]
async fn a_series_of_which_a_slice_cannot_be_looked_up_is_complete_and_its_job_says_why() {
    for route in [route(), preferring()] {
        let bench = Bench::new().await;
        bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
        bench.store.spoil("UPDATE instance SET sop_class_uid = 'no uid'").await;
        bench.clock.advance_ms(QUIET_MS);
        watch(&bench, vec![route], vec![model()]).sweep(&mut Counts::default()).await;
        assert_eq!(bench.number("SELECT count(*) FROM job").await, 1);
        assert_eq!(bench.text("SELECT state FROM series").await, "complete");
    }
}

#[tokio::test]
async fn a_required_series_is_waited_for_until_it_has_come_and_is_quiet_itself() {
    let bench = Bench::new().await;
    let route = Route { modality: vec!["CT".into()], required_series: vec!["*dose*".into()], ..route() };
    let watch = watch(&bench, vec![route], vec![model()]);
    let mut counts = Counts::default();
    let mut sweep_after = async |milliseconds| {
        bench.clock.advance_ms(milliseconds);
        watch.sweep(&mut counts).await
    };
    send(&bench, 1, 3, 1.0).await;
    assert_eq!(sweep_after(QUIET_MS).await, LONGEST_SLEEP);
    assert_eq!(told(&bench).await[0].signal, "", "the dose report has not come");
    send_other(&bench, 2, "SR", "Patient Dose Report").await;
    assert_eq!(sweep_after(QUIET_MS - 1000).await, Duration::from_secs(1), "it may go on coming");
    assert_eq!(told(&bench).await[0].signal, "");
    sweep_after(1000).await;
    let signals: Vec<String> = told(&bench).await.into_iter().map(|series| series.signal).collect();
    assert_eq!(signals, ["quiet for 20 s, with the required series", "quiet for 20 s"]);
}

#[tokio::test]
async fn a_required_series_that_was_complete_before_is_there() {
    let bench = Bench::new().await;
    let route = Route { modality: vec!["CT".into()], required_series: vec!["*scout*".into()], ..route() };
    let watch = watch(&bench, vec![route], vec![model()]);
    send_other(&bench, 1, "OT", "Scout").await;
    bench.clock.advance_ms(QUIET_MS);
    watch.sweep(&mut Counts::default()).await;
    send(&bench, 2, 3, 1.0).await;
    bench.clock.advance_ms(QUIET_MS);
    watch.sweep(&mut Counts::default()).await;
    let series = told(&bench).await;
    assert_eq!(
        (series[0].state, &*series[1].signal),
        (SeriesState::Complete, "quiet for 20 s, with the required series")
    );
}

#[tokio::test]
async fn a_required_series_that_never_comes_is_given_up_in_time() {
    let bench = Bench::new().await;
    let route = Route { required_series: vec!["*dose*".into(), "*scout*".into()], ..route() };
    let watch = watch(&bench, vec![route], vec![model()]);
    send(&bench, 1, 3, 1.0).await;
    bench.clock.advance_ms(1_799_000);
    assert_eq!(watch.sweep(&mut Counts::default()).await, Duration::from_secs(1));
    assert_eq!(told(&bench).await[0].signal, "");
    bench.clock.advance_ms(1000);
    watch.sweep(&mut Counts::default()).await;
    let series = told(&bench).await.remove(0);
    assert_eq!(series.signal, "quiet for 20 s, without «*dose*» and «*scout*», which did not come in 1800 s");
    assert_eq!(series.jobs.len(), 1);
}

#[tokio::test]
async fn of_several_series_the_preferred_one_is_read_once_all_have_come() {
    let bench = Bench::new().await;
    let watch = watch(&bench, vec![preferring()], vec![model()]);
    let mut counts = Counts::default();
    let mut sweep_after = async |milliseconds| {
        bench.clock.advance_ms(milliseconds);
        watch.sweep(&mut counts).await
    };
    send(&bench, 1, 5, 5.0).await;
    bench.clock.advance_ms(QUIET_MS - 1000);
    send(&bench, 2, 5, 1.0).await;
    let mut scout = slice(3, 1, 1.0);
    scout.data_set.put_text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\LOCALIZER");
    bench.send(&scout).await.unwrap();
    sweep_after(1000).await;
    assert!(told(&bench).await.iter().all(|series| series.signal.is_empty()), "the second one is still coming");
    // The model does not look at its modality: it is not waited for.
    send_other(&bench, 4, "SR", "Dose Report").await;
    sweep_after(QUIET_MS - 1000).await;
    let series = told(&bench).await;
    let thick = "series 1.2.1.2 of this study is preferred: its slices lie 1 mm apart, this one's 5 mm";
    let thin = "the series fits and is preferred to series 1.2.1.1 of this study: its slices lie 1 mm apart, that one's 5 mm; \
                nothing is sent to MODALITY: no [[peer]] has this title";
    assert_eq!(decided(&series[0]), (false, thick));
    assert_eq!(decided(&series[1]), (true, thin));
    let (read, reason) = decided(&series[2]);
    assert!(!read && reason.contains("LOCALIZER"), "{reason}");
    assert_eq!(series[3].state, SeriesState::Receiving, "a series of another modality held up none");

    send(&bench, 5, 5, 0.5).await;
    sweep_after(QUIET_MS).await;
    send(&bench, 6, 5, 2.0).await;
    sweep_after(QUIET_MS).await;
    let series = told(&bench).await;
    let (read, reason) = decided(&series[4]);
    let better = "the series fits and is preferred to series 1.2.1.2 of this study, which was read before: its slices lie \
                  0.5 mm apart, that one's 1 mm";
    assert!(read && reason.starts_with(better), "{reason}");
    let worse = "series 1.2.1.5 of this study is preferred: its slices lie 0.5 mm apart, this one's 2 mm";
    assert_eq!(decided(&series[5]), (false, worse));
}

#[tokio::test]
async fn where_no_series_is_suitable_one_is_reported_on() {
    let bench = Bench::new().await;
    let watch = watch(&bench, vec![preferring()], vec![model()]);
    send(&bench, 1, 2, 1.0).await;
    send(&bench, 2, 2, 1.0).await;
    bench.clock.advance_ms(QUIET_MS);
    watch.sweep(&mut Counts::default()).await;
    let series = told(&bench).await;
    let (read, reason) = decided(&series[0]);
    assert!(read && reason.starts_with("no series of this study is suitable, the report is on this one"), "{reason}");
    let (read, reason) = decided(&series[1]);
    let elsewhere = "no series of this study is suitable, the report is on series 1.2.1.1; not suitable (";
    assert!(!read && reason.starts_with(elsewhere), "{reason}");
}

#[tokio::test]
async fn a_series_that_no_job_reads_takes_no_other_ones_place() {
    let bench = Bench::new().await;
    send(&bench, 1, 5, 1.0).await;
    bench.clock.advance_ms(QUIET_MS);
    watch(&bench, Vec::new(), vec![model()]).sweep(&mut Counts::default()).await;
    send(&bench, 2, 5, 5.0).await;
    bench.clock.advance_ms(QUIET_MS);
    let late = Route { late: Some(Late::Ignore), ..preferring() };
    let watch = watch(&bench, vec![late], vec![model()]);
    // The better one is late and will not be read either.
    bench.send(&slice(1, 6, 1.0)).await.unwrap();
    bench.clock.advance_ms(QUIET_MS);
    watch.sweep(&mut Counts::default()).await;
    let series = told(&bench).await;
    assert_eq!(decided(&series[0]), (false, "instances came late, and late is ignore"));
    assert!(decided(&series[1]).0, "{:?}", series[1].routes);
}

#[tokio::test]
async fn what_the_gate_does_not_accept_is_not_preferred() {
    let bench = Bench::new().await;
    let text = include_str!("../inference/manifest/example.toml");
    let gated = text.replace("# gate = \"NAME\"", "gate = \"strict\"").replace("least_slices = 20", "least_slices = 3");
    let gated = gated.replace("extent_mm = [100.0", "extent_mm = [1.0");
    let strict = gated.replace("gate = \"strict\"", "").replace("name = \"lung-densitometry\"", "name = \"strict\"");
    let strict = strict.replace("slice_spacing_mm = [0.2", "slice_spacing_mm = [2.0");
    let models = [gated, strict].map(|text| Manifest::parse(&text).unwrap());
    let watch = watch(&bench, vec![preferring()], models.into());
    send(&bench, 1, 5, 5.0).await;
    send(&bench, 2, 5, 1.0).await;
    bench.clock.advance_ms(QUIET_MS);
    watch.sweep(&mut Counts::default()).await;
    let series = told(&bench).await;
    assert!(decided(&series[0]).0, "{:?}", series[0].routes);
    let (read, reason) = decided(&series[1]);
    assert!(!read && reason.contains("this one is not suitable (slice-spacing)"), "{reason}");
}

#[tokio::test]
async fn no_series_is_passed_over_for_one_that_changed_while_it_was_decided_on() {
    let bench = Bench::new().await;
    let watch = watch(&bench, vec![preferring()], vec![model()]);
    send(&bench, 1, 5, 5.0).await;
    send(&bench, 2, 5, 1.0).await;
    bench.clock.advance_ms(QUIET_MS);
    let receiving = bench.store.series_receiving().await.unwrap();
    let mut company = Company::of(receiving.iter());
    let mut both = Vec::new();
    for series in &receiving {
        let decided = watch.decide(series, "quiet".to_owned(), &mut company, bench.clock.now()).await.unwrap();
        let Decided::Complete(decision) = decided else { panic!("it waits") };
        both.push(decision);
    }
    bench.send(&slice(2, 6, 1.0)).await.unwrap();
    watch.settle(both).await;
    assert!(told(&bench).await.iter().all(|series| series.state == SeriesState::Receiving));
    bench.clock.advance_ms(QUIET_MS);
    watch.sweep(&mut Counts::default()).await;
    let series = told(&bench).await;
    assert!(!decided(&series[0]).0 && decided(&series[1]).0);
}

#[tokio::test]
async fn a_series_that_arrives_for_ever_holds_up_no_other_for_longer_than_the_routes_patience() {
    let bench = Bench::new().await;
    let route = Route { preferred_patience: Duration::from_secs(60), ..preferring() };
    let watch = watch(&bench, vec![route], vec![model()]);
    let mut counts = Counts::default();
    send(&bench, 1, 5, 5.0).await;
    // A better one, if it were whole.
    for number in 1..=5 {
        bench.clock.advance_ms(QUIET_MS / 2);
        bench.send(&slice(2, number, 1.0)).await.unwrap();
        watch.sweep(&mut counts).await;
    }
    assert!(told(&bench).await.iter().all(|series| series.state == SeriesState::Receiving));
    bench.clock.advance_ms(60_000 - 5 * (QUIET_MS / 2) - 1000);
    bench.send(&slice(2, 6, 1.0)).await.unwrap();
    let until = watch.sweep(&mut counts).await;
    assert_eq!(until, Duration::from_secs(1), "it looks again when the patience ends");
    bench.clock.advance_ms(1000);
    watch.sweep(&mut counts).await;
    let series = told(&bench).await;
    assert!(decided(&series[0]).0);
    assert_eq!(series[0].signal, "quiet for 20 s, not waiting for other series of the study after 60 s");
    assert_eq!(series[1].state, SeriesState::Receiving);
}

#[tokio::test]
async fn the_study_whose_series_waited_longest_is_decided_on_first() {
    let bench = Bench::new().await;
    let watch = watch(&bench, vec![route()], vec![model()]);
    // Whose UIDs come the other way round.
    for study in [9, 3, 1] {
        bench.send(&Sample::ct(study, 1, 1)).await.unwrap();
        bench.clock.advance_ms(1000);
    }
    bench.clock.advance_ms(QUIET_MS);
    watch.sweep(&mut Counts::default()).await;
    let jobs: String = bench
        .text(
            "SELECT group_concat(study_instance_uid) FROM (SELECT study_instance_uid FROM job \
        JOIN series USING (series_key) JOIN study USING (study_key) ORDER BY job_id)",
        )
        .await;
    assert_eq!(jobs, "1.2.9,1.2.3,1.2.1");
}
