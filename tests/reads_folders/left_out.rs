//! What is left out is named: slices that a series lacks, packages that cannot run.

use super::{DONE, Desk, PARTLY, words};
use crate::testkit::chest::Series;
use crate::testkit::peers::root;

#[test]
fn the_share_of_missing_slices_stands_in_the_row_whether_the_series_is_read_or_refused_for_it() {
    let desk = Desk::new();
    let long = |name: &str| Series { slices: 40, ..Series::chest(name) };
    let (whole, one, many) = (long("whole"), long("one is missing"), long("many are missing"));
    for (series, missing) in [(&whole, 0..0), (&one, 11..12), (&many, 10..20)] {
        for (number, file) in series.files().iter().enumerate().filter(|(number, _)| !missing.contains(number)) {
            desk.put(&format!("{}/{number}", series.series), file);
        }
    }
    let run = desk.read();
    assert_eq!((run.code, run.rows.len()), (DONE, 3), "{}", run.said);
    let told = |series: &Series| {
        let row = run.row(series);
        (row["missing_slices_percent"].clone(), row["pathology"].clone())
    };
    assert_eq!(told(&whole), ("0".to_owned(), String::new()));
    assert_eq!(told(&one), ("2.5".to_owned(), String::new()));
    assert_eq!(told(&many), ("25".to_owned(), "not suitable".to_owned()));
    assert!(run.row(&one)["warnings"].contains("1 of 40 slices are missing (2.5 %)"), "{:?}", run.row(&one));
    assert!(run.row(&many)["warnings"].contains("missing-slices"), "{:?}", run.row(&many));
    let line = run.said.lines().find(|line| line.contains(&many.series)).unwrap();
    assert!(line.contains("missing_percent=25") && line.contains("missing-slices"), "{line}");
}

#[test]
fn a_folder_behind_a_link_is_not_followed_and_said_to_be_left_out() {
    let desk = Desk::new();
    let chest = Series::chest("beside a link");
    desk.put_series("1", &chest);
    desk.put_series("../elsewhere", &Series::chest("behind a link"));
    std::os::unix::fs::symlink(desk.path("elsewhere"), desk.path("in/2")).unwrap();
    let run = desk.read();
    assert_eq!((run.code, run.rows.len()), (PARTLY, 2), "{}", run.said);
    assert_eq!(run.row(&chest)["processing_status"], "Success");
    let left_out = run.place("in/2");
    let why = "a link to a folder is not followed: name the folder itself";
    assert_eq!((&*left_out["processing_status"], &*left_out["error"]), ("Failure", why));
}

#[test]
fn packages_that_cannot_run_are_named_in_every_row_and_those_that_can_read() {
    let desk = Desk::new();
    let chest = Series::chest("three packages");
    desk.put_series("1", &chest);
    desk.put("2/cut", &chest.files()[0][..300]);
    desk.put_package("models/good", "fine", &[]);
    desk.put_package("models/good", "broken", &[("memory_mb = 100", "memory_mb = \"much\"\nmirror = 3")]);
    // A package with its golden case, which does not come out.
    let (from, to) = (root().join("tests/fixtures/models/golden-differs"), desk.path("packages/golden-differs"));
    std::fs::create_dir_all(to.join("golden")).unwrap();
    for file in ["model.toml", "model.pt", "golden/case.npz"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    // Its gate is faulty.
    desk.put_package("modules/slices-over-gate", "gated", &[("gate = \"good\"", "gate = \"broken\"")]);
    let run = desk.read_with(&[&desk.packages()], &[&desk.path("in")]);
    assert_eq!((run.code, run.rows.len()), (PARTLY, 2), "{}", run.said);
    assert_eq!((&*run.row(&chest)["processing_status"], &*run.row(&chest)["error"]), ("Success", ""), "{}", run.said);
    assert!(run.row(&chest)["Dense, Volume (mm3)"].parse::<f64>().is_ok(), "{:?}", run.row(&chest));
    for row in &run.rows {
        for words in [
            "Not run, because the package is faulty: broken.",
            "Not run: the golden case of model «golden-differs» does not come out",
            "Not run: model «gated» is not served: its gate broken is not served",
        ] {
            assert!(row["warnings"].contains(words), "«{words}»: {row:?}");
        }
    }
    for words in ["inference.memory_mb", "inference.mirror"] {
        assert_eq!(run.said.lines().filter(|line| line.contains(words)).count(), 1, "{words}: {}", run.said);
    }
    // Of those that are named each must do.
    let named = [desk.packages(), words(&["--model", "fine"])].concat();
    let run = desk.read_with(&[&named], &[&desk.path("in/1")]);
    assert_eq!(run.code, DONE, "{}", run.said);
    assert!(!run.row(&chest)["warnings"].contains("Not run"), "{:?}", run.row(&chest));
}
