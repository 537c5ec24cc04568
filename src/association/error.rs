//! How an association ends other than by a release, and who must act.

use std::fmt;

use dicom_ul::pdu::{
    AbortRQServiceProviderReason as ProviderReason, AbortRQSource, AssociationRJ, AssociationRJResult,
    AssociationRJServiceProviderASCEReason as AcseReason,
    AssociationRJServiceProviderPresentationReason as PresentationReason, AssociationRJServiceUserReason as UserReason,
    AssociationRJSource,
};

use super::timers::Expired;

/// Why an association is over.
#[derive(Debug, thiserror::Error)]
pub enum AssociationError {
    /// The peer said no to our request. Whoever configured either side must act.
    #[error("the peer rejected the association: {0}")]
    Rejected(Rejection),
    /// We said no to the peer's.
    #[error("the association request of «{calling_ae_title}» to «{called_ae_title}» was rejected: {rejection}")]
    Refused {
        /// As we answered.
        rejection: Rejection,
        /// As it came, unprintable characters taken out.
        calling_ae_title: String,
        /// As it came, unprintable characters taken out.
        called_ae_title: String,
    },
    /// The peer sent A-ABORT.
    #[error("the peer aborted the association ({0})")]
    Aborted(Abort),
    /// The peer closed the connection without a word.
    #[error("the peer closed the connection without a release")]
    Closed,
    /// The network failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// A timer ran out.
    #[error(transparent)]
    Expired(#[from] Expired),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// The peer asked for a release while an answer was due.
    #[error("the peer asked for a release while an answer was due")]
    Released,
}

impl AssociationError {
    /// What to send before the connection is closed, if anything: A-ABORT is for a peer that is still there.
    #[must_use]
    pub fn abort(&self) -> Option<Abort> {
        match self {
            Self::Violation(violation) => Some(violation.abort()),
            Self::Expired(Expired::Artim | Expired::Connect) => None,
            Self::Expired(_) | Self::Released => Some(Abort::SERVICE_USER),
            Self::Rejected(_) | Self::Refused { .. } | Self::Aborted(_) | Self::Closed | Self::Io(_) => None,
        }
    }
}

/// How the peer broke PS3.8 or PS3.7. Its maker must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A PDU type that PS3.8 section 9.3 does not know.
    #[error("{0:02X}H is no PDU type{hint}", hint = hint(*.0))]
    UnrecognizedPdu(u8),
    /// A PDU that must not come now.
    #[error("PDU {0:02X}H is not expected now")]
    UnexpectedPdu(u8),
    /// More bytes than a PDU of this type may have.
    #[error("PDU {kind:02X}H declares {length} bytes, {limit} are allowed")]
    PduTooLong {
        /// Its type.
        kind: u8,
        /// What it declares.
        length: u32,
        /// What is allowed.
        limit: u32,
    },
    /// A PDU whose content cannot be read.
    #[error("PDU {kind:02X}H cannot be read: {reason}")]
    MalformedPdu {
        /// Its type.
        kind: u8,
        /// What is wrong.
        reason: String,
    },
    /// A presentation data value that does not fit its PDU.
    #[error("a presentation data value does not fit its PDU")]
    PresentationDataValue,
    /// A presentation context that was not accepted.
    #[error("presentation context {0} was not accepted")]
    UnknownContext(u8),
    /// An identifier of a presentation context that is even, or was used before.
    #[error("presentation context id {0} is even or there twice")]
    ContextId(u8),
    /// A fragment of a command where one of a data set is due, or the other way round, or of another context.
    #[error("a fragment stands where it does not belong")]
    FragmentOrder,
    /// A command set longer than allowed.
    #[error("the command set is too long")]
    CommandTooLong,
    /// A command set that cannot even be answered.
    #[error("{0}")]
    Command(String),
    /// A message that does not fit the state of the conversation.
    #[error("the message does not fit: {0}")]
    Message(&'static str),
}

impl Violation {
    /// How PS3.8 table 9-26 names it, on an association that stands.
    #[must_use]
    pub fn abort(&self) -> Abort {
        match self {
            Self::UnrecognizedPdu(_) => Abort::UNRECOGNIZED_PDU,
            Self::UnexpectedPdu(_) => Abort::UNEXPECTED_PDU,
            Self::FragmentOrder => Abort::UNEXPECTED_PARAMETER,
            Self::PduTooLong { .. }
            | Self::MalformedPdu { .. }
            | Self::PresentationDataValue
            | Self::UnknownContext(_)
            | Self::ContextId(_) => Abort::INVALID_PARAMETER,
            // Of DIMSE, whose machine is the service user.
            Self::CommandTooLong | Self::Command(_) | Self::Message(_) => Abort::SERVICE_USER,
        }
    }
}

/// What a first byte that is no PDU type gives away.
fn hint(kind: u8) -> &'static str {
    match kind {
        0x16 => ": this looks like a TLS handshake",
        b'A'..=b'Z' => ": this looks like HTTP or another text protocol",
        _ => "",
    }
}

