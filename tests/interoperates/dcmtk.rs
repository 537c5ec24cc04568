//! DCMTK's tools as senders, queriers and receivers.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use overread::dicom::charset::CharacterSet;
use overread::dicom::data_set::DataSet;
use overread::dicom::part10::Part10;
use overread::dicom::tags;

use super::{NAMES, data_set, fixture, must_be_the_same, must_succeed, named_samples, under_another_uid};
use crate::testkit::peers::{Judgement, Server, free_port, judge, wait_until};
use crate::testkit::running_node::{RunningNode, files_below, overread};

/// Runs a tool of DCMTK against the node.
fn dcmtk(tool: &str, node: &RunningNode, options: &[&str], more: &[OsString]) -> Judgement {
    let port = node.port().to_string();
    let mut arguments: Vec<OsString> = options.iter().map(OsString::from).collect();
    arguments.extend(["-aec", "OVERREAD", "127.0.0.1", &port].map(OsString::from));
    arguments.extend_from_slice(more);
    judge(tool, &arguments)
}

#[test]
fn echoscu_is_answered_and_aborts_do_no_harm() {
    let node = RunningNode::storing();
    for options in [&[][..], &["--abort"], &["-pdu", "4096"], &["--repeat", "50"], &["-pts", "38", "-ppc", "128"]] {
        must_succeed(&dcmtk("echoscu", &node, options, &[]));
    }
    must_succeed(&dcmtk("echoscu", &node, &[], &[]));
}

#[test]
fn an_unknown_caller_is_told_so_and_a_known_one_gets_what_it_may_ask() {
    let peer = "[[peer]]\nae_title = \"FINDER\"\nhost = \"127.0.0.1\"\nport = 104\nmay = [\"find\"]\n";
    let node = RunningNode::strict(peer);
    let refused = dcmtk("echoscu", &node, &["-aet", "STRANGER"], &[]);
    assert!(!refused.success);
    assert!(refused.text.contains("Calling AE Title Not Recognized"), "{}", refused.text);
    let refused = dcmtk("echoscu", &node, &["-aet", "FINDER"], &[]);
    assert!(!refused.success);
    assert!(refused.text.contains("No Acceptable Presentation Contexts"), "{}", refused.text);
    must_succeed(&dcmtk("findscu", &node, &["-aet", "FINDER", "-S", "-k", "QueryRetrieveLevel=STUDY"], &[]));
}

/// An option of `storescu`, a fixture that it can send so, and the transfer syntax in which that arrives.
const PROPOSALS: [(&str, &str, &str); 13] = [
    ("-xs", "pixels/ct_jpeg_lossless_sv1", "1.2.840.10008.1.2.4.70"),
    ("-xy", "pixels/ct_jpeg_baseline", "1.2.840.10008.1.2.4.50"),
    ("-xx", "pixels/ct_jpeg_extended_12_bit", "1.2.840.10008.1.2.4.51"),
    ("-xv", "pixels/ct_jpeg2000_lossless", "1.2.840.10008.1.2.4.90"),
    ("-xw", "pixels/ct_jpeg2000_lossy", "1.2.840.10008.1.2.4.91"),
    ("-xt", "pixels/ct_jpegls_lossless", "1.2.840.10008.1.2.4.80"),
    ("-xu", "pixels/ct_jpegls_near_lossless", "1.2.840.10008.1.2.4.81"),
    ("-xr", "pixels/enhanced_ct_rle_with_table", "1.2.840.10008.1.2.5"),
    ("-x=", "charset/chrGreek", "1.2.840.10008.1.2.1"),
    ("-xe", "charset/chrGreek", "1.2.840.10008.1.2.1"),
    ("-xb", "charset/chrGreek", "1.2.840.10008.1.2.1"),
    ("-xi", "charset/chrGreek", "1.2.840.10008.1.2"),
    ("-xd", "charset/chrGreek", "1.2.840.10008.1.2.1.99"),
];

