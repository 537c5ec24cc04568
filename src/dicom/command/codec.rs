//! Command sets from and to bytes.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::{
    Answerable, Command, MAX_COMMAND_LENGTH, Operation, RESPONSE, Request, RequestBody, Response, StoreRequest,
    SubOperations,
};
use crate::dicom::ae::AeTitle;
use crate::dicom::status::Status;
use crate::dicom::uid::{SopClassUid, SopInstanceUid, UidError};

/// Why a command set cannot be obeyed. The peer must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the command set is refused: {problem}")]
pub struct CommandError {
    /// What is wrong.
    pub problem: Problem,
    /// How to answer; nothing where not even that could be read, and only an abort is left.
    pub answer: Option<Answerable>,
}

/// What is wrong with a command set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bytes end inside an element.
    #[error("{tag} declares {declared} bytes and {left} are left")]
    Truncated {
        /// The element; (0000,0000) where not even that could be read.
        tag: Tag,
        /// The declared length.
        declared: u32,
        /// What is there.
        left: usize,
    },
    /// Longer than [`MAX_COMMAND_LENGTH`].
    #[error("it has {0} bytes, {MAX_COMMAND_LENGTH} are allowed")]
    TooLong(usize),
    /// An element of another group.
    #[error("{0} does not belong in a command set")]
    ForeignElement(Tag),
    /// An element stands there twice.
    #[error("{0} is there twice")]
    Duplicated(Tag),
    /// An element that the operation must have is not there, or empty.
    #[error("{0} is missing")]
    Missing(Tag),
    /// A value of the wrong size.
    #[error("{tag} has {length} bytes")]
    Size {
        /// Which.
        tag: Tag,
        /// Its length.
        length: usize,
    },
    /// A UID that is none.
    #[error("{tag} is no UID: {reason}")]
    Uid {
        /// Which.
        tag: Tag,
        /// Why.
        reason: UidError,
    },
    /// An AE title that is none.
    #[error("{0} is no AE title")]
    AeTitle(Tag),
    /// A Command Field that no service has.
    #[error("{0:04X}H is no Command Field")]
    UnknownField(u16),
}

impl Problem {
    /// The element at fault.
    #[must_use]
    pub fn element(&self) -> Option<Tag> {
        match self {
            Self::Truncated { tag, .. } | Self::Size { tag, .. } | Self::Uid { tag, .. } => Some(*tag),
            Self::ForeignElement(tag) | Self::Duplicated(tag) | Self::Missing(tag) | Self::AeTitle(tag) => Some(*tag),
            Self::TooLong(_) => None,
            Self::UnknownField(_) => Some(tags::COMMAND_FIELD),
        }
    }

    /// The status that answers it (PS3.7 annex C.5).
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Missing(_) => Status::MISSING_ATTRIBUTE,
            Self::Uid { tag: tags::AFFECTED_SOP_INSTANCE_UID, .. } => Status::INVALID_SOP_INSTANCE,
            Self::UnknownField(_) => Status::UNRECOGNIZED_OPERATION,
            _ => Status::INVALID_ATTRIBUTE_VALUE,
        }
    }
}

/// Command Data Set Type (0000,0800) of a message without a data set; anything else announces one.
const NO_DATA_SET: u16 = 0x0101;
/// Priority MEDIUM.
const PRIORITY: u16 = 0x0000;

pub(super) fn decode(bytes: &[u8]) -> Result<Command, CommandError> {
    let (elements, structure) = Elements::split(bytes);
    let answer = elements.answerable();
    let fault = |problem| CommandError { problem, answer: answer.clone() };
    if let Some(problem) = structure {
        return Err(fault(problem));
    }
    let field = elements.us(tags::COMMAND_FIELD).map_err(fault)?;
    let data_set_type = elements.us(tags::COMMAND_DATA_SET_TYPE).map_err(fault)?;
    let operation = Operation::of(field).ok_or_else(|| fault(Problem::UnknownField(field)))?;
    let has_data_set = data_set_type != NO_DATA_SET;
    if field & RESPONSE != 0 && operation != Operation::Cancel {
        return elements.response(operation, has_data_set).map(Command::Response).map_err(fault);
    }
    elements.request(operation, has_data_set).map(Command::Request).map_err(fault)
}

