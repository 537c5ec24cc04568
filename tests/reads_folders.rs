//! Whole folders read without a PACS: what is found wherever it lies, a row for each series, and nothing that is broken
//! keeps the next one from being read.

#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, reason = "tests and what they share")]

mod archives;
mod bad_images;
mod left_out;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use overread::dicom::part10::Part10;
use overread::store::EmbeddingFile;

use crate::testkit::chest::Series;
use crate::testkit::instance::zipped;
use crate::testkit::peers::root;
use crate::testkit::signals::interrupt;
use crate::testkit::site::overread;

const DONE: i32 = 0;
const FAILED: i32 = 1;
const PARTLY: i32 = 3;
const NOTHING: i32 = 4;

type Row = HashMap<String, String>;

/// What the program was given, and what it made of it.
struct Desk(tempfile::TempDir);

/// How a run ended.
struct Run {
    code: i32,
    said: String,
    rows: Vec<Row>,
}

impl Run {
    /// The row of a series.
    fn row(&self, series: &Series) -> &Row {
        let found = self.rows.iter().find(|row| row["series_uid"] == series.series);
        found.unwrap_or_else(|| panic!("no row of the series: {}", self.said))
    }

    /// The row of a place where files could not be read.
    fn place(&self, name: &str) -> &Row {
        let found = self.rows.iter().find(|row| row["path_to_study"].ends_with(name) && row["series_uid"].is_empty());
        found.unwrap_or_else(|| panic!("no row of {name}: {:?}\n{}", self.rows, self.said))
    }
}

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(desk.path("in")).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file below `in`.
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path("in").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn put_series(&self, folder: &str, series: &Series) {
        for (number, file) in series.files().iter().enumerate() {
            self.put(&format!("{folder}/{number}"), file);
        }
    }

    fn command(&self, options: &[&str], paths: &[&Path]) -> Command {
        let mut command = overread(&["read", "--device", "cpu"]);
        for (name, value) in [("--out", self.path("out")), ("--table", PathBuf::from("r.csv"))] {
            if !options.contains(&name) {
                command.arg(name).arg(value);
            }
        }
        command.args(options).args(paths);
        command
    }

    /// A package of the fixtures under another name, its manifest changed.
    fn put_package(&self, from: &str, name: &str, changes: &[(&str, &str)]) {
        let (source, folder) = (root().join("tests/fixtures").join(from), self.path("packages").join(name));
        std::fs::create_dir_all(&folder).unwrap();
        for entry in std::fs::read_dir(source).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        let mut toml = std::fs::read_to_string(folder.join("model.toml")).unwrap();
        let own = toml.lines().find(|line| line.starts_with("name = ")).unwrap().to_owned();
        for (from, to) in [(&*own, &*format!("name = \"{name}\""))].iter().chain(changes) {
            assert!(toml.contains(from), "{from}");
            toml = toml.replacen(from, to, 1);
        }
        // A case has a folder of its own, and what is tried here is not the weights.
        let toml = toml.split("[golden]").next().unwrap();
        std::fs::write(folder.join("model.toml"), toml).unwrap();
    }

    /// Every model that was put there.
    fn packages(&self) -> Vec<String> {
        words(&["--models", self.path("packages").to_str().unwrap(), "--allow-untrained"])
    }

    /// Reads everything in `in` by the small model.
    fn read(&self) -> Run {
        self.read_with(&[&*quick()], &[&self.path("in")])
    }

    fn read_with(&self, options: &[&[String]], paths: &[&Path]) -> Run {
        let options = options.concat();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let output = self.command(&options, paths).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let code = output.status.code().unwrap_or_else(|| panic!("{}: {said}", output.status));
        Run { code, said, rows: self.rows("r.csv") }
    }

    fn rows(&self, name: &str) -> Vec<Row> {
        let Ok(mut reader) = csv::Reader::from_path(self.path("out").join(name)) else { return Vec::new() };
        reader.deserialize().map(Result::unwrap).collect()
    }
}

fn words(options: &[&str]) -> Vec<String> {
    options.iter().map(|&option| option.to_owned()).collect()
}

