//! The same packages through the whole program: DICOM files in; table, report, segmentation, map and embeddings out, and all of
//! it against the numbers of the published tools.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use overread::inference::manifest::Manifest;
use safetensors::SafeTensors;
use serde_json::Value;

use super::{compare, expected, numbers, project, radiograph, tiny};
use crate::testkit::peers::{errors, judge, python};
use crate::testkit::site::overread;

/// A package, what it reads, and the words that must come of it; the numbers are in its `e2e.json`.
struct Case {
    package: &'static str,
    /// The key in `e2e.json`.
    of: &'static str,
    /// As the table and the log have it.
    pathology: &'static str,
    objects: &'static [&'static str],
}

const CT: &str = "demo/chest-ct";

const CASES: [Case; 7] = [
    Case { package: "chest-ct-2p5d", of: CT, pathology: "uncertain", objects: &["report"] },
    Case { package: "chest-ct-2p5d-3d", of: CT, pathology: "normal", objects: &["report"] },
    Case { package: "chest-ct-2p5d-mean", of: CT, pathology: "pathology", objects: &["report"] },
    Case { package: "chest-ct-clip", of: CT, pathology: "normal", objects: &["report"] },
    Case { package: "chest-ct-r3d18", of: CT, pathology: "normal", objects: &["report"] },
    // It does not say whether anything is wrong at all.
    Case { package: "chest-ct-swin", of: CT, pathology: "", objects: &["parametric map", "report", "segmentation"] },
    Case { package: "cxr-vit", of: "nih_no_finding.dcm", pathology: "pathology", objects: &["report", "segmentation"] },
];

type Row = HashMap<String, String>;

/// What the program made of one case.
struct Made {
    folder: tempfile::TempDir,
    said: String,
}

impl Made {
    fn by(case: &Case, source: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let package = format!("{}-tiny", case.package);
        let mut command = overread(&["read", "--device", "cpu", "--allow-untrained", "--objects", "--per-slice"]);
        command.args(["--table", "r.csv", "--model", &package, "--models"]).arg(project().join("models"));
        command.arg("--embeddings").arg(folder.path().join("vectors")).arg("--out").arg(folder.path()).arg(source);
        let output = command.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{package}: {said}");
        Self { folder, said }
    }

    fn rows(&self, name: &str) -> Vec<Row> {
        let mut reader = csv::Reader::from_path(self.folder.path().join(name)).unwrap();
        reader.deserialize().map(Result::unwrap).collect()
    }

    /// The objects, by their kind.
    fn objects(&self) -> Vec<(String, PathBuf)> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("objects")];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                let kind = path.file_stem().unwrap().to_str().unwrap().split_once(' ').map(|(_, kind)| kind.to_owned());
                if path.is_dir() { folders.push(path) } else { found.push((kind.unwrap(), path)) }
            }
        }
        found.sort();
        found
    }
}

fn check_row(case: &Case, row: &Row, wanted: &Value, manifest: &Manifest, tolerance: f64) {
    let name = case.package;
    assert_eq!((&*row["processing_status"], &*row["error"]), ("Success", ""), "{name}: {row:?}");
    assert_eq!(row["missing_slices_percent"], if case.of == CT { "0" } else { "" }, "{name}");
    assert!(row["warnings"].contains(&format!("{name}-tiny is untrained")), "{name}: {row:?}");
    let number = |column: &str| row[column].parse::<f64>().unwrap_or_else(|_| panic!("{name}, {column}: {row:?}"));
    for (label, probability) in wanted["findings"].as_object().unwrap() {
        compare(&format!("{name}, {label}"), [number(label)], &[probability.as_f64().unwrap()], tolerance);
    }
    assert_eq!(row["pathology"], case.pathology, "{name}");
    let answer = manifest.output.pathology();
    match answer {
        Some(label) => assert_eq!(row["probability_of_pathology"], row[&label.label], "{name}"),
        None => assert_eq!(row["probability_of_pathology"], "", "{name}"),
    }
    let uncertain = answer.is_some_and(|label| row["warnings"].contains(&format!("{}: uncertain (0.", label.label)));
    assert_eq!(uncertain, case.pathology == "uncertain", "{name}: {row:?}");
    let text = row.get("report (generated, unverified)").map(String::as_str);
    assert_eq!(text, wanted.get("text").and_then(Value::as_str), "{name}");
}

