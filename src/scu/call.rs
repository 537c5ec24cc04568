//! One association to a destination, from the call to its end, and the log's line about it.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::outcome::{is_stored, may_be_of_encoding};
use crate::association::requestor::{ContextProposal, OutgoingInstance, PeerAddress, RequestError, Requestor};
use crate::association::{AssociationError, Timers};
use crate::clock::milliseconds;
use crate::dicom::ae::AeTitle;
use crate::dicom::command::Response;
use crate::dicom::uid::SopClassUid;

/// How long the end of an association is waited for.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// An association that stands.
pub(super) struct Call {
    association: Requestor<TcpStream>,
    line: Line,
}

impl Call {
    /// Calls.
    ///
    /// # Errors
    /// Why there is no association.
    pub(super) async fn to(
        peer: &PeerAddress,
        own: &AeTitle,
        proposals: &[ContextProposal],
        timers: &Timers,
    ) -> Result<Self, AssociationError> {
        let begun = Instant::now();
        let association = Requestor::connect(peer, own, proposals, timers).await?;
        let line = Line {
            id: uuid::Uuid::new_v4().to_string(),
            peer: peer.clone(),
            implementation: association.implementation().to_owned(),
            begun,
            instances: 0,
            refused: 0,
            ended: "cut off".to_owned(),
        };
        Ok(Self { association, line })
    }

    /// Whether objects of this class were asked for, with whatever answer.
    pub(super) fn is_proposed(&self, sop_class: &SopClassUid) -> bool {
        self.association.contexts().iter().any(|context| context.abstract_syntax() == sop_class)
            || self.association.refused().iter().any(|(proposal, _)| proposal.abstract_syntax == *sop_class)
    }

    /// Offers an instance; where it is refused as what the peer cannot read, once more in Implicit VR Little Endian, and that
    /// answer counts. Where this second offer is not answered the instance is not either: it is offered again another time.
    ///
    /// # Errors
    /// As [`Requestor::store`].
    pub(super) async fn offer(&mut self, instance: &OutgoingInstance) -> Result<Response, RequestError> {
        let first = self.association.store(instance).await?;
        self.line.count(first.status.0);
        if !may_be_of_encoding(first.status.0) {
            return Ok(first);
        }
        match self.association.store_implicit(instance).await {
            Ok(Some(second)) => {
                self.line.count(second.status.0);
                tracing::info!(
                    association.id = self.line.id, destination = %self.line.peer.ae_title,
                    sop_instance.uid = %instance.sop_instance(), first = format!("{:04X}H", first.status.0),
                    second = format!("{:04X}H", second.status.0), "refused, and offered once more in Implicit VR"
                );
                Ok(second)
            }
            Err(error @ RequestError::Association(_)) => Err(error),
            Ok(None) | Err(RequestError::NoContext { .. } | RequestError::Instance(_)) => Ok(first),
        }
    }

    /// Ends it. Every object was answered, so how it ends changes nothing: a peer that does not answer is not waited for.
    pub(super) async fn part(mut self) {
        self.line.ended = match timeout(LAST_WORDS, self.association.release()).await {
            Ok(Ok(())) => "released".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the release was not answered".to_owned(),
        };
    }

    /// Ends it after an error, which comes beside it in words.
    pub(super) async fn broken(mut self, error: &AssociationError) -> String {
        self.line.ended = error.to_string();
        let _ = timeout(LAST_WORDS, self.association.end(error)).await;
        self.line.ended.clone()
    }
}

/// What the log is told of an association, whichever way it ends.
struct Line {
    id: String,
    peer: PeerAddress,
    implementation: String,
    begun: Instant,
    /// Those that the peer has taken.
    instances: u64,
    refused: u64,
    ended: String,
}

impl Line {
    fn count(&mut self, status: u16) {
        if is_stored(status) {
            self.instances += 1;
        } else {
            self.refused += 1;
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        tracing::info!(
            association.id = self.id,
            peer.ae_title = %self.peer.ae_title,
            peer.address = format!("{}:{}", self.peer.host, self.peer.port),
            peer.implementation = self.implementation,
            instances = self.instances,
            refused = self.refused,
            duration_ms = milliseconds(self.begun.elapsed()),
            ended = self.ended,
            "association to a destination"
        );
    }
}
