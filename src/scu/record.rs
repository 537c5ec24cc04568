//! What came of an attempt: recorded, and said in one line.

use std::time::Instant;

use super::Delivery;
use super::outcome::{Attempt, Outcome, outcome, overdue, rest};
use crate::clock::{Timestamp, milliseconds};
use crate::dicom::ae::AeTitle;
use crate::dicom::uid::{SopInstanceUid, StudyInstanceUid};
use crate::store::{ClaimedDelivery, DeliveryId, JobId, PeerAnswer, StoreError};

/// Records what came of an attempt that was begun then, and says so. Gives until when the destination rests, where it does.
pub(super) async fn record(
    delivery: &Delivery,
    claimed: ClaimedDelivery,
    attempt: &Attempt,
    begun: Instant,
) -> Result<Option<Timestamp>, StoreError> {
    let now = delivery.clock.now();
    let rest_until = rest(attempt, delivery.patience).map(|wait| now.plus(wait));
    let decided = outcome(attempt, claimed.attempt, claimed.created_at, now, delivery.patience);
    let (status, comment) = answer_to(attempt);
    let about = About::of(&claimed, begun);
    let answer = PeerAnswer { status, comment: &comment };
    match &decided {
        Outcome::Delivered { .. } => delivery.store.mark_delivered(claimed, answer, now).await?,
        Outcome::Retry { at } => delivery.store.retry_delivery(claimed, answer, *at).await?,
        Outcome::Dead { .. } => delivery.store.kill_delivery(claimed, answer, now).await?,
    }
    let again = match decided {
        Outcome::Retry { at } => at.max(rest_until.unwrap_or(at)).since(now),
        Outcome::Delivered { .. } | Outcome::Dead { .. } => 0,
    };
    about.tell(&decided, answer, again);
    if let Some(since) = overdue(attempt, now, delivery.patience) {
        give_up_waiting(delivery, &about.destination, since, &comment).await;
    }
    Ok(rest_until)
}

/// Gives up what has been waiting for as long for a destination that is not there. Where that cannot be recorded the next
/// attempt finds the same.
async fn give_up_waiting(delivery: &Delivery, destination: &AeTitle, since: Timestamp, cause: &str) {
    match delivery.store.give_up_waiting(destination, since, cause).await {
        Ok(0) => {}
        Ok(deliveries) => tracing::error!(
            %destination, deliveries, comment = cause,
            "deliveries that waited are dead with it; overread resend revives them"
        ),
        Err(error) => tracing::error!(%destination, %error, "what has waited too long could not be given up"),
    }
}

/// The peer's status and comment, or why there was no answer.
fn answer_to(attempt: &Attempt) -> (Option<u16>, String) {
    match attempt {
        Attempt::Answered { status, comment } => (Some(*status), comment.clone().unwrap_or_default()),
        Attempt::NoContext => (None, "no presentation context was accepted".to_owned()),
        Attempt::NoAssociation { cause, .. } | Attempt::Broken { cause } | Attempt::Unreadable { cause } => {
            (None, cause.clone())
        }
        Attempt::Unknown => (None, "no [[peer]] has this AE title".to_owned()),
        Attempt::Untrained => {
            (None, "not offered: its model is untrained, and results.allow_untrained is false".to_owned())
        }
    }
}

/// What a line about a delivery names.
struct About {
    id: DeliveryId,
    job: JobId,
    study: StudyInstanceUid,
    /// The series that was read.
    series: String,
    destination: AeTitle,
    uid: SopInstanceUid,
    attempt: u32,
    begun: Instant,
}

impl About {
    fn of(claimed: &ClaimedDelivery, begun: Instant) -> Self {
        Self {
            id: claimed.id(),
            job: claimed.job,
            study: claimed.instance.study_instance_uid().clone(),
            series: claimed.source_series.clone(),
            destination: claimed.destination.clone(),
            uid: claimed.instance.sop_instance_uid().clone(),
            attempt: claimed.attempt,
            begun,
        }
    }

    /// One line; `again`: in how many milliseconds it is tried again.
    fn tell(&self, decided: &Outcome, answer: PeerAnswer<'_>, again: i64) {
        let Self { id, job, study, series, destination, uid, attempt, begun } = self;
        let status = answer.status.map_or_else(String::new, |status| format!("{status:04X}H"));
        // A peer's own words may name a patient: they are for the database.
        let comment = if answer.status.is_some() { "" } else { answer.comment };
        let duration_ms = milliseconds(begun.elapsed());
        match decided {
            Outcome::Delivered { .. } => tracing::info!(
                delivery.id = %id, job.id = %job, study.uid = %study, series.uid = series, %destination,
                sop_instance.uid = %uid, attempt, status, comment, duration_ms, "delivered"
            ),
            Outcome::Retry { .. } => tracing::warn!(
                delivery.id = %id, job.id = %job, study.uid = %study, series.uid = series, %destination,
                sop_instance.uid = %uid, attempt, status, comment, duration_ms, again_in_s = again / 1000,
                "not delivered yet"
            ),
            Outcome::Dead { reason } => tracing::error!(
                delivery.id = %id, job.id = %job, study.uid = %study, series.uid = series, %destination,
                sop_instance.uid = %uid, attempt, status, comment, reason, duration_ms,
                "delivery is dead; overread resend revives it"
            ),
        }
    }
}
