//! Which series are complete, and which models read them: the loop that makes the second hand-over.
//!
//! The rule ([`rule`]), the routes ([`routing`]), and what other series of the study have to do with it ([`required`],
//! [`preferred`]) are functions of values; here the store is asked and told.

pub mod count;

pub mod routing;

pub mod rule;

pub mod required;

pub mod preferred;

mod company;

use std::collections::HashMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::association::Timers;
use crate::association::requestor::PeerAddress;
use crate::clock::{Clock, Timestamp};
use crate::config::Destination;
use crate::dicom::ae::AeTitle;
use crate::store::{Completed, Completion, NewJob, ReceivingSeries, RouteDecision, Store, StoreError};
use company::{Awaits, Company, awaits};
use count::Counts;
use routing::Routing;
use rule::{DecisionForAll, Reception, decide_for_all};

/// Between two looks, however much comes in.
const BREATH: Duration = Duration::from_millis(100);
/// The longest time without a look: another process may have changed something.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// After the database could not be read or written.
const AFTER_ERROR: Duration = Duration::from_secs(2);

/// The loop and what it needs.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Where series come from and go to.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// When a series is complete, and what then follows.
    pub routing: Routing,
    /// Our own title, when a peer is asked for a count.
    pub own: AeTitle,
    /// Where the peers are, likewise.
    pub peers: Vec<PeerAddress>,
    /// How long they are waited for.
    pub timers: Timers,
}

/// What a look finds of a series whose own signal has fired.
enum Decided<'a> {
    /// It is complete.
    Complete(Decision<'a>),
    /// It waits for others of its study: until something comes, or until this time.
    Awaits(Option<Timestamp>),
}

/// What is to be done with a complete series.
struct Decision<'a> {
    series: &'a ReceivingSeries,
    signal: String,
    decisions: Vec<RouteDecision>,
    jobs: Vec<NewJob>,
    /// By how many routes another series of the study is read in its place.
    passed_over: usize,
}

