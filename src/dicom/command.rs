//! DIMSE command sets (PS3.7 section 6.3.1 and annex E): always Implicit VR Little Endian, group 0000 only.
//!
//! A command set is read strictly: what is missing, repeated or of the wrong size is named, and where enough could be
//! read to answer, the error carries what an answer needs.

mod codec;

use dicom_core::Tag;

use super::ae::AeTitle;
use super::status::Status;
use super::uid::{SopClassUid, SopInstanceUid};

pub use codec::{CommandError, Problem};

/// The longest command set that is read. Real ones stay below 1 kB.
pub const MAX_COMMAND_LENGTH: usize = 16 * 1024;

/// What is asked for, or answered (PS3.7 table E.1-1: Command Field without the response bit).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Operation {
    /// C-STORE.
    Store = 0x0001,
    /// C-GET.
    Get = 0x0010,
    /// C-FIND.
    Find = 0x0020,
    /// C-MOVE.
    Move = 0x0021,
    /// C-ECHO.
    Echo = 0x0030,
    /// N-EVENT-REPORT.
    EventReport = 0x0100,
    /// N-GET.
    GetAttributes = 0x0110,
    /// N-SET.
    SetAttributes = 0x0120,
    /// N-ACTION.
    Action = 0x0130,
    /// N-CREATE.
    Create = 0x0140,
    /// N-DELETE.
    Delete = 0x0150,
    /// C-CANCEL, which has no response.
    Cancel = 0x0FFF,
}

impl Operation {
    const ALL: [Self; 12] = [
        Self::Store,
        Self::Get,
        Self::Find,
        Self::Move,
        Self::Echo,
        Self::EventReport,
        Self::GetAttributes,
        Self::SetAttributes,
        Self::Action,
        Self::Create,
        Self::Delete,
        Self::Cancel,
    ];

    fn of(field: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| *operation as u16 == field & !RESPONSE)
    }
}

const RESPONSE: u16 = 0x8000;

/// A command set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Something is asked for.
    Request(Request),
    /// Something is answered.
    Response(Response),
}

impl Command {
    /// Reads a command set.
    ///
    /// # Errors
    /// [`CommandError`]: what is wrong and, where that is known, how it can be answered.
    pub fn decode(bytes: &[u8]) -> Result<Self, CommandError> {
        codec::decode(bytes)
    }

    /// Writes a command set, group length first.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Whether a data set follows (0000,0800).
    #[must_use]
    pub fn has_data_set(&self) -> bool {
        match self {
            Self::Request(request) => request.has_data_set,
            Self::Response(response) => response.has_data_set,
        }
    }
}

impl From<Request> for Command {
    fn from(request: Request) -> Self {
        Self::Request(request)
    }
}

impl From<Response> for Command {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Message ID (0000,0110); of a C-CANCEL the one of the request that shall end (0000,0120).
    pub message_id: u16,
    /// What is asked for.
    pub body: RequestBody,
    /// Whether a data set follows.
    pub has_data_set: bool,
}

/// What is asked for, with what that service needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestBody {
    /// C-ECHO (PS3.7 section 9.3.5).
    Echo {
        /// Verification.
        sop_class: SopClassUid,
    },
    /// C-STORE (PS3.7 section 9.3.1).
    Store(StoreRequest),
    /// C-FIND (PS3.7 section 9.3.2).
    Find {
        /// The information model.
        sop_class: SopClassUid,
    },
    /// C-CANCEL (PS3.7 section 9.3.2.3): the request with this message id shall end.
    Cancel,
    /// A service that this node does not serve yet, known well enough to be declined.
    Other {
        /// Which.
        operation: Operation,
        /// Affected or Requested SOP Class UID, where it is there and valid.
        sop_class: Option<SopClassUid>,
    },
}

impl RequestBody {
    /// Which service it belongs to.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Self::Echo { .. } => Operation::Echo,
            Self::Store(_) => Operation::Store,
            Self::Find { .. } => Operation::Find,
            Self::Cancel => Operation::Cancel,
            Self::Other { operation, .. } => *operation,
        }
    }

    /// The SOP class that the request names.
    #[must_use]
    pub fn sop_class(&self) -> Option<&SopClassUid> {
        match self {
            Self::Echo { sop_class } | Self::Find { sop_class } => Some(sop_class),
            Self::Store(store) => Some(&store.sop_class),
            Self::Cancel => None,
            Self::Other { sop_class, .. } => sop_class.as_ref(),
        }
    }
}

/// C-STORE-RQ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRequest {
    /// Affected SOP Class UID.
    pub sop_class: SopClassUid,
    /// Affected SOP Instance UID.
    pub sop_instance: SopInstanceUid,
    /// Who asked for this by C-MOVE, and in which of its messages.
    pub move_originator: Option<(AeTitle, u16)>,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Message ID Being Responded To.
    pub message_id: u16,
    /// What is answered.
    pub operation: Operation,
    /// Affected SOP Class UID.
    pub sop_class: Option<SopClassUid>,
    /// Affected SOP Instance UID.
    pub sop_instance: Option<SopInstanceUid>,
    /// How it went.
    pub status: Status,
    /// Error Comment (0000,0902); cut to the 64 characters of VR LO when written.
    pub comment: Option<String>,
    /// Offending Element (0000,0901).
    pub offending: Vec<Tag>,
    /// Numbers of sub-operations, of C-MOVE and C-GET.
    pub sub_operations: Option<SubOperations>,
    /// Whether a data set follows.
    pub has_data_set: bool,
}

impl Response {
    /// The answer to a request, with nothing but a status.
    #[must_use]
    pub fn to(request: &Request, status: Status) -> Self {
        let sop_instance = match &request.body {
            RequestBody::Store(store) => Some(store.sop_instance.clone()),
            _ => None,
        };
        let to = Answerable {
            operation: request.body.operation(),
            message_id: request.message_id,
            sop_class: request.body.sop_class().cloned(),
            sop_instance,
            has_data_set: request.has_data_set,
        };
        Self::to_answerable(&to, status)
    }

    /// The answer to a request that could not be read whole.
    #[must_use]
    pub fn to_answerable(to: &Answerable, status: Status) -> Self {
        Self {
            message_id: to.message_id,
            operation: to.operation,
            sop_class: to.sop_class.clone(),
            sop_instance: to.sop_instance.clone(),
            status,
            comment: None,
            offending: Vec::new(),
            sub_operations: None,
            has_data_set: false,
        }
    }

    /// Adds words for the log of the other side. No names, no identifiers of patients.
    #[must_use]
    pub fn with_comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// Says that a data set follows.
    #[must_use]
    pub fn with_data_set(mut self) -> Self {
        self.has_data_set = true;
        self
    }
}

/// What could be read of a request that is at fault: enough to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answerable {
    /// What was asked for.
    pub operation: Operation,
    /// Its Message ID.
    pub message_id: u16,
    /// Affected SOP Class UID, where valid.
    pub sop_class: Option<SopClassUid>,
    /// Affected SOP Instance UID, where valid.
    pub sop_instance: Option<SopInstanceUid>,
    /// Whether a data set follows, which must be read before the answer.
    pub has_data_set: bool,
}

/// Numbers of sub-operations (0000,1020) to (0000,1023).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubOperations {
    /// Not begun yet; absent in final responses.
    pub remaining: Option<u16>,
    /// Done.
    pub completed: u16,
    /// Failed.
    pub failed: u16,
    /// Done with a warning.
    pub warning: u16,
}
