//! The other series of a study, as one of them is decided on: which of them it waits for, and which is read in its place.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::preferred::{Candidate, Choice, Judged, choose};
use super::required::{Member, RequiredSet, required};
use super::routing::{Routing, matches};
use crate::clock::Timestamp;
use crate::dicom::uid::StudyInstanceUid;
use crate::inference::accept::NotAccepted;
use crate::inference::manifest::Manifest;
use crate::store::{ReceivingSeries, SeriesKey, SeriesState, Store, StoreError, StudySeries};
use crate::volume::{AssembleError, InstanceSource, Series, SeriesKind};

/// A series that came in the study.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) known: StudySeries,
    /// Whether its own signal has not fired yet.
    pub(super) is_arriving: bool,
}

/// Whether a series whose own signal has fired waits for others of its study.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// It does not; what is to be said of that in its signal.
    Nothing(Vec<String>),
    /// Until something comes, or until this time.
    Others(Option<Timestamp>),
}

/// By the required sets of the routes that a series takes, and by those of which one series of a study is chosen: that waits
/// until all to choose from are there, or its patience ends. `study`: all series of the study that came, this one among them.
pub(super) fn awaits(routing: &Routing, series: &ReceivingSeries, study: &[Beside], now: Timestamp) -> Awaits {
    let members: Vec<Member<'_>> = study
        .iter()
        .map(|beside| Member { description: &beside.known.series.description, is_arriving: beside.is_arriving })
        .collect();
    let (mut words, mut waits, mut until) = (Vec::new(), false, None);
    for route in routing.routes.iter().filter(|route| routing.may_take(route, series)) {
        match required(route, series.last_received_at, &members, now) {
            RequiredSet::Over(said) => words.extend(said.filter(|said| !words.contains(said))),
            RequiredSet::Wait(at) => {
                waits = true;
                until = Some(until.map_or(at, |earlier: Timestamp| earlier.min(at)));
            }
        }
        let may_be_better = |beside: &Beside| {
            beside.is_arriving
                && beside.known.series.key != series.key
                && routing.chooser(route, &beside.known.series).is_some()
        };
        if routing.chooser(route, series).is_some() && study.iter().any(may_be_better) {
            let give_up_at = series.last_received_at.plus(route.preferred_patience);
            if now < give_up_at {
                waits = true;
                until = Some(until.map_or(give_up_at, |earlier: Timestamp| earlier.min(give_up_at)));
            } else {
                let seconds = route.preferred_patience.as_secs();
                words.push(format!("not waiting for other series of the study after {seconds} s"));
            }
        }
    }
    if waits { Awaits::Others(until) } else { Awaits::Nothing(words) }
}

/// What the headers of a series say.
#[derive(Debug)]
pub(super) struct Headers {
    /// `None` where they cannot be read.
    pub(super) kind: Option<SeriesKind>,
    /// By models of which a route wants the series that they read best.
    judged: HashMap<String, Judged>,
    unreadable: Judged,
}

impl Headers {
    fn unreadable(code: &'static str, reason: String) -> Self {
        let unreadable = Judged { facts: None, accepted: Err(NotAccepted { code, reason }) };
        Self { kind: None, judged: HashMap::new(), unreadable }
    }

    /// Whether it is nothing that the model looks at at all.
    fn is_of_another_kind(&self, model: &Manifest) -> bool {
        self.kind.as_ref().is_some_and(|kind| model.accepts_kind(kind).is_err())
    }

    fn judged(&self, model: &Manifest) -> &Judged {
        self.judged.get(&model.name).unwrap_or(&self.unreadable)
    }
}

/// Kept for one look at all series, so that all of a study are decided on by the same.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// Series whose own signals have fired, with their revisions.
    signalled: HashMap<SeriesKey, i64>,
    studies: HashMap<StudyInstanceUid, Arc<[Beside]>>,
    headers: HashMap<SeriesKey, Arc<Headers>>,
}

