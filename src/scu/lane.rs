//! One destination: everything that is due for it, over as few associations as that takes.

use std::time::Instant;

use dicom_dictionary_std::uids;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::outcome::{Attempt, Outcome, outcome};
use super::{AFTER_ERROR, Delivery};
use crate::association::requestor::{ContextProposal, OutgoingInstance, PeerAddress, RequestError, Requestor};
use crate::clock::{Timestamp, milliseconds};
use crate::dicom::ae::AeTitle;
use crate::dicom::uid::{SopClassUid, TransferSyntaxUid};
use crate::store::{ClaimedDelivery, PeerAnswer, StoreError};

/// Sends what is due until nothing is, or the destination does not answer. Gives the time before which it should not be
/// called again, where it did not. After `stop` nothing more is begun, and at `drained` what is being sent is given up.
pub(super) async fn drain(
    delivery: &Delivery,
    destination: &AeTitle,
    stop: &CancellationToken,
    drained: &CancellationToken,
) -> Option<Timestamp> {
    let mut open: Option<Requestor<TcpStream>> = None;
    let mut rest_until = None;
    while rest_until.is_none() && !stop.is_cancelled() {
        let claimed = match delivery.store.claim_delivery(destination, delivery.clock.now()).await {
            Ok(Some(claimed)) => claimed,
            Ok(None) => break,
            Err(error @ StoreError::UnreadableDelivery { .. }) => {
                tracing::error!(%destination, %error, "delivery dead");
                continue;
            }
            Err(error) => {
                tracing::error!(%destination, %error, "no delivery could be claimed");
                rest_until = Some(delivery.clock.now().plus(AFTER_ERROR));
                break;
            }
        };
        let begun = Instant::now();
        let attempt = match delivery.peers.iter().find(|peer| peer.ae_title == *destination) {
            Some(peer) => tokio::select! {
                attempt = send(delivery, peer, &mut open, &claimed) => attempt,
                () = drained.cancelled() => Attempt::NoAnswer { cause: "the node was stopped meanwhile".to_owned() },
            },
            None => Attempt::Unknown,
        };
        match record(delivery, claimed, &attempt, begun).await {
            Ok(Some(at)) if matches!(attempt, Attempt::NoAnswer { .. }) => rest_until = Some(at),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%destination, %error, "the outcome of a delivery could not be recorded");
                rest_until = Some(delivery.clock.now().plus(AFTER_ERROR));
            }
        }
    }
    if let Some(association) = open {
        // Every object was answered: how the association ends changes nothing.
        let _ = association.release().await;
    }
    rest_until
}

async fn send(
    delivery: &Delivery,
    peer: &PeerAddress,
    open: &mut Option<Requestor<TcpStream>>,
    claimed: &ClaimedDelivery,
) -> Attempt {
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
    let proposed = open.as_ref().is_some_and(|association| is_proposed(association, instance.sop_class()));
    if !proposed && let Some(association) = open.take() {
        // Every object was answered: how the association ends changes nothing.
        let _ = association.release().await;
    }
    let mut association = match open.take() {
        Some(association) => association,
        None => match Requestor::connect(peer, &delivery.own, &proposals(&instance), &delivery.timers).await {
            Ok(association) => association,
            Err(error) => return Attempt::NoAnswer { cause: error.to_string() },
        },
    };
    match association.store(&instance).await {
        Ok(response) => {
            *open = Some(association);
            Attempt::Answered { status: response.status.0, comment: response.comment }
        }
        Err(RequestError::NoContext { .. }) => {
            *open = Some(association);
            Attempt::NoContext
        }
        Err(RequestError::Instance(error)) => {
            *open = Some(association);
            Attempt::Unreadable { cause: error.to_string() }
        }
        Err(RequestError::Association(error)) => {
            let cause = error.to_string();
            association.end(&error).await;
            Attempt::NoAnswer { cause }
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

/// Records what came of it and says so in one line. Gives the time of the next attempt, where there is one.
async fn record(
    delivery: &Delivery,
    claimed: ClaimedDelivery,
    attempt: &Attempt,
    begun: Instant,
) -> Result<Option<Timestamp>, StoreError> {
    let now = delivery.clock.now();
    let decided = outcome(attempt, claimed.attempt, claimed.created_at, now, delivery.patience);
    let (status, comment) = match attempt {
        Attempt::Answered { status, comment } => (Some(*status), comment.clone().unwrap_or_default()),
        Attempt::NoContext => (None, "no presentation context was accepted".to_owned()),
        Attempt::NoAnswer { cause } | Attempt::Unreadable { cause } => (None, cause.clone()),
        Attempt::Unknown => (None, "no [[peer]] has this AE title".to_owned()),
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
                duration_ms, again_in_s = at.since(now) / 1000, "not delivered yet"
            );
            Ok(Some(at))
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