/// Source and reason of an A-ABORT (PS3.8 table 9-26).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abort {
    /// 0 service user, 2 service provider.
    pub source: u8,
    /// Of the service provider.
    pub reason: u8,
}

impl Abort {
    /// By the one who uses the association.
    pub const SERVICE_USER: Self = Self { source: 0, reason: 0 };
    /// Unrecognized PDU.
    pub const UNRECOGNIZED_PDU: Self = Self { source: 2, reason: 1 };
    /// Unexpected PDU.
    pub const UNEXPECTED_PDU: Self = Self { source: 2, reason: 2 };
    /// Unexpected PDU parameter.
    pub const UNEXPECTED_PARAMETER: Self = Self { source: 2, reason: 5 };
    /// Invalid PDU parameter value.
    pub const INVALID_PARAMETER: Self = Self { source: 2, reason: 6 };

    pub(super) fn from_pdu(source: &AbortRQSource) -> Self {
        let (source, reason) = match source {
            AbortRQSource::ServiceUser => (0, 0),
            AbortRQSource::Reserved => (1, 0),
            AbortRQSource::ServiceProvider(reason) => match reason {
                ProviderReason::ReasonNotSpecified => (2, 0),
                ProviderReason::UnrecognizedPdu => (2, 1),
                ProviderReason::UnexpectedPdu => (2, 2),
                ProviderReason::Reserved => (2, 3),
                ProviderReason::UnrecognizedPduParameter => (2, 4),
                ProviderReason::UnexpectedPduParameter => (2, 5),
                ProviderReason::InvalidPduParameter => (2, 6),
            },
        };
        Self { source, reason }
    }

    pub(super) fn to_pdu(self) -> AbortRQSource {
        match (self.source, self.reason) {
            (2, 1) => AbortRQSource::ServiceProvider(ProviderReason::UnrecognizedPdu),
            (2, 2) => AbortRQSource::ServiceProvider(ProviderReason::UnexpectedPdu),
            (2, 4) => AbortRQSource::ServiceProvider(ProviderReason::UnrecognizedPduParameter),
            (2, 5) => AbortRQSource::ServiceProvider(ProviderReason::UnexpectedPduParameter),
            (2, 6) => AbortRQSource::ServiceProvider(ProviderReason::InvalidPduParameter),
            (2, _) => AbortRQSource::ServiceProvider(ProviderReason::ReasonNotSpecified),
            _ => AbortRQSource::ServiceUser,
        }
    }
}

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match (self.source, self.reason) {
            (0, _) => return f.write_str("service user"),
            (2, 1) => "unrecognized PDU",
            (2, 2) => "unexpected PDU",
            (2, 4) => "unrecognized PDU parameter",
            (2, 5) => "unexpected PDU parameter",
            (2, 6) => "invalid PDU parameter value",
            _ => "no reason given",
        };
        write!(f, "service provider, {reason}")
    }
}

/// An A-ASSOCIATE-RJ (PS3.8 table 9-21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// Whether it may pass by itself.
    pub transient: bool,
    /// Source and reason.
    pub reason: RejectionReason,
}

