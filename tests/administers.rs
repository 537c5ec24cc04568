//! A PACS administrator at the command line: sends, asks why, mends, sends again, makes the index anew, has read again.

#![cfg(feature = "torch")]

use std::path::Path;

use bytes::Bytes;
use dicom_dictionary_std::uids;
use overread::store::JobState;

use crate::testkit::chest::Series;
use crate::testkit::instance::zipped;
use crate::testkit::receiver::{Answer, Receiver, eventually};
use crate::testkit::site::{Process, Site, run};

const DONE: i32 = 0;
const NOTHING: i32 = 4;

/// A command that needs the configuration: its exit code, and what it said.
async fn command(site: &Site, arguments: &[&str]) -> (i32, String) {
    let configuration = site.configuration();
    let mut all = vec![arguments[0], "--config", configuration.to_str().unwrap()];
    all.extend(&arguments[1..]);
    spoken(&all).await
}

async fn spoken(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments).await;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), text)
}

fn must_say(said: &str, words: &[&str]) {
    for words in words {
        assert!(said.contains(words), "«{words}» is not in: {said}");
    }
}

/// An archive of series, each in a folder of its own, with a note beside them.
fn archive(folder: &Path, series: &[&Series]) -> String {
    let files = series.iter().enumerate().flat_map(|(folder, series)| {
        let named = move |(number, file)| (format!("DICOM/{folder}/{number}"), file);
        series.files().into_iter().enumerate().map(named)
    });
    let path = folder.join("study.zip");
    let note = ("read me.txt".to_owned(), Bytes::from_static(b"From the other hospital."));
    std::fs::write(&path, zipped(files.chain([note]))).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What the node answers about a study at every level, in the order of the alphabet.
async fn found(node: &Process, study: &str) -> Vec<String> {
    let to = format!("OVERREAD@{}", node.address());
    let (study, mut answers) = (format!("StudyInstanceUID={study}"), Vec::new());
    for level in ["study", "series"] {
        let (code, said) = spoken(&["find", "--to", &to, "--level", level, "--json", &study]).await;
        assert_eq!(code, DONE, "{said}");
        answers.extend(said.lines().map(str::to_owned));
    }
    answers.sort();
    answers
}

/// The localizer fits no route, and of the chest's results one is dead.
async fn must_explain(site: &Site, chest: &Series, localizer: &Series) {
    let (code, said) = command(site, &["why", &localizer.series]).await;
    assert_eq!(code, DONE, "{said}");
    let told = said.split(&format!("series {}", localizer.series)).nth(1).unwrap();
    let told = told.split("\n  series ").next().unwrap();
    must_say(told, &["received 1 instance from CT1", "route[0] to model lung-densitometry did not match", "LOCALIZER"]);
    assert!(!told.contains("job "), "{told}");
    let (code, said) = command(site, &["why", &chest.series]).await;
    assert_eq!(code, DONE, "{said}");
    let dead = "(1 attempt, last answer A900H «no such patient here»)\n          not sent again by itself; after mending the \
                cause: overread resend";
    must_say(
        &said,
        &["to PACS: dead, last attempt at", dead, "to PACS: delivered at", "received 14 instances from CT1"],
    );
}

/// The study stands in a table, each value below its keyword.
async fn must_list(to: &str, chest: &Series) {
    let (code, said) = spoken(&["find", "--to", to, "PatientName=phantom*"]).await;
    assert_eq!(code, DONE, "{said}");
    let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    let [head, row] = &rows[..] else { panic!("a head and a row: {said}") };
    for (column, value) in
        [("AccessionNumber", "A-17"), ("PatientName", "Phantom^Chest"), ("StudyInstanceUID", &chest.study)]
    {
        assert!(head.contains(&column) && row.contains(&value), "{column}: {said}");
    }
    let at = |line: &str, word: &str| said.lines().find(|l| l.contains(line)).unwrap().find(word);
    assert_eq!(at("PatientID", "PatientID"), at("PH-17", "PH-17"), "values stand below their keywords: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_is_sent_explained_resent_and_found_again_in_an_index_made_anew() {
    let receiver = Receiver::start();
    receiver.answer(|class| match class {
        uids::COMPREHENSIVE3_DSR_STORAGE => Answer::Comment(0xA900, "no such patient here"),
        _ => Answer::Status(0),
    });
    let site = Site::reading_for(&receiver);
    let mut node = site.start().await;
    let chest = Series::chest("administered");
    let localizer = Series::localizer("administered beside").beside(&chest);
    let folder = tempfile::tempdir().unwrap();
    let to = format!("OVERREAD@{}", node.address());
    let (code, said) = spoken(&[
        "send",
        "--to",
        &to,
        "--as",
        "CT1",
        "--associations",
        "1",
        &archive(folder.path(), &[&chest, &localizer]),
    ])
    .await;
    assert_eq!(code, DONE, "{said}");
    must_say(&said, &["15 stored", "1 other file passed over"]);

    node.logged("delivered", 1).await;
    node.logged("delivery is dead; overread resend revives it", 1).await;
    node.logged("series complete", 2).await;
    must_explain(&site, &chest, &localizer).await;
    must_list(&to, &chest).await;

    receiver.answer(|_| Answer::Status(0));
    let (code, said) = command(&site, &["resend", "A-17"]).await;
    assert_eq!(code, DONE, "{said}");
    must_say(&said, &["2 deliveries are pending again"]);
    node.logged("delivered", 3).await;
    assert_eq!(receiver.taken().len(), 3, "the segmentation twice, the report once");
    let (code, said) = command(&site, &["resend", "--dead"]).await;
    assert_eq!(code, NOTHING, "{said}");
    must_say(&said, &["no delivery is dead"]);

    let before = found(&node, &chest.study).await;
    assert_eq!(before.len(), 5, "a study with two series that came and two that were made: {before:#?}");
    node.terminate();
    assert_eq!(node.exit_code().await, DONE);
    for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = std::fs::remove_file(site.data().join(file));
    }
    let (code, said) = command(&site, &["reindex"]).await;
    assert_eq!(code, DONE, "{said}");
    must_say(
        &said,
        &["17 files: 17 added to the index, 0 set aside; 0 rows without a file removed; 0 results are lost"],
    );
    let node = site.start().await;
    assert_eq!(found(&node, &chest.study).await, before);
    let (code, said) = command(&site, &["why", &chest.series]).await;
    assert_eq!(code, DONE, "{said}");
    must_say(&said, &[&format!("series {}", chest.series), "17 instances in 4 series"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_says_what_to_do_and_is_read_again_once_its_model_is_mended() {
    let receiver = Receiver::start();
    let site = Site::new().with_peer("PACS", receiver.address).with("results.allow_untrained", "true").with_route(
        "good",
        &["PACS"],
        "",
    );
    let package = site.data().with_file_name("models").join("good");
    let raises = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/raises");
    let manifest = std::fs::read_to_string(raises.join("model.toml")).unwrap();
    std::fs::create_dir(&package).unwrap();
    std::fs::write(package.join("model.toml"), manifest.replace("name = \"raises\"", "name = \"good\"")).unwrap();
    std::fs::copy(raises.join("model.pt"), package.join("model.pt")).unwrap();
    let mut node = site.start().await;
    let chest = Series::chest("to be read again");
    node.push("CT1", &chest.files()).await;
    node.logged("job failed", 1).await;
    let (code, said) = command(&site, &["why", &chest.instance(0)]).await;
    assert_eq!(code, DONE, "{said}");
    let advice = "not tried again by itself; after mending the cause: overread reread";
    must_say(&said, &["by model good 1.0.0 (revision 14): failed at", "the model does not want to", advice]);

    node.terminate();
    assert_eq!(node.exit_code().await, DONE);
    std::fs::remove_dir_all(&package).unwrap();
    let site = site.with_quick_model();
    let node = site.start().await;
    let (code, said) = command(&site, &["reread", "1.2.3.4.5"]).await;
    assert_eq!(code, NOTHING, "{said}");
    must_say(&said, &["nothing is known of «1.2.3.4.5»"]);
    let (code, said) = command(&site, &["reread", &chest.study]).await;
    assert_eq!(code, DONE, "{said}");
    must_say(&said, &["1 failed job is queued again; 0 series are decided on anew"]);
    let read = eventually("the job is done", async || {
        let job = site.series(&chest.series).await?.jobs.pop()?;
        (job.state == JobState::Done).then_some(job)
    })
    .await;
    let endings: Vec<&str> = read.attempts.iter().map(|attempt| attempt.ending.as_str()).collect();
    assert_eq!((&*read.outcome, endings), ("read", vec!["failed", "done"]));
    node.logged("delivered", 2).await;
    let (code, said) = command(&site, &["reread", &chest.study]).await;
    assert_eq!(code, NOTHING, "{said}");
    must_say(&said, &["nothing to read again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_aside_is_told_with_its_file() {
    let receiver = Receiver::start();
    let site = Site::new().with_peer("PACS", receiver.address);
    let node = site.start().await;
    let (chest, other) = (Series::chest("taken"), Series { body: 90, ..Series::chest("taken") });
    node.push("CT1", &chest.files()[..2]).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("other"), &other.files()[1]).unwrap();
    let to = format!("OVERREAD@{}", node.address());
    let (code, said) = spoken(&["send", "--to", &to, "--as", "CT2", folder.path().to_str().unwrap()]).await;
    assert_eq!(code, DONE, "{said}");
    must_say(&said, &["1 stored, 1 of them with a warning"]);
    let (code, said) = command(&site, &["why", &chest.study]).await;
    assert_eq!(code, DONE, "{said}");
    must_say(
        &said,
        &[&format!("kept aside: other content under instance {}", chest.instance(1)), "from CT2, 1 time, last at"],
    );
    let file = said.split("in aside/").nth(1).unwrap().trim();
    assert!(site.data().join("aside").join(file).is_file(), "{said}");
    let (code, said) = command(&site, &["resend", &chest.study]).await;
    assert_eq!(code, NOTHING, "{said}");
    must_say(&said, &["of this study nothing was to be delivered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_study_is_read_by_a_model_whose_route_is_new() {
    let receiver = Receiver::start();
    let site = Site::new().with_peer("PACS", receiver.address).with_quick_model().with_route("good", &["PACS"], "");
    let mut node = site.start().await;
    let chest = Series::chest("older than a route");
    node.push("CT1", &chest.files()).await;
    node.logged("delivered", 2).await;
    let (code, said) = command(&site, &["reread", &chest.study]).await;
    assert_eq!(code, NOTHING, "{said}");
    node.terminate();
    assert_eq!(node.exit_code().await, DONE);

    let site = site.with_tiny_model("chest-ct-r3d18").with_route("chest-ct-r3d18-tiny", &["PACS"], "");
    let node = site.start().await;
    let (code, said) = command(&site, &["reread", &chest.study]).await;
    assert_eq!(code, DONE, "{said}");
    must_say(&said, &["0 failed jobs are queued again; 1 series is decided on anew"]);
    node.logged("delivered", 1).await;
    let jobs = site.series(&chest.series).await.unwrap().jobs;
    let read: Vec<(&str, &str)> = jobs.iter().map(|job| (&*job.model_name, &*job.outcome)).collect();
    assert_eq!(read.len(), 2, "{read:?}");
    assert!(
        read.contains(&("good", "read")) && read.iter().any(|(model, _)| *model == "chest-ct-r3d18-tiny"),
        "{read:?}"
    );
    let (code, said) = command(&site, &["reread", &chest.study]).await;
    assert_eq!(code, NOTHING, "{said}");
}
