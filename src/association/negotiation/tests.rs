use dicom_ul::pdu::{PresentationContextProposed, UserIdentity, UserIdentityType};

use super::*;

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";

fn proposed(id: u8, abstract_syntax: &str, syntaxes: &[&str]) -> PresentationContextProposed {
    PresentationContextProposed {
        id,
        abstract_syntax: abstract_syntax.to_owned(),
        transfer_syntaxes: syntaxes.iter().map(|s| (*s).to_owned()).collect(),
    }
}

fn rq(contexts: Vec<PresentationContextProposed>) -> AssociationRQ {
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "MODALITY".to_owned(),
        called_ae_title: "OVERREAD".to_owned(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: contexts,
        user_variables: vec![UserVariableItem::MaxLength(16_384)],
    }
}

fn policy() -> AcceptorPolicy {
    let title = |text| AeTitle::parse(text).unwrap();
    let peer = |name, host: &str, may| KnownPeer { ae_title: title(name), host: host.to_owned(), may };
    AcceptorPolicy {
        ae_title: title("OVERREAD"),
        peers: vec![
            peer("MODALITY", "10.0.0.1", Permissions { echo: true, store: true, find: false }),
            peer("NAMED", "ct.example", Permissions::ALL),
        ],
        any_peer: false,
        max_pdu: 65_536,
    }
}

fn from(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 50_000)
}

fn decided(pdu: &AssociationRQ, policy: &AcceptorPolicy, address: &str) -> Decision {
    let hosts = HostAddresses::from([("ct.example".to_owned(), vec!["10.0.0.9".parse().unwrap()])]);
    match AssociationRequest::read(pdu, from(address)).unwrap() {
        Ok(request) => decide(&request, policy, &hosts),
        Err(rejection) => Decision::Reject(rejection),
    }
}

fn rejection(pdu: &AssociationRQ, policy: &AcceptorPolicy, address: &str) -> Option<RejectionReason> {
    match decided(pdu, policy, address) {
        Decision::Reject(rejection) => Some(rejection.reason),
        Decision::Accept { .. } => None,
    }
}

fn ct() -> Vec<PresentationContextProposed> {
    vec![proposed(1, CT, &[EXPLICIT])]
}

#[test]
fn callers_are_known_by_title_and_address() {
    let policy = policy();
    assert_eq!(rejection(&rq(ct()), &policy, "10.0.0.1"), None);
    assert_eq!(rejection(&rq(ct()), &policy, "::ffff:10.0.0.1"), None);
    assert_eq!(rejection(&rq(ct()), &policy, "10.0.0.2"), Some(RejectionReason::CallingAeTitle));
    let named = AssociationRQ { calling_ae_title: "NAMED\0\0".to_owned(), ..rq(ct()) };
    assert_eq!(rejection(&named, &policy, "10.0.0.9"), None);
    assert_eq!(rejection(&named, &policy, "10.0.0.1"), Some(RejectionReason::CallingAeTitle));
    let stranger = AssociationRQ { calling_ae_title: "STRANGER".to_owned(), ..rq(ct()) };
    assert_eq!(rejection(&stranger, &policy, "10.0.0.1"), Some(RejectionReason::CallingAeTitle));
    let named = AssociationRequest::read(&named, from("10.0.0.9")).unwrap().unwrap();
    let Decision::Reject(for_now) = decide(&named, &policy, &HostAddresses::new()) else { panic!("accepted") };
    assert_eq!(for_now, Rejection::CONGESTION, "the name could not be looked up");
    let open = AcceptorPolicy { any_peer: true, ..policy };
    assert_eq!(rejection(&stranger, &open, "10.9.9.9"), None);
}

