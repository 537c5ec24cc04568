//! C-FIND answers what PS3.4 annex C says: checked against a plain search through everything, over random identifiers.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod archive;
mod hostile;
mod oracle;
mod peers;

use std::collections::BTreeSet;

use overread::dicom::data_set::DataSet;
use overread::dicom::encode::Layout;
use overread::dicom::status::Status;
use overread::dicom::transfer_syntax::Encoding;
use overread::dicom::{Tag, VR, parse, tags};
use overread::scp::find::{Ended, FindRequest, Model, PendingResponses, find};
use overread::store::Store;

use archive::{Archive, Random};

/// Takes the responses that a peer would get; sends C-CANCEL after so many, where told.
#[derive(Default)]
struct Peer {
    responses: Vec<(Status, DataSet)>,
    cancel_after: Option<usize>,
}

impl PendingResponses for Peer {
    type Error = std::convert::Infallible;

    async fn push(&mut self, status: Status, identifier: &[u8]) -> Result<(), Self::Error> {
        let identifier = bytes::Bytes::copy_from_slice(identifier);
        self.responses.push((status, parse::parse(&identifier, Encoding::ImplicitLe).unwrap()));
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn is_cancelled(&mut self) -> Result<bool, Self::Error> {
        Ok(self.cancel_after.is_some_and(|after| self.responses.len() >= after))
    }

    async fn cancelled(&mut self) -> Result<(), Self::Error> {
        if self.is_cancelled().await? { Ok(()) } else { std::future::pending().await }
    }
}

impl Peer {
    async fn ask(&mut self, store: &Store, model: Model, identifier: &DataSet) -> Ended {
        let request = FindRequest { model, identifier, layout: Layout::ImplicitLe };
        let ended = find(store, request, self).await.unwrap();
        assert_eq!(ended.matches, self.responses.len());
        ended
    }
}

fn identifier(level: &str, keys: &[(Tag, VR, &str)]) -> DataSet {
    let mut identifier = DataSet::new();
    identifier.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
    identifier.put_text(tags::QUERY_RETRIEVE_LEVEL, VR::CS, level);
    for (tag, vr, value) in keys {
        identifier.put_text(*tag, *vr, value);
    }
    identifier
}

async fn found(store: &Store, identifier: &DataSet) -> (Ended, Vec<(Status, DataSet)>) {
    let mut peer = Peer::default();
    let ended = peer.ask(store, Model::StudyRoot, identifier).await;
    (ended, peer.responses)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_identifiers_find_what_a_plain_search_finds() {
    let archive = Archive::with_studies(150).await;
    let mut random = Random(0x5EED);
    let mut hits = 0;
    for round in 0..1500 {
        let asked = oracle::question(&archive, &mut random);
        let expected = asked.expected(&archive);
        let mut peer = Peer::default();
        let ended = peer.ask(&archive.store, asked.model, &asked.identifier()).await;
        assert_eq!(ended.status, Status::SUCCESS, "round {round}: {asked:?} {ended:?}");
        let unique = asked.unique_key();
        let got: Vec<String> = peer.responses.iter().map(|(_, ds)| ds.text(unique).unwrap_or_default()).collect();
        let set: BTreeSet<&str> = got.iter().map(String::as_str).collect();
        assert_eq!(set.len(), got.len(), "round {round}: something came twice");
        let wanted: BTreeSet<&str> = expected.iter().map(|row| row.text(unique)).collect();
        assert_eq!(set, wanted, "round {round}: {asked:?}");
        for (_, response) in &peer.responses {
            let key = response.text(unique).unwrap_or_default();
            let row = expected.iter().find(|row| row.text(unique) == key).unwrap();
            asked.check(row, response);
        }
        hits += got.len();
    }
    assert!(hits > 5_000, "only {hits} matches: the questions ask for nothing");
}

#[tokio::test]
async fn everything_comes_once_though_it_takes_several_pages() {
    let archive = Archive::with_studies(40).await;
    archive.add_instances(1200).await;
    let keys = [
        (tags::STUDY_INSTANCE_UID, VR::UI, archive::BIG_STUDY),
        (tags::SERIES_INSTANCE_UID, VR::UI, archive::BIG_SERIES),
        (tags::SOP_INSTANCE_UID, VR::UI, ""),
    ];
    let (ended, responses) = found(&archive.store, &identifier("IMAGE", &keys)).await;
    assert_eq!((ended.status, responses.len()), (Status::SUCCESS, 1200));
    let uids: BTreeSet<_> = responses.iter().map(|(_, ds)| ds.text(tags::SOP_INSTANCE_UID)).collect();
    assert_eq!(uids.len(), 1200);

    let mut peer = Peer { cancel_after: Some(1), ..Peer::default() };
    let ended = peer.ask(&archive.store, Model::StudyRoot, &identifier("IMAGE", &keys)).await;
    assert_eq!(ended.status, Status::CANCEL);
    assert!(peer.responses.len() < 1200, "{}", peer.responses.len());
}

#[tokio::test]
async fn computed_keys_count_and_list_what_is_there() {
    let archive = Archive::with_studies(1).await;
    archive.add_instances(7).await;
    let asked = identifier(
        "STUDY",
        &[
            (tags::STUDY_INSTANCE_UID, VR::UI, archive::BIG_STUDY),
            (tags::MODALITIES_IN_STUDY, VR::CS, "SR"),
            (tags::SOP_CLASSES_IN_STUDY, VR::UI, ""),
            (tags::NUMBER_OF_STUDY_RELATED_SERIES, VR::IS, ""),
            (tags::NUMBER_OF_STUDY_RELATED_INSTANCES, VR::IS, ""),
            (tags::NUMBER_OF_PATIENT_RELATED_STUDIES, VR::IS, ""),
            (tags::NUMBER_OF_PATIENT_RELATED_SERIES, VR::IS, ""),
            (tags::NUMBER_OF_PATIENT_RELATED_INSTANCES, VR::IS, ""),
            (tags::INSTANCE_AVAILABILITY, VR::CS, ""),
        ],
    );
    let (_, responses) = found(&archive.store, &asked).await;
    let [(status, study)] = responses.as_slice() else { unreachable!("one study: {responses:?}") };
    assert_eq!(*status, Status::PENDING);
    let classes = ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.34"];
    assert_eq!(study.texts(tags::MODALITIES_IN_STUDY), ["CT", "SR"]);
    assert_eq!(study.texts(tags::SOP_CLASSES_IN_STUDY), classes);
    let counts = [
        (tags::NUMBER_OF_STUDY_RELATED_SERIES, 2),
        (tags::NUMBER_OF_STUDY_RELATED_INSTANCES, 8),
        (tags::NUMBER_OF_PATIENT_RELATED_STUDIES, 1),
        (tags::NUMBER_OF_PATIENT_RELATED_SERIES, 2),
        (tags::NUMBER_OF_PATIENT_RELATED_INSTANCES, 8),
    ];
    for (tag, count) in counts {
        assert_eq!(study.integer(tag), Some(count), "{tag}");
    }
    assert_eq!(study.text(tags::INSTANCE_AVAILABILITY).as_deref(), Some("UNAVAILABLE"));
    assert!(study.contains(tags::RETRIEVE_AE_TITLE) && study.text(tags::RETRIEVE_AE_TITLE).is_none());
}

#[tokio::test]
async fn sequence_keys_match_and_come_back_and_unknown_keys_are_empty() {
    let archive = Archive::with_studies(1).await;
    archive.add_instances(1).await;
    let mut item = DataSet::new();
    item.put_text(tags::SCHEDULED_PROCEDURE_STEP_ID, VR::SH, "STEP*");
    item.put_text(tags::REQUESTED_PROCEDURE_ID, VR::SH, "");
    let mut asked = identifier("SERIES", &[(tags::STUDY_INSTANCE_UID, VR::UI, archive::BIG_STUDY)]);
    asked.put_items(tags::REQUEST_ATTRIBUTES_SEQUENCE, vec![item]);
    let (_, responses) = found(&archive.store, &asked).await;
    let [(status, series)] = responses.as_slice() else { unreachable!("one series: {responses:?}") };
    assert_eq!(*status, Status::PENDING);
    let back = &series.items(tags::REQUEST_ATTRIBUTES_SEQUENCE)[0];
    assert_eq!(back.text(tags::SCHEDULED_PROCEDURE_STEP_ID).as_deref(), Some("STEP7"));
    assert_eq!(back.text(tags::REQUESTED_PROCEDURE_ID).as_deref(), Some("PROC7"));

    // Asked for without an item, all that is known of it comes back; a series without a request has no item.
    asked.put_items(tags::REQUEST_ATTRIBUTES_SEQUENCE, Vec::new());
    asked.put_text(tags::PATIENT_COMMENTS, VR::LT, "ignored: it is not in the index");
    asked.put_items(tags::PROCEDURE_CODE_SEQUENCE, Vec::new());
    let (_, responses) = found(&archive.store, &asked).await;
    let items: Vec<usize> = responses.iter().map(|(_, ds)| ds.items(tags::REQUEST_ATTRIBUTES_SEQUENCE).len()).collect();
    assert_eq!(items.iter().sum::<usize>(), 1, "{items:?}");
    assert_eq!(items.len(), 2);
    for (status, series) in &responses {
        assert_eq!(*status, Status::PENDING_KEYS_UNSUPPORTED);
        assert!(series.contains(tags::PATIENT_COMMENTS) && series.contains(tags::PROCEDURE_CODE_SEQUENCE));
        assert_eq!(series.text(tags::PATIENT_COMMENTS), None);
    }
}

#[tokio::test]
async fn answers_are_in_the_character_set_of_the_request_where_it_can_hold_them() {
    let archive = Archive::with_studies(1).await;
    archive.add_instances(1).await;
    for (asked_in, answered_in) in [
        ("ISO_IR 144", "ISO_IR 144"),
        ("ISO_IR 192", "ISO_IR 192"),
        ("\\ISO 2022 IR 144", "\\ISO 2022 IR 144"),
        ("ISO_IR 100", "ISO_IR 192"),
        ("", "ISO_IR 192"),
    ] {
        let mut asked = DataSet::new();
        asked.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, asked_in);
        asked.put_text(tags::QUERY_RETRIEVE_LEVEL, VR::CS, "STUDY");
        let name = if asked.character_set().can_encode("ИВАНОВ^*") { "ИВАНОВ^*" } else { "" };
        asked.put_text(tags::PATIENT_NAME, VR::PN, name);
        asked.put_uid(tags::STUDY_INSTANCE_UID, archive::BIG_STUDY);
        let (_, responses) = found(&archive.store, &asked).await;
        let [(_, study)] = responses.as_slice() else { unreachable!("{asked_in}: {responses:?}") };
        assert_eq!(study.character_set().terms().join("\\"), answered_in);
        assert_eq!(study.text(tags::PATIENT_NAME).as_deref(), Some("Иванов^Пётр"), "{asked_in}");
    }
}

#[tokio::test]
async fn identifiers_that_do_not_fit_the_sop_class_are_refused_with_the_element_at_fault() {
    let archive = Archive::with_studies(1).await;
    let study = (tags::STUDY_INSTANCE_UID, VR::UI, "1.2");
    let cases = [
        (Model::StudyRoot, identifier("PATIENT", &[]), tags::QUERY_RETRIEVE_LEVEL),
        (Model::PatientStudyOnly, identifier("SERIES", &[]), tags::QUERY_RETRIEVE_LEVEL),
        (Model::StudyRoot, identifier("WORKLIST", &[]), tags::QUERY_RETRIEVE_LEVEL),
        (Model::StudyRoot, identifier("", &[]), tags::QUERY_RETRIEVE_LEVEL),
        (Model::StudyRoot, identifier("SERIES", &[]), tags::STUDY_INSTANCE_UID),
        (
            Model::StudyRoot,
            identifier("SERIES", &[(tags::STUDY_INSTANCE_UID, VR::UI, "1.2\\1.3")]),
            tags::STUDY_INSTANCE_UID,
        ),
        (Model::StudyRoot, identifier("IMAGE", &[study]), tags::SERIES_INSTANCE_UID),
        (Model::PatientRoot, identifier("STUDY", &[]), tags::PATIENT_ID),
        (Model::PatientRoot, identifier("STUDY", &[(tags::PATIENT_ID, VR::LO, "P*")]), tags::PATIENT_ID),
        (Model::StudyRoot, identifier("STUDY", &[(tags::STUDY_DATE, VR::DA, "2024-01-01")]), tags::STUDY_DATE),
        (Model::StudyRoot, identifier("STUDY", &[(tags::STUDY_TIME, VR::TM, "noon")]), tags::STUDY_TIME),
        (Model::StudyRoot, identifier("STUDY", &[(tags::STUDY_INSTANCE_UID, VR::UI, "x")]), tags::STUDY_INSTANCE_UID),
    ];
    for (model, asked, at_fault) in cases {
        let mut peer = Peer::default();
        let ended = peer.ask(&archive.store, model, &asked).await;
        assert_eq!(ended.status, Status::DATA_SET_DOES_NOT_MATCH, "{asked:?}");
        assert_eq!(ended.offending, Some(at_fault));
        let comment = ended.comment.unwrap();
        assert!(!comment.is_empty() && comment.chars().count() <= 64, "{comment}");
    }
}

#[tokio::test]
async fn an_identifier_of_more_attributes_than_any_query_has_is_refused() {
    let archive = Archive::with_studies(1).await;
    let private = |mut to: DataSet, count: u16| {
        (0..count).for_each(|number| to.put_text(Tag(0x0011, 0x1000 + number), VR::LO, ""));
        to
    };
    let around = |items| {
        let mut around = DataSet::new();
        around.put_items(tags::REQUEST_ATTRIBUTES_SEQUENCE, items);
        around
    };
    let asked = || identifier("STUDY", &[(tags::STUDY_INSTANCE_UID, VR::UI, "")]);
    let with_item = |item| {
        let mut asked = asked();
        asked.put_items(tags::PROCEDURE_CODE_SEQUENCE, vec![item]);
        asked
    };
    // Beside the character set, the level and the unique key.
    let most = 1024 - 3;
    for asked in [private(asked(), most), with_item(private(DataSet::new(), most - 1))] {
        assert_eq!(found(&archive.store, &asked).await.0.status, Status::SUCCESS);
    }
    let nested = with_item(around(vec![private(DataSet::new(), most - 1)]));
    for asked in [private(asked(), most + 1), private(asked(), 50_000), nested] {
        let (ended, answers) = found(&archive.store, &asked).await;
        assert_eq!((ended.status, answers.len()), (Status::DATA_SET_DOES_NOT_MATCH, 0));
        let comment = ended.comment.unwrap();
        assert!(comment.contains("1024 attributes") && comment.chars().count() <= 64, "{comment}");
    }
}
