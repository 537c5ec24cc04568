//! PDUs and command sets by hand (PS3.8 section 9.3, PS3.7 annex E): independent of what is under test.

pub(crate) const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
pub(crate) const VERIFICATION: &str = "1.2.840.10008.1.1";
pub(crate) const STUDY_ROOT: &str = "1.2.840.10008.5.1.4.1.2.2.1";
pub(crate) const IMPLICIT_LE: &str = "1.2.840.10008.1.2";
pub(crate) const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
pub(crate) const A_RELEASE_RQ: [u8; 10] = [5, 0, 0, 0, 0, 4, 0, 0, 0, 0];
pub(crate) const A_RELEASE_RP: [u8; 10] = [6, 0, 0, 0, 0, 4, 0, 0, 0, 0];
pub(crate) const A_ABORT: [u8; 10] = [7, 0, 0, 0, 0, 4, 0, 0, 0, 0];

pub(crate) fn pdu(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0];
    bytes.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend(content);
    bytes
}

fn item(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0];
    bytes.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend(content);
    bytes
}

pub(crate) fn associate_rq(calling: &str, called: &str, contexts: &[(u8, &str, &[&str])]) -> Vec<u8> {
    let mut content = vec![0, 1, 0, 0];
    content.extend(format!("{called:<16}{calling:<16}").bytes());
    content.extend([0; 32]);
    content.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    for (id, abstract_syntax, transfer_syntaxes) in contexts {
        let mut context = vec![*id, 0, 0, 0];
        context.extend(item(0x30, abstract_syntax.as_bytes()));
        for uid in *transfer_syntaxes {
            context.extend(item(0x40, uid.as_bytes()));
        }
        content.extend(item(0x20, &context));
    }
    let mut user = item(0x51, &16_384_u32.to_be_bytes());
    user.extend(item(0x52, b"1.2.3.4"));
    content.extend(item(0x50, &user));
    pdu(0x01, &content)
}

/// The A-ASSOCIATE-AC to a request: for each context its id, the result (PS3.8 table 9-18) and a transfer syntax.
pub(crate) fn associate_ac(request: &[u8], contexts: &[(u8, u8, String)]) -> Vec<u8> {
    let mut content = vec![0, 1, 0, 0];
    content.extend(&request[10..74]);
    content.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    for (id, result, transfer_syntax) in contexts {
        let mut context = vec![*id, 0, *result, 0];
        context.extend(item(0x40, transfer_syntax.as_bytes()));
        content.extend(item(0x21, &context));
    }
    let mut user = item(0x51, &16_384_u32.to_be_bytes());
    user.extend(item(0x52, b"1.2.3.4"));
    content.extend(item(0x50, &user));
    pdu(0x02, &content)
}

/// A P-DATA-TF of presentation data values: context, message control header, bytes.
pub(crate) fn p_data(values: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let mut content = Vec::new();
    for (context, control, bytes) in values {
        content.extend(u32::try_from(bytes.len() + 2).unwrap().to_be_bytes());
        content.extend([*context, *control]);
        content.extend(*bytes);
    }
    pdu(0x04, &content)
}

/// Control headers.
pub(crate) const COMMAND: u8 = 1;
pub(crate) const LAST_COMMAND: u8 = 3;
pub(crate) const DATA: u8 = 0;
pub(crate) const LAST_DATA: u8 = 2;

pub(crate) fn element(element: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(element.to_le_bytes());
    bytes.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    bytes.extend(value);
    bytes
}

pub(crate) fn uid(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}

/// C-ECHO-RQ.
pub(crate) fn echo(message_id: u16) -> Vec<u8> {
    [
        element(0x0002, &uid(VERIFICATION)),
        element(0x0100, &[0x30, 0]),
        element(0x0110, &message_id.to_le_bytes()),
        element(0x0800, &[1, 1]),
    ]
    .concat()
}

/// C-STORE-RQ of a CT.
pub(crate) fn store(message_id: u16, sop_instance: &str) -> Vec<u8> {
    [
        element(0x0002, &uid(CT)),
        element(0x0100, &[1, 0]),
        element(0x0110, &message_id.to_le_bytes()),
        element(0x0700, &[0, 0]),
        element(0x0800, &[1, 0]),
        element(0x1000, &uid(sop_instance)),
    ]
    .concat()
}

/// C-FIND-RQ of the Study Root model.
pub(crate) fn find(message_id: u16) -> Vec<u8> {
    [
        element(0x0002, &uid(STUDY_ROOT)),
        element(0x0100, &[0x20, 0]),
        element(0x0110, &message_id.to_le_bytes()),
        element(0x0700, &[0, 0]),
        element(0x0800, &[1, 0]),
    ]
    .concat()
}

/// A response as the peer hears it.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) context: u8,
    elements: Vec<(u16, Vec<u8>)>,
}

impl Heard {
    pub(crate) fn read(pdu: &[u8]) -> Self {
        assert_eq!(pdu[11] & 3, 3, "a whole command set");
        Self::of_command(pdu[10], &pdu[12..])
    }

    /// A command set that was put together before.
    pub(crate) fn of_command(context: u8, command: &[u8]) -> Self {
        let mut rest = command;
        let mut elements = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
            elements.push((u16::from_le_bytes([rest[2], rest[3]]), rest[8..8 + length].to_vec()));
            rest = &rest[8 + length..];
        }
        Self { context, elements }
    }

    fn value(&self, element: u16) -> &[u8] {
        self.elements.iter().find(|(e, _)| *e == element).map_or(&[], |(_, value)| value)
    }

    fn number(&self, element: u16) -> u16 {
        u16::from_le_bytes(self.value(element).try_into().unwrap())
    }

    pub(crate) fn field(&self) -> u16 {
        self.number(0x0100)
    }

    pub(crate) fn message_id(&self) -> u16 {
        self.number(0x0120)
    }

    /// Message ID (0000,0110) of a request.
    pub(crate) fn own_message_id(&self) -> u16 {
        self.number(0x0110)
    }

    /// Whether a data set follows (0000,0800).
    pub(crate) fn announces_data_set(&self) -> bool {
        self.number(0x0800) != 0x0101
    }

    /// A UID or another text.
    pub(crate) fn text(&self, element: u16) -> String {
        String::from_utf8_lossy(self.value(element)).trim_end_matches(['\0', ' ']).to_owned()
    }

    pub(crate) fn status(&self) -> u16 {
        self.number(0x0900)
    }

    /// Offending Element as group and element.
    pub(crate) fn offending(&self) -> Vec<(u16, u16)> {
        let pairs = self.value(0x0901).chunks_exact(4);
        pairs.map(|c| (u16::from_le_bytes([c[0], c[1]]), u16::from_le_bytes([c[2], c[3]]))).collect()
    }

    pub(crate) fn comment(&self) -> String {
        String::from_utf8_lossy(self.value(0x0902)).trim_end().to_owned()
    }
}
