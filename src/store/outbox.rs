//! The outbox: which result goes to whom, and the fourth hand-over, a delivery that its destination has taken.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Connection, Row};

use super::Store;
use super::error::StoreError;
use super::ids::{DeliveryId, JobId};
use super::instance::{COLUMNS, StoredInstance, TABLES, from_row};
use super::layout::Layout;
use crate::clock::Timestamp;
use crate::dicom::ae::AeTitle;
use crate::dicom::uid::StudyInstanceUid;

/// A delivery that this lane is sending. Not to be copied: there is one.
#[derive(Debug)]
pub struct ClaimedDelivery {
    pub(super) id: DeliveryId,
    token: String,
    /// The job that made it.
    pub job: JobId,
    /// Series Instance UID of what that job read, for the log; empty where the index does not say.
    pub source_series: String,
    /// To whom.
    pub destination: AeTitle,
    /// What.
    pub instance: StoredInstance,
    /// From 1.
    pub attempt: u32,
    /// When it was put into the outbox, or put in again by a person.
    pub created_at: Timestamp,
    /// Whether the weights of the model that made it are untrained.
    pub untrained: bool,
}

impl ClaimedDelivery {
    /// Its number, as the log has it.
    #[must_use]
    pub const fn id(&self) -> DeliveryId {
        self.id
    }
}

/// What the peer said, if anything, and what else is worth keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAnswer<'a> {
    /// Status (0000,0900); nothing where there was no answer.
    pub status: Option<u16>,
    /// Error Comment (0000,0902), or why there was no answer; may be empty.
    pub comment: &'a str,
}

/// A destination for which something is in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingDestination {
    /// Its title.
    pub ae_title: AeTitle,
    /// When the first of its deliveries is to be tried.
    pub due: Timestamp,
    /// When a person last asked for one of them.
    pub resent_at: Option<Timestamp>,
}

/// Which deliveries a person wants sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resend {
    /// All that are dead.
    Dead,
    /// All results of a study: the delivered ones as well, and those that wait for their next attempt.
    Study(StudyInstanceUid),
}

/// What waits, by destination, and whether one of these rows holds what is no time.
pub(super) const WAITING: &str = "SELECT destination, min(next_attempt_at) AS due, max(resent_at) AS resent_at, \
     max(typeof(next_attempt_at) <> 'integer' OR typeof(resent_at) NOT IN ('integer', 'null')) AS is_damaged, \
     min(delivery_id) AS one_of_them FROM delivery WHERE state = 'pending' GROUP BY destination ORDER BY due";

/// Gives up what waits for the same destination as one delivery: all of it, or what holds no times.
pub(super) const GIVE_UP: &str = "UPDATE delivery SET state = 'dead', no_answer = $1 WHERE state = 'pending' \
     AND destination = (SELECT destination FROM delivery WHERE delivery_id = $2) \
     AND ($3 OR typeof(next_attempt_at) <> 'integer' OR typeof(resent_at) NOT IN ('integer', 'null'))";

/// Gives up what has waited for a destination for too long.
pub(super) const GIVE_UP_WAITING: &str = "UPDATE delivery SET state = 'dead', no_answer = $1 \
     WHERE destination = $2 AND state = 'pending' AND created_at <= $3";

/// The next delivery for a destination.
pub(super) const CLAIM: &str = "UPDATE delivery SET state = 'sending', attempts = attempts + 1, last_attempt_at = $1, \
     lease_token = $2 WHERE delivery_id = (SELECT delivery_id FROM delivery WHERE destination = $3 AND state = 'pending' \
     AND next_attempt_at <= $1 ORDER BY next_attempt_at, delivery_id LIMIT 1) RETURNING delivery_id";

/// What is being sent, to one destination or to all.
pub(super) const RESET: &str = "UPDATE delivery SET state = 'pending', lease_token = NULL \
     WHERE state = 'sending' AND destination = coalesce($1, destination)";

/// All that are dead wait again.
pub(super) const RESEND_DEAD: &str = "UPDATE delivery SET state = 'pending', attempts = 0, next_attempt_at = $1, \
     created_at = $1, resent_at = $1, delivered_at = NULL WHERE state = 'dead'";

/// All of a study wait again.
pub(super) const RESEND_STUDY: &str = "UPDATE delivery SET state = 'pending', attempts = 0, next_attempt_at = $1, \
     created_at = $1, resent_at = $1, delivered_at = NULL WHERE state IN ('dead', 'delivered', 'pending') \
     AND job_id IN (SELECT job.job_id FROM job JOIN series ON series.series_key = job.series_key \
         JOIN study ON study.study_key = series.study_key WHERE study.study_instance_uid = $2)";

