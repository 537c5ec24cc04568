//! The side that calls: C-ECHO, C-STORE and C-FIND as SCU.

mod find;

mod instance;

mod store;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, Pdu, PresentationContextProposed, PresentationContextResultReason as Answer,
    UserVariableItem,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use find::{FindResponse, FindResponses};
pub use instance::{Converted, InstanceError, OutgoingInstance};

use super::error::{Abort, AssociationError, Rejection, Violation};
use super::negotiation::{APPLICATION_CONTEXT, AcceptedContext, Roles, printable, user_variables};
use super::pdata::fragment_length;
use super::stream::{Arrival, Expect, PduStream};
use super::timers::{Expired, Timers};
use super::{Association, DEFAULT_MAX_PDU, Received, unexpected};
use crate::dicom::ae::AeTitle;
use crate::dicom::command::{Command, Operation, Request, RequestBody, Response};
use crate::dicom::uid::{SopClassUid, TransferSyntaxUid};

/// Where a peer is: `AE@host:port`; an IPv6 address stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerAddress {
    /// Its title.
    pub ae_title: AeTitle,
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Why a text is no [`PeerAddress`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("«{0}» is not AE@host:port")]
pub struct PeerAddressError(String);

impl FromStr for PeerAddress {
    type Err = PeerAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || PeerAddressError(text.to_owned());
        let (title, place) = text.split_once('@').ok_or_else(wrong)?;
        let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if host.is_empty() || port == 0 {
            return Err(wrong());
        }
        Ok(Self { ae_title: AeTitle::parse(title).map_err(|_| wrong())?, host: host.to_owned(), port })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = self.host.contains(':');
        let (open, close) = if bracketed { ("[", "]") } else { ("", "") };
        write!(f, "{}@{open}{}{close}:{}", self.ae_title, self.host, self.port)
    }
}

/// A presentation context to propose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextProposal {
    /// What for.
    pub abstract_syntax: SopClassUid,
    /// In the order of preference; at least one.
    pub transfer_syntaxes: Vec<TransferSyntaxUid>,
}

impl ContextProposal {
    /// To ask in the Study Root model by [`Requestor::find`], in the transfer syntaxes that it writes.
    #[must_use]
    pub fn study_root_find() -> Self {
        Self {
            abstract_syntax: SopClassUid::study_root_find(),
            transfer_syntaxes: vec![TransferSyntaxUid::explicit_le(), TransferSyntaxUid::implicit_le()],
        }
    }
}

/// Why the peer did not accept a context (PS3.8 table 9-18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContextRefusal {
    /// The peer's operator does not want it.
    #[error("refused by the user")]
    User,
    /// No reason was given, or no answer at all.
    #[error("refused without a reason")]
    NoReason,
    /// The peer does not serve it.
    #[error("abstract syntax not supported")]
    AbstractSyntax,
    /// The peer does not speak any of the proposed syntaxes.
    #[error("transfer syntaxes not supported")]
    TransferSyntaxes,
}

/// An association that we asked for.
pub struct Requestor<S> {
    association: Association<S>,
    refused: Vec<(ContextProposal, ContextRefusal)>,
    last_message_id: u16,
    /// Implementation Version Name and Class UID, as the peer gave them.
    implementation: String,
}

