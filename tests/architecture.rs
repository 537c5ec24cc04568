//! The map in ARCHITECTURE.md holds in the code: rooms know only the rooms before them, foreign crates have one home.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Room, and the rooms of ours that it may name.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("dicom", &[]),
    ("config", &["dicom", "clock"]),
    ("association", &["dicom", "clock", "config"]),
    ("store", &["dicom", "clock", "config"]),
    ("volume", &["dicom"]),
    ("inference", &["dicom", "volume"]),
    ("results", &["dicom", "clock", "volume", "inference"]),
    ("scp", &["dicom", "clock", "config", "association", "store"]),
    ("completeness", &["dicom", "clock", "config", "association", "store", "inference", "volume"]),
    ("worker", &["dicom", "clock", "config", "store", "volume", "inference", "results"]),
    ("scu", &["dicom", "clock", "config", "association", "store"]),
];

/// Foreign crate, and the rooms that may name it.
const HOMES: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("dicom_ul", &["association"]),
    ("tch", &["inference"]),
    ("torch_sys", &["inference"]),
    ("tikv_jemalloc_sys", &["inference"]),
    ("tokio", &["association", "store", "scp", "completeness", "worker", "scu", "node", "cli"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("zip", &["inference", "cli"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every source file with its room and its code, comments and the tests at its foot cut off.
fn rooms() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    files
        .into_iter()
        .filter(|file| file.file_name().is_some_and(|name| name != "tests.rs"))
        .map(|file| {
            let inside = file.strip_prefix(&root).unwrap().to_owned();
            let room =
                inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            (inside, room, code)
        })
        .collect()
}

#[test]
fn rooms_name_only_the_rooms_before_them() {
    let all: BTreeSet<&str> = MAY_NAME.iter().map(|(room, _)| *room).chain(["node", "cli"]).collect();
    let mut wrong = Vec::new();
    for (file, room, code) in rooms() {
        let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == room) else { continue };
        for other in &all {
            if *other != room && !allowed.contains(other) && code.contains(&format!("crate::{other}")) {
                wrong.push(format!("{}: {room} names {other}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether the code has a path that begins with this crate: `tch::`, not `Batch::`.
fn names(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    let mut paths = code.match_indices(&path);
    paths.any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn foreign_crates_have_one_home() {
    let mut wrong = Vec::new();
    for (file, room, code) in rooms() {
        for (name, homes) in HOMES {
            if !homes.contains(&room.as_str()) && names(&code, name) {
                wrong.push(format!("{}: {name}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_room_is_on_the_map() {
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let rooms: BTreeSet<String> = rooms().into_iter().map(|(_, room, _)| room).collect();
    for room in rooms.iter().filter(|room| !matches!(room.as_str(), "main" | "lib")) {
        assert!(map.contains(room.as_str()), "ARCHITECTURE.md does not mention {room}");
    }
}
