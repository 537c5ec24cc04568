//! Other toolkits ask, over the network.

use super::archive::add_big_study;
use crate::testkit::Node;
use crate::testkit::peers::{Judgement, judge, python};

/// Runs `peer` on a thread where it may wait, with these arguments.
async fn run(peer: fn(&str, &[String]) -> Judgement, program: &'static str, arguments: &[&str]) -> Judgement {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    tokio::task::spawn_blocking(move || peer(program, &arguments)).await.unwrap()
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
    let said = run(judge, "findscu", &arguments).await.text;
    for expected in ["PN [Иванов^Пётр", "CS [CT\\SR", "IS [4", "UI [1.9.9", "Success"] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    assert_eq!(said.matches("(0010,0010)").count(), 2, "asked once and answered once: {said}");

    let arguments = ["-v", "-S", "-aec", "OVERREAD", "127.0.0.1", &port, "-k", "QueryRetrieveLevel=SERIES"];
    let wrong = run(judge, "findscu", &arguments).await;
    assert!(wrong.text.contains("Error: DataSetDoesNotMatchSOPClass"), "{}", wrong.text);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pynetdicom_finds_at_every_level() {
    let node = Node::start().await;
    add_big_study(&node.store, 700).await;
    let came = run(python, "asks_at_every_level.py", &[&node.address.port().to_string()]).await;
    let expected = "PATIENT 1 0000 Иванов^Пётр\nSTUDY 1 0000 Иванов^Пётр\nSTUDY 1 0000 Иванов^Пётр\nSERIES 2 0000 \n\
                    SERIES 1 0000 \nIMAGE 700 0000 \nIMAGE 2 0000 \nPATIENT 0 A900\n";
    assert_eq!(came.text, expected);
    node.stop().await;
}