/// Why an operation did not come about.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The association is over: [`Requestor::end`] it and open another one.
    #[error(transparent)]
    Association(#[from] AssociationError),
    /// The peer did not accept what this needs; the association goes on.
    #[error("the peer accepted no presentation context for {abstract_syntax} in {transfer_syntax}")]
    NoContext {
        /// The SOP class.
        abstract_syntax: SopClassUid,
        /// Its encoding; that of the file, or «any».
        transfer_syntax: String,
    },
    /// The instance cannot be sent; the association goes on.
    #[error(transparent)]
    Instance(#[from] InstanceError),
}

impl Requestor<TcpStream> {
    /// Connects and associates.
    ///
    /// At most 128 contexts can be proposed; what is beyond is not.
    ///
    /// # Errors
    /// [`AssociationError::Rejected`] when the peer said no; else why it could not be asked. The connection is closed.
    pub async fn connect(
        peer: &PeerAddress,
        own: &AeTitle,
        proposals: &[ContextProposal],
        timers: &Timers,
    ) -> Result<Self, AssociationError> {
        let connection = TcpStream::connect((peer.host.as_str(), peer.port));
        let stream = timeout(timers.connect, connection).await.map_err(|_| Expired::Connect)??;
        // A command and its answer are small packets: without this each waits for the other side's delayed acknowledgement.
        stream.set_nodelay(true)?;
        Self::open(stream, &peer.ae_title, own, proposals, timers).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Requestor<S> {
    /// Associates over a connection that is there.
    ///
    /// # Errors
    /// As [`Requestor::connect`].
    pub async fn open(
        stream: S,
        called: &AeTitle,
        own: &AeTitle,
        proposals: &[ContextProposal],
        timers: &Timers,
    ) -> Result<Self, AssociationError> {
        let mut link = PduStream::new(stream, timers);
        let proposed: Vec<(u8, &ContextProposal)> = (1..=255).step_by(2).zip(proposals).collect();
        let answer = match ask(&mut link, request(called, own, &proposed), timers).await {
            Ok(answer) => answer,
            Err(error) => {
                if let Some(abort) = error.abort() {
                    link.abort(abort, timers.artim).await;
                }
                return Err(error);
            }
        };
        let (contexts, refused) = read_contexts(&answer, &proposed);
        let peer_max_pdu = answer.user_variables.iter().find_map(|item| match item {
            UserVariableItem::MaxLength(length) => Some(*length),
            _ => None,
        });
        // Without the item the length is unlimited (PS3.8 section D.1.1).
        let peer_max_pdu = peer_max_pdu.unwrap_or(0);
        if fragment_length(peer_max_pdu, DEFAULT_MAX_PDU).is_none() {
            link.abort(Abort::SERVICE_USER, timers.artim).await;
            return Err(Violation::Message("the peer takes no fragment, however short").into());
        }
        let waits = (timers.response, Expired::Response);
        let association = Association::new(link, contexts, DEFAULT_MAX_PDU, peer_max_pdu, *timers, waits)?;
        Ok(Self { association, refused, last_message_id: 0, implementation: implementation(&answer) })
    }

    /// What the peer accepted, in the order of the proposals.
    #[must_use]
    pub fn contexts(&self) -> &[Arc<AcceptedContext>] {
        self.association.contexts()
    }

    /// What it did not.
    #[must_use]
    pub fn refused(&self) -> &[(ContextProposal, ContextRefusal)] {
        &self.refused
    }

    /// Who made the peer: its Implementation Version Name and Class UID.
    #[must_use]
    pub fn implementation(&self) -> &str {
        &self.implementation
    }

    /// C-ECHO (PS3.7 section 9.1.5).
    ///
    /// # Errors
    /// [`RequestError`]; a status other than success is an answer, not an error.
    pub async fn echo(&mut self) -> Result<Response, RequestError> {
        let sop_class = SopClassUid::verification();
        let context = self.context_for(&sop_class)?;
        let message_id = self.next_message_id();
        let request = Request { message_id, body: RequestBody::Echo { sop_class }, has_data_set: false };
        self.association.send(&context, &request.into(), None).await?;
        Ok(self.response(Operation::Echo, message_id).await?)
    }

    /// Releases the association.
    ///
    /// # Errors
    /// When the peer did not answer; it is over all the same.
    pub async fn release(self) -> Result<(), AssociationError> {
        self.association.release().await
    }

    /// Aborts the association.
    pub async fn abort(self) {
        self.association.abort(Abort::SERVICE_USER).await;
    }

    /// Ends the association after an error, telling the peer where it can still hear it.
    pub async fn end(self, error: &AssociationError) {
        self.association.end(error).await;
    }

    fn context_for(&self, sop_class: &SopClassUid) -> Result<Arc<AcceptedContext>, RequestError> {
        let found = self.contexts().iter().find(|context| context.abstract_syntax == *sop_class).map(Arc::clone);
        found.ok_or_else(|| RequestError::NoContext {
            abstract_syntax: sop_class.clone(),
            transfer_syntax: "any".to_owned(),
        })
    }

    fn next_message_id(&mut self) -> u16 {
        self.last_message_id = self.last_message_id.checked_add(1).unwrap_or(1);
        self.last_message_id
    }

    /// The response that is due, and nothing else.
    async fn response(&mut self, operation: Operation, message_id: u16) -> Result<Response, AssociationError> {
        let response = match self.association.receive().await? {
            Received::Command { command: Ok(Command::Response(response)), .. } => response,
            Received::Command { command: Ok(Command::Request(_)), .. } => {
                return Err(Violation::Message("a request came where a response was due").into());
            }
            Received::Command { command: Err(error), .. } => return Err(Violation::Command(error.to_string()).into()),
            Received::ReleaseRequest => return Err(AssociationError::Released),
        };
        if response.operation != operation || response.message_id != message_id {
            return Err(Violation::Message("the response belongs to another request").into());
        }
        if operation != Operation::Find {
            self.association.skip_data().await?;
        }
        Ok(response)
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    link: &mut PduStream<S>,
    request: AssociationRQ,
    timers: &Timers,
) -> Result<AssociationAC, AssociationError> {
    link.push(&Pdu::AssociationRQ(request))?;
    link.flush().await?;
    link.await_within(timers.response, Expired::Response);
    match link.next(Expect::Answer, DEFAULT_MAX_PDU).await? {
        Arrival::Pdu(Pdu::AssociationAC(answer)) => Ok(answer),
        Arrival::Pdu(Pdu::AssociationRJ(rejection)) => Err(AssociationError::Rejected(Rejection::from_pdu(&rejection))),
        Arrival::Pdu(pdu) => Err(unexpected(&pdu)),
        Arrival::Fragment { .. } => Err(Violation::UnexpectedPdu(0x04).into()),
    }
}

fn request(called: &AeTitle, own: &AeTitle, proposed: &[(u8, &ContextProposal)]) -> AssociationRQ {
    let contexts = proposed.iter().map(|(id, proposal)| PresentationContextProposed {
        id: *id,
        abstract_syntax: proposal.abstract_syntax.to_string(),
        transfer_syntaxes: proposal.transfer_syntaxes.iter().map(ToString::to_string).collect(),
    });
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: own.as_str().to_owned(),
        called_ae_title: called.as_str().to_owned(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: contexts.collect(),
        user_variables: user_variables(DEFAULT_MAX_PDU, Vec::new()),
    }
}

/// What became of each proposal. An acceptance of something that was not proposed counts as a refusal.
fn read_contexts(
    answer: &AssociationAC,
    proposed: &[(u8, &ContextProposal)],
) -> (Vec<Arc<AcceptedContext>>, Vec<(ContextProposal, ContextRefusal)>) {
    let mut accepted = Vec::new();
    let mut refused = Vec::new();
    for (id, proposal) in proposed {
        let result = answer.presentation_contexts.iter().find(|result| result.id == *id);
        let refusal = match result.map(|result| (&result.reason, &result.transfer_syntax)) {
            Some((Answer::Acceptance, syntax)) => {
                let syntax = TransferSyntaxUid::parse(syntax).ok();
                match syntax.filter(|syntax| proposal.transfer_syntaxes.contains(syntax)) {
                    Some(transfer_syntax) => {
                        let abstract_syntax = proposal.abstract_syntax.clone();
                        let context =
                            AcceptedContext { id: *id, abstract_syntax, transfer_syntax, roles: Roles::DEFAULT };
                        accepted.push(Arc::new(context));
                        continue;
                    }
                    None => ContextRefusal::NoReason,
                }
            }
            Some((Answer::UserRejection, _)) => ContextRefusal::User,
            Some((Answer::AbstractSyntaxNotSupported, _)) => ContextRefusal::AbstractSyntax,
            Some((Answer::TransferSyntaxesNotSupported, _)) => ContextRefusal::TransferSyntaxes,
            Some((Answer::NoReason, _)) | None => ContextRefusal::NoReason,
        };
        refused.push(((*proposal).clone(), refusal));
    }
    (accepted, refused)
}

fn implementation(answer: &AssociationAC) -> String {
    let mut words = Vec::new();
    for item in &answer.user_variables {
        match item {
            UserVariableItem::ImplementationVersionName(name) => words.insert(0, printable(name)),
            UserVariableItem::ImplementationClassUID(uid) => words.push(printable(uid)),
            _ => {}
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests;
