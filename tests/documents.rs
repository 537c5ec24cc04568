//! What is written for people says what the program does: configurations that ship load, and the conformance statement's
//! tables hold the program's own values.

use std::path::{Path, PathBuf};

use overread::config::NodeConfig;
use overread::dicom::ae::AeTitle;
use overread::dicom::encode::IMPLEMENTATION_CLASS_UID;
use overread::dicom::sop_class::Service;
use overread::dicom::status::Status;
use overread::dicom::transfer_syntax::compression;
use overread::dicom::uid::{SopClassUid, TransferSyntaxUid};
use overread::dicom::{Tag, tags};
use overread::store::Attribute;
use overread::volume::compression::Compression as Codec;

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn conformance() -> String {
    std::fs::read_to_string(file("docs/conformance.md")).unwrap()
}

/// The cells of a table between its markers, heading left out.
fn table(name: &str) -> Vec<Vec<String>> {
    let text = conformance();
    let begin = format!("<!-- table: {name} -->");
    let (_, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no table {name}"));
    let (body, _) = rest.split_once("<!-- end -->").unwrap();
    let lines = body.lines().filter(|line| line.starts_with('|')).skip(2);
    let rows: Vec<Vec<String>> =
        lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect();
    assert!(!rows.is_empty(), "table {name} is empty");
    rows
}

#[test]
fn shipped_configurations_load() {
    for path in ["config/overread.toml", "docker/overread.toml"] {
        let text = std::fs::read_to_string(file(path)).unwrap();
        let loaded = NodeConfig::from_text(&file(path), &text, std::iter::empty());
        assert!(loaded.is_ok(), "{path}: {:?}", loaded.err());
    }
}

#[test]
fn the_containers_route_to_the_orthanc_beside_them() {
    let text = std::fs::read_to_string(file("docker/overread.toml")).unwrap();
    let config = NodeConfig::from_text(&file("docker/overread.toml"), &text, std::iter::empty()).unwrap();
    let orthanc: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file("docker/orthanc.json")).unwrap()).unwrap();
    let peer = config.peer(&AeTitle::parse("ORTHANC").unwrap()).unwrap();
    assert_eq!(orthanc["DicomAet"], "ORTHANC");
    assert_eq!(orthanc["DicomPort"], peer.port);
    assert_eq!(orthanc["DicomModalities"]["overread"]["AET"], config.node.ae_title.as_str());
    let port = config.node.listen[0].rsplit_once(':').unwrap().1;
    assert_eq!(orthanc["DicomModalities"]["overread"]["Port"].to_string(), port);
}

#[test]
fn the_statement_names_our_implementation() {
    assert!(conformance().contains(&format!("| implementation class UID | {IMPLEMENTATION_CLASS_UID} |")));
}

#[test]
fn the_statement_knows_the_statuses() {
    for name in ["store-status", "find-status"] {
        for row in table(name) {
            let status = Status(u16::from_str_radix(&row[0], 16).unwrap());
            assert!(status.entry().is_some(), "{name}: {status} is not in the program's table");
        }
    }
}

#[test]
fn the_statement_lists_the_services() {
    for row in table("acceptor") {
        for uid in row[1].split(", ").filter(|text| text.starts_with("1.2.840")) {
            let service = Service::of(&SopClassUid::parse(uid).unwrap());
            let expected = match row[0].as_str() {
                "Verification" => Service::Verification,
                "Query" => Service::Query,
                other => panic!("{other} lists UIDs"),
            };
            assert_eq!(service, Some(expected), "{uid}");
        }
    }
    for row in table("deliverer").iter().filter(|row| row[0] != "Verification") {
        assert_eq!(Service::of(&SopClassUid::parse(&row[1]).unwrap()), Some(Service::Storage), "{}", row[0]);
    }
}

#[test]
fn the_statement_lists_the_syntaxes_whose_pixels_are_read() {
    let mut said: Vec<String> = table("decoded").into_iter().map(|row| row[1].clone()).collect();
    // Implicit VR Little Endian is the root of all UIDs of transfer syntaxes.
    let sub_items = (1..=9).flat_map(|a| (0..=299).map(move |b| (a, b)));
    let uids = sub_items.flat_map(|(a, b)| match b {
        0 => vec![format!("1.2.840.10008.1.2.{a}")],
        b => vec![format!("1.2.840.10008.1.2.{a}.{b}")],
    });
    let uids = uids.chain(["1.2.840.10008.1.2".to_owned()]);
    let mut read: Vec<String> =
        uids.filter(|uid| Codec::of(&TransferSyntaxUid::parse(uid).unwrap()).is_some()).collect();
    said.sort();
    read.sort();
    assert_eq!(said, read);
    for uid in said {
        assert!(compression(&TransferSyntaxUid::parse(&uid).unwrap()).is_some(), "{uid} is read and not taken");
    }
}

#[test]
fn the_statement_lists_the_keys_of_queries() {
    let group = |text: &str| u16::from_str_radix(text, 16).unwrap();
    let mut said = Vec::new();
    for row in table("find-keys") {
        let (_, tag) = row[1].rsplit_once('(').unwrap();
        let (high, low) = tag.trim_end_matches(')').split_once(',').unwrap();
        said.push(Tag(group(high), group(low)));
    }
    let tags = (0..=0x40).flat_map(|high| (0..=u16::MAX).map(move |low| Tag(high, low)));
    let outside = tags.filter(|tag| Attribute::of(*tag).is_some());
    let inside = Attribute::all_in_items(tags::REQUEST_ATTRIBUTES_SEQUENCE).map(|attribute| attribute.tag);
    let mut known: Vec<Tag> = outside.chain(inside).collect();
    said.sort();
    known.sort();
    assert_eq!(said, known);
}
