//! Associations (PS3.8), both sides: who talks to whom, by which contexts, and messages there and back.
//!
//! Everything works on any `AsyncRead + AsyncWrite`. Each wait has a timer, each length a limit; data sets stream through
//! and are never collected in here.

pub mod negotiation;

mod preference;

mod hosts;

pub mod acceptor;

pub mod requestor;

mod pdata;

mod control;

mod stream;

mod error;

mod timers;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dicom_ul::pdu::Pdu;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};

pub use error::{Abort, AssociationError, Rejection, RejectionReason, Violation};
pub use hosts::KnownHosts;
pub use negotiation::{
    AcceptedContext, AcceptorPolicy, AssociationRequest, KnownPeer, Permissions, ProposedContext, Roles,
};
pub use timers::{Expired, Timers};

use crate::dicom::command::{Command, CommandError};
use pdata::{Reassembly, Step, fragment_length};
use stream::{Arrival, Expect, PduStream};

/// The longest PDU that we send, and by default the longest that we take.
pub const DEFAULT_MAX_PDU: u32 = 128 * 1024;

/// How long a peer may be silent that waits for us: longer than we take for anything.
const NO_HURRY: Duration = Duration::from_secs(24 * 3600);

/// An association that stands, seen from either side.
///
/// A message is a command, got by [`Self::receive`], and, where that announced one, a data set, got by
/// [`Self::next_data`] until it is at its end. Whoever drops an association closes its connection; after an error
/// [`Self::end`] tells the peer why.
pub struct Association<S> {
    link: PduStream<S>,
    contexts: Vec<Arc<AcceptedContext>>,
    reassembly: Reassembly,
    /// Of the P-DATA-TF that we take.
    max_pdu: u32,
    /// Of the fragments that we send.
    fragment_length: usize,
    timers: Timers,
    waits: (Duration, Expired),
}

/// What the peer sent.
#[derive(Debug)]
pub enum Received {
    /// A command; its data set, if it announced one, comes by [`Association::next_data`].
    Command {
        /// Where it came.
        context: Arc<AcceptedContext>,
        /// What it says. An error that cannot be answered never gets here: it ends the association.
        command: Result<Command, CommandError>,
    },
    /// It asks for the release: [`Association::answer_release`].
    ReleaseRequest,
}