/// A small model that finds every body dense. Its origin says «untrained».
fn quick() -> Vec<String> {
    let models = root().join("tests/fixtures/models");
    words(&["--models", models.to_str().unwrap(), "--model", "good", "--allow-untrained"])
}

/// The model that ships.
fn lungs() -> Vec<String> {
    words(&["--models", root().join("models").to_str().unwrap(), "--model", "lung-densitometry"])
}

#[test]
fn a_folder_of_everything_gets_a_row_a_series_and_objects_beside_the_table() {
    let desk = Desk::new();
    let (one, head, localizer) = (Series::chest("one"), Series::head("head"), Series::localizer("l"));
    let localizer = localizer.beside(&head);
    let two = Series::chest("two");
    let files = one.files();
    for (number, file) in files.iter().enumerate() {
        desk.put(&format!("{}/one-{number}", ["left", "right/deep"][number % 2]), file);
    }
    desk.put("copies/again.dcm", &files[0]);
    desk.put("left/notes.txt", b"no DICOM");
    desk.put("left/.DS_Store", &[0, 0, 0, 1]);
    let entries = [("head", &head), ("two", &two), ("scout", &localizer)];
    let entries = entries.iter().flat_map(|(folder, series)| {
        series.files().into_iter().enumerate().map(move |(number, file)| (format!("{folder}/{number}"), file))
    });
    desk.put("studies.zip", &zipped(entries.chain([("readme.txt".to_owned(), Bytes::from_static(b"hello"))])));

    let run = desk.read_with(&[&lungs(), &words(&["--objects"])], &[&desk.path("in")]);
    assert_eq!((run.code, run.rows.len()), (DONE, 4), "{}", run.said);
    let row = run.row(&one);
    assert_eq!(row["path_to_study"], desk.path("in").display().to_string());
    assert_eq!((&*row["study_uid"], &*row["processing_status"], &*row["pathology"]), (&*one.study, "Success", ""));
    let volume: f64 = row["Both lungs, Volume (cm3)"].parse().unwrap();
    assert!((400.0..900.0).contains(&volume), "{volume}");
    assert_eq!((&*row["missing_slices_percent"], &*row["error"]), ("0", ""));
    assert!(row["warnings"].contains("1 instances were found more than once"), "{row:?}");
    assert!(row["time_of_processing"].parse::<f64>().unwrap() > 0.0);

    let archive = desk.path("in/studies.zip").display().to_string();
    assert_eq!(run.row(&two)["path_to_study"], format!("{archive}:two"));
    let row = run.row(&head);
    assert_eq!((&*row["processing_status"], &*row["pathology"]), ("Success", "not suitable"));
    assert!(row["warnings"].contains("not suitable (not-a-chest-ct)"), "{row:?}");
    assert_eq!(row["Both lungs, Volume (cm3)"], "");
    assert_eq!(run.row(&localizer)["pathology"], "not suitable");
    assert!(run.said.contains("4 of 4 series") && run.said.contains("2 read, 2 not suitable"), "{}", run.said);
    assert!(run.said.contains("3 other files passed over"), "{}", run.said);

    let objects = files_below(&desk.path("out/objects"));
    let of = |series: &Series| objects.iter().filter(|path| path.contains(&series.series)).count();
    // As the node does it: a localizer is not given to the model.
    assert_eq!([of(&one), of(&two), of(&head), of(&localizer)], [2, 2, 1, 0], "{objects:?}");
    for path in &objects {
        assert!(path.contains("20260102 ") && path.contains("series 3 Thorax 8 mm "), "{path}");
        assert!(!path.contains("Phantom"), "no patient's name in {path}");
        assert!(Part10::split(&std::fs::read(path).unwrap().into()).unwrap().sop_class().is_ok());
    }
}

fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path.display().to_string()) }
    }
    files
}

#[test]
fn the_heading_stands_in_the_order_that_is_promised() {
    let desk = Desk::new();
    desk.put_series("a", &Series::chest("heading"));
    desk.read();
    let text = std::fs::read_to_string(desk.path("out/r.csv")).unwrap();
    assert_eq!(
        text.lines().next().unwrap(),
        "path_to_study,study_uid,series_uid,probability_of_pathology,pathology,processing_status,time_of_processing,\
         \"Dense, Volume (mm3)\",\"Dense, Mean (HU)\",\"Very dense, Volume (mm3)\",\"Very dense, Mean (HU)\",\
         missing_slices_percent,warnings,error"
    );
}

