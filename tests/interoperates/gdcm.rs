//! GDCM's `gdcmscu` as sender and querier.
//!
//! Debian's 3.0.21 ends in an uncaught exception after every release, whoever the peer is (DCMTK's `storescp` as well), and
//! before it prints what was found. So it is taken at the statuses that it says it heard, and at what the node has.

use super::{fixture, must_be_the_same, named_samples, under_another_uid};
use crate::testkit::peers::judge;
use crate::testkit::running_node::RunningNode;

const SUCCESS: u16 = 0;
const PENDING: u16 = 0xFF00;

/// It must have heard responses with these statuses, each once.
fn gdcmscu(node: &RunningNode, arguments: &[&str], expected: &[u16]) {
    let port = node.port().to_string();
    let usual = ["-D", "-H", "127.0.0.1", "-p", &port, "--call", "OVERREAD", "--aetitle", "GDCM"];
    let said = judge("gdcmscu", &[&usual, arguments].concat());
    let status = |line: &str| -> Option<u16> {
        let value = line.strip_prefix("(0000,0900) ?? (US) ")?;
        value.split_whitespace().next()?.parse().ok()
    };
    let mut statuses: Vec<u16> = said.text.lines().filter_map(status).collect();
    // Responses are printed by several of its layers, one behind the other.
    statuses.dedup();
    assert_eq!(statuses, expected, "{arguments:?}: {}", said.text);
}

#[test]
fn gdcmscu_echoes_stores_and_finds() {
    let node = RunningNode::storing();
    gdcmscu(&node, &["--echo"], &[SUCCESS]);
    let folder = tempfile::tempdir().unwrap();
    let names = ["ct_jpegls_lossless", "ct_jpeg2000_lossless", "legacy_converted_ct", "enhanced_ct_rle_with_table"];
    let mut pairs = Vec::new();
    for (number, name) in names.into_iter().enumerate() {
        let uid = format!("2.25.{}", 5000 + number);
        let path = under_another_uid(&fixture(&format!("pixels/{name}.dcm")), &uid, folder.path());
        gdcmscu(&node, &["--store", "-i", &path.display().to_string()], &[SUCCESS]);
        pairs.push((path, node.stored(&uid).expect(name)));
    }
    for path in named_samples() {
        gdcmscu(&node, &["--store", "-i", &path.display().to_string()], &[SUCCESS]);
    }
    must_be_the_same(&pairs);

    let find = |model: &str, level: &str, key: &str, expected: &[u16]| {
        let asked = ["--find", model, level, "--key", key, "--key", "10,30=", "--key", "8,5=ISO_IR 192"];
        gdcmscu(&node, &asked, expected);
    };
    find("--studyroot", "--study", "10,20=2178309", &[PENDING, SUCCESS]);
    find("--studyroot", "--study", "10,10=Люкce*", &[PENDING, SUCCESS]);
    find("--studyroot", "--study", "10,20=NOBODY", &[SUCCESS]);
    find("--patientroot", "--patient", "10,10=*^ct", &[PENDING, SUCCESS]);
}
