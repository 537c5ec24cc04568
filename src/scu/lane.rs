//! One destination: everything that is due for it, over as few associations as that takes.

use std::time::{Duration, Instant};

use dicom_dictionary_std::uids;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::outcome::{Attempt, Outcome, outcome, rest};
use super::{AFTER_ERROR, Delivery};
use crate::association::requestor::{ContextProposal, OutgoingInstance, PeerAddress, RequestError, Requestor};
use crate::clock::{Timestamp, milliseconds};
use crate::dicom::ae::AeTitle;
use crate::dicom::uid::{SopClassUid, TransferSyntaxUid};
use crate::store::{ClaimedDelivery, PeerAnswer, StoreError};

/// How long the end of an association is waited for.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How a lane ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaneEnd {
    /// When its last attempt began.
    pub(super) last_attempt: Timestamp,
    /// The time before which the destination should not be called again, where it was not there.
    pub(super) rest_until: Option<Timestamp>,
    /// How many calls in a row have led to no association.
    pub(super) failed_calls: u32,
}

/// Sends what is due until nothing is, or the destination is not there. After `stop` nothing more is begun, and at
/// `drained` what is being sent is given up. `failed_calls`: those in a row before this.
pub(super) async fn drain(
    delivery: &Delivery,
    destination: &AeTitle,
    failed_calls: u32,
    stop: &CancellationToken,
    drained: &CancellationToken,
) -> LaneEnd {
    let mut lane = Lane { open: None, failed_calls };
    let mut end = LaneEnd { last_attempt: delivery.clock.now(), rest_until: None, failed_calls };
    let after_error = || Some(delivery.clock.now().plus(AFTER_ERROR));
    while end.rest_until.is_none() && !stop.is_cancelled() {
        let claimed = match delivery.store.claim_delivery(destination, delivery.clock.now()).await {
            Ok(Some(claimed)) => claimed,
            Ok(None) => break,
            Err(error @ StoreError::UnreadableDelivery { .. }) => {
                tracing::error!(%destination, %error, "delivery dead");
                continue;
            }
            Err(error) => {
                tracing::error!(%destination, %error, "no delivery could be claimed");
                end.rest_until = after_error();
                break;
            }
        };
        let begun = Instant::now();
        end.last_attempt = delivery.clock.now();
        let attempt = match delivery.peers.iter().find(|peer| peer.ae_title == *destination) {
            // It may have been allowed when the job ended, and is decided by what is configured now.
            _ if claimed.untrained && !delivery.allow_untrained => Attempt::Untrained,
            Some(peer) => tokio::select! {
                attempt = lane.send(delivery, peer, &claimed) => attempt,
                () = drained.cancelled() => Attempt::Broken { cause: "the node was stopped meanwhile".to_owned() },
            },
            None => Attempt::Unknown,
        };
        match record(delivery, claimed, &attempt, begun).await {
            Ok(rest_until) => end.rest_until = rest_until,
            Err(error) => {
                tracing::error!(%destination, %error, "the outcome of a delivery could not be recorded");
                end.rest_until = after_error();
            }
        }
    }
    end.failed_calls = lane.failed_calls;
    if let Some(association) = lane.open {
        tokio::select! {
            () = part(association) => {}
            () = drained.cancelled() => {}
        }
    }
    end
}

/// Ends an association. Every object was answered, so how it ends changes nothing: a peer that does not answer is not
/// waited for.
async fn part(association: Requestor<TcpStream>) {
    let _ = timeout(LAST_WORDS, association.release()).await;
}

/// What is kept from one delivery to the next.
struct Lane {
    open: Option<Requestor<TcpStream>>,
    failed_calls: u32,
}

impl Lane {
    async fn send(&mut self, delivery: &Delivery, peer: &PeerAddress, claimed: &ClaimedDelivery) -> Attempt {
        let path = claimed.instance.path().to_owned();
        let file = match tokio::task::spawn_blocking(move || std::fs::read(path)).await {
            Ok(Ok(file)) => file,
            Ok(Err(error)) => return Attempt::Unreadable { cause: error.to_string() },
            Err(error) => return Attempt::Unreadable { cause: error.to_string() },
        };
        let instance = match OutgoingInstance::from_file(&file.into()) {
            Ok(instance) => instance,
            Err(error) => return Attempt::Unreadable { cause: error.to_string() },
        };
        let proposed = self.open.as_ref().is_some_and(|association| is_proposed(association, instance.sop_class()));
        if !proposed && let Some(association) = self.open.take() {
            part(association).await;
        }
        let mut association = match self.open.take() {
            Some(association) => association,
            None => match Requestor::connect(peer, &delivery.own, &proposals(&instance), &delivery.timers).await {
                Ok(association) => association,
                Err(error) => {
                    self.failed_calls = self.failed_calls.saturating_add(1);
                    return Attempt::NoAssociation { cause: error.to_string(), in_a_row: self.failed_calls };
                }
            },
        };
        self.failed_calls = 0;
        match association.store(&instance).await {
            Ok(response) => {
                self.open = Some(association);
                Attempt::Answered { status: response.status.0, comment: response.comment }
            }
            Err(RequestError::NoContext { .. }) => {
                self.open = Some(association);
                Attempt::NoContext
            }
            Err(RequestError::Instance(error)) => {
                self.open = Some(association);
                Attempt::Unreadable { cause: error.to_string() }
            }
            Err(RequestError::Association(error)) => {
                let cause = error.to_string();
                let _ = timeout(LAST_WORDS, association.end(&error)).await;
                Attempt::Broken { cause }
            }
        }
    }
}

