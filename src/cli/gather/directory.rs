//! DICOMDIR (PS3.10 section 8, PS3.3 annex F): the files that a medium's table of contents names.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::Unreadable;
use crate::dicom::parse::parse;
use crate::dicom::part10::Part10;
use crate::dicom::tags;

/// Directories are a few hundred bytes an image.
const MAX_DIRECTORY_BYTES: u64 = 512 << 20;

/// The files that the DICOMDIR at `path` names, in its order, and those of them that are not there.
///
/// # Errors
/// What is wrong with the DICOMDIR itself.
pub(super) fn files(path: &Path) -> Result<(Vec<PathBuf>, Vec<Unreadable>), String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_DIRECTORY_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MAX_DIRECTORY_BYTES {
        return Err(format!("the DICOMDIR is larger than {} MiB", MAX_DIRECTORY_BYTES >> 20));
    }
    let broken = |e: &dyn std::fmt::Display| format!("the DICOMDIR cannot be read: {e}");
    let (encoding, data_set) = Part10::split(&bytes.into()).and_then(|p| Ok(p.inflated()?)).map_err(|e| broken(&e))?;
    let data_set = parse(&data_set, encoding).map_err(|e| broken(&e))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for record in data_set.items(tags::DIRECTORY_RECORD_SEQUENCE) {
        let components = record.texts(tags::REFERENCED_FILE_ID);
        if components.is_empty() {
            continue;
        }
        match resolve(folder, &components) {
            Ok(file) => found.push(file),
            Err(why) => missing.push(Unreadable::within(path, Some(components.join("/")), why)),
        }
    }
    Ok((found, missing))
}

/// The file that components below `folder` name; media are copied by systems that change the case of names.
fn resolve(folder: &Path, components: &[String]) -> Result<PathBuf, &'static str> {
    let mut path = folder.to_owned();
    for component in components {
        let mut parts = Path::new(component).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err("its name leads out of the medium");
        }
        let exact = path.join(component);
        path = if exact.exists() { exact } else { same_but_case(&path, component).ok_or("it is not there")? };
    }
    if path.is_file() { Ok(path) } else { Err("it is not there") }
}

/// The entry of `folder` with this name in another case, or with a version number behind it (ISO 9660).
fn same_but_case(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }).ok()?;
    let same = |found: &str| found.split(';').next().unwrap_or(found).trim_end_matches('.').eq_ignore_ascii_case(name);
    entries.filter_map(Result::ok).find(|entry| entry.file_name().to_str().is_some_and(same)).map(|entry| entry.path())
}