/// Every slice has its row, and the largest is marked, where the package scores slices; else there is none.
fn check_slices(case: &Case, rows: &[Row], wanted: &Value, tolerance: f64) {
    let scores = wanted.get("slice_scores").map(numbers).unwrap_or_default();
    assert_eq!(rows.len(), scores.len(), "{}", case.package);
    compare(case.package, rows.iter().map(|row| row["probability"].parse().unwrap()), &scores, tolerance);
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row["slice"], (index + 1).to_string(), "{}", case.package);
        assert_eq!(row["peak"] == "peak", wanted["peak_slice"] == index, "{}: {row:?}", case.package);
    }
}

fn check_embeddings(case: &Case, made: &Made, wanted: &Value, tolerance: f64) {
    let Some(wanted) = wanted.get("embeddings").and_then(Value::as_object) else {
        assert_eq!(made.rows("vectors/index.csv").len(), 0, "{}", case.package);
        return;
    };
    let index = made.rows("vectors/index.csv");
    let [kept] = &index[..] else { panic!("{}: one file", case.package) };
    let bytes = std::fs::read(made.folder.path().join("vectors").join(&kept["file"])).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.len(), wanted.len(), "{}", case.package);
    for (name, wanted) in wanted {
        let what = format!("{}, {name}", case.package);
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.shape().iter().map(|n| *n as f64).collect::<Vec<_>>(), numbers(&wanted["shape"]), "{what}");
        let values =
            tensor.data().chunks_exact(4).map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap())));
        let norm = values.clone().map(|value| value * value).sum::<f64>().sqrt();
        compare(&what, values, &numbers(&wanted["values"]), tolerance);
        compare(&what, [norm], &[wanted["norm"].as_f64().unwrap()], tolerance);
    }
}

/// One line of the log tells of the series what the table does.
fn check_log(case: &Case, made: &Made, row: &Row) {
    let lines: Vec<&str> = made.said.lines().filter(|line| line.contains("series read")).collect();
    let [line] = lines[..] else { panic!("{}: one line, not {lines:?}", case.package) };
    assert!(line.contains(&format!("pathology=\"{}\"", case.pathology)), "{}: {line}", case.package);
    let probability = &row["probability_of_pathology"];
    let said = format!("probability={probability}");
    assert_eq!(line.contains(&said), !probability.is_empty(), "{}: {said} in {line}", case.package);
}

#[test]
fn every_package_gives_the_published_numbers_in_table_report_segmentation_map_and_log() {
    let shipped: BTreeSet<String> =
        tiny().iter().map(|folder| Manifest::load(folder).unwrap().manifest().name.clone()).collect();
    let checked: BTreeSet<String> = CASES.iter().map(|case| format!("{}-tiny", case.package)).collect();
    assert_eq!(shipped, checked);
    for case in &CASES {
        let package = project().join("models").join(case.package).join("tiny");
        let golden = expected(&package);
        let (wanted, tolerance) = (&golden["of"][case.of], golden["tolerance"].as_f64().unwrap());
        let source = if case.of == CT { project().join(CT) } else { radiograph(case.of).unwrap() };
        let made = Made::by(case, &source);
        let rows = made.rows("r.csv");
        let [row] = &rows[..] else { panic!("{}: {}", case.package, made.said) };
        check_row(case, row, wanted, Manifest::load(&package).unwrap().manifest(), tolerance);
        check_slices(case, &made.rows("r.slices.csv"), wanted, tolerance);
        check_embeddings(case, &made, wanted, tolerance);
        check_log(case, &made, row);
        let objects = made.objects();
        assert_eq!(objects.iter().map(|(kind, _)| kind).collect::<Vec<_>>(), case.objects, "{}", case.package);
        for (kind, path) in &objects {
            let judgement = judge("dciodvfy", &[path]);
            assert_eq!(errors(&judgement), Vec::<&str>::new(), "{}, {kind}: {}", case.package, judgement.text);
        }
        let paths = [package.as_path(), Path::new(case.of), &source, &made.folder.path().join("objects")];
        let highdicom = python("check_packages.py", &paths);
        assert!(highdicom.success, "{}: {}", case.package, highdicom.text);
    }
}