impl Store {
    /// The destinations that have something waiting, those first of which something is due first. Deliveries to what is no
    /// title, or at what is no time, are dead from here on and say so; they hold up no other.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub async fn destinations_waiting(&self) -> Result<Vec<WaitingDestination>, StoreError> {
        let waiting = self.waiting().await?;
        if waiting.iter().all(|(_, destination)| destination.is_ok()) {
            return Ok(waiting.into_iter().filter_map(|(_, destination)| destination.ok()).collect());
        }
        for (id, damage) in &waiting {
            if let Err(damage) = damage {
                self.give_up(*id, damage).await?;
            }
        }
        Ok(self.waiting().await?.into_iter().filter_map(|(_, destination)| destination.ok()).collect())
    }

    /// What waits by destination, each with one of its deliveries.
    async fn waiting(&self) -> Result<Vec<(DeliveryId, Result<WaitingDestination, Damage>)>, StoreError> {
        let rows = sqlx::query(WAITING).fetch_all(self.readers()).await?;
        let waiting = |row: &SqliteRow| Ok((row.try_get("one_of_them")?, waiting_destination(row)?));
        rows.iter().map(waiting).collect()
    }

    async fn give_up(&self, one_of_them: DeliveryId, damage: &Damage) -> Result<(), StoreError> {
        let cause = StoreError::Damaged(damage.cause.clone()).to_string();
        let given_up = sqlx::query(GIVE_UP)
            .bind(&cause)
            .bind(one_of_them)
            .bind(damage.is_of_all)
            .execute(&mut *self.inner.writer.lock().await?)
            .await?
            .rows_affected();
        tracing::error!(delivery.id = %one_of_them, deliveries = given_up, cause, "deliveries dead");
        Ok(())
    }

    /// Gives the next delivery for a destination to this lane: the one that has waited longest. One of which the index does
    /// not say enough any more is dead from here on and says so; it holds up no other.
    ///
    /// # Errors
    /// [`StoreError::UnreadableDelivery`] for such a one: ask for the next. Otherwise when the database cannot be written.
    pub async fn claim_delivery(
        &self,
        destination: &AeTitle,
        now: Timestamp,
    ) -> Result<Option<ClaimedDelivery>, StoreError> {
        let token = uuid::Uuid::new_v4().to_string();
        let mut connection = self.inner.writer.lock().await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let claimed: Option<DeliveryId> = sqlx::query_scalar(CLAIM)
            .bind(now.0)
            .bind(&token)
            .bind(destination.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(id) = claimed else { return Ok(None) };
        let row = sqlx::query(AssertSqlSafe(delivery_sql())).bind(id).fetch_one(&mut *transaction).await;
        let claimed = row
            .map_err(StoreError::from)
            .and_then(|row| claimed_delivery(&row, id, token, destination, &self.inner.layout));
        let delivery = match claimed {
            Ok(delivery) => delivery,
            Err(error) if error.is_damage() => {
                let cause = error.to_string();
                sqlx::query(
                    "UPDATE delivery SET state = 'dead', lease_token = NULL, no_answer = $1 WHERE delivery_id = $2",
                )
                .bind(&cause)
                .bind(id)
                .execute(&mut *transaction)
                .await?;
                transaction.commit().await?;
                return Err(StoreError::UnreadableDelivery { id, cause });
            }
            Err(error) => return Err(error),
        };
        transaction.commit().await?;
        Ok(Some(delivery))
    }

    /// The destination has taken it.
    ///
    /// # Errors
    /// [`StoreError::NotSending`] where it was taken from this lane, or when the database cannot be written.
    pub async fn mark_delivered(
        &self,
        delivery: ClaimedDelivery,
        answer: PeerAnswer<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.end_sending(delivery, "delivered", answer, now, Some(now)).await
    }

    /// Sends it again, not before `at`.
    ///
    /// # Errors
    /// As [`Self::mark_delivered`].
    pub async fn retry_delivery(
        &self,
        delivery: ClaimedDelivery,
        answer: PeerAnswer<'_>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.end_sending(delivery, "pending", answer, at, None).await
    }

    /// Gives it up until a person asks for it.
    ///
    /// # Errors
    /// As [`Self::mark_delivered`].
    pub async fn kill_delivery(
        &self,
        delivery: ClaimedDelivery,
        answer: PeerAnswer<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.end_sending(delivery, "dead", answer, now, None).await
    }

    async fn end_sending(
        &self,
        delivery: ClaimedDelivery,
        state: &'static str,
        answer: PeerAnswer<'_>,
        next_attempt_at: Timestamp,
        delivered_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let ended = sqlx::query(
            "UPDATE delivery SET state = $1, last_status = coalesce($2, last_status), \
             last_comment = CASE WHEN $2 IS NULL THEN last_comment ELSE $3 END, \
             no_answer = CASE WHEN $2 IS NULL THEN $3 ELSE '' END, \
             answered_at = CASE WHEN $2 IS NULL THEN answered_at ELSE last_attempt_at END, \
             next_attempt_at = $4, delivered_at = $5, lease_token = NULL \
             WHERE delivery_id = $6 AND lease_token = $7 AND state = 'sending'",
        )
        .bind(state)
        .bind(answer.status.map(i64::from))
        .bind(answer.comment)
        .bind(next_attempt_at.0)
        .bind(delivered_at.map(|at| at.0))
        .bind(delivery.id)
        .bind(&delivery.token)
        .execute(&mut *self.inner.writer.lock().await?)
        .await?;
        if ended.rows_affected() == 0 { Err(StoreError::NotSending(delivery.id)) } else { Ok(()) }
    }

    /// Gives up what has been waiting for a destination since this time or longer, for a reason that is theirs as well. Gives
    /// how many deliveries those are.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn give_up_waiting(
        &self,
        destination: &AeTitle,
        since: Timestamp,
        cause: &str,
    ) -> Result<u64, StoreError> {
        let given_up = sqlx::query(GIVE_UP_WAITING)
            .bind(cause)
            .bind(destination.as_str())
            .bind(since.0)
            .execute(&mut *self.inner.writer.lock().await?)
            .await?;
        Ok(given_up.rows_affected())
    }

    /// Puts deliveries into the outbox again, with a fresh count of attempts. Gives how many. A node that runs beside
    /// sees them when it next looks.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn resend(&self, what: &Resend, now: Timestamp) -> Result<u64, StoreError> {
        let mut connection = self.inner.writer.lock().await?;
        let query = match what {
            Resend::Dead => sqlx::query(RESEND_DEAD).bind(now.0),
            Resend::Study(study) => sqlx::query(RESEND_STUDY).bind(now.0).bind(study.as_str().to_owned()),
        };
        let again = query.execute(&mut *connection).await?.rows_affected();
        drop(connection);
        self.inner.changes.deliveries.send_replace(());
        Ok(again)
    }

    /// What was being sent to this destination, or to any, waits again. To be called by the one node that runs on the
    /// folder, when nobody is sending there.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn reset_sending(&self, destination: Option<&AeTitle>) -> Result<(), StoreError> {
        sqlx::query(RESET)
            .bind(destination.map(AeTitle::as_str))
            .execute(&mut *self.inner.writer.lock().await?)
            .await?;
        Ok(())
    }
}