/// Source and reason of an A-ASSOCIATE-RJ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RejectionReason {
    /// Service user: no reason given.
    #[error("no reason given")]
    NoReason,
    /// Service user: not the DICOM application context.
    #[error("application context name not supported")]
    ApplicationContextName,
    /// Service user: a caller that nobody configured, or from another address than configured.
    #[error("calling AE title not recognized")]
    CallingAeTitle,
    /// Service user: not our title.
    #[error("called AE title not recognized")]
    CalledAeTitle,
    /// ACSE: not version 1.
    #[error("protocol version not supported")]
    ProtocolVersion,
    /// Presentation: not now.
    #[error("temporary congestion")]
    TemporaryCongestion,
    /// Presentation: as many associations as there may be.
    #[error("local limit exceeded")]
    LocalLimitExceeded,
    /// One that the standard reserves.
    #[error("another reason")]
    Other,
}

impl Rejection {
    pub(super) const fn permanent(reason: RejectionReason) -> Self {
        Self { transient: false, reason }
    }

    /// As many associations as there may be: try again later.
    pub const LOCAL_LIMIT: Self = Self { transient: true, reason: RejectionReason::LocalLimitExceeded };
    /// Going down, or too much to do: try again later.
    pub const CONGESTION: Self = Self { transient: true, reason: RejectionReason::TemporaryCongestion };

    pub(super) fn from_pdu(pdu: &AssociationRJ) -> Self {
        let reason = match &pdu.source {
            AssociationRJSource::ServiceUser(UserReason::NoReasonGiven) => RejectionReason::NoReason,
            AssociationRJSource::ServiceUser(UserReason::ApplicationContextNameNotSupported) => {
                RejectionReason::ApplicationContextName
            }
            AssociationRJSource::ServiceUser(UserReason::CallingAETitleNotRecognized) => {
                RejectionReason::CallingAeTitle
            }
            AssociationRJSource::ServiceUser(UserReason::CalledAETitleNotRecognized) => RejectionReason::CalledAeTitle,
            AssociationRJSource::ServiceProviderASCE(AcseReason::NoReasonGiven) => RejectionReason::NoReason,
            AssociationRJSource::ServiceProviderASCE(AcseReason::ProtocolVersionNotSupported) => {
                RejectionReason::ProtocolVersion
            }
            AssociationRJSource::ServiceProviderPresentation(PresentationReason::TemporaryCongestion) => {
                RejectionReason::TemporaryCongestion
            }
            AssociationRJSource::ServiceProviderPresentation(PresentationReason::LocalLimitExceeded) => {
                RejectionReason::LocalLimitExceeded
            }
            _ => RejectionReason::Other,
        };
        Self { transient: pdu.result == AssociationRJResult::Transient, reason }
    }

    pub(super) fn to_pdu(self) -> AssociationRJ {
        let source = match self.reason {
            RejectionReason::NoReason | RejectionReason::Other => {
                AssociationRJSource::ServiceUser(UserReason::NoReasonGiven)
            }
            RejectionReason::ApplicationContextName => {
                AssociationRJSource::ServiceUser(UserReason::ApplicationContextNameNotSupported)
            }
            RejectionReason::CallingAeTitle => {
                AssociationRJSource::ServiceUser(UserReason::CallingAETitleNotRecognized)
            }
            RejectionReason::CalledAeTitle => AssociationRJSource::ServiceUser(UserReason::CalledAETitleNotRecognized),
            RejectionReason::ProtocolVersion => {
                AssociationRJSource::ServiceProviderASCE(AcseReason::ProtocolVersionNotSupported)
            }
            RejectionReason::TemporaryCongestion => {
                AssociationRJSource::ServiceProviderPresentation(PresentationReason::TemporaryCongestion)
            }
            RejectionReason::LocalLimitExceeded => {
                AssociationRJSource::ServiceProviderPresentation(PresentationReason::LocalLimitExceeded)
            }
        };
        let result = if self.transient { AssociationRJResult::Transient } else { AssociationRJResult::Permanent };
        AssociationRJ { result, source }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, if self.transient { "for now" } else { "for good" })
    }
}
