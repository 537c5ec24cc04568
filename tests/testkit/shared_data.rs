//! The collection of DICOM files that lies beside the project on some machines and is no part of it.
//!
//! A test that finds none of it has nothing to do. `scripts/test.sh` names such tests at its end, and fails them where the
//! collection must be there: it says so by these two variables of the environment.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::peers::root;
use super::running_node::files_below;

/// `required`: a test that does not find its part fails.
const POLICY: &str = "SHARED_DATA";
/// A file, to which each test without data adds a line with its name.
const RECORD: &str = "WITHOUT_SHARED_DATA";

/// A file or folder of the collection. None where it is not there: the caller ends, and that is recorded under its name,
/// which is that of the test's own thread.
pub(crate) fn shared_data(part: &str) -> Option<PathBuf> {
    let path = root().join("../shared/data").join(part);
    if path.exists() {
        return Some(path);
    }
    without(&format!("there is no {}", path.display()));
    None
}

/// The files of an archive of the collection, in a folder that ends with it; none as in [`shared_data`], or where `tar`
/// cannot unpack it.
pub(crate) fn unpacked(archive: &str) -> Option<(tempfile::TempDir, Vec<PathBuf>)> {
    let archive = shared_data(archive)?;
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new("tar").arg("xJf").arg(&archive).arg("-C").arg(folder.path()).status();
    if !status.is_ok_and(|status| status.success()) {
        without(&format!("tar cannot unpack {} (Debian package xz-utils)", archive.display()));
        return None;
    }
    let files = files_below(folder.path());
    Some((folder, files))
}

fn without(why: &str) {
    assert!(std::env::var(POLICY).as_deref() != Ok("required"), "{why}, and {POLICY} is «required»");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test without a name");
    eprintln!("{test}: nothing is checked: {why}");
    if let Some(record) = std::env::var_os(RECORD) {
        let mut record = OpenOptions::new().append(true).create(true).open(Path::new(&record)).unwrap();
        // At once: tests run side by side.
        record.write_all(format!("{test}\n").as_bytes()).unwrap();
    }
}
