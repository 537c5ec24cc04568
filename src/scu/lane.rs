//! One destination: everything that is due for it, over as few associations as that takes.

use std::time::Instant;

use dicom_dictionary_std::uids;
use tokio_util::sync::CancellationToken;

use super::call::Call;
use super::outcome::Attempt;
use super::record::record;
use super::{AFTER_ERROR, Delivery};
use crate::association::requestor::{ContextProposal, OutgoingInstance, PeerAddress, RequestError};
use crate::clock::Timestamp;
use crate::dicom::ae::AeTitle;
use crate::dicom::uid::{SopClassUid, TransferSyntaxUid};
use crate::store::{ClaimedDelivery, StoreError};

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
    if let Some(call) = lane.open {
        tokio::select! {
            () = call.part() => {}
            () = drained.cancelled() => {}
        }
    }
    end
}

/// What is kept from one delivery to the next.
struct Lane {
    open: Option<Call>,
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
        let proposed = self.open.as_ref().is_some_and(|call| call.is_proposed(instance.sop_class()));
        if !proposed && let Some(call) = self.open.take() {
            call.part().await;
        }
        let mut call = match self.open.take() {
            Some(call) => call,
            None => match Call::to(peer, &delivery.own, &proposals(&instance), &delivery.timers).await {
                Ok(call) => call,
                Err(error) => {
                    self.failed_calls = self.failed_calls.saturating_add(1);
                    return Attempt::NoAssociation { cause: error.to_string(), in_a_row: self.failed_calls };
                }
            },
        };
        self.failed_calls = 0;
        let attempt = match call.offer(&instance).await {
            Ok(response) => Attempt::Answered { status: response.status.0, comment: response.comment },
            Err(RequestError::NoContext { .. }) => Attempt::NoContext,
            Err(RequestError::Instance(error)) => Attempt::Unreadable { cause: error.to_string() },
            Err(RequestError::Association(error)) => return Attempt::Broken { cause: call.broken(&error).await },
        };
        self.open = Some(call);
        attempt
    }
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