#[test]
fn storescu_stores_what_it_has_in_every_syntax_that_it_proposes() {
    let node = RunningNode::storing();
    let folder = tempfile::tempdir().unwrap();
    let mut pairs = Vec::new();
    for (number, (option, name, syntax)) in PROPOSALS.iter().enumerate() {
        // Each syntax in a context of its own, all in one, and only those that the file needs.
        for (way, combined) in [None, Some("+C"), Some("-R")].into_iter().enumerate() {
            // Offered a lossy and a plain syntax in one context, the node takes the plain one: nobody is led to compress.
            // Debian's storescu cannot decompress these, and says so.
            let is_lossy = ["-xy", "-xx", "-xw", "-xu"].contains(option);
            if is_lossy && combined == Some("+C") {
                continue;
            }
            let uid = format!("2.25.{}", 1000 + 10 * number + way);
            let path = under_another_uid(&fixture(&format!("{name}.dcm")), &uid, folder.path());
            let mut options = vec![*option];
            options.extend(combined);
            let sent = dcmtk("storescu", &node, &options, &[path.clone().into()]);
            assert!(sent.success, "{option} {combined:?} {name}: {}", sent.text);
            let stored = node.stored(&uid).unwrap_or_else(|| panic!("{option} {combined:?} {name}: {}", sent.text));
            // Deflation is for media and slow links: among plain syntaxes it is not the one that is taken.
            let explicit = "1.2.840.10008.1.2.1";
            let syntax = if (*option, combined) == ("-xd", Some("+C")) { explicit } else { *syntax };
            assert_eq!(transfer_syntax(&stored), syntax, "{option} {combined:?} {name}");
            pairs.push((path, stored));
        }
    }
    must_be_the_same(&pairs);
}

fn transfer_syntax(path: &Path) -> String {
    Part10::split(&Bytes::from(std::fs::read(path).unwrap())).unwrap().transfer_syntax().unwrap().to_string()
}

#[test]
fn dcmsend_sends_a_folder_of_mixed_classes_and_syntaxes_and_is_told_of_each() {
    let node = RunningNode::storing();
    let folder = tempfile::tempdir().unwrap();
    let mut pairs: Vec<(PathBuf, String)> = Vec::new();
    for (number, (_, name, _)) in PROPOSALS.iter().enumerate() {
        let uid = format!("2.25.{}", 2000 + number);
        let path = under_another_uid(&fixture(&format!("{name}.dcm")), &uid, folder.path());
        pairs.push((path, uid));
    }
    let report = folder.path().join("report.txt");
    let paths: Vec<OsString> = pairs.iter().map(|(path, _)| path.clone().into()).collect();
    let sent = dcmtk("dcmsend", &node, &["-dn", "+crf", &report.display().to_string()], &paths);
    must_succeed(&sent);
    let report = std::fs::read_to_string(report).unwrap();
    assert!(report.contains(&format!("with status SUCCESS  : {}", pairs.len())), "{report}");
    let pairs: Vec<(PathBuf, PathBuf)> =
        pairs.into_iter().map(|(path, uid)| (path, node.stored(&uid).expect(&uid))).collect();
    must_be_the_same(&pairs);
}

/// The answers to a query of `findscu`.
fn findscu(node: &RunningNode, model: &str, keys: &[&str], values: &[(&str, &[u8])]) -> Vec<DataSet> {
    let folder = tempfile::tempdir().unwrap();
    let mut more: Vec<OsString> = Vec::new();
    for key in keys {
        more.extend(["-k", key].map(OsString::from));
    }
    for (name, value) in values {
        let key = [name.as_bytes(), b"=", value].concat();
        more.extend([OsString::from("-k"), OsString::from_vec(key)]);
    }
    let out = folder.path().display().to_string();
    must_succeed(&dcmtk("findscu", node, &[model, "-X", "-od", &out], &more));
    files_below(folder.path()).iter().map(|path| data_set(path)).collect()
}

fn texts(answers: &[DataSet], tag: overread::dicom::Tag) -> Vec<String> {
    let mut texts: Vec<String> = answers.iter().map(|answer| answer.text(tag).unwrap_or_default()).collect();
    texts.sort();
    texts
}

/// Patient's names; one sample ends in an empty component group, which carries nothing.
fn names(answers: &[DataSet]) -> Vec<String> {
    texts(answers, tags::PATIENT_NAME).iter().map(|name| name.trim_end_matches('=').to_owned()).collect()
}