#[test]
fn a_bad_series_among_good_ones_is_a_failure_of_its_own() {
    let desk = Desk::new();
    let (first, bad, last) = (Series::chest("first"), Series::chest("bad"), Series::chest("last"));
    desk.put_series("1", &first);
    for (number, file) in bad.files().iter().enumerate() {
        desk.put(&format!("2/{number}"), &file[..file.len() - 5000]);
    }
    desk.put("2/cut-in-its-header", &bad.files()[0][..400]);
    desk.put("4/cut-in-its-meta-information", &bad.files()[0][..300]);
    desk.put_series("3", &last);
    let run = desk.read();
    assert_eq!((run.code, run.rows.len()), (PARTLY, 5), "{}", run.said);
    for good in [&first, &last] {
        assert_eq!((&*run.row(good)["processing_status"], &*run.row(good)["error"]), ("Success", ""));
        assert!(run.row(good)["warnings"].contains("untrained"), "{:?}", run.row(good));
    }
    let row = run.row(&bad);
    assert_eq!((&*row["processing_status"], &*row["pathology"]), ("Failure", ""), "{row:?}");
    assert!(row["error"].contains("undecodable") && row["error"].contains("14 of 14 images"), "{row:?}");
    let row = run.place("cut-in-its-header");
    assert!(row["processing_status"] == "Failure" && row["error"].contains("ends"), "{row:?}");
    let row = run.place("cut-in-its-meta-information");
    assert!(row["processing_status"] == "Failure" && row["error"].contains("file meta information"), "{row:?}");
    assert!(run.said.contains("2 read, 1 failed, 2 files unreadable"), "{}", run.said);
    assert!(run.said.contains("all series were read") && run.said.contains("unreadable=2"), "{}", run.said);
}

#[test]
fn models_that_raise_or_hang_or_end_in_nonsense_fail_one_series_after_the_other() {
    let desk = Desk::new();
    let (one, other) = (Series::chest("one"), Series::chest("other"));
    desk.put_series("1", &one);
    desk.put_series("2", &other);
    let models = root().join("tests/fixtures/models");
    for (model, cause) in [("raises", "failed"), ("never-ends", "did not end within 0.5 s"), ("nan", "Volume")] {
        let options = words(&["--models", models.to_str().unwrap(), "--model", model, "--allow-untrained"]);
        let run = desk.read_with(&[&options], &[&desk.path("in")]);
        assert_eq!((run.code, run.rows.len()), (PARTLY, 2), "{}", run.said);
        let causes: Vec<&str> = run.rows.iter().map(|row| &*row["error"]).collect();
        assert!(run.rows.iter().all(|row| row["processing_status"] == "Failure"), "{model}: {causes:?}");
        assert!(causes[0].contains(cause), "{model}: {causes:?}");
        // What hangs is not tried over and over.
        let cause = if model == "never-ends" { "hung on an earlier series, and is not run again" } else { cause };
        assert!(causes[1].contains(cause), "{model}: {causes:?}");
    }
}

#[test]
fn a_model_that_hangs_does_not_keep_others_from_reading() {
    let desk = Desk::new();
    for name in ["one", "two", "three"] {
        desk.put_series(name, &Series::chest(name));
    }
    let both = [quick(), words(&["--model", "never-ends"])].concat();
    let run = desk.read_with(&[&both], &[&desk.path("in")]);
    assert_eq!((run.code, run.rows.len()), (PARTLY, 3), "{}", run.said);
    for row in &run.rows {
        assert!(row["error"].starts_with("never-ends: ") && !row["good: Dense, Volume (mm3)"].is_empty(), "{row:?}");
    }
}

