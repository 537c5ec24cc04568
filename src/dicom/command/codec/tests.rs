use super::*;

fn element(element: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(element.to_le_bytes());
    bytes.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    bytes.extend(value);
    bytes
}

/// A C-STORE-RQ as its elements, so that tests can spoil one.
fn store_request() -> Vec<Vec<u8>> {
    vec![
        element(0x0002, b"1.2.840.10008.5.1.4.1.1.2\0"),
        element(0x0100, &[1, 0]),
        element(0x0110, &[7, 0]),
        element(0x0700, &[0, 0]),
        element(0x0800, &[1, 0]),
        element(0x1000, b"1.2.3\0"),
    ]
}

fn refused(elements: &[Vec<u8>]) -> CommandError {
    decode(&elements.concat()).unwrap_err()
}

#[test]
fn requests_and_responses_come_back_as_they_went() {
    let sop_class = SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap();
    let store = StoreRequest {
        sop_class: sop_class.clone(),
        sop_instance: SopInstanceUid::parse("1.2.3").unwrap(),
        move_originator: Some((AeTitle::parse("MOVER").unwrap(), 9)),
    };
    let store = Request { message_id: 7, body: RequestBody::Store(store), has_data_set: true };
    let find = Request { message_id: 8, body: RequestBody::Find { sop_class }, has_data_set: true };
    let cancel = Request { message_id: 8, body: RequestBody::Cancel, has_data_set: false };
    let mut response = Response::to(&store, Status::DATA_SET_DOES_NOT_MATCH).with_comment("not the one announced");
    response.offending = vec![tags::SOP_INSTANCE_UID];
    response.sub_operations = Some(SubOperations { remaining: Some(1), completed: 2, failed: 3, warning: 4 });
    let commands = [store.into(), find.into(), cancel.into(), Command::from(response)];
    for command in commands {
        let bytes = encode(&command);
        assert_eq!(decode(&bytes), Ok(command));
        assert_eq!(usize::try_from(u32::from_le_bytes(bytes[8..12].try_into().unwrap())).unwrap(), bytes.len() - 12);
    }
}

#[test]
fn each_missing_element_is_named_and_answered_where_that_can_be() {
    let cases = [
        (0, tags::AFFECTED_SOP_CLASS_UID, true),
        (1, tags::COMMAND_FIELD, false),
        (2, tags::MESSAGE_ID, false),
        (4, tags::COMMAND_DATA_SET_TYPE, false),
        (5, tags::AFFECTED_SOP_INSTANCE_UID, true),
    ];
    for (at, tag, answered) in cases {
        let mut elements = store_request();
        elements.remove(at);
        let error = refused(&elements);
        assert_eq!(error.problem, Problem::Missing(tag));
        assert_eq!(error.answer.is_some(), answered, "{tag}");
    }
}

#[test]
fn an_element_that_is_there_twice_is_named() {
    let mut elements = store_request();
    elements.push(element(0x1000, b"1.2.4\0"));
    let error = refused(&elements);
    assert_eq!(error.problem, Problem::Duplicated(tags::AFFECTED_SOP_INSTANCE_UID));
    assert_eq!(error.answer.map(|answer| (answer.message_id, answer.has_data_set)), Some((7, true)));
}

#[test]
fn values_of_the_wrong_size_are_named() {
    let mut elements = store_request();
    elements[2] = element(0x0110, &[7, 0, 0, 0]);
    let error = refused(&elements);
    assert_eq!(error.problem, Problem::Size { tag: tags::MESSAGE_ID, length: 4 });
    assert_eq!(error.answer, None);
}

#[test]
fn an_element_longer_than_the_command_set_is_truncated() {
    let mut bytes = store_request().concat();
    bytes.extend([0, 0, 0x02, 0x09, 0xFF, 0xFF, 0xFF, 0xFF]);
    let error = decode(&bytes).unwrap_err();
    assert_eq!(error.problem, Problem::Truncated { tag: tags::ERROR_COMMENT, declared: u32::MAX, left: 0 });
    assert!(error.answer.is_some());
    assert!(matches!(decode(&[0, 0, 0]), Err(CommandError { answer: None, .. })));
}

#[test]
fn uids_that_could_leave_a_folder_are_refused_by_their_status() {
    for uid in ["../../etc/passwd", "1.2/3", "1 2", "1..2", &"1".repeat(65), &"1".repeat(66)] {
        let mut elements = store_request();
        elements[5] = element(0x1000, uid.as_bytes());
        let error = refused(&elements);
        assert!(matches!(error.problem, Problem::Uid { tag: tags::AFFECTED_SOP_INSTANCE_UID, .. }), "{uid}");
        assert_eq!(error.problem.status(), Status::INVALID_SOP_INSTANCE);
    }
}

#[test]
fn elements_of_other_groups_and_unknown_fields_are_refused() {
    let mut bytes = store_request().concat();
    bytes.extend([8, 0, 5, 0, 0, 0, 0, 0]);
    assert_eq!(decode(&bytes).unwrap_err().problem, Problem::ForeignElement(Tag(8, 5)));
    let mut elements = store_request();
    elements[1] = element(0x0100, &[0x77, 0x07]);
    let error = refused(&elements);
    assert_eq!((error.problem, error.answer), (Problem::UnknownField(0x0777), None));
}

#[test]
fn operations_that_are_not_served_can_be_declined() {
    let mut elements = store_request();
    elements[1] = element(0x0100, &[0x40, 0x01]);
    let Ok(Command::Request(request)) = decode(&elements.concat()) else { panic!() };
    assert_eq!(request.body.operation(), Operation::Create);
    assert_eq!(Response::to(&request, Status::UNRECOGNIZED_OPERATION).message_id, 7);
}