/// The elements of a command set, values not yet looked at.
struct Elements<'a>(Vec<(Tag, &'a [u8])>);

impl<'a> Elements<'a> {
    /// Cuts the bytes into elements, as far as that goes, and says what stopped it.
    fn split(bytes: &'a [u8]) -> (Self, Option<Problem>) {
        let mut elements = Self(Vec::new());
        if bytes.len() > MAX_COMMAND_LENGTH {
            return (elements, Some(Problem::TooLong(bytes.len())));
        }
        let mut rest = bytes;
        let mut twice = None;
        while !rest.is_empty() {
            let (Some(head), left) = (rest.first_chunk::<8>(), rest.len()) else {
                return (elements, Some(Problem::Truncated { tag: Tag(0, 0), declared: 8, left: rest.len() }));
            };
            let tag = Tag(u16::from_le_bytes([head[0], head[1]]), u16::from_le_bytes([head[2], head[3]]));
            let declared = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            if tag.group() != 0 {
                return (elements, Some(Problem::ForeignElement(tag)));
            }
            let Some(value) = usize::try_from(declared).ok().and_then(|length| rest.get(8..)?.get(..length)) else {
                return (elements, Some(Problem::Truncated { tag, declared, left: left - 8 }));
            };
            rest = &rest[8 + value.len()..];
            if elements.value(tag).is_some() {
                twice.get_or_insert(Problem::Duplicated(tag));
            } else {
                elements.0.push((tag, value));
            }
        }
        (elements, twice)
    }

