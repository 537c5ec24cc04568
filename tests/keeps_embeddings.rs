//! Embeddings are kept beside the series, exported for training and compared.

#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, reason = "tests and what they share")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use overread::store::{EmbeddingFile, JobState};
use serde_json::Value;

use crate::testkit::chest::Series;
use crate::testkit::peers::root;
use crate::testkit::receiver::{Receiver, eventually};
use crate::testkit::site::{Site, run};

const MODEL: &str = "chest-ct-clip-tiny";
const DONE: i32 = 0;
const FAILED: i32 = 1;
const PARTLY: i32 = 3;
const NOTHING: i32 = 4;

type Row = HashMap<String, String>;

/// Exit code, standard output, standard error.
async fn said(site: &Site, command: &[&str]) -> (i32, String, String) {
    let config = site.configuration();
    let output = run(&[command, &["--config", config.to_str().unwrap()]].concat()).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn index(folder: &Path) -> Vec<Row> {
    csv::Reader::from_path(folder.join("index.csv")).unwrap().deserialize().map(Result::unwrap).collect()
}

/// A chest as that model wants it.
fn chest(name: &str, body: i32) -> Series {
    Series { slices: 20, body, ..Series::chest(name) }
}

/// What is kept of a series.
fn vector(site: &Site, of: &Series) -> Vec<f32> {
    let path = format!("embeddings/{}/{}/{MODEL}-1.0.0.safetensors", of.study, of.series);
    EmbeddingFile::open(&site.data().join(path)).unwrap().values("latent").unwrap().unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_are_kept_exported_and_compared() {
    let receiver = Receiver::start();
    let site = Site::new()
        .with("results.allow_untrained", "true")
        .with_peer("PACS", receiver.address)
        .with_model("models/lung-densitometry")
        .with_tiny_model("chest-ct-clip")
        .with_route(MODEL, &["PACS"], "");
    let series = [chest("one", 40), chest("much the same", 41), chest("another", 400)];
    let mut node = site.start().await;
    for series in &series {
        node.push("CT1", &series.files()).await;
    }
    for series in &series {
        eventually("the job is done", async || {
            let job = site.series(&series.series).await?.jobs.pop()?;
            (job.state == JobState::Done).then_some(())
        })
        .await;
    }
    node.terminate();
    node.exit_code().await;

    let [one, same, another] = &series;
    let kept = &site.series(&one.series).await.unwrap().embeddings;
    let [kept] = &kept[..] else { panic!("one file of embeddings, not {kept:?}: {}", node.text()) };
    assert_eq!((kept.model_name.as_str(), kept.revision), (MODEL, 20));
    assert_eq!(kept.path, format!("embeddings/{}/{}/{MODEL}-1.0.0.safetensors", one.study, one.series));
    let file = EmbeddingFile::open(&site.data().join(&kept.path)).unwrap();
    assert_eq!(file.of().series_instance_uid.as_str(), one.series);
    let (code, story, _) = said(&site, &["why", &one.study]).await;
    assert!(code == DONE && story.contains("embeddings by chest-ct-clip-tiny 1.0.0 (revision 20)"), "{story}");

    let out = site.data().with_file_name("out");
    let folder = out.to_str().unwrap();
    assert_eq!(said(&site, &["embeddings", "export", "--out", folder, "--tensor", "cls"]).await.0, NOTHING);
    for _ in 0..2 {
        let (code, _, stderr) = said(&site, &["embeddings", "export", "--out", folder, "--model", MODEL]).await;
        assert_eq!(code, DONE, "{stderr}");
    }
    let rows = index(&out);
    assert_eq!(rows.len(), 3, "twice is once");
    let row = rows.iter().find(|row| row["series_uid"] == one.series).unwrap();
    assert_eq!((&*row["study_uid"], &*row["model"], &*row["version"]), (&*one.study, MODEL, "1.0.0"));
    assert_eq!(std::fs::read(out.join(&row["file"])).unwrap(), std::fs::read(site.data().join(&kept.path)).unwrap());
    read_by_python(&out, file.values("latent").unwrap().unwrap().as_slice(), &one.series);

    let (code, stdout, stderr) = said(&site, &["similar", &one.study, "--json"]).await;
    assert_eq!(code, DONE, "{stderr}");
    let near: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let studies: Vec<&str> = near.iter().map(|near| near["study_uid"].as_str().unwrap()).collect();
    assert_eq!(studies, [&same.study, &another.study], "{stdout}");
    for (near, other) in near.iter().zip([same, another]) {
        let wanted = cosine(&vector(&site, one), &vector(&site, other));
        assert!((near["score"].as_f64().unwrap() - wanted).abs() < 1e-9, "{near}, not {wanted}");
        assert_eq!(near["study_date"], "20260102");
    }
    let (_, table, _) = said(&site, &["similar", &one.series, "--count", "1"]).await;
    assert!(table.contains(&same.study) && !table.contains(&another.study) && !table.contains("Phantom"), "{table}");

    what_cannot_be_compared_is_said(&site, &series, folder).await;
}

async fn what_cannot_be_compared_is_said(site: &Site, [one, same, another]: &[Series; 3], folder: &str) {
    let (code, _, stderr) = said(site, &["similar", "1.2.3.4"]).await;
    assert!(code == NOTHING && stderr.contains("nothing is known of «1.2.3.4»"), "{stderr}");
    let (code, _, stderr) = said(site, &["similar", &one.study, "--tensor", "cls"]).await;
    assert!(code == FAILED && stderr.contains("no tensor «cls» but latent"), "{stderr}");
    // All three have the accession number: there is no other study.
    assert_eq!(said(site, &["similar", "A-17"]).await.0, NOTHING);
    let damaged = site.data().join(format!("embeddings/{0}/{1}/{MODEL}-1.0.0.safetensors", same.study, same.series));
    std::fs::write(damaged, b"no more").unwrap();
    let (code, stdout, stderr) = said(site, &["similar", &one.study]).await;
    assert!(code == PARTLY && stdout.contains(&another.study) && stderr.contains("holds no embeddings"), "{stderr}");
    let (code, stdout, _) = said(site, &["embeddings", "export", "--out", folder]).await;
    assert!(code == PARTLY && stdout.contains("embeddings of 2 series"), "{stdout}");
}

/// The folder as numpy alone reads it, by the published description of the format.
fn read_by_python(folder: &Path, values: &[f32], series: &str) {
    let script = root().join("tests/python/read_embeddings.py");
    let output = Command::new(root().join(".tools/venv/bin/python")).arg(script).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tensor = &read[series]["latent"];
    assert_eq!(tensor["shape"], serde_json::json!([1, values.len()]));
    let numbers: Vec<f32> = serde_json::from_value(tensor["values"].clone()).unwrap();
    assert_eq!(numbers, values);
}

/// The small CLIP package in a folder of its own, without its golden case: what a test changes in its manifest it could not prove.
fn own_package(site: &Site) -> PathBuf {
    let source = root().join("models/chest-ct-clip/tiny");
    let target = site.data().with_file_name("models").join(MODEL);
    std::fs::create_dir(&target).unwrap();
    for entry in std::fs::read_dir(&source).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
    }
    let manifest = target.join("model.toml");
    change(&manifest, |text| text.split("[golden]").next().unwrap().to_owned());
    manifest
}

fn change(manifest: &Path, to: impl Fn(&str) -> String) {
    let text = std::fs::read_to_string(manifest).unwrap();
    let changed = to(&text);
    assert_ne!(changed, text);
    std::fs::write(manifest, changed).unwrap();
}

/// What stands from one line up to another one that is its like.
fn without(text: &str, from: &str, to: &str) -> String {
    let (before, rest) = text.split_once(from).unwrap();
    format!("{before}{to}{}", rest.split_once(to).unwrap().1)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_head_leaves_embeddings_comparable_and_another_step_does_not() {
    let receiver = Receiver::start();
    let site = Site::new()
        .with("results.allow_untrained", "true")
        .with_peer("PACS", receiver.address)
        .with_model("models/lung-densitometry")
        .with_route(MODEL, &["PACS"], "");
    let manifest = own_package(&site);
    let series = ["first", "other head", "other step"].map(|name| chest(name, 40));
    for (at, one) in series.iter().enumerate() {
        match at {
            0 => {}
            1 => change(&manifest, |text| {
                let text = without(text, "[[modules]]\nname = \"binary\"", "[[modules]]\nname = \"findings\"");
                let classification = "[[output.classification]]\ntensor = ";
                without(
                    &text,
                    &format!("{classification}\"binary_logits\""),
                    &format!("{classification}\"finding_logits\""),
                )
            }),
            _ => change(&manifest, |text| text.replacen("range = [-1000, 1000]", "range = [-1000, 900]", 1)),
        }
        let mut node = site.start().await;
        node.push("CT1", &one.files()).await;
        eventually("the job is done", async || {
            let job = site.series(&one.series).await?.jobs.pop()?;
            (job.state == JobState::Done).then_some(())
        })
        .await;
        assert_eq!(site.series(&one.series).await.unwrap().embeddings.len(), 1, "{}", node.text());
        node.terminate();
        node.exit_code().await;
    }
    let [first, other_head, other_step] = &series;
    let (code, stdout, stderr) = said(&site, &["similar", &other_head.series, "--json"]).await;
    assert_eq!(code, DONE, "{stderr}");
    assert!(stdout.contains(&first.study) && !stdout.contains(&other_step.study), "{stdout}");
    let (code, stdout, stderr) = said(&site, &["similar", &other_step.series]).await;
    assert_eq!((code, stdout.contains(&first.study)), (NOTHING, false), "{stdout}{stderr}");
    let out = site.data().with_file_name("out");
    let (code, _, stderr) = said(&site, &["embeddings", "export", "--out", out.to_str().unwrap()]).await;
    assert!(code == DONE && stderr.contains(&format!("{MODEL} 1.0.0 was read by several inputs")), "{stderr}");
}
