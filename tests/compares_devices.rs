//! `overread compare` holds a package against itself on another device, its gate beside it, on series and radiographs; and the scripts that
//! hold overread against the published tools find what differs.

#![cfg(feature = "torch")]
#![expect(clippy::unwrap_used, reason = "tests and what they share")]

use std::path::Path;

use crate::testkit::chest::Series;
use crate::testkit::peers::{python, root};
use crate::testkit::site::overread;

const DONE: i32 = 0;
const FAILED: i32 = 1;

/// Exit code, and what `overread compare` printed.
fn compared(models: &[&str], images: &Path) -> (i32, String) {
    let mut command = overread(&["compare", "--devices", "cpu,cpu", "--repeat", "1"]);
    for model in models {
        command.arg("--model").arg(root().join("models").join(model));
    }
    let output = command.arg(images).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), said)
}

/// A folder with a chest CT and a radiograph.
fn images() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let chest = Series { slices: 20, ..Series::chest("compared") };
    for (number, file) in chest.files().iter().enumerate() {
        std::fs::write(folder.path().join(format!("{number}.dcm")), file).unwrap();
    }
    let radiograph = root().join("tests/fixtures/radiographs/dx-14-bit-narrow.dcm");
    std::fs::copy(radiograph, folder.path().join("radiograph.dcm")).unwrap();
    folder
}

#[test]
fn a_model_with_a_gate_and_one_of_radiographs_are_compared_side_by_side() {
    let images = images();
    let (code, said) = compared(&["chest-ct-2p5d/tiny", "cxr-vit/tiny"], images.path());
    assert_eq!(code, DONE, "{said}");
    let table: Vec<&str> = said.lines().filter(|line| line.ends_with("  they agree")).collect();
    let [slices, radiograph] = table[..] else { panic!("{said}") };
    assert!(slices.starts_with("chest-ct-2p5d-tiny ") && slices.contains(" 0.0e0 "), "{said}");
    assert!(radiograph.starts_with("cxr-vit-tiny ") && radiograph.contains("1.2.3.4"), "{said}");
    assert!(said.lines().any(|line| line.starts_with("Atelectasis ")), "{said}");
}

#[test]
fn a_model_that_reads_nothing_of_what_there_is_says_why() {
    let images = images();
    std::fs::remove_file(images.path().join("radiograph.dcm")).unwrap();
    let (code, said) = compared(&["cxr-vit/tiny"], images.path());
    assert!(code == FAILED && said.contains("«cxr-vit-tiny» reads none of the series"), "{said}");
}

#[test]
fn the_proof_of_packages_compares_what_it_says() {
    let checked = python("check_parity.py", &[""; 0]);
    assert!(checked.success, "{}", checked.text);
}