    fn value(&self, tag: Tag) -> Option<&'a [u8]> {
        self.0.iter().find(|(t, _)| *t == tag).map(|(_, value)| *value)
    }

    fn us(&self, tag: Tag) -> Result<u16, Problem> {
        match self.value(tag) {
            None | Some([]) => Err(Problem::Missing(tag)),
            Some([low, high]) => Ok(u16::from_le_bytes([*low, *high])),
            Some(other) => Err(Problem::Size { tag, length: other.len() }),
        }
    }

    fn optional_us(&self, tag: Tag) -> Result<Option<u16>, Problem> {
        match self.us(tag) {
            Ok(number) => Ok(Some(number)),
            Err(Problem::Missing(_)) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    fn uid<T>(&self, tag: Tag, parse: fn(&str) -> Result<T, UidError>) -> Result<T, Problem> {
        let value = self.value(tag).unwrap_or_default();
        if value.is_empty() {
            return Err(Problem::Missing(tag));
        }
        let text: String = value.iter().map(|&b| char::from(b)).collect();
        parse(&text).map_err(|reason| match reason {
            UidError::Empty => Problem::Missing(tag),
            reason => Problem::Uid { tag, reason },
        })
    }

    fn ae_title(&self, tag: Tag) -> Result<Option<AeTitle>, Problem> {
        let Some(value) = self.value(tag) else { return Ok(None) };
        let text: String = value.iter().map(|&b| char::from(b)).collect();
        if text.trim_matches([' ', '\0']).is_empty() {
            return Ok(None);
        }
        AeTitle::parse(&text).map(Some).map_err(|_| Problem::AeTitle(tag))
    }

    /// What an answer needs, where it can be read; responses and C-CANCEL are never answered.
    fn answerable(&self) -> Option<Answerable> {
        let field = self.us(tags::COMMAND_FIELD).ok()?;
        let operation = Operation::of(field)?;
        if field & RESPONSE != 0 || operation == Operation::Cancel {
            return None;
        }
        Some(Answerable {
            operation,
            message_id: self.us(tags::MESSAGE_ID).ok()?,
            sop_class: self.uid(tags::AFFECTED_SOP_CLASS_UID, SopClassUid::parse).ok(),
            sop_instance: self.uid(tags::AFFECTED_SOP_INSTANCE_UID, SopInstanceUid::parse).ok(),
            has_data_set: self.us(tags::COMMAND_DATA_SET_TYPE).ok()? != NO_DATA_SET,
        })
    }

    fn request(&self, operation: Operation, has_data_set: bool) -> Result<Request, Problem> {
        let affected = || self.uid(tags::AFFECTED_SOP_CLASS_UID, SopClassUid::parse);
        let (id, body) = match operation {
            Operation::Cancel => (tags::MESSAGE_ID_BEING_RESPONDED_TO, RequestBody::Cancel),
            Operation::Echo => (tags::MESSAGE_ID, RequestBody::Echo { sop_class: affected()? }),
            Operation::Find => (tags::MESSAGE_ID, RequestBody::Find { sop_class: affected()? }),
            Operation::Store => (tags::MESSAGE_ID, RequestBody::Store(self.store_request(affected()?)?)),
            operation => {
                let requested = || self.uid(tags::REQUESTED_SOP_CLASS_UID, SopClassUid::parse);
                let sop_class = affected().or_else(|_| requested()).ok();
                (tags::MESSAGE_ID, RequestBody::Other { operation, sop_class })
            }
        };
        Ok(Request { message_id: self.us(id)?, body, has_data_set })
    }

    fn store_request(&self, sop_class: SopClassUid) -> Result<StoreRequest, Problem> {
        let originator = self.ae_title(tags::MOVE_ORIGINATOR_APPLICATION_ENTITY_TITLE)?;
        let original = self.optional_us(tags::MOVE_ORIGINATOR_MESSAGE_ID)?;
        self.optional_us(tags::PRIORITY)?;
        Ok(StoreRequest {
            sop_class,
            sop_instance: self.uid(tags::AFFECTED_SOP_INSTANCE_UID, SopInstanceUid::parse)?,
            move_originator: originator.zip(original),
        })
    }

    fn response(&self, operation: Operation, has_data_set: bool) -> Result<Response, Problem> {
        let comment = self.value(tags::ERROR_COMMENT).map(|value| {
            let text: String = value.iter().map(|&b| char::from(b)).filter(|c| !c.is_control()).take(64).collect();
            text.trim().to_owned()
        });
        let offending = self.value(tags::OFFENDING_ELEMENT).unwrap_or_default();
        let (offending, _) = offending.as_chunks::<4>();
        let number = |tag| self.optional_us(tag);
        let completed = number(tags::NUMBER_OF_COMPLETED_SUBOPERATIONS)?;
        let sub_operations = match completed {
            None => None,
            Some(completed) => Some(SubOperations {
                remaining: number(tags::NUMBER_OF_REMAINING_SUBOPERATIONS)?,
                completed,
                failed: number(tags::NUMBER_OF_FAILED_SUBOPERATIONS)?.unwrap_or_default(),
                warning: number(tags::NUMBER_OF_WARNING_SUBOPERATIONS)?.unwrap_or_default(),
            }),
        };
        Ok(Response {
            message_id: self.us(tags::MESSAGE_ID_BEING_RESPONDED_TO)?,
            operation,
            // Informative in a response: one that is no UID is left out.
            sop_class: self.uid(tags::AFFECTED_SOP_CLASS_UID, SopClassUid::parse).ok(),
            sop_instance: self.uid(tags::AFFECTED_SOP_INSTANCE_UID, SopInstanceUid::parse).ok(),
            status: Status(self.us(tags::STATUS)?),
            comment: comment.filter(|text| !text.is_empty()),
            offending: offending
                .iter()
                .map(|[a, b, c, d]| Tag(u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d])))
                .collect(),
            sub_operations,
            has_data_set,
        })
    }
}

