//! GDCM's `gdcmscu` as sender and querier.

use super::{fixture, must_be_the_same, must_succeed, named_samples, under_another_uid};
use crate::testkit::peers::{Judgement, judge};
use crate::testkit::running_node::RunningNode;

fn gdcmscu(node: &RunningNode, arguments: &[&str]) -> Judgement {
    let port = node.port().to_string();
    let usual = ["-H", "127.0.0.1", "-p", &port, "--call", "OVERREAD", "--aetitle", "GDCM"];
    judge("gdcmscu", &[&usual, arguments].concat())
}

#[test]
fn gdcmscu_echoes_stores_and_finds() {
    let node = RunningNode::storing();
    must_succeed(&gdcmscu(&node, &["--echo"]));
    let folder = tempfile::tempdir().unwrap();
    let names = ["ct_jpegls_lossless", "ct_jpeg2000_lossless", "legacy_converted_ct", "enhanced_ct_rle_with_table"];
    let mut pairs = Vec::new();
    for (number, name) in names.into_iter().enumerate() {
        let uid = format!("2.25.{}", 5000 + number);
        let path = under_another_uid(&fixture(&format!("pixels/{name}.dcm")), &uid, folder.path());
        must_succeed(&gdcmscu(&node, &["--store", "-i", &path.display().to_string()]));
        pairs.push((path, node.stored(&uid).expect(name)));
    }
    for path in named_samples() {
        must_succeed(&gdcmscu(&node, &["--store", "-i", &path.display().to_string()]));
    }
    must_be_the_same(&pairs);

    let asked = ["--find", "--studyroot", "--study", "--key", "10,20=2178309", "--key", "20,d=", "--key", "10,10="];
    let found = gdcmscu(&node, &asked);
    must_succeed(&found);
    assert!(found.text.contains("MISTER^CT"), "{}", found.text);
    let found = gdcmscu(&node, &["--find", "--patientroot", "--patient", "--key", "10,10=*^ct", "--key", "10,20="]);
    must_succeed(&found);
    assert!(found.text.contains("2178309"), "{}", found.text);
    let found = gdcmscu(&node, &["--find", "--studyroot", "--study", "--key", "10,20=NOBODY"]);
    must_succeed(&found);
    assert!(!found.text.contains("NOBODY") || !found.text.contains("(0008,0052)"), "{}", found.text);
}
