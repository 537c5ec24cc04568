//! The whole way: Orthanc sends a chest CT, the node reads it, and the results come to receivers of every kind and are
//! found by whoever asks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use overread::dicom::tags;
use serde_json::{Value as Json, json};

use super::{data_set, must_be_the_same, must_succeed};
use crate::testkit::orthanc::{self, Orthanc};
use crate::testkit::peers::{Server, errors, free_port, judge, python, python_program, root, wait_until};
use crate::testkit::running_node::{RunningNode, files_below, overread};

const SEGMENTATION: &str = "1.2.840.10008.5.1.4.1.1.66.4";
const REPORT: &str = "1.2.840.10008.5.1.4.1.1.88.34";

/// A receiver: its title, port and where it puts what comes.
struct Receiver {
    title: &'static str,
    port: u16,
    folder: PathBuf,
    _process: Server,
}

impl Receiver {
    fn start(title: &'static str, below: &Path, command: impl FnOnce(&Path, u16) -> Command) -> Self {
        let (port, folder) = (free_port(), below.join(title));
        std::fs::create_dir(&folder).unwrap();
        let process = Server::start(&mut command(&folder, port), &below.join(format!("{title}.log")));
        let to = format!("{title}@127.0.0.1:{port}");
        wait_until(title, || overread(&["echo", "--to", &to]).success);
        Self { title, port, folder, _process: process }
    }

    fn storescp(title: &'static str, below: &Path, option: &str) -> Self {
        Self::start(title, below, |folder, port| {
            let mut command = Command::new("storescp");
            command.args([option, "-aet", title, "-od"]).arg(folder).arg(port.to_string());
            command
        })
    }

    fn pynetdicom(title: &'static str, below: &Path) -> Self {
        Self::start(title, below, |folder, port| {
            let mut command = Command::new(python_program());
            command.arg(root().join("demo/receiver.py")).arg(folder).args(["--ae", title, "--port", &port.to_string()]);
            command
        })
    }

    /// What it has of a SOP class.
    fn object(&self, sop_class: &str) -> PathBuf {
        let is_it = |path: &PathBuf| data_set(path).text(tags::SOP_CLASS_UID).as_deref() == Some(sop_class);
        files_below(&self.folder).into_iter().find(is_it).unwrap_or_else(|| panic!("{}: {sop_class}", self.title))
    }
}

fn peer(title: &str, port: u16) -> String {
    format!("[[peer]]\nae_title = \"{title}\"\nhost = \"127.0.0.1\"\nport = {port}\n\n")
}