impl Watch {
    /// Looks whenever something has changed or a time has come, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut changed = self.store.series_changed();
        let mut counts = Counts::default();
        loop {
            let sleep = tokio::select! {
                sleep = self.sweep(&mut counts) => sleep,
                () = stop.cancelled() => return,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(sleep) => {}
                _ = changed.changed() => tokio::time::sleep(BREATH).await,
                () = counts.answered() => tokio::time::sleep(BREATH).await,
            }
        }
    }

    /// Looks at every series that is receiving. Gives how long nothing needs to be looked at.
    async fn sweep(&self, counts: &mut Counts) -> Duration {
        let receiving = match self.store.series_receiving().await {
            Ok(receiving) => receiving,
            Err(error) => {
                tracing::error!(%error, "the series could not be looked through");
                return AFTER_ERROR;
            }
        };
        counts.keep_only(&receiving);
        let now = self.clock.now();
        let mut look_at = now.plus(LONGEST_SLEEP);
        let mut signalled = Vec::new();
        for series in &receiving {
            match decide_for_all(&reception(series, counts), &self.routing.rules(series), now) {
                DecisionForAll::Complete(signals) => signalled.push((series, signals)),
                DecisionForAll::Wait(at) => look_at = look_at.min(at),
                // The answer wakes the loop.
                DecisionForAll::AskCount => counts.ask(series.key, now, || self.question(series)),
            }
        }
        let mut company = Company::of(signalled.iter().map(|(series, _)| *series));
        // Study by study, the one whose series has waited longest first: what is decided of one is done before the headers of the
        // next are read.
        let mut order = HashMap::new();
        for (series, _) in &signalled {
            let next = order.len();
            order.entry(&series.study_instance_uid).or_insert(next);
        }
        signalled.sort_by_key(|(series, _)| order[&series.study_instance_uid]);
        for study in signalled.chunk_by(|(one, _), (other, _)| one.study_instance_uid == other.study_instance_uid) {
            let mut decided = Vec::new();
            for (series, signals) in study {
                match self.decide(series, signals.clone(), &mut company, now).await {
                    Ok(Decided::Complete(decision)) => decided.push(decision),
                    Ok(Decided::Awaits(at)) => look_at = at.map_or(look_at, |at| look_at.min(at)),
                    Err(error) => look_at = look_at.min(self.not_completed(series, &error)),
                }
            }
            look_at = look_at.min(self.settle(decided).await);
        }
        until(look_at, self.clock.now()).max(BREATH)
    }

    /// What is to be done with a series whose own signal has fired, unless it waits for others of its study: until something
    /// comes, or until the time that is given.
    async fn decide<'a>(
        &self,
        series: &'a ReceivingSeries,
        signal: String,
        company: &mut Company,
        now: Timestamp,
    ) -> Result<Decided<'a>, StoreError> {
        let study = company.study(&self.store, &self.routing, series).await?;
        let signal = match awaits(&self.routing, series, &study, now) {
            Awaits::Others(until) => return Ok(Decided::Awaits(until)),
            Awaits::Nothing(words) => [vec![signal], words].concat().join(", "),
        };
        let choices = company.choices(&self.store, &self.routing, series, &study).await?;
        let headers = company.headers(&self.store, &self.routing, series).await?;
        let (decisions, jobs) = self.routing.decide(series, headers.kind.as_ref(), &choices);
        let passed_over = choices.values().filter(|choice| choice.is_err()).count();
        Ok(Decided::Complete(Decision { series, signal, decisions, jobs, passed_over }))
    }

    /// Takes series of one study as complete, those for which others are passed over before these. Where one has changed meanwhile
    /// nothing more is decided of the study: the next look decides anew. Gives when that is to be, at the latest.
    async fn settle(&self, mut decided: Vec<Decision<'_>>) -> Timestamp {
        let mut look_at = self.clock.now().plus(LONGEST_SLEEP);
        decided.sort_by_key(|decision| decision.passed_over);
        for decision in &decided {
            match self.complete(decision).await {
                Ok(Completed::Complete(_)) => {}
                // Another instance came in between.
                Ok(Completed::NotThisRevision) => return self.clock.now(),
                Err(error) => look_at = look_at.min(self.not_completed(decision.series, &error)),
            }
        }
        look_at
    }

    async fn complete(&self, decision: &Decision<'_>) -> Result<Completed, StoreError> {
        let Decision { series, signal, decisions, jobs, .. } = decision;
        let completion = Completion { series: series.key, revision: series.revision, signal, decisions, jobs };
        let now = self.clock.now();
        let completed = self.store.complete_series(&completion, now).await?;
        if let Completed::Complete(queued) = &completed {
            tracing::info!(
                study.uid = %series.study_instance_uid,
                series.uid = %series.series_instance_uid,
                modality = series.modality,
                instances = series.revision,
                signal,
                routes = decisions.len(),
                jobs = queued.len(),
                duration_ms = now.since(series.first_received_at),
                "series complete"
            );
        }
        Ok(completed)
    }

    /// Tells of it, and when it is to be tried again.
    fn not_completed(&self, series: &ReceivingSeries, error: &StoreError) -> Timestamp {
        tracing::error!(series.uid = %series.series_instance_uid, %error, "the series could not be completed");
        self.clock.now().plus(AFTER_ERROR)
    }

    /// Asks a peer for the number of instances. 0 where it does not know or cannot be asked: the quiet time then decides.
    fn question(&self, series: &ReceivingSeries) -> impl Future<Output = u32> + Send + 'static {
        let title = match &self.routing.completeness.ask_count {
            Some(Destination::Peer(title)) => Some(title),
            Some(Destination::Sender) => series.sender.as_ref(),
            None => None,
        };
        let peer = title.and_then(|title| self.peers.iter().find(|peer| peer.ae_title == *title)).cloned();
        let (own, timers) = (self.own.clone(), self.timers);
        let (study, uid) = (series.study_instance_uid.clone(), series.series_instance_uid.clone());
        async move {
            let Some(peer) = peer else { return 0 };
            let asking = count::count_instances(&peer, &own, &study, &uid, &timers);
            match count::in_time(asking, tokio::time::sleep(timers.connect + timers.response)).await {
                Ok(count) => count,
                Err(cause) => {
                    tracing::warn!(%peer, series.uid = %uid, cause, "a peer could not be asked for the number of instances");
                    0
                }
            }
        }
    }
}

fn reception(series: &ReceivingSeries, counts: &Counts) -> Reception {
    let whole = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Reception {
        modality: series.modality.clone(),
        calling_ae: series.sender.as_ref().map_or_else(String::new, ToString::to_string),
        last_received_at: series.last_received_at,
        instances: whole(u64::try_from(series.revision).unwrap_or(0)),
        announced: series.announced_instances.map(whole),
        released_at: series.released_at.filter(|_| series.open_associations == 0),
        counted: counts.of(series.key),
    }
}

fn until(time: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(time.since(now)).unwrap_or(0))
}

#[cfg(test)]
mod tests;
