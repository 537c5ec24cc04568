//! Whether a series is of the chest: by what it says and by what it shows. Where the word alone does not tell, table and report say that
//! the pixels decided.

#![cfg(feature = "torch")]

use std::collections::HashMap;
use std::path::Path;

use crate::testkit::chest::Series;
use crate::testkit::peers::root;
use crate::testkit::running_node::{files_below, overread};

const PIXELS: &str = "decided by its pixels alone";

fn chest(body_part: &'static str) -> Series {
    Series { body_part: Some(body_part), slices: 20, ..Series::chest(body_part) }
}

/// Reads these series with a package; gives the rows of the table by series.
fn read(desk: &Path, model: &str, series: &[&Series]) -> HashMap<String, HashMap<String, String>> {
    for (at, one) in series.iter().enumerate() {
        for (number, file) in one.files().iter().enumerate() {
            let path = desk.join(format!("in/{at}/{number}"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
    }
    let (models, out, input) = (root().join("models"), desk.join("out"), desk.join("in"));
    let words = ["read", "--device", "cpu", "--allow-untrained", "--objects", "--table", "r.csv", "--model", model];
    let paths = ["--models", models.to_str().unwrap(), "--out", out.to_str().unwrap(), input.to_str().unwrap()];
    let done = overread(&[&words[..], &paths[..]].concat());
    let mut table = csv::Reader::from_path(out.join("r.csv")).unwrap_or_else(|error| panic!("{error}: {}", done.text));
    let rows = table.deserialize().map(|row| row.unwrap());
    rows.map(|row: HashMap<String, String>| (row["series_uid"].clone(), row)).collect()
}

/// Whether one of the objects of a series says this.
fn objects_say(desk: &Path, series: &Series, what: &str) -> bool {
    let of_series = |path: &&std::path::PathBuf| path.display().to_string().contains(&series.series);
    let says = |path: &std::path::PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains(what);
    files_below(&desk.join("out/objects")).iter().filter(of_series).any(says)
}

#[test]
fn a_gate_decides_of_series_of_other_body_parts_and_table_and_report_say_so() {
    let desk = tempfile::tempdir().unwrap();
    let desk = desk.path();
    let (abdomen, portable) = (chest("ABDOMEN"), chest("PORT CHEST"));
    let (both, head) = (chest("CHESTABDPELVIS"), chest("HEAD"));
    let no_lungs = Series { body_part: Some("LIVER"), slices: 20, ..Series::head("a liver") };
    let rows = read(desk, "chest-ct-2p5d-mean-tiny", &[&abdomen, &portable, &both, &head, &no_lungs]);
    let row = |series: &Series| &rows[&series.series];

    assert_ne!(row(&abdomen)["pathology"], "not suitable", "{:?}", row(&abdomen));
    let warning = "The series is of body part ABDOMEN, which is none of those that the model names (CHEST,";
    assert!(row(&abdomen)["warnings"].contains(warning) && row(&abdomen)["warnings"].contains(PIXELS));
    assert!(objects_say(desk, &abdomen, PIXELS));
    for named in [&portable, &both] {
        assert_ne!(row(named)["pathology"], "not suitable", "{:?}", row(named));
        assert!(!row(named)["warnings"].contains(PIXELS) && !objects_say(desk, named, PIXELS));
    }
    assert!(row(&head)["warnings"].contains("not suitable (body-part): The series is of body part HEAD"));
    assert!(objects_say(desk, &head, "body part HEAD"));
    let said = &row(&no_lungs)["warnings"];
    assert!(said.contains("not-a-chest-ct") && said.contains("body part LIVER") && said.contains(PIXELS), "{said}");
    assert!(objects_say(desk, &no_lungs, PIXELS));
}

#[test]
fn without_a_gate_a_body_part_that_is_not_named_is_refused() {
    let desk = tempfile::tempdir().unwrap();
    let (abdomen, portable) = (chest("ABDOMEN"), chest("CT THORAX"));
    let rows = read(desk.path(), "chest-ct-r3d18-tiny", &[&abdomen, &portable]);
    let said = &rows[&abdomen.series];
    assert!(said["warnings"].contains("(body-part)") && said["pathology"] == "not suitable", "{said:?}");
    assert_ne!(rows[&portable.series]["pathology"], "not suitable", "{:?}", rows[&portable.series]);
}
