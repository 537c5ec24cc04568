//! Model packages at the command line: what is there, whether each computes what it must, and new ones.

#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, reason = "tests and what they share")]

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::testkit::peers::root;
use crate::testkit::receiver::Receiver;
use crate::testkit::site::{Site, overread};

const DONE: i32 = 0;
const FAILED: i32 = 1;
const PARTLY: i32 = 3;
const NOTHING: i32 = 4;

/// A place for packages, and one for what is remembered of them.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(bench.models()).unwrap();
        bench
    }

    fn models(&self) -> PathBuf {
        self.0.path().join("models")
    }

    /// A package of the test's own, as it lies in the fixtures.
    fn with(self, names: &[&str]) -> Self {
        for name in names {
            copy(&root().join("tests/fixtures/models").join(name), &self.models().join(name));
        }
        self
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.models().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    fn run(&self, words: &[&str]) -> (i32, String) {
        let mut command = overread(&["models"]);
        command.args(words).arg("--models").arg(self.models()).env("OVERREAD_STATE", self.0.path().join("state"));
        let output = command.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), said)
    }

    fn check(&self, name: &str) -> (i32, String) {
        self.run(&["check", name, "--device", "cpu"])
    }

    fn list(&self) -> (i32, Vec<Value>) {
        let (code, said) = self.run(&["--json", "--device", "cpu"]);
        (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn the_list_tells_what_is_installed_and_how_the_last_check_of_this_very_package_went() {
    let bench = Bench::new().with(&["good", "golden-differs"]);
    let (code, rows) = bench.list();
    assert_eq!((code, rows.len()), (DONE, 2));
    assert_eq!((&rows[1]["name"], &rows[1]["origin"]), (&"good".into(), &"untrained".into()));
    assert_eq!((&rows[1]["device"], &rows[1]["last_check"]), (&"cpu".into(), &Value::Null));
    assert_eq!(rows[1]["weights_sha256"].as_str().unwrap().len(), 64);

    let (code, said) = bench.check("good");
    assert_eq!(code, DONE, "{said}");
    assert!(said.contains("passed") && said.contains("mask"), "{said}");
    let (code, said) = bench.check("golden-differs");
    assert_eq!(code, FAILED, "{said}");
    assert!(said.contains("FAILED") && said.contains("WRONG"), "{said}");
    let (_, rows) = bench.list();
    assert_eq!(rows[1]["last_check"]["passed"], true);
    assert_eq!(rows[0]["last_check"]["passed"], false);
    let (code, said) = bench.run(&["--device", "cpu"]);
    assert_eq!(code, DONE, "{said}");
    assert!(said.lines().any(|line| line.starts_with("good ") && line.contains("passed 20")), "{said}");
    assert!(said.lines().any(|line| line.starts_with("golden-differs ") && line.contains("FAILED 20")), "{said}");

    // What was shown of one package says nothing of another one under its name.
    bench.change("good/model.toml", "version = \"1.0.0\"", "version = \"1.0.1\"");
    assert_eq!(bench.list().1[1]["last_check"], Value::Null);

    std::fs::remove_file(bench.models().join("good/model.pt")).unwrap();
    let (code, rows) = bench.list();
    assert_eq!((code, &rows[1]["installed"]), (DONE, &false.into()));
    assert_eq!(rows[1]["not_installed"]["missing"], serde_json::json!(["model.pt"]));
    let (code, said) = bench.check("good");
    assert!(code == FAILED && said.contains("is not installed") && said.contains("model.pt"), "{said}");
}

/// How the last check of each package went, where a site's node runs.
async fn last_checks(site: &Site) -> Vec<(String, Value)> {
    let rows = site.models().await;
    let of = |row: &Value| (row["name"].as_str().unwrap().to_owned(), row["last_check"]["passed"].clone());
    rows.as_array().unwrap().iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn how_the_golden_cases_came_out_when_a_node_started_is_remembered() {
    let receiver = Receiver::start();
    let site = Site::measuring_for(&receiver).with_model("tests/fixtures/models/golden-differs");
    let checks = |differs, good| [("golden-differs".to_owned(), differs), ("good".to_owned(), good)];
    assert_eq!(last_checks(&site).await, checks(Value::Null, Value::Null));
    let mut node = site.start().await;
    node.terminate();
    node.exit_code().await;
    assert_eq!(last_checks(&site).await, checks(Value::Null, true.into()), "one has no route and was not loaded");
    // What keeps a node from starting is known too.
    let site = site.with_route("golden-differs", &["PACS"], "");
    let mut node = site.spawn();
    assert_eq!(node.exit_code().await, FAILED, "{}", node.text());
    assert_eq!(last_checks(&site).await, checks(false.into(), true.into()));
}

#[test]
fn a_package_that_does_not_compute_the_same_twice_is_found_out() {
    let bench = Bench::new();
    copy(&root().join("tests/fixtures/modules/remembers"), &bench.models().join("remembers"));
    let (code, said) = bench.check("remembers");
    assert!(code == PARTLY && said.contains("passed") && said.contains("DIFFERS   «logits»"), "{said}");
}

#[test]
fn what_cannot_be_checked_or_listed_is_said() {
    let bench = Bench::new();
    assert_eq!(bench.run(&[]).0, NOTHING);
    let (code, said) = bench.check("nobody");
    assert!(code == FAILED && said.contains("there is no model «nobody»"), "{said}");
    let bench = bench.with(&["good", "truncated"]);
    let (code, said) = bench.check("truncated");
    assert!(code == FAILED && said.contains("FAILED"), "{said}");
    bench.change("good/model.toml", "sha256 = \"", "sha256 = \"0");
    let (code, said) = bench.run(&[]);
    assert!(code == PARTLY && said.contains("good/model.toml:") && said.contains("sha256"), "{said}");
    std::fs::write(bench.models().join("truncated/model.pt"), b"other").unwrap();
    let (code, said) = bench.check("truncated");
    assert!(code == FAILED && said.contains("model.toml says"), "{said}");
}

#[test]
fn a_new_package_is_begun_once_and_its_author_is_told_what_to_fill_in() {
    let bench = Bench::new();
    let (code, said) = bench.run(&["new", "mine"]);
    assert_eq!(code, DONE, "{said}");
    for key in ["title", "licence", "sha256", "accepts.modality", "output.classification[0].labels[0].concept"] {
        assert!(said.contains(&format!(" {key} ")), "{key}: {said}");
    }
    assert!(!said.contains("  name "), "{said}");
    let written = std::fs::read(bench.models().join("mine/model.toml")).unwrap();
    let (code, said) = bench.run(&["new", "mine"]);
    assert!(code == FAILED && said.contains("exists"), "{said}");
    assert_eq!(std::fs::read(bench.models().join("mine/model.toml")).unwrap(), written);
    for name in ["../mine", "Mine", "a/b", ""] {
        let (code, said) = bench.run(&["new", name]);
        assert_eq!(code, FAILED, "{name}: {said}");
    }
    assert_eq!(std::fs::read_dir(bench.models()).unwrap().count(), 1);
}