impl Company {
    /// `signalled`: those series whose own signals have fired.
    pub(super) fn of<'a>(signalled: impl Iterator<Item = &'a ReceivingSeries>) -> Self {
        Self { signalled: signalled.map(|series| (series.key, series.revision)).collect(), ..Self::default() }
    }

    /// The series of the study of `series` that came; empty where no route that it takes asks for them.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) async fn study(
        &mut self,
        store: &Store,
        routing: &Routing,
        series: &ReceivingSeries,
    ) -> Result<Arc<[Beside]>, StoreError> {
        if !routing.looks_beside(series) {
            return Ok(Arc::default());
        }
        if let Some(study) = self.studies.get(&series.study_instance_uid) {
            return Ok(study.clone());
        }
        let beside = |known: StudySeries| {
            let signalled = self.signalled.get(&known.series.key) == Some(&known.series.revision);
            Beside { is_arriving: known.state == SeriesState::Receiving && !signalled, known }
        };
        let study: Arc<[Beside]> = store.series_of_study(series.key).await?.into_iter().map(beside).collect();
        self.studies.insert(series.study_instance_uid.clone(), study.clone());
        Ok(study)
    }

    /// For each route of which one series of a study is chosen and `series` may be that one: whether it is. None for a series
    /// of a kind that the model does not look at.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) async fn choices(
        &mut self,
        store: &Store,
        routing: &Routing,
        series: &ReceivingSeries,
        study: &[Beside],
    ) -> Result<BTreeMap<usize, Choice>, StoreError> {
        let mut choices = BTreeMap::new();
        for (index, route) in routing.routes.iter().enumerate() {
            let Some(model) = routing.chooser(route, series) else { continue };
            let own = self.headers(store, routing, series).await?;
            if own.is_of_another_kind(model) {
                continue;
            }
            let mut others = Vec::new();
            // One that is still arriving was waited for long enough: what it will be nobody knows.
            let there = |beside: &&Beside| !beside.is_arriving && routing.may_choose(route, series, &beside.known);
            for beside in study.iter().filter(there) {
                let headers = self.headers(store, routing, &beside.known.series).await?;
                if !headers.is_of_another_kind(model) {
                    others.push((&beside.known, headers));
                }
            }
            choices.insert(index, choice(model, series, &own, study, &others));
        }
        Ok(choices)
    }

    /// What the headers of a series say, of one that takes a route at all.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) async fn headers(
        &mut self,
        store: &Store,
        routing: &Routing,
        series: &ReceivingSeries,
    ) -> Result<Arc<Headers>, StoreError> {
        if let Some(headers) = self.headers.get(&series.key) {
            return Ok(headers.clone());
        }
        let headers = Arc::new(read_headers(store, routing, series).await?);
        self.headers.insert(series.key, headers.clone());
        Ok(headers)
    }
}

fn choice(
    model: &Manifest,
    series: &ReceivingSeries,
    own: &Headers,
    study: &[Beside],
    others: &[(&StudySeries, Arc<Headers>)],
) -> Choice {
    let is_read = |known: &StudySeries| known.models.contains(&model.name);
    let itself = study.iter().find(|beside| beside.known.series.key == series.key);
    let own = Candidate {
        uid: &series.series_instance_uid,
        judged: own.judged(model),
        is_read: itself.is_some_and(|beside| is_read(&beside.known)),
    };
    let mut candidates = Vec::with_capacity(others.len());
    for (known, headers) in others {
        let uid = &known.series.series_instance_uid;
        candidates.push(Candidate { uid, judged: headers.judged(model), is_read: is_read(known) });
    }
    choose(model.order_of_series().unwrap_or_default(), &own, &candidates)
}

async fn read_headers(store: &Store, routing: &Routing, series: &ReceivingSeries) -> Result<Headers, StoreError> {
    let unread = || Headers::unreadable("unreadable", "Its headers cannot be read.".to_owned());
    if !routing.routes.iter().any(|route| matches(route, series).is_ok()) {
        return Ok(unread());
    }
    let instances = match store.series_instances(series.key, series.revision).await {
        Ok(instances) => instances,
        // The next look would find the same.
        Err(error) if error.is_damage() => return Ok(unread()),
        Err(error) => return Err(error),
    };
    let sources: Vec<InstanceSource> = instances.iter().map(|i| InstanceSource::from(i.path())).collect();
    let judges = routing.judges(series);
    let read = tokio::task::spawn_blocking(move || match Series::read(sources) {
        Ok(series) => {
            let judged = judges.iter().map(|(model, gate)| (model.name.clone(), judge(&series, model, gate.as_ref())));
            Headers { kind: Some(series.kind()), judged: judged.collect(), ..unread() }
        }
        Err(AssembleError::Refused(refusal)) => Headers::unreadable(refusal.code(), refusal.to_string()),
        Err(error) => Headers::unreadable("unreadable", error.to_string()),
    });
    Ok(read.await.unwrap_or_else(|_| unread()))
}

/// What is accepted by its headers: by the model, and by its gate where that is served.
fn judge(series: &Series, model: &Manifest, gate: Option<&Manifest>) -> Judged {
    let facts = series.facts(&model.assemble_options());
    let of_gate = |gate: &Manifest| gate.accepts(&series.facts(&gate.assemble_options_for(model)));
    let accepted = model.accepts(&facts).and_then(|_| gate.map_or(Ok(None), of_gate)).map(|_| ());
    Judged { facts: Some(facts), accepted }
}
