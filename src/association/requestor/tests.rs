use super::*;

#[test]
fn addresses_are_read_and_written_the_same() {
    for text in ["PACS@127.0.0.1:4242", "PACS@pacs.example:104", "PACS@[::1]:11112"] {
        assert_eq!(text.parse::<PeerAddress>().unwrap().to_string(), text);
    }
    for text in ["PACS", "PACS@host", "@host:104", "PACS@:104", "PACS@host:0", "PACS@host:99999", "A\\B@host:104"] {
        assert!(text.parse::<PeerAddress>().is_err(), "{text}");
    }
}

#[test]
fn acceptances_of_what_was_not_proposed_are_no_acceptances() {
    use dicom_ul::pdu::PresentationContextResult;
    let syntax = |text: &str| TransferSyntaxUid::parse(text).unwrap();
    let proposal = ContextProposal {
        abstract_syntax: SopClassUid::verification(),
        transfer_syntaxes: vec![syntax("1.2.840.10008.1.2.1")],
    };
    let result = |id, reason, uid: &str| PresentationContextResult { id, reason, transfer_syntax: uid.to_owned() };
    let answer = AssociationAC {
        protocol_version: 1,
        calling_ae_title: String::new(),
        called_ae_title: String::new(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: vec![
            result(1, Answer::Acceptance, "1.2.840.10008.1.2.1\0"),
            result(3, Answer::Acceptance, "1.2.840.10008.1.2"),
            result(5, Answer::UserRejection, ""),
        ],
        user_variables: Vec::new(),
    };
    let proposed = [(1, &proposal), (3, &proposal), (5, &proposal), (7, &proposal)];
    let (accepted, refused) = read_contexts(&answer, &proposed);
    assert_eq!(accepted.iter().map(|context| context.id()).collect::<Vec<_>>(), [1]);
    let refusals: Vec<ContextRefusal> = refused.into_iter().map(|(_, refusal)| refusal).collect();
    assert_eq!(refusals, [ContextRefusal::NoReason, ContextRefusal::User, ContextRefusal::NoReason]);
}
