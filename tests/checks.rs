//! What the program says before a node runs, and beside it: everything that is wrong at once, and exit codes.

#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, reason = "tests and what they share")]

use std::path::Path;
use std::process::Output;

use crate::testkit::chest::Series;
use crate::testkit::peers::Server;
use crate::testkit::receiver::{Answer, Receiver};
use crate::testkit::signals::terminate;
use crate::testkit::site::{QUICK, Site, run};

const DONE: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const PARTLY: i32 = 3;
const NOTHING: i32 = 4;

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn check(site: &Site) -> (i32, String) {
    let checked = run(&["check", "--config", site.configuration().to_str().unwrap()]).await;
    (checked.status.code().unwrap(), text(&checked))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_in_order_is_said_to_be_so() {
    let receiver = Receiver::start();
    let (code, said) = check(&Site::measuring_for(&receiver)).await;
    assert_eq!(code, DONE, "{said}");
    assert!(said.contains("model good 1.0.0: golden case passed on cpu"), "{said}");
    assert!(said.contains(&format!("peer PACS@{}: answers C-ECHO", receiver.address)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_errors_of_the_configuration_are_said_at_once_with_their_keys_and_lines() {
    let site = Site::new()
        .with("node.ae_title", "\"A TITLE THAT IS TOO LONG\"")
        .with("jobs.attempts", "0")
        .with("completeness.late", "\"perhaps\"")
        .with("delivery.surprise", "1")
        .with_route("lung-densitometry", &["NOBODY"], "");
    let (code, said) = check(&site).await;
    assert_eq!(code, FAILED, "{said}");
    for key in ["node.ae_title", "jobs.attempts", "completeness.late", "delivery.surprise"] {
        let place = format!("overread.toml:{}: {key}", line_of(&site, key));
        assert_eq!(said.lines().filter(|line| line.contains(&place)).count(), 1, "{place}: {said}");
    }
    assert!(said.contains("route[0].send_to") && said.contains("NOBODY"), "{said}");
    assert!(said.contains("route[0].model") && said.contains("«lung-densitometry»"), "{said}");
    assert!(said.contains("6 errors"), "{said}");
}

/// The line of the configuration that begins so.
fn line_of(site: &Site, beginning: &str) -> usize {
    let written = std::fs::read_to_string(site.configuration()).unwrap();
    1 + written.lines().position(|line| line.starts_with(beginning)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_key_hides_no_broken_model_and_no_dead_peer() {
    let down = Receiver::closed();
    let site = Site::new()
        .with("jobs.attemps", "3")
        .with("node.device", "\"gpu\"")
        .with_peer("DOWN", down.address)
        .with_changed_model("raises", &[("memory_mb = 100", "memory_mb = \"much\"")])
        .with_model("tests/fixtures/models/good")
        .with("jobs.per_slice", "[\"good\"]")
        .with_route("good", &["DOWN"], "")
        .with_route("goood", &["DOWN"], "");
    let (code, said) = check(&site).await;
    assert_eq!(code, FAILED, "{said}");
    let manifest = std::fs::read_to_string(site.data().with_file_name("models").join("raises/model.toml")).unwrap();
    let memory = 1 + manifest.lines().position(|line| line.starts_with("memory_mb")).unwrap();
    let misspelt = line_of(&site, "model = \"goood\"");
    let config = |line: usize, says: &str| format!("overread.toml:{line}: {says}");
    for words in [
        config(line_of(&site, "jobs.attemps"), "jobs.attemps: is unknown"),
        config(line_of(&site, "node.device"), "node.device: should be"),
        config(line_of(&site, "[[peer]]"), &format!("peer[0]: peer DOWN@{}: ", down.address)),
        config(misspelt, "route[1].model: there is no usable model «goood»"),
        config(line_of(&site, "jobs.per_slice"), "jobs.per_slice: «good»: its manifest has no [input.per_slice]"),
        format!("raises/model.toml:{memory}: inference.memory_mb"),
    ] {
        let wrong = said.lines().filter(|line| line.starts_with("wrong") && line.contains(&words));
        assert_eq!(wrong.count(), 1, "«{words}» is not in: {said}");
    }
    assert!(said.contains("6 errors"), "{said}");
    assert!(said.contains("ok      model good 1.0.0: golden case passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_wrong_key_stands_in_the_way_of_is_skipped_and_not_called_wrong() {
    let receiver = Receiver::start();
    let site = Site::measuring_for(&receiver).with("node.ae_title", "\"A TITLE THAT IS TOO LONG\"");
    let (code, said) = check(&site.with("node.models", "7")).await;
    assert_eq!((code, receiver.associations()), (FAILED, 0), "{said}");
    assert!(said.contains("2 errors"), "{said}");
    for words in ["skipped models: node.models", &format!("skipped peer PACS@{}: not called", receiver.address)] {
        assert!(said.contains(words), "«{words}» is not in: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_that_are_missing_or_broken_and_peers_that_do_not_answer_are_all_said() {
    let down = Receiver::closed();
    let site = Site::new()
        .with_peer("DOWN", down.address)
        .with_model("tests/fixtures/models/truncated")
        .with_model("tests/fixtures/models/golden-differs")
        .with_changed_model("raises", &[("memory_mb = 100", "memory_mb = \"much\"")])
        .with_model("tests/fixtures/modules/greedy")
        .with("jobs.per_slice", "[\"greedy\", \"absent\"]")
        .with_route("no-such-model", &["DOWN"], "");
    let (code, said) = check(&site).await;
    assert_eq!(code, FAILED, "{said}");
    let wrong: Vec<&str> = said.lines().filter(|line| line.starts_with("wrong")).collect();
    for words in [
        &["raises/model.toml", "inference.memory_mb"][..],
        &["truncated/model.toml: model truncated"],
        &["golden-differs/model.toml: model golden-differs", "golden case"],
        &["overread.toml:", "route[0].model", "no-such-model"],
        &["overread.toml:", "peer DOWN@", "refused"],
        &["jobs.per_slice: «greedy»", "[input.per_slice]"],
        &["jobs.per_slice: «absent»", "no usable model"],
    ] {
        let says = |line: &&&str| words.iter().all(|word| line.contains(word));
        assert_eq!(wrong.iter().filter(says).count(), 1, "{words:?}: {said}");
    }
    assert!(said.contains("7 errors"), "{said}");

    let started = run(&["run", "--config", site.configuration().to_str().unwrap()]).await;
    assert_eq!(started.status.code(), Some(FAILED));
    let said = text(&started);
    assert!(said.contains("the node cannot start") && said.contains("no-such-model"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_the_packages_and_the_memory_that_a_node_would_have() {
    let receiver = Receiver::start();
    let site = Site::measuring_for(&receiver).with_route("outer-quick", &["PACS"], "");
    let (good, part) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/good"), "models/outer/quick");
    let part = site.data().with_file_name(part);
    std::fs::create_dir_all(&part).unwrap();
    for name in ["model.pt", "golden"] {
        std::os::unix::fs::symlink(good.join(name), part.join(name)).unwrap();
    }
    let manifest = std::fs::read_to_string(good.join("model.toml")).unwrap();
    std::fs::write(part.join("model.toml"), manifest.replacen("name = \"good\"", "name = \"outer-quick\"", 1)).unwrap();
    let (code, said) = check(&site).await;
    assert_eq!(code, DONE, "{said}");
    assert!(said.contains("model outer-quick 1.0.0: golden case passed"), "{said}");

    let (code, said) = check(&site.with("node.memory_mb", "50")).await;
    assert_eq!(code, FAILED, "{said}");
    for package in ["good/model.toml: model good:", "outer/quick/model.toml: model outer-quick:"] {
        let lacks = |line: &&str| line.contains(package) && line.contains("there are 50 MB in all");
        assert_eq!(said.lines().filter(lacks).count(), 1, "{package}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_no_toml_is_said_whole_and_the_device_all_the_same() {
    let site = Site::new().with("jobs.attempts", "= 3").with("node.memory_mb", "= 5");
    let (code, said) = check(&site).await;
    assert_eq!(code, FAILED, "{said}");
    for key in ["jobs.attempts", "node.memory_mb"] {
        let place = format!("overread.toml:{}: not TOML", line_of(&site, key));
        assert!(said.contains(&place), "{place}: {said}");
    }
    assert!(said.contains("ok      libtorch in"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_reads_one_series_needs_a_model_that_prefers_some() {
    let receiver = Receiver::start();
    let site = Site::measuring_for(&receiver)
        .with_tiny_model("cxr-vit")
        .with_route(QUICK, &["PACS"], "series = \"preferred\"")
        .with_route("cxr-vit-tiny", &["PACS"], "series = \"preferred\"");
    let (code, said) = check(&site).await;
    assert_eq!(code, FAILED, "{said}");
    let wrong = "route[2].series: «preferred» needs accepts.prefer in the manifest of cxr-vit-tiny";
    assert!(said.contains(wrong) && said.contains("1 error"), "{said}");
    let started = run(&["run", "--config", site.configuration().to_str().unwrap()]).await;
    assert_eq!(started.status.code(), Some(FAILED));
    let said = text(&started);
    assert!(said.contains("the node cannot start") && said.contains(wrong), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn echo_ends_with_a_code_that_says_how_it_went() {
    let (receiver, down) = (Receiver::start(), Receiver::closed());
    let echo = async |to: &str| run(&["echo", "--to", to]).await.status.code().unwrap();
    assert_eq!(echo(&format!("PACS@{}", receiver.address)).await, DONE);
    assert_eq!(echo(&format!("PACS@{}", down.address)).await, FAILED);
    assert_eq!(echo("nowhere").await, USAGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn send_ends_with_a_code_that_says_how_it_went() {
    let receiver = Receiver::start();
    let to = format!("PACS@{}", receiver.address);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let send = async |to: &str| {
        let sent = run(&["send", "--to", to, path]).await;
        (sent.status.code().unwrap(), text(&sent))
    };
    std::fs::write(folder.path().join("notes.txt"), "no DICOM").unwrap();
    assert_eq!(send(&to).await.0, NOTHING);
    let absent = folder.path().join("absent");
    let sent = run(&["send", "--to", &to, absent.to_str().unwrap()]).await;
    assert!(sent.status.code() == Some(FAILED) && text(&sent).contains("absent: "), "{}", text(&sent));
    for (number, file) in Series::chest("sent").files().iter().enumerate() {
        std::fs::write(folder.path().join(format!("{number}.dcm")), file).unwrap();
    }
    let (code, said) = send(&to).await;
    assert_eq!((code, receiver.taken().len()), (DONE, 14), "{said}");
    let mut first = true;
    receiver.answer(move |_| Answer::Status(if std::mem::take(&mut first) { 0xA900 } else { 0 }));
    let (code, said) = send(&to).await;
    assert_eq!(code, PARTLY, "{said}");
    assert!(said.contains("13 stored") && said.contains("1 refused") && said.contains("A900"), "{said}");
    receiver.answer(|_| Answer::Status(0xA900));
    assert_eq!(send(&to).await.0, FAILED);
    let down = Receiver::closed();
    let (code, said) = send(&format!("PACS@{}", down.address)).await;
    assert_eq!(code, FAILED, "{said}");
    assert!(said.contains("14 refused") && said.contains("refused"), "{said}");
    assert_eq!(send("nowhere").await.0, USAGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn find_and_why_tell_of_a_series_and_of_none_by_their_codes() {
    let receiver = Receiver::start();
    let site = Site::measuring_for(&receiver);
    let node = site.start().await;
    let chest = Series::chest("found");
    node.push("CT1", &chest.files()).await;
    let to = format!("OVERREAD@{}", node.address());
    let find = async |key: &str| run(&["find", "--to", &to, "--level", "study", "--json", key]).await;
    let found = find("PatientID=PH-17").await;
    assert_eq!(found.status.code(), Some(DONE), "{}", text(&found));
    assert!(text(&found).contains(&chest.study));
    let [study, series] = [format!("StudyInstanceUID={}", chest.study), format!("SeriesInstanceUID={}", chest.series)];
    let image = ["find", "--to", &to, "--level", "image", "--json", &study, &series];
    let images = run(&[&image[..], &["Rows=80", "Columns"]].concat()).await;
    assert!(text(&images).lines().count() == 14 && text(&images).contains("\"Rows\":80"), "{}", text(&images));
    assert_eq!(run(&[&image[..], &["Rows=81"]].concat()).await.status.code(), Some(NOTHING));
    assert_eq!(run(&[&image[..], &["Rows=many"]].concat()).await.status.code(), Some(USAGE));
    assert_eq!(find("PatientID=NOBODY").await.status.code(), Some(NOTHING));
    assert_eq!(find("NoSuchKeyword=1").await.status.code(), Some(USAGE));
    let down = format!("PACS@{}", Receiver::closed().address);
    assert_eq!(run(&["find", "--to", &down, "PatientID=1"]).await.status.code(), Some(FAILED));

    node.logged("delivered", 2).await;
    let configuration = site.configuration();
    let why = async |what: &str| run(&["why", "--config", configuration.to_str().unwrap(), what]).await;
    for name in [&chest.study, &chest.series, &chest.instance(3), "A-17"] {
        let told = why(name).await;
        let said = text(&told);
        assert_eq!(told.status.code(), Some(DONE), "{said}");
        for words in [&*chest.series, "14 instances from CT1", QUICK, "quiet for 1 s", "delivered", "0000H"] {
            assert!(said.contains(words), "«{words}» is not in: {said}");
        }
    }
    assert_eq!(why("1.2.3.4.5").await.status.code(), Some(NOTHING));
}

#[test]
fn the_process_keeps_its_name_and_has_what_models_run_better_with() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("models")).unwrap();
    let config = folder.path().join("overread.toml");
    std::fs::write(&config, "[node]\nlisten = [\"127.0.0.1:0\"]\ndevice = \"cpu\"\nlog = \"json\"\n").unwrap();
    let node = std::process::Command::new(env!("CARGO_BIN_EXE_overread"))
        .args([std::ffi::OsStr::new("run"), std::ffi::OsStr::new("--config"), config.as_os_str()])
        .env("XDG_STATE_HOME", folder.path())
        .env_remove("OMP_WAIT_POLICY")
        .env_remove("GOMP_SPINCOUNT")
        .stderr(std::process::Stdio::piped())
        .spawn();
    let mut node = Server(node.unwrap());
    let mut ready = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(node.0.stderr.take().unwrap()), &mut ready).unwrap();
    let name = std::fs::read_to_string(format!("/proc/{}/comm", node.0.id())).unwrap();
    assert_eq!(name.trim(), "overread", "what ps and pgrep show, after {ready}");
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", node.0.id())).unwrap();
    assert!(environment.contains("OMP_WAIT_POLICY=passive"), "{environment}");
    let threads: Vec<_> = std::fs::read_dir(format!("/proc/{}/task", node.0.id()))
        .unwrap()
        .map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).unwrap_or_default())
        .collect();
    assert!(
        threads.iter().any(|name| name.trim() == "jemalloc_bg_thd"),
        "returns memory while nothing runs: {threads:?}"
    );
}

#[test]
fn the_allocator_is_the_programs_own_with_the_settings_it_was_built_with() {
    let told = std::process::Command::new(env!("CARGO_BIN_EXE_overread"))
        .arg("--version")
        .env("MALLOC_CONF", "confirm_conf:true")
        .output()
        .unwrap();
    let said = text(&told);
    // Which settings it has, and from where: those it was built with, and the variable that operators may set.
    for words in ["background_thread:true", "dirty_decay_ms:200", "muzzy_decay_ms:0", "confirm_conf:true"] {
        assert!(said.contains(words), "«{words}» is not in: {said}");
    }
    assert!(!said.contains("thp:"), "large pages are the system's affair: {said}");
    assert!(told.status.success(), "{said}");
}

#[test]
fn a_node_that_is_told_to_end_while_it_loads_its_models_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let config = folder.path().join("overread.toml");
    let text = format!(
        "[node]\nlisten = [\"127.0.0.1:0\"]\ndevice = \"cpu\"\nmodels = \"{}\"\nlog_level = \"debug\"\n\n\
         [[route]]\nmodel = \"lung-densitometry\"\nsend_to = [\"sender\"]\n",
        models.display()
    );
    std::fs::write(&config, text).unwrap();
    let node = std::process::Command::new(env!("CARGO_BIN_EXE_overread"))
        .args([std::ffi::OsStr::new("run"), std::ffi::OsStr::new("--config"), config.as_os_str()])
        .env("XDG_STATE_HOME", folder.path())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let mut node = Server(node.unwrap());
    let mut first = String::new();
    let mut log = std::io::BufReader::new(node.0.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut log, &mut first).unwrap();
    assert!(first.contains("the node starts"), "{first}");
    terminate(&node.0);
    assert_eq!(node.0.wait().unwrap().code(), Some(0));
}