fn is_proposed(association: &Requestor<TcpStream>, sop_class: &SopClassUid) -> bool {
    association.contexts().iter().any(|context| context.abstract_syntax() == sop_class)
        || association.refused().iter().any(|(proposal, _)| proposal.abstract_syntax == *sop_class)
}

/// What results are made of, so that one association serves a whole job, and the instance's own class: each in its own
/// syntax, and in the plain ones to fall back on.
fn proposals(instance: &OutgoingInstance) -> Vec<ContextProposal> {
    let usual = [uids::SEGMENTATION_STORAGE, uids::PARAMETRIC_MAP_STORAGE, uids::COMPREHENSIVE3_DSR_STORAGE];
    let mut classes = vec![instance.sop_class().clone()];
    classes.extend(usual.iter().filter_map(|uid| SopClassUid::parse(uid).ok()).filter(|c| c != instance.sop_class()));
    let mut proposals = Vec::new();
    for abstract_syntax in classes {
        let explicit = TransferSyntaxUid::explicit_le();
        if *instance.transfer_syntax() != explicit && abstract_syntax == *instance.sop_class() {
            let transfer_syntaxes = vec![instance.transfer_syntax().clone()];
            proposals.push(ContextProposal { abstract_syntax: abstract_syntax.clone(), transfer_syntaxes });
        }
        for transfer_syntax in [explicit, TransferSyntaxUid::implicit_le()] {
            let transfer_syntaxes = vec![transfer_syntax];
            proposals.push(ContextProposal { abstract_syntax: abstract_syntax.clone(), transfer_syntaxes });
        }
    }
    proposals
}

/// Records what came of it and says so in one line. Gives until when the destination rests, where it does.
async fn record(
    delivery: &Delivery,
    claimed: ClaimedDelivery,
    attempt: &Attempt,
    begun: Instant,
) -> Result<Option<Timestamp>, StoreError> {
    let now = delivery.clock.now();
    let rest_until = rest(attempt, delivery.patience).map(|wait| now.plus(wait));
    let decided = outcome(attempt, claimed.attempt, claimed.created_at, now, delivery.patience);
    let (status, comment) = match attempt {
        Attempt::Answered { status, comment } => (Some(*status), comment.clone().unwrap_or_default()),
        Attempt::NoContext => (None, "no presentation context was accepted".to_owned()),
        Attempt::NoAssociation { cause, .. } | Attempt::Broken { cause } | Attempt::Unreadable { cause } => {
            (None, cause.clone())
        }
        Attempt::Unknown => (None, "no [[peer]] has this AE title".to_owned()),
        Attempt::Untrained => {
            (None, "not offered: its model is untrained, and results.allow_untrained is false".to_owned())
        }
    };
    let (id, destination, number) = (claimed.id(), claimed.destination.clone(), claimed.attempt);
    let uid = claimed.instance.sop_instance_uid().clone();
    let said = status.map_or_else(String::new, |status| format!("{status:04X}H"));
    // A peer's own words may name a patient: they are for the database.
    let logged = if status.is_some() { "" } else { comment.as_str() };
    let duration_ms = milliseconds(begun.elapsed());
    let answer = PeerAnswer { status, comment: &comment };
    match decided {
        Outcome::Delivered { .. } => {
            delivery.store.mark_delivered(claimed, answer, now).await?;
            tracing::info!(
                delivery.id = %id, %destination, sop_instance.uid = %uid, attempt = number, status = said, comment = logged,
                duration_ms, "delivered"
            );
            Ok(None)
        }
        Outcome::Retry { at } => {
            delivery.store.retry_delivery(claimed, answer, at).await?;
            tracing::warn!(
                delivery.id = %id, %destination, sop_instance.uid = %uid, attempt = number, status = said, comment = logged,
                duration_ms, again_in_s = at.max(rest_until.unwrap_or(at)).since(now) / 1000, "not delivered yet"
            );
            Ok(rest_until)
        }
        Outcome::Dead { reason } => {
            delivery.store.kill_delivery(claimed, answer, now).await?;
            tracing::error!(
                delivery.id = %id, %destination, sop_instance.uid = %uid, attempt = number, status = said, comment = logged, reason,
                duration_ms, "delivery is dead; overread resend revives it"
            );
            Ok(None)
        }
    }
}