/// What a data set turned out to be when it was read into memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collected {
    /// All of it.
    Whole(Bytes),
    /// It was longer than allowed, and was read to its end and forgotten.
    TooLong,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Association<S> {
    /// The contexts that were accepted, in the requestor's order.
    #[must_use]
    pub fn contexts(&self) -> &[Arc<AcceptedContext>] {
        &self.contexts
    }

    /// The next command, after the data set of the last one was read to its end. Giving up the wait loses nothing.
    ///
    /// # Errors
    /// Whatever ends the association.
    pub async fn receive(&mut self) -> Result<Received, AssociationError> {
        if !self.reassembly.is_within_message() && !self.link.is_within_pdu() {
            let (within, expires) = self.waits;
            self.link.await_within(within, expires);
        }
        self.receive_within_deadline().await
    }

    /// A command that is already there, or nothing. Does not wait.
    ///
    /// # Errors
    /// Whatever ends the association.
    pub async fn receive_now(&mut self) -> Result<Option<Received>, AssociationError> {
        // Lets the runtime look at the socket.
        tokio::task::yield_now().await;
        self.receive().now_or_never().transpose()
    }

    /// As [`Self::receive`], while the peer waits for us: it need not say anything, and only what it has begun must come
    /// in time.
    ///
    /// # Errors
    /// Whatever ends the association, such as a peer that leaves.
    pub async fn receive_meanwhile(&mut self) -> Result<Received, AssociationError> {
        if !self.reassembly.is_within_message() && !self.link.is_within_pdu() {
            self.link.await_within(NO_HURRY, self.waits.1);
        }
        self.receive_within_deadline().await
    }

    /// The next bytes of the data set that the last command announced; `None` at its end.
    ///
    /// # Errors
    /// Whatever ends the association: an abort, a peer that hangs, a fragment that does not belong here.
    pub async fn next_data(&mut self) -> Result<Option<&[u8]>, AssociationError> {
        while self.reassembly.expects_data_set() {
            match self.link.next(Expect::Established, self.max_pdu).await? {
                Arrival::Fragment { context_id, is_command, is_last, range } => {
                    let bytes = self.link.bytes(range.clone());
                    self.reassembly.take(context_id, is_command, is_last, bytes)?;
                    if !range.is_empty() {
                        return Ok(Some(self.link.bytes(range)));
                    }
                }
                Arrival::Pdu(pdu) => return Err(unexpected(&pdu)),
            }
        }
        Ok(None)
    }

    /// Puts the next bytes of the data set at the beginning of `room`, which is not empty, and gives their number; 0 at the
    /// end of the data set. Cheaper than [`Self::next_data`] for who keeps the bytes.
    ///
    /// # Errors
    /// As [`Self::next_data`].
    pub async fn next_data_into(&mut self, room: &mut [u8]) -> Result<usize, AssociationError> {
        while self.reassembly.expects_data_set() {
            match self.link.next_into(room, self.max_pdu).await? {
                Arrival::Fragment { context_id, is_command, is_last, range } => {
                    // A command has no place here, whatever its bytes are.
                    self.reassembly.take(context_id, is_command, is_last, &[])?;
                    if !range.is_empty() {
                        return Ok(range.len());
                    }
                }
                Arrival::Pdu(pdu) => return Err(unexpected(&pdu)),
            }
        }
        Ok(0)
    }

    /// Reads a data set that should be short into memory.
    ///
    /// # Errors
    /// As [`Self::next_data`].
    pub async fn collect_data(&mut self, limit: usize) -> Result<Collected, AssociationError> {
        let mut collected = Vec::new();
        let mut too_long = false;
        while let Some(bytes) = self.next_data().await? {
            too_long |= collected.len() + bytes.len() > limit;
            if too_long {
                collected = Vec::new();
            } else {
                collected.extend_from_slice(bytes);
            }
        }
        Ok(if too_long { Collected::TooLong } else { Collected::Whole(collected.into()) })
    }

    /// Reads a data set to its end and forgets it.
    ///
    /// # Errors
    /// As [`Self::next_data`].
    pub async fn skip_data(&mut self) -> Result<(), AssociationError> {
        while self.next_data().await?.is_some() {}
        Ok(())
    }

    /// Sends a command and, where it announces one, its data set.
    ///
    /// # Errors
    /// When the peer does not take it: the association is over.
    pub async fn send(
        &mut self,
        context: &AcceptedContext,
        command: &Command,
        data_set: Option<&[u8]>,
    ) -> Result<(), AssociationError> {
        self.push(context, command, data_set).await?;
        self.flush().await
    }

    /// As [`Self::send`], but what is short may wait for [`Self::flush`].
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn push(
        &mut self,
        context: &AcceptedContext,
        command: &Command,
        data_set: Option<&[u8]>,
    ) -> Result<(), AssociationError> {
        self.link.push_message(context.id, true, self.fragment_length, &command.encode()).await?;
        if let Some(data_set) = data_set {
            self.link.push_message(context.id, false, self.fragment_length, data_set).await?;
        }
        Ok(())
    }

    /// Sends what [`Self::push`] left waiting.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn flush(&mut self) -> Result<(), AssociationError> {
        self.link.flush().await
    }

    /// Agrees to the release that the peer asked for, and closes.
    ///
    /// # Errors
    /// When the answer could not be sent; the association is over all the same.
    pub async fn answer_release(mut self) -> Result<(), AssociationError> {
        self.link.push(&Pdu::ReleaseRP)?;
        self.link.flush().await?;
        self.link.close(self.timers.artim).await;
        Ok(())
    }

    /// Asks for the release, waits for the answer and closes. When both sides ask at once, both answer (PS3.8 section
    /// 7.2.2.7); what the peer still sends before that is read and forgotten.
    ///
    /// # Errors
    /// When no answer came: the peer may not have taken what it was sent last without answering it.
    pub async fn release(mut self) -> Result<(), AssociationError> {
        // One deadline for all: a peer that goes on sending does not put it off.
        let exchange = tokio::time::timeout(self.timers.response, self.release_exchange()).await;
        let released = exchange.unwrap_or(Err(Expired::Response.into()));
        match released {
            Ok(()) => self.link.close(self.timers.artim).await,
            Err(error) => {
                self.end(&error).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends the association at once.
    pub async fn abort(self, abort: Abort) {
        self.link.abort(abort, self.timers.artim).await;
    }

    /// Ends the association after an error, telling the peer where it can still hear it.
    pub async fn end(self, error: &AssociationError) {
        if let Some(abort) = error.abort() {
            self.abort(abort).await;
        }
    }

    async fn release_exchange(&mut self) -> Result<(), AssociationError> {
        self.link.push(&Pdu::ReleaseRQ)?;
        self.link.flush().await?;
        self.link.await_within(self.timers.response, Expired::Response);
        loop {
            match self.link.next(Expect::Established, self.max_pdu).await? {
                Arrival::Fragment { .. } => {}
                Arrival::Pdu(Pdu::ReleaseRP) => return Ok(()),
                Arrival::Pdu(Pdu::ReleaseRQ) => {
                    self.link.push(&Pdu::ReleaseRP)?;
                    self.link.flush().await?;
                }
                Arrival::Pdu(pdu) => return Err(unexpected(&pdu)),
            }
        }
    }

    async fn receive_within_deadline(&mut self) -> Result<Received, AssociationError> {
        loop {
            match self.link.next(Expect::Established, self.max_pdu).await? {
                Arrival::Fragment { context_id, is_command, is_last, range } => {
                    let bytes = self.link.bytes(range);
                    if self.reassembly.take(context_id, is_command, is_last, bytes)? == Step::CommandComplete {
                        return self.command(context_id);
                    }
                }
                Arrival::Pdu(Pdu::ReleaseRQ) if !self.reassembly.is_within_message() => {
                    return Ok(Received::ReleaseRequest);
                }
                Arrival::Pdu(pdu) => return Err(unexpected(&pdu)),
            }
        }
    }

    fn command(&mut self, context_id: u8) -> Result<Received, AssociationError> {
        let context = self.contexts.iter().find(|context| context.id == context_id);
        let context = Arc::clone(context.ok_or(Violation::UnknownContext(context_id))?);
        let command = Command::decode(self.reassembly.command());
        let announces = match &command {
            Ok(command) => command.has_data_set(),
            Err(error) => match &error.answer {
                Some(answer) => answer.has_data_set,
                None => return Err(Violation::Command(error.to_string()).into()),
            },
        };
        if announces {
            self.reassembly.expect_data_set(context_id);
        }
        Ok(Received::Command { context, command })
    }

    fn new(
        mut link: PduStream<S>,
        contexts: Vec<Arc<AcceptedContext>>,
        own_max_pdu: u32,
        peer_max_pdu: u32,
        timers: Timers,
        waits: (Duration, Expired),
    ) -> Result<Self, AssociationError> {
        let fragment_length = fragment_length(peer_max_pdu, DEFAULT_MAX_PDU)
            .ok_or(Violation::Message("the peer takes no fragment, however short"))?;
        link.await_within(waits.0, waits.1);
        Ok(Self { link, contexts, reassembly: Reassembly::new(), max_pdu: own_max_pdu, fragment_length, timers, waits })
    }
}

/// A PDU that ends the association, or that does not belong where it came.
fn unexpected(pdu: &Pdu) -> AssociationError {
    match pdu {
        Pdu::AbortRQ { source } => AssociationError::Aborted(Abort::from_pdu(source)),
        Pdu::ReleaseRQ => Violation::UnexpectedPdu(0x05).into(),
        Pdu::ReleaseRP => Violation::UnexpectedPdu(0x06).into(),
        Pdu::AssociationAC(_) => Violation::UnexpectedPdu(0x02).into(),
        Pdu::AssociationRJ(_) => Violation::UnexpectedPdu(0x03).into(),
        Pdu::PData { .. } => Violation::UnexpectedPdu(0x04).into(),
        Pdu::AssociationRQ(_) => Violation::UnexpectedPdu(0x01).into(),
        Pdu::Unknown { pdu_type, .. } => Violation::UnrecognizedPdu(*pdu_type).into(),
    }
}