#[test]
fn findscu_goes_down_the_levels_of_both_models() {
    let node = RunningNode::storing();
    // One of them has no Study Instance UID and is refused.
    let sent = overread(&["send", "--to", &node.address(), &fixture("pixels").display().to_string()]);
    assert!(sent.text.contains("1 refused"), "{}", sent.text);
    let studies = findscu(
        &node,
        "-S",
        &["QueryRetrieveLevel=STUDY", "PatientID=2178309", "StudyInstanceUID", "ModalitiesInStudy=CT"],
        &[],
    );
    assert_eq!(texts(&studies, tags::MODALITIES_IN_STUDY), ["CT"]);
    let study = studies[0].text(tags::STUDY_INSTANCE_UID).unwrap();
    for (model, above) in [("-S", None), ("-P", Some("PatientID=2178309"))] {
        let study_key = format!("StudyInstanceUID={study}");
        let mut keys: Vec<&str> = above.into_iter().collect();
        if let Some(patient) = above {
            let patients = findscu(&node, model, &["QueryRetrieveLevel=PATIENT", patient, "PatientName"], &[]);
            assert_eq!(texts(&patients, tags::PATIENT_NAME), ["MISTER^CT"]);
            let found = findscu(&node, model, &["QueryRetrieveLevel=STUDY", patient, "StudyInstanceUID"], &[]);
            assert_eq!(texts(&found, tags::STUDY_INSTANCE_UID), [study.as_str()]);
        }
        keys.push(&study_key);
        let level = [keys.as_slice(), &["QueryRetrieveLevel=SERIES", "SeriesInstanceUID", "Modality"]].concat();
        let series = findscu(&node, model, &level, &[]);
        assert_eq!(series.len(), 1);
        let series_key = format!("SeriesInstanceUID={}", series[0].text(tags::SERIES_INSTANCE_UID).unwrap());
        keys.push(&series_key);
        let level = [keys.as_slice(), &["QueryRetrieveLevel=IMAGE", "SOPInstanceUID", "SOPClassUID"]].concat();
        let images = findscu(&node, model, &level, &[]);
        let stored = node.files("instances").iter().filter(|p| p.display().to_string().contains(&study)).count();
        assert_eq!(images.len(), stored);
        assert!(stored > 1);
        assert!(texts(&images, tags::SOP_CLASS_UID).iter().all(|uid| uid == "1.2.840.10008.5.1.4.1.1.2"));
    }
}

#[test]
fn names_in_any_script_are_asked_for_and_come_back_rightly() {
    let node = RunningNode::storing();
    let paths: Vec<OsString> = named_samples().into_iter().map(Into::into).collect();
    must_succeed(&dcmtk("dcmsend", &node, &[], &paths));
    let asked = "QueryRetrieveLevel=STUDY";
    let mut asked_in_own_set = 0;
    for ((_, id, name), path) in NAMES.iter().zip(named_samples()) {
        // Asked in Unicode, then in the character set of the object.
        let own = data_set(&path).text(tags::SPECIFIC_CHARACTER_SET).unwrap();
        for set in ["ISO_IR 192", &own] {
            let set = CharacterSet::from_value(set.as_bytes());
            let bytes = set.encode_as(name, overread::dicom::charset::TextKind::PersonName);
            let terms = set.terms().join("\\");
            let values: [(&str, &[u8]); 2] = [("SpecificCharacterSet", terms.as_bytes()), ("PatientName", &bytes)];
            let found = findscu(&node, "-S", &[asked, "PatientID"], &values);
            assert_eq!(texts(&found, tags::PATIENT_ID), [*id], "{name} in {terms}");
            assert_eq!(names(&found), [*name], "{name} in {terms}");
            asked_in_own_set += usize::from(found[0].text(tags::SPECIFIC_CHARACTER_SET).as_deref() == Some(&terms));
        }
    }
    assert_eq!(asked_in_own_set, 2 * NAMES.len(), "answers are in the character set of the question");
    // Who names no character set is answered in one that holds the name.
    for (_, id, name) in NAMES {
        let found = findscu(&node, "-S", &[asked, &format!("PatientID={id}"), "PatientName"], &[]);
        assert_eq!(names(&found), [name]);
    }
}

#[test]
fn storescp_takes_what_overread_sends_also_where_it_takes_implicit_vr_only() {
    let (source, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut sent = Vec::new();
    for (number, (_, name, _)) in PROPOSALS.iter().enumerate() {
        let uid = format!("2.25.{}", 3000 + number);
        sent.push(under_another_uid(&fixture(&format!("{name}.dcm")), &uid, source.path()));
    }
    let native = sent.iter().filter(|path| transfer_syntax(path) == "1.2.840.10008.1.2.1").count();
    for (option, expected) in [("+xa", sent.len()), ("+xi", native)] {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = Command::new("storescp");
        command.args(["-uf", option, "-od"]).arg(folder.path()).arg(port.to_string());
        let _storescp = Server::start(&mut command, &logs.path().join("storescp"));
        let to = format!("ANY-SCP@127.0.0.1:{port}");
        wait_until("storescp answers", || overread(&["echo", "--to", &to]).success);
        let report = overread(&["send", "--to", &to, "--associations", "1", &source.path().display().to_string()]);
        assert_eq!(report.success, expected == sent.len(), "{}", report.text);
        let mut said = String::new();
        write!(said, "{expected} stored").unwrap();
        assert!(report.text.contains(&said), "{}", report.text);
        let received = files_below(folder.path());
        assert_eq!(received.len(), expected, "{}", report.text);
        let uid = |path: &Path| data_set(path).text(tags::SOP_INSTANCE_UID).unwrap();
        let pairs: Vec<(PathBuf, PathBuf)> = received
            .into_iter()
            .map(|path| (sent.iter().find(|s| uid(s) == uid(&path)).unwrap().clone(), path))
            .collect();
        must_be_the_same(&pairs);
    }
}