/// All that a lane needs to know of a delivery.
fn delivery_sql() -> String {
    format!(
        "SELECT {COLUMNS}, delivery.attempts, delivery.created_at, delivery.job_id, \
         coalesce((SELECT untrained FROM job WHERE job.job_id = delivery.job_id), 0) AS untrained, \
         (SELECT read.series_instance_uid FROM job JOIN series AS read ON read.series_key = job.series_key \
            WHERE job.job_id = delivery.job_id) AS source_series FROM {TABLES} \
         JOIN delivery ON delivery.instance_key = instance.instance_key WHERE delivery.delivery_id = $1"
    )
}

fn claimed_delivery(
    row: &SqliteRow,
    id: DeliveryId,
    token: String,
    destination: &AeTitle,
    layout: &Layout,
) -> Result<ClaimedDelivery, StoreError> {
    Ok(ClaimedDelivery {
        id,
        token,
        job: row.try_get("job_id")?,
        source_series: row.try_get("source_series").unwrap_or_default(),
        destination: destination.clone(),
        instance: from_row(row, layout)?,
        attempt: row.try_get("attempts")?,
        created_at: Timestamp(row.try_get("created_at")?),
        untrained: row.try_get("untrained")?,
    })
}

/// Why deliveries that wait for a destination cannot be read.
struct Damage {
    cause: String,
    /// Of all of them: it is no title.
    is_of_all: bool,
}

fn waiting_destination(row: &SqliteRow) -> Result<Result<WaitingDestination, Damage>, StoreError> {
    let ae_title = match row.try_get::<&str, _>("destination") {
        // What is kept is written without padding: under another name no lane would find it.
        Ok(title) => AeTitle::parse(title).ok().filter(|known| known.as_str() == title).ok_or_else(|| title.to_owned()),
        Err(_) => Err("bytes".to_owned()),
    };
    let ae_title = match ae_title {
        Ok(ae_title) => ae_title,
        Err(what) => {
            return Ok(Err(Damage { cause: format!("the destination «{what}» is no AE title"), is_of_all: true }));
        }
    };
    if row.try_get("is_damaged")? {
        let cause = format!("a time of a delivery to {ae_title} is none");
        return Ok(Err(Damage { cause, is_of_all: false }));
    }
    let (due, resent_at) = (Timestamp(row.try_get("due")?), row.try_get::<Option<i64>, _>("resent_at")?);
    Ok(Ok(WaitingDestination { ae_title, due, resent_at: resent_at.map(Timestamp) }))
}