#[test]
fn a_gate_that_hangs_keeps_only_its_own_models_from_reading() {
    let desk = Desk::new();
    for name in ["one", "two"] {
        desk.put_series(name, &Series::chest(name));
    }
    let over = "modules/slices-over-gate";
    desk.put_package("models/good", "ungated", &[]);
    desk.put_package("models/never-ends", "never-ends", &[]);
    desk.put_package(over, "a", &[("gate = \"good\"", "gate = \"never-ends\"")]);
    desk.put_package(over, "b", &[("gate = \"good\"", "gate = \"never-ends\"")]);
    let options = [desk.packages(), words(&["--model", "a", "--model", "b", "--model", "ungated"])].concat();
    let run = desk.read_with(&[&options], &[&desk.path("in")]);
    assert_eq!((run.code, run.rows.len()), (PARTLY, 2), "{}", run.said);
    for row in &run.rows {
        assert!(!row["Dense, Volume (mm3)"].is_empty(), "{row:?}\n{}", run.said);
        assert!(row["error"].contains("b: model «b» is not served: its gate never-ends hung"), "{row:?}");
    }
    assert!(run.rows[0]["error"].contains("a: model «never-ends» did not end within 0.5 s"), "{}", run.said);
}

#[test]
fn a_model_that_was_slow_once_reads_the_series_after_it_has_ended() {
    let desk = Desk::new();
    // Many times as long as a run is waited for (its 0.5 s and a second more), however fast the machine.
    let (slow, between) =
        (Series { body: 8_000, ..Series::chest("slow") }, Series { body: 8_000, ..Series::chest("between") });
    let quick = Series::chest("quick");
    desk.put_series("1", &slow);
    desk.put_series("2", &between);
    desk.put_series("3", &quick);
    desk.put_package("models/hangs", "a-limited", &[]);
    // Computes the same twice from the time on when the other one was given up, and so ends after it, whoever gets the cores.
    let patient = ("time_limit_seconds = 0.5", "time_limit_seconds = 300");
    desk.put_package("models/hangs", "patient", &[patient]);
    let run = desk.read_with(&[&desk.packages()], &[&desk.path("in")]);
    assert_eq!((run.code, run.rows.len()), (PARTLY, 3), "{}", run.said);
    assert!(run.row(&slow)["error"].contains("did not end within 0.5 s"), "{}", run.said);
    assert_eq!(run.row(&quick)["error"], "", "{}", run.said);
}

#[test]
fn a_series_that_memory_was_short_for_has_one_row_at_the_end() {
    let desk = Desk::new();
    let (one, other) = (Series::chest("one"), Series::chest("other"));
    desk.put_series("1", &one);
    desk.put_series("2", &other);
    let models = root().join("tests/fixtures/models");
    let options = words(&["--models", models.to_str().unwrap(), "--model", "huge", "--allow-untrained"]);
    let run = desk.read_with(&[&options], &[&desk.path("in")]);
    assert_eq!((run.code, run.rows.len()), (PARTLY, 2), "{}", run.said);
    assert!(run.rows.iter().all(|row| row["error"].contains("ran out of memory")), "{:?}", run.rows);
    assert!(run.said.matches("read again at the end").count() == 2, "{}", run.said);
}

#[test]
fn a_model_that_fills_the_memory_step_by_step_fails_and_the_next_series_is_read() {
    let desk = Desk::new();
    // The fixture keeps 64 MB for each unit above 1500: 2.5 GB in all.
    let (growing, other) = (Series { body: 1540, ..Series::chest("growing") }, Series::chest("other"));
    desk.put_series("1", &growing);
    desk.put_series("2", &other);
    let models = root().join("tests/fixtures/models");
    let options =
        ["--models", models.to_str().unwrap(), "--model", "grows", "--allow-untrained", "--memory-mb", "1500"];
    let run = desk.read_with(&[&words(&options)], &[&desk.path("in")]);
    assert_eq!((run.code, run.rows.len()), (PARTLY, 2), "{}", run.said);
    assert!(run.row(&growing)["error"].contains("model «grows» ran out of memory"), "{}", run.said);
    assert_eq!(
        (&*run.row(&other)["error"], run.row(&other)["Dense, Volume (mm3)"].is_empty()),
        ("", false),
        "{}",
        run.said
    );
}

/// Whether the thread of a process's device has computed for half a second.
fn computes(process: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return false };
    threads.flatten().any(|thread| {
        let read = |name: &str| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let ticks = read("stat").split_whitespace().nth(13).and_then(|ticks| ticks.parse::<u64>().ok());
        read("comm") == "cpu\n" && ticks.is_some_and(|ticks| ticks > 50)
    })
}

