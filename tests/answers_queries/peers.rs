//! Other toolkits ask, over the network.

use std::path::Path;
use std::process::{Command, Output};

use super::archive::add_big_study;
use crate::testkit::Node;

async fn run(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    output.unwrap_or_else(|error| unreachable!("{}: {error}; the tests need DCMTK and pynetdicom", program.display()))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findscu_of_dcmtk_finds_a_study_by_its_name_in_cyrillic() {
    let node = Node::start().await;
    add_big_study(&node.store, 3).await;
    let port = node.address.port().to_string();
    let keys = ["QueryRetrieveLevel=STUDY", "SpecificCharacterSet=ISO_IR 192", "PatientName=ИВАН*^?ётр"];
    let mut arguments = vec!["-v", "-S", "-aec", "OVERREAD", "127.0.0.1", &port];
    arguments.extend(keys.iter().flat_map(|key| ["-k", key]));
    arguments.extend(["-k", "ModalitiesInStudy", "-k", "NumberOfStudyRelatedInstances", "-k", "StudyInstanceUID"]);
    let output = run(Path::new("findscu"), &arguments).await;
    let said = text(&output);
    for expected in ["PN [Иванов^Пётр]", "CS [CT\\SR]", "IS [4", "UI [1.9.9", "Success"] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    assert_eq!(said.matches("(0010,0010)").count(), 2, "asked once and answered once: {said}");

    let wrong = run(
        Path::new("findscu"),
        &["-v", "-S", "-aec", "OVERREAD", "127.0.0.1", &port, "-k", "QueryRetrieveLevel=SERIES"],
    )
    .await;
    assert!(text(&wrong).contains("Failed: IdentifierDoesNotMatchSOPClass"), "{}", text(&wrong));
    node.stop().await;
}

/// Asks at every level of both models and says what came, one line each.
const PYNETDICOM: &str = r#"
import sys
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import (PatientRootQueryRetrieveInformationModelFind as PATIENT,
                                  StudyRootQueryRetrieveInformationModelFind as STUDY)

ae = AE()
ae.add_requested_context(PATIENT)
ae.add_requested_context(STUDY)
assoc = ae.associate("127.0.0.1", int(sys.argv[1]), ae_title="OVERREAD")

def ask(model, level, **keys):
    identifier = Dataset()
    identifier.SpecificCharacterSet = "ISO_IR 144"
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    answers = list(assoc.send_c_find(identifier, model))
    names = {str(found.get("PatientName", "")) for _, found in answers[:-1]}
    print(level, len(answers) - 1, f"{answers[-1][0].Status:04X}", *sorted(names))

study = dict(StudyInstanceUID="1.9.9")
ask(PATIENT, "PATIENT", PatientName="иванов*", PatientID="")
ask(PATIENT, "STUDY", PatientID="BIG", PatientName="", StudyInstanceUID="")
ask(STUDY, "STUDY", PatientName="", **study)
ask(STUDY, "SERIES", Modality="", SeriesInstanceUID="", **study)
ask(STUDY, "SERIES", Modality="SR", SeriesInstanceUID="", **study)
ask(STUDY, "IMAGE", SeriesInstanceUID="1.9.9.1", SOPInstanceUID="", **study)
ask(STUDY, "IMAGE", SeriesInstanceUID="1.9.9.1", SOPInstanceUID=["1.9.9.3.1", "1.9.9.3.2", "1.2"], **study)
ask(STUDY, "PATIENT", PatientID="")
assoc.release()
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pynetdicom_finds_at_every_level() {
    let node = Node::start().await;
    add_big_study(&node.store, 700).await;
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/venv/bin/python3");
    let output = run(&python, &["-c", PYNETDICOM, &node.address.port().to_string()]).await;
    let expected = "PATIENT 1 0000 Иванов^Пётр\nSTUDY 1 0000 Иванов^Пётр\nSTUDY 1 0000 Иванов^Пётр\nSERIES 2 0000 \n\
                    SERIES 1 0000 \nIMAGE 700 0000 \nIMAGE 2 0000 \nPATIENT 0 A900\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", text(&output));
    node.stop().await;
}