pub(super) fn encode(command: &Command) -> Vec<u8> {
    // The group length's value is put in at the end.
    let mut out = Writer(vec![0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    match command {
        Command::Request(request) => write_request(&mut out, request),
        Command::Response(response) => write_response(&mut out, response),
    }
    let length = u32::try_from(out.0.len() - 12).unwrap_or(u32::MAX);
    out.0[8..12].copy_from_slice(&length.to_le_bytes());
    out.0
}

struct Writer(Vec<u8>);

impl Writer {
    fn element(&mut self, tag: Tag, value: &[u8], padding: u8) {
        let even = value.len() + value.len() % 2;
        self.0.extend(tag.group().to_le_bytes());
        self.0.extend(tag.element().to_le_bytes());
        self.0.extend(u32::try_from(even).unwrap_or(u32::MAX).to_le_bytes());
        self.0.extend_from_slice(value);
        if even > value.len() {
            self.0.push(padding);
        }
    }

    fn us(&mut self, tag: Tag, value: u16) {
        self.element(tag, &value.to_le_bytes(), 0);
    }

    fn uid(&mut self, tag: Tag, uid: Option<&str>) {
        if let Some(uid) = uid {
            self.element(tag, uid.as_bytes(), 0);
        }
    }

    fn data_set_type(&mut self, has_data_set: bool) {
        self.us(tags::COMMAND_DATA_SET_TYPE, if has_data_set { 0x0001 } else { NO_DATA_SET });
    }
}

fn write_request(out: &mut Writer, request: &Request) {
    let operation = request.body.operation();
    out.uid(tags::AFFECTED_SOP_CLASS_UID, request.body.sop_class().map(SopClassUid::as_str));
    out.us(tags::COMMAND_FIELD, operation as u16);
    let id = if operation == Operation::Cancel { tags::MESSAGE_ID_BEING_RESPONDED_TO } else { tags::MESSAGE_ID };
    out.us(id, request.message_id);
    if matches!(operation, Operation::Store | Operation::Find | Operation::Get | Operation::Move) {
        out.us(tags::PRIORITY, PRIORITY);
    }
    out.data_set_type(request.has_data_set);
    if let RequestBody::Store(store) = &request.body {
        out.uid(tags::AFFECTED_SOP_INSTANCE_UID, Some(store.sop_instance.as_str()));
        if let Some((title, message_id)) = &store.move_originator {
            out.element(tags::MOVE_ORIGINATOR_APPLICATION_ENTITY_TITLE, title.as_str().as_bytes(), b' ');
            out.us(tags::MOVE_ORIGINATOR_MESSAGE_ID, *message_id);
        }
    }
}

fn write_response(out: &mut Writer, response: &Response) {
    out.uid(tags::AFFECTED_SOP_CLASS_UID, response.sop_class.as_ref().map(SopClassUid::as_str));
    out.us(tags::COMMAND_FIELD, response.operation as u16 | RESPONSE);
    out.us(tags::MESSAGE_ID_BEING_RESPONDED_TO, response.message_id);
    out.data_set_type(response.has_data_set);
    out.us(tags::STATUS, response.status.0);
    if !response.offending.is_empty() {
        let tags = response.offending.iter().flat_map(|tag| [tag.group().to_le_bytes(), tag.element().to_le_bytes()]);
        out.element(tags::OFFENDING_ELEMENT, &tags.flatten().collect::<Vec<u8>>(), 0);
    }
    if let Some(comment) = &response.comment {
        // VR LO of the default repertoire: at most 64 characters, no backslash.
        let plain = |c: char| if c.is_ascii_graphic() && c != '\\' { c as u8 } else { b' ' };
        let text: Vec<u8> = comment.chars().take(64).map(plain).collect();
        out.element(tags::ERROR_COMMENT, &text, b' ');
    }
    out.uid(tags::AFFECTED_SOP_INSTANCE_UID, response.sop_instance.as_ref().map(SopInstanceUid::as_str));
    if let Some(numbers) = &response.sub_operations {
        if let Some(remaining) = numbers.remaining {
            out.us(tags::NUMBER_OF_REMAINING_SUBOPERATIONS, remaining);
        }
        out.us(tags::NUMBER_OF_COMPLETED_SUBOPERATIONS, numbers.completed);
        out.us(tags::NUMBER_OF_FAILED_SUBOPERATIONS, numbers.failed);
        out.us(tags::NUMBER_OF_WARNING_SUBOPERATIONS, numbers.warning);
    }
}

#[cfg(test)]
mod tests;