#[test]
fn a_second_interrupt_ends_at_once_while_a_model_runs() {
    let desk = Desk::new();
    desk.put_series("1", &Series::chest("interrupted twice"));
    let patient = ("time_limit_seconds = 0.5", "time_limit_seconds = 600");
    desk.put_package("models/never-ends", "hangs", &[patient]);
    let options = desk.packages();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut command = desk.command(&options, &[&desk.path("in")]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while !computes(child.id()) {
        std::thread::yield_now();
    }
    interrupt(&child);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("once more ends it now")));
    interrupt(&child);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(FAILED), "{status}");
}

#[test]
fn a_dicomdir_gives_what_it_names_and_says_what_is_missing() {
    let desk = Desk::new();
    let (named, other) = (Series::chest("named"), Series::chest("not named"));
    for (number, file) in named.files().iter().enumerate() {
        desk.put(&format!("DICOM/S1/IM{number}"), file);
    }
    let made = Command::new("dcmmkdir")
        .args(["+r", "-Pfl", "+I", "--input-directory"])
        .args([&desk.path("in"), Path::new("DICOM"), Path::new("--output-file"), &desk.path("in/DICOMDIR")])
        .output()
        .expect("dcmmkdir, of the Debian package dcmtk");
    assert!(desk.path("in/DICOMDIR").is_file(), "{}", String::from_utf8_lossy(&made.stderr));
    desk.put_series("OTHER", &other);

    let run = desk.read_with(&[&quick()], &[&desk.path("in/DICOMDIR")]);
    assert_eq!((run.code, run.rows.len()), (DONE, 1), "{}", run.said);
    assert_eq!(run.row(&named)["path_to_study"], desk.path("in/DICOM/S1").display().to_string());
    // The whole medium holds more than its DICOMDIR names.
    assert_eq!(desk.read().rows.len(), 2);

    // Copied by a system that writes small letters, and incompletely.
    std::fs::rename(desk.path("in/DICOM"), desk.path("in/dicom")).unwrap();
    std::fs::remove_file(desk.path("in/dicom/S1/IM13")).unwrap();
    let run = desk.read_with(&[&quick()], &[&desk.path("in/DICOMDIR")]);
    assert_eq!((run.code, run.rows.len()), (PARTLY, 2), "{}", run.said);
    assert_eq!(run.row(&named)["processing_status"], "Success");
    let row = run.place("DICOMDIR");
    assert!(row["error"].contains("DICOM/S1/IM13: it is not there"), "{row:?}");
}

#[test]
fn what_cannot_be_begun_says_why_and_reads_nothing() {
    let desk = Desk::new();
    let empty = desk.read();
    assert_eq!((empty.code, empty.rows.len()), (NOTHING, 0), "{}", empty.said);
    desk.put_series("1", &Series::chest("begun"));
    let all = &[&*desk.path("in")];
    let models = root().join("tests/fixtures/models");
    let manifest = std::fs::read_to_string(models.join("good/model.toml")).unwrap();
    let wrong = desk.path("wrong");
    std::fs::create_dir(&wrong).unwrap();
    std::fs::write(wrong.join("model.toml"), manifest.replace("memory_mb = 100", "memory_mb = \"much\"")).unwrap();
    let options = |more: &[&str]| [words(&["--models", models.to_str().unwrap()]), words(more)].concat();
    for (options, why) in [
        (options(&["--model", "no-such-model"]), "there is no model «no-such-model»"),
        (options(&["--model", "good"]), "--allow-untrained"),
        (options(&["--model", "truncated", "--allow-untrained"]), "truncated"),
        (options(&["--model", "golden-differs", "--allow-untrained"]), "golden case"),
        (words(&["--model", wrong.to_str().unwrap()]), "wrong/model.toml"),
        ([quick(), words(&["--table", "results.doc"])].concat(), ".xlsx, .csv or .jsonl"),
        ([quick(), words(&["--out", "/proc/nowhere"])].concat(), "/proc/nowhere"),
    ] {
        let run = desk.read_with(&[&options], all);
        assert_eq!(run.code, FAILED, "{options:?}: {}", run.said);
        assert!(run.said.contains(why), "{options:?}: {}", run.said);
    }
    let nowhere = desk.read_with(&[&quick()], &[&desk.path("in/nowhere")]);
    assert_eq!(nowhere.code, PARTLY, "{}", nowhere.said);
    assert!(nowhere.place("nowhere")["error"].contains("No such file"), "{:?}", nowhere.rows);
}