#[test]
fn a_chest_ct_from_orthanc_is_read_and_everybody_gets_and_finds_the_results() {
    let folder = tempfile::tempdir().unwrap();
    let orthanc = Orthanc::start();
    let receivers = [
        Receiver::storescp("ANYSYNTAX", folder.path(), "+xa"),
        Receiver::storescp("IMPLICITONLY", folder.path(), "+xi"),
        Receiver::pynetdicom("PYNETDICOM", folder.path()),
    ];
    let mut more = String::from("[completeness]\nquiet_seconds = 2\n\n");
    receivers.iter().for_each(|receiver| more.push_str(&peer(receiver.title, receiver.port)));
    more.push_str(&peer(orthanc::TITLE, orthanc.port()));
    let titles: Vec<&str> = receivers.iter().map(|receiver| receiver.title).collect();
    more.push_str(&format!(
        "[[route]]\nmodel = \"lung-densitometry\"\nsend_to = {:?}\n",
        [&titles[..], &["sender"]].concat()
    ));
    let node = RunningNode::reading(&more);
    orthanc.introduce(&node);

    let slices = files_below(&root().join("demo/chest-ct"));
    let slices: Vec<&PathBuf> = slices.iter().filter(|path| path.extension().is_some_and(|e| e == "dcm")).collect();
    let series: Vec<Json> = slices.iter().map(|path| orthanc.upload(path)["ParentSeries"].clone()).collect();
    let sent = orthanc.post("/modalities/overread/store", &json!([series[0]]));
    assert_eq!((&sent["InstancesCount"], &sent["FailedInstancesCount"]), (&json!(slices.len()), &json!(0)));
    wait_until("all eight deliveries", || node.logged("delivered").len() == 8);

    let uids = |sop_class: &str| -> BTreeSet<String> {
        receivers.iter().map(|r| data_set(&r.object(sop_class)).text(tags::SOP_INSTANCE_UID).unwrap()).collect()
    };
    let (segmentation, report) = (uids(SEGMENTATION), uids(REPORT));
    assert_eq!((segmentation.len(), report.len()), (1, 1), "the same objects everywhere");
    received_objects_are_valid_and_equal(&receivers);
    what_was_received_is_what_others_measure(&receivers[0], slices.len());

    let study = data_set(slices[0]).text(tags::STUDY_INSTANCE_UID).unwrap();
    for (asked, modality, uid) in [("SEG", SEGMENTATION, &segmentation), ("SR", REPORT, &report)] {
        let uid = uid.first().unwrap();
        // Our own C-FIND at Orthanc, Orthanc's at the node, and DCMTK's at the node.
        let series_of = |to: &str| -> Json {
            let key = format!("StudyInstanceUID={study}");
            let found =
                overread(&["find", "--to", to, "--level", "series", "--json", &key, &format!("Modality={asked}")]);
            must_succeed(&found);
            serde_json::from_str(found.text.trim()).unwrap_or_else(|e| panic!("{e}: {}", found.text))
        };
        let at_orthanc = series_of(&orthanc.address());
        let at_node = series_of(&node.address());
        assert_eq!(at_orthanc["SeriesInstanceUID"], at_node["SeriesInstanceUID"]);
        let keys = json!({ "StudyInstanceUID": study, "SeriesInstanceUID": at_node["SeriesInstanceUID"],
                           "SOPInstanceUID": "", "SOPClassUID": "" });
        let found = orthanc.query("Instance", &keys);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0]["SOPInstanceUID"].as_str(), found[0]["SOPClassUID"].as_str()),
            (Some(uid.as_str()), Some(modality))
        );
    }
    let study_row = overread(&["find", "--to", &node.address(), "--json", &format!("StudyInstanceUID={study}")]);
    let study_row: Json = serde_json::from_str(study_row.text.trim()).unwrap();
    assert_eq!(study_row["ModalitiesInStudy"], json!(["CT", "SEG", "SR"]));
    assert_eq!(study_row["NumberOfStudyRelatedInstances"], (slices.len() + 2).to_string());
    assert_eq!(node.stop(), Some(0));
}

fn received_objects_are_valid_and_equal(receivers: &[Receiver]) {
    let mut pairs = Vec::new();
    for sop_class in [SEGMENTATION, REPORT] {
        let first = receivers[0].object(sop_class);
        for receiver in receivers {
            let object = receiver.object(sop_class);
            let judgement = judge("dciodvfy", &[&object]);
            assert_eq!(errors(&judgement), Vec::<&str>::new(), "{}: {sop_class}", receiver.title);
            pairs.push((first.clone(), object));
        }
    }
    must_be_the_same(&pairs);
    for receiver in receivers {
        let report = judge("dsrdump", &[&receiver.object(REPORT)]);
        must_succeed(&report);
        assert!(report.text.contains("Imaging Measurements"), "{}", report.text);
    }
}

/// The mask and the numbers that came are those that SciPy finds in the CT by another way, those that the report's own
/// mask has there, and all that must stand in both objects does.
fn what_was_received_is_what_others_measure(receiver: &Receiver, slices: usize) {
    let (series, segmentation, report) =
        (root().join("demo/chest-ct"), receiver.object(SEGMENTATION), receiver.object(REPORT));
    must_succeed(&python("check_received.py", &[&series, &segmentation, &report]));
    let dump = judge("dsrdump", &[Path::new("+Pl"), &report]);
    let warning = format!("{slices} different frames of reference");
    assert!(dump.text.contains(&warning), "{}", dump.text);
    let [seg, sr] = [Path::new("--seg"), Path::new("--report")];
    let scipy = python("scipy_densitometry.py", &[&series, seg, &segmentation, sr, &report]);
    must_succeed(&scipy);
    // Both lungs' masks and all three rows of numbers were compared.
    let compared = |what: &str| scipy.text.matches(what).count();
    assert_eq!((compared("\"dice\""), compared("\"theirs\"")), (2, 3), "{}", scipy.text);
}
