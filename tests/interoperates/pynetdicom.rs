//! pynetdicom as sender and querier, with everything that an association can be asked for. As a receiver it stands in
//! `results_everywhere`.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::{NAMES, fixture, must_be_the_same, must_succeed, named_samples, under_another_uid};
use crate::testkit::peers::python;
use crate::testkit::running_node::{RunningNode, overread};

/// What the script printed.
fn pynetdicom(node: &RunningNode, arguments: &[&str]) -> Json {
    let port = node.port().to_string();
    let said = python("pynetdicom_scu.py", &[&[port.as_str()], arguments].concat());
    must_succeed(&said);
    let last = said.text.lines().rfind(|line| line.starts_with('{'));
    last.and_then(|line| serde_json::from_str(line).ok()).unwrap_or_else(|| panic!("{}", said.text))
}

#[test]
fn whatever_is_negotiated_an_echo_is_answered() {
    let node = RunningNode::storing();
    for options in [
        &["--max-pdu", "0"][..],
        &["--max-pdu", "1024"],
        &["--window", "8"],
        &["--window", "0"],
        &["--extended"],
        &["--user", "someone"],
        &["--role"],
        &["--duplicates"],
        &["--max-pdu", "0", "--window", "2", "--extended", "--user", "x", "--role", "--duplicates"],
    ] {
        let answer = pynetdicom(&node, &[&["echo"], options].concat());
        assert_eq!(answer["statuses"], json!([0, 0, 0]), "{options:?}");
        assert_eq!(answer["rejected"], json!([]), "{options:?}");
        // One operation at a time, whatever is proposed (PS3.7 section D.3.3.3).
        assert_eq!(answer["window"], json!([1, 1]), "{options:?}");
        assert_eq!(answer["maximum_length"], 131_072);
        assert!(answer["version"].as_str().unwrap().starts_with("OVERREAD_"));
        assert_eq!(answer["contexts"]["1"], json!(["1.2.840.10008.1.1", "1.2.840.10008.1.2"]));
        assert_eq!(answer["contexts"]["3"], json!(["1.2.840.10008.1.1", "1.2.840.10008.1.2.1"]));
        // Ours to prefer: explicit, though implicit was named first.
        assert_eq!(answer["contexts"]["5"], json!(["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"]));
    }
}

#[test]
fn objects_in_several_contexts_are_stored() {
    let node = RunningNode::storing();
    let folder = tempfile::tempdir().unwrap();
    let names = ["ct_jpeg2000_lossless", "ct_jpegls_lossless", "ct_jpeg_lossless_sv1", "enhanced_ct_rle_with_table"];
    let names = names.into_iter().chain(["legacy_converted_ct", "enhanced_ct_jpegls_fragmented_without_table"]);
    for options in [&["--max-pdu", "0"][..], &["--max-pdu", "1024", "--window", "4", "--extended", "--user", "x"]] {
        let mut sent: Vec<(PathBuf, String)> = Vec::new();
        for (number, name) in names.clone().enumerate() {
            let uid = format!("2.25.{}", 4000 + 100 * options.len() + number);
            sent.push((under_another_uid(&fixture(&format!("pixels/{name}.dcm")), &uid, folder.path()), uid));
        }
        let paths: Vec<String> = sent.iter().map(|(path, _)| path.display().to_string()).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let answer = pynetdicom(&node, &[&["store"], options, &paths].concat());
        assert_eq!(answer["statuses"], json!(vec![0; sent.len()]), "{options:?}");
        let pairs: Vec<(PathBuf, PathBuf)> =
            sent.into_iter().map(|(path, uid)| (path, node.stored(&uid).expect(&uid))).collect();
        must_be_the_same(&pairs);
    }
}

#[test]
fn names_in_any_script_come_back_as_pydicom_reads_them() {
    let node = RunningNode::storing();
    let paths: Vec<String> = named_samples().iter().map(|path| path.display().to_string()).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let answer = pynetdicom(&node, &[&["store"][..], &paths].concat());
    assert_eq!(answer["statuses"], json!(vec![0; NAMES.len()]));
    for (_, id, name) in NAMES {
        let by_name = [
            "SpecificCharacterSet=ISO_IR 192",
            "QueryRetrieveLevel=STUDY",
            &format!("PatientName={name}"),
            "PatientID=",
            "StudyInstanceUID=",
        ];
        for model in ["study", "patient"] {
            let by_id = ["QueryRetrieveLevel=STUDY", &format!("PatientID={id}"), "PatientName=", "StudyInstanceUID="];
            let mut queries: Vec<&[&str]> = vec![&by_id];
            if model == "study" {
                queries.push(&by_name);
            }
            for keys in queries {
                let answer = pynetdicom(&node, &[&["find", model], keys].concat());
                assert_eq!(answer["statuses"], json!([0xFF00, 0]), "{name}: {answer}");
                assert_eq!(answer["answers"][0]["PatientID"], *id);
                assert_eq!(answer["answers"][0]["PatientName"], *name);
            }
        }
    }
    // An identifier that no model can answer is refused, and named.
    let answer = pynetdicom(&node, &["find", "patient", "QueryRetrieveLevel=SERIES", "SeriesInstanceUID="]);
    assert_eq!(answer["statuses"], json!([0xA900]));
}

#[test]
fn a_query_is_cancelled_at_once() {
    let node = RunningNode::storing();
    let folder = tempfile::tempdir().unwrap();
    let source = fixture("charset/chrRuss.dcm");
    let study = super::data_set(&source).text(overread::dicom::tags::STUDY_INSTANCE_UID).unwrap();
    let series = super::data_set(&source).text(overread::dicom::tags::SERIES_INSTANCE_UID).unwrap();
    let instances = 3000;
    for number in 0..instances {
        under_another_uid(&source, &format!("2.25.{}", 10_000 + number), folder.path());
    }
    must_succeed(&overread(&["send", "--to", &node.address(), &folder.path().display().to_string()]));
    let (study, series) = (format!("StudyInstanceUID={study}"), format!("SeriesInstanceUID={series}"));
    let keys = ["QueryRetrieveLevel=IMAGE", &study, &series, "SOPInstanceUID=", "SOPClassUID=", "InstanceNumber="];
    let whole = pynetdicom(&node, &[&["find", "study"][..], &keys].concat());
    assert_eq!(whole["answers"].as_array().unwrap().len(), instances);
    let cancelled = pynetdicom(&node, &[&["cancel"][..], &keys[..5]].concat());
    assert_eq!(cancelled["final"], 0xFE00, "{cancelled}");
    assert!(cancelled["pending"].as_u64().unwrap() < instances as u64, "{cancelled}");
    assert_eq!(cancelled["again"].as_array().unwrap().last(), Some(&json!(0)));
    let cancelled =
        overread(&["find", "--to", &node.address(), "--level", "image", "--limit", "3", "--json", &study, &series]);
    must_succeed(&cancelled);
    assert_eq!(cancelled.text.lines().count(), 3);
}