#[test]
fn a_table_can_be_a_workbook_or_lines_of_json() {
    let desk = Desk::new();
    let chest = Series::chest("tables");
    desk.put_series("1", &chest);
    let with = |table: &str| {
        let run = desk.read_with(&[&quick(), &words(&["--table", table])], &[&desk.path("in")]);
        assert_eq!(run.code, DONE, "{}", run.said);
        std::fs::File::open(desk.path("out").join(table)).unwrap()
    };
    let mut lines = String::new();
    with("t.jsonl").read_to_string(&mut lines).unwrap();
    let row: serde_json::Value = serde_json::from_str(lines.trim_end()).unwrap();
    assert_eq!(row["series_uid"], chest.series);
    assert!(row["probability_of_pathology"].is_null() && row["Dense, Volume (mm3)"].is_f64(), "{row}");
    let mut sheet = String::new();
    let mut book = zip::ZipArchive::new(with("t.xlsx")).unwrap();
    book.by_name("xl/worksheets/sheet1.xml").unwrap().read_to_string(&mut sheet).unwrap();
    for text in ["path_to_study", "Success", &chest.series] {
        assert!(sheet.contains(text), "«{text}» is not in {sheet}");
    }
}

#[test]
fn an_interrupt_ends_after_the_series_at_hand_with_the_table_written() {
    let desk = Desk::new();
    let all: Vec<Series> = (0..40).map(|number| Series::chest(&format!("interrupted {number}"))).collect();
    for (number, series) in all.iter().enumerate() {
        desk.put_series(&format!("{number:02}"), series);
    }
    let options = lungs();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut child = desk.command(&options, &[&desk.path("in")]).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = child.stderr.take().unwrap();
    let mut said = String::new();
    let mut piece = [0; 1000];
    while !said.contains("series read") {
        let count = log.read(&mut piece).unwrap();
        assert!(count > 0, "it ended before it read a series: {said}");
        said.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    interrupt(&child);
    log.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(PARTLY), "{said}");
    let rows = desk.rows("r.csv");
    assert!((1..40).contains(&rows.len()), "{} rows: {said}", rows.len());
    assert!(rows.iter().all(|row| row["processing_status"] == "Success"));
    assert!(said.contains(&format!("{} of 40 series", rows.len())), "{said}");
}

/// A tiny package below `models`, whose weights were never trained.
fn tiny(name: &str) -> Vec<String> {
    let models = root().join("models");
    words(&["--models", models.to_str().unwrap(), "--model", name, "--allow-untrained"])
}

/// A chest with as many slices as the packages for chest CT ask for.
fn long_chest(name: &str) -> Series {
    Series { slices: 20, ..Series::chest(name) }
}

#[test]
fn a_model_of_findings_gives_probabilities_and_one_that_can_scores_each_slice() {
    let desk = Desk::new();
    let (chest, head) = (long_chest("findings"), Series::head("findings of a head"));
    desk.put_series("chest", &chest);
    desk.put_series("head", &head);
    let options = [tiny("chest-ct-r3d18-tiny"), words(&["--per-slice"])].concat();
    let run = desk.read_with(&[&options], &[&desk.path("in")]);
    assert_eq!(run.code, DONE, "{}", run.said);
    let row = run.row(&chest);
    let probability: f64 = row["probability_of_pathology"].parse().unwrap();
    assert_eq!(row["Pathology"], row["probability_of_pathology"]);
    assert_eq!(row["pathology"], if probability >= 0.5 { "pathology" } else { "normal" });
    assert_eq!((&*run.row(&head)["pathology"], &*run.row(&head)["Pathology"]), ("not suitable", ""));

    let slices = desk.rows("r.slices.csv");
    assert_eq!(slices.len(), 20, "a row a slice: {}", run.said);
    assert!(slices.iter().all(|row| row["series_uid"] == chest.series && row["finding"] == "Pathology"));
    assert_eq!((&*slices[0]["slice"], &*slices[0]["sop_instance_uid"]), ("1", &*chest.instance(0)));
    let probability = |row: &Row| row["probability"].parse::<f64>().unwrap();
    let peaks: Vec<&Row> = slices.iter().filter(|row| row["peak"] == "peak").collect();
    let [peak] = peaks[..] else { panic!("one peak, not {peaks:?}") };
    assert!(slices.iter().all(|row| probability(row) <= probability(peak)));
}