#[test]
fn each_wrong_part_of_a_request_has_its_own_reason() {
    let policy = policy();
    let base = || rq(ct());
    let cases = [
        (AssociationRQ { called_ae_title: "OTHER".to_owned(), ..base() }, RejectionReason::CalledAeTitle),
        (AssociationRQ { called_ae_title: String::new(), ..base() }, RejectionReason::CalledAeTitle),
        (AssociationRQ { calling_ae_title: "A\u{7}B".to_owned(), ..base() }, RejectionReason::CallingAeTitle),
        (
            AssociationRQ { application_context_name: "1.2.3".to_owned(), ..base() },
            RejectionReason::ApplicationContextName,
        ),
        (AssociationRQ { protocol_version: 2, ..base() }, RejectionReason::ProtocolVersion),
        (AssociationRQ { presentation_contexts: Vec::new(), ..base() }, RejectionReason::NoReason),
        (AssociationRQ { user_variables: vec![UserVariableItem::MaxLength(7)], ..base() }, RejectionReason::NoReason),
    ];
    for (pdu, reason) in cases {
        assert_eq!(rejection(&pdu, &policy, "10.0.0.1"), Some(reason));
    }
    let later_version = AssociationRQ { protocol_version: 3, ..base() };
    assert_eq!(rejection(&later_version, &policy, "10.0.0.1"), None);
}

#[test]
fn context_ids_are_odd_and_unique() {
    for ids in [[0, 1], [1, 2], [5, 5]] {
        let contexts = ids.iter().map(|id| proposed(*id, CT, &[EXPLICIT])).collect();
        assert!(matches!(AssociationRequest::read(&rq(contexts), from("10.0.0.1")), Err(Violation::ContextId(_))));
    }
    let all = (1..=255).step_by(2).map(|id| proposed(id, CT, &[EXPLICIT])).collect();
    let Decision::Accept { contexts, .. } = decided(&rq(all), &policy(), "10.0.0.1") else { panic!() };
    assert_eq!(contexts.len(), 128);
}

#[test]
fn each_context_is_answered_by_its_own_reason() {
    let find = "1.2.840.10008.5.1.4.1.2.2.1";
    let contexts = vec![
        proposed(1, CT, &[IMPLICIT_LE, EXPLICIT]),
        proposed(3, "1.2.3.4", &[EXPLICIT]),
        proposed(5, CT, &["1.2.3.4"]),
        proposed(7, find, &[EXPLICIT]),
        proposed(9, "not a uid", &[EXPLICIT]),
        proposed(11, CT, &[]),
    ];
    let Decision::Accept { contexts, answer } = decided(&rq(contexts), &policy(), "10.0.0.1") else { panic!() };
    let results: Vec<(u8, Answer)> = answer.presentation_contexts.into_iter().map(|r| (r.id, r.reason)).collect();
    let expected = [
        (1, Answer::Acceptance),
        (3, Answer::AbstractSyntaxNotSupported),
        (5, Answer::TransferSyntaxesNotSupported),
        (7, Answer::UserRejection),
        (9, Answer::AbstractSyntaxNotSupported),
        (11, Answer::TransferSyntaxesNotSupported),
    ];
    assert_eq!(results, expected);
    assert_eq!((contexts.len(), contexts[0].transfer_syntax().as_str()), (1, EXPLICIT));
}

#[test]
fn roles_are_answered_where_they_were_asked_and_we_stay_the_scp() {
    let mut pdu = rq(ct());
    let both = PduRoles { scu: true, scp: true };
    pdu.user_variables.push(UserVariableItem::ScuScpRoleSelectionSubItem(CT.to_owned(), both));
    pdu.user_variables.push(UserVariableItem::ScuScpRoleSelectionSubItem("1.2.3".to_owned(), both));
    let identity = UserIdentity::new(true, UserIdentityType::Username, b"who".to_vec(), Vec::new());
    pdu.user_variables.push(UserVariableItem::UserIdentityItem(identity));
    let Decision::Accept { contexts, answer } = decided(&pdu, &policy(), "10.0.0.1") else { panic!() };
    assert_eq!(contexts[0].roles(), Roles { scu: true, scp: false });
    let agreed = PduRoles { scu: true, scp: false };
    let expected = [
        UserVariableItem::MaxLength(65_536),
        UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
        UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
        UserVariableItem::ScuScpRoleSelectionSubItem(CT.to_owned(), agreed),
    ];
    assert_eq!(answer.user_variables, expected);
}
