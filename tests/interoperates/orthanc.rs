//! Debian's Orthanc as sender and querier, and asked by `overread find`.

use serde_json::{Value as Json, json};

use super::{NAMES, fixture, must_be_the_same, must_succeed, named_samples, under_another_uid};
use crate::testkit::orthanc::Orthanc;
use crate::testkit::running_node::{RunningNode, overread};

#[test]
fn orthanc_echoes_sends_and_asks_and_answers_overread_find() {
    let (node, orthanc) = (RunningNode::storing(), Orthanc::start());
    orthanc.introduce(&node);
    orthanc.post("/modalities/overread/echo", &json!({}));

    let folder = tempfile::tempdir().unwrap();
    let names = ["ct_jpeg2000_lossless", "ct_jpegls_lossless", "ct_jpeg_baseline", "legacy_converted_ct"];
    let mut sent = Vec::new();
    for (number, name) in names.into_iter().enumerate() {
        let uid = format!("2.25.{}", 6000 + number);
        sent.push((under_another_uid(&fixture(&format!("pixels/{name}.dcm")), &uid, folder.path()), uid));
    }
    let mut ids = Vec::new();
    for path in sent.iter().map(|(path, _)| path.clone()).chain(named_samples()) {
        ids.push(orthanc.upload(&path)["ID"].clone());
    }
    let stored = orthanc.post("/modalities/overread/store", &Json::Array(ids.clone()));
    assert_eq!(stored["InstancesCount"], ids.len());
    assert_eq!(stored["FailedInstancesCount"], 0);
    let pairs: Vec<_> = sent.into_iter().map(|(path, uid)| (path, node.stored(&uid).expect(&uid))).collect();
    must_be_the_same(&pairs);

    for (_, id, name) in NAMES {
        let found = orthanc.query("Study", &json!({ "PatientID": id, "PatientName": "" }));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["PatientName"], name);
    }
    let studies = orthanc.query("Study", &json!({ "PatientID": "2178309", "StudyInstanceUID": "" }));
    let study = &studies[0]["StudyInstanceUID"];
    let series = orthanc.query("Series", &json!({ "StudyInstanceUID": study, "Modality": "CT" }));
    let series = &series[0]["SeriesInstanceUID"];
    let keys = json!({ "StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": "" });
    assert_eq!(orthanc.query("Instance", &keys).len(), 3);

    let found = overread(&["find", "--to", &orthanc.address(), "--json", "PatientID=2178309"]);
    must_succeed(&found);
    let answer: Json = serde_json::from_str(found.text.trim()).unwrap();
    assert_eq!(answer["StudyInstanceUID"], *study);
    for (_, id, name) in NAMES {
        let found = overread(&["find", "--to", &orthanc.address(), "--json", &format!("PatientID={id}")]);
        must_succeed(&found);
        let answer: Json = serde_json::from_str(found.text.trim()).unwrap();
        // Orthanc answers in Latin 1 by default: what that does not hold, it leaves out.
        assert_eq!(answer["PatientID"], id);
        assert!(
            answer["PatientName"].as_str().is_some_and(|said| name.starts_with(said.trim_end_matches('='))),
            "{answer}"
        );
    }
}