#[test]
fn several_models_share_a_row_and_vectors_are_kept_for_training() {
    let desk = Desk::new();
    let chest = long_chest("several");
    desk.put_series("chest", &chest);
    let vectors = desk.path("vectors");
    let vectors = vectors.to_str().unwrap();
    let both = [tiny("chest-ct-clip-tiny"), words(&["--model", "lung-densitometry", "--embeddings", vectors])].concat();
    let run = desk.read_with(&[&both], &[&desk.path("in")]);
    assert_eq!((run.code, run.rows.len()), (DONE, 1), "{}", run.said);
    let row = run.row(&chest);
    assert!(row["Pleural effusion"].parse::<f64>().is_ok() && row["Left lung, Volume (cm3)"].parse::<f64>().is_ok());
    let index: Vec<Row> =
        csv::Reader::from_path(format!("{vectors}/index.csv")).unwrap().deserialize().map(Result::unwrap).collect();
    let [kept] = &index[..] else { panic!("one file of vectors, not {index:?}") };
    assert_eq!((&*kept["series_uid"], &*kept["model"]), (&*chest.series, "chest-ct-clip-tiny"));
    let bytes = std::fs::read(format!("{vectors}/{}", kept["file"])).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("latent").unwrap().shape()[0], 1);
}

#[test]
fn vectors_of_one_run_do_not_replace_those_of_another() {
    let desk = Desk::new();
    desk.put_series("chest", &long_chest("twice"));
    let vectors = desk.path("vectors");
    let folder = vectors.to_str().unwrap();
    for model in ["chest-ct-clip-tiny", "chest-ct-swin-tiny"] {
        let run = desk.read_with(&[&[tiny(model), words(&["--embeddings", folder])].concat()], &[&desk.path("in")]);
        assert_eq!(run.code, DONE, "{}", run.said);
    }
    let index: Vec<Row> =
        csv::Reader::from_path(format!("{folder}/index.csv")).unwrap().deserialize().map(Result::unwrap).collect();
    assert_eq!(index.len(), 2, "{index:?}");
    for row in index {
        let file = EmbeddingFile::open(&vectors.join(&row["file"])).unwrap();
        assert_eq!(file.of().model_name, row["model"], "{row:?}");
    }
}

#[test]
fn a_gate_is_looked_for_beside_the_package_that_needs_it() {
    let desk = Desk::new();
    desk.put_series("chest", &long_chest("gate"));
    let elsewhere = desk.path("packages");
    std::fs::create_dir_all(&elsewhere).unwrap();
    for name in ["chest-ct-2p5d", "lung-densitometry"] {
        std::os::unix::fs::symlink(root().join("models").join(name), elsewhere.join(name)).unwrap();
    }
    let package = format!("{}/chest-ct-2p5d/tiny", elsewhere.display());
    let nothing = desk.path("nothing");
    std::fs::create_dir_all(&nothing).unwrap();
    let one = words(&["--allow-untrained", "--model", &package, "--models", nothing.to_str().unwrap()]);
    let run = desk.read_with(&[&one], &[&desk.path("in")]);
    assert_eq!(run.code, DONE, "{}", run.said);
    let checked =
        overread(&["models", "check", &package, "--device", "cpu", "--models"]).arg(&nothing).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let same = format!("{}/chest-ct-2p5d/tiny", root().join("models").display());
    let run = desk.read_with(&[&[one, words(&["--model", &same])].concat()], &[&desk.path("in")]);
    assert!(run.code == FAILED && run.said.contains("two packages are called chest-ct-2p5d-tiny"), "{}", run.said);
}
