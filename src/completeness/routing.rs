//! Which models read a complete series, and who gets the results: a function of values.

use std::collections::BTreeMap;

use super::preferred::Choice;
use crate::config::{Completeness, Destination, Late, Route, SeriesChoice};
use crate::dicom::ae::AeTitle;
use crate::inference::manifest::Manifest;
use crate::store::{NewJob, ReceivingSeries, RouteDecision, SeriesState, StudySeries};
use crate::volume::SeriesKind;

/// What the routes are decided by.
#[derive(Debug, Clone)]
pub struct Routing {
    /// `[[route]]`, in the order of the file.
    pub routes: Vec<Route>,
    /// AE titles of all peers: to others nothing can be sent.
    pub peers: Vec<AeTitle>,
    /// The packages that are served.
    pub models: Vec<Manifest>,
    /// What holds for the series of routes that do not say it themselves.
    pub completeness: Completeness,
    /// Whether results of untrained models may leave.
    pub allow_untrained: bool,
}

impl Routing {
    /// What each route says to a series, and the jobs that follow: one for each model, however many routes name it.
    ///
    /// A series of a kind that the model does not read is not even a candidate: no job, no report. Everything else that
    /// speaks against a series is a result, which the report states.
    ///
    /// `kind` is `None` where the series could not be read; its jobs then say why. `choices`: what speaks for and against the
    /// series by others of its study, by index of the route.
    #[must_use]
    pub fn decide(
        &self,
        series: &ReceivingSeries,
        kind: Option<&SeriesKind>,
        choices: &BTreeMap<usize, Choice>,
    ) -> (Vec<RouteDecision>, Vec<NewJob>) {
        let mut decisions = Vec::new();
        let mut jobs: Vec<NewJob> = Vec::new();
        for (index, route) in self.routes.iter().enumerate() {
            let route_index = u32::try_from(index).unwrap_or(u32::MAX);
            let decision = |matched, reason: String| RouteDecision {
                route: route_index,
                model_name: route.model.clone(),
                matched,
                reason,
            };
            let chosen = |model| match choices.get(&index) {
                Some(Err(reason)) => Err(reason.clone()),
                Some(Ok(preferred)) => Ok((model, preferred.clone())),
                None => Ok((model, None)),
            };
            match self.candidate(route, series, kind).and_then(chosen) {
                Err(reason) => decisions.push(decision(false, reason)),
                Ok((model, preferred)) => {
                    let fits = preferred.unwrap_or_else(|| "the series fits".to_owned());
                    let (destinations, reason) = self.destinations(route, series, model, fits);
                    decisions.push(decision(true, reason.clone()));
                    match jobs.iter_mut().find(|job| job.model_name == model.name) {
                        Some(job) => {
                            let more = destinations.into_iter().filter(|title| !job.destinations.contains(title));
                            let more: Vec<AeTitle> = more.collect();
                            job.destinations.extend(more);
                        }
                        None => jobs.push(NewJob {
                            model_name: model.name.clone(),
                            model_version: model.version.clone(),
                            model_hash: model.weights_sha256(),
                            route: route_index,
                            reason,
                            destinations,
                        }),
                    }
                }
            }
        }
        (decisions, jobs)
    }

    /// When a series is complete, by each route that it may take; by `[completeness]` where it takes none.
    #[must_use]
    pub fn rules(&self, series: &ReceivingSeries) -> Vec<Completeness> {
        let taken = self.routes.iter().filter(|route| self.may_take(route, series));
        let mut rules: Vec<Completeness> = taken.map(|route| self.completeness.of_route(route)).collect();
        rules.dedup();
        if rules.is_empty() { vec![self.completeness.clone()] } else { rules }
    }

    /// Whether a series may take a route, by what the index says of it.
    pub(super) fn may_take(&self, route: &Route, series: &ReceivingSeries) -> bool {
        matches(route, series).is_ok() && self.reads_modality(route, series).is_ok()
    }

    /// Whether a route that `series` takes asks for other series of its study.
    pub(super) fn looks_beside(&self, series: &ReceivingSeries) -> bool {
        self.routes.iter().any(|route| {
            let requires = !route.required_series.is_empty() && self.may_take(route, series);
            requires || self.chooser(route, series).is_some()
        })
    }

    /// The model of a route that reads one series of a study, where `series` may be that one.
    pub(super) fn chooser(&self, route: &Route, series: &ReceivingSeries) -> Option<&Manifest> {
        if route.series == SeriesChoice::Every || matches(route, series).is_err() {
            return None;
        }
        self.model(&route.model).filter(|model| model.accepts.modality.contains(&series.modality))
    }

    /// Whether another series of the study may be the one that is read by a route: it takes the route, and is still decided
    /// on, or the model has read it. One that was passed over before is not decided on again.
    pub(super) fn may_choose(&self, route: &Route, series: &ReceivingSeries, other: &StudySeries) -> bool {
        let is_open = other.state == SeriesState::Receiving
            && (other.series.completed_revision.is_none() || self.late(route) == Late::Rerun);
        other.series.key != series.key
            && self.chooser(route, &other.series).is_some()
            && (is_open || other.models.contains(&route.model))
    }

    /// The models, each with its gate where that is served, of routes that read one series of a study, where `series` may be
    /// that one.
    pub(super) fn judges(&self, series: &ReceivingSeries) -> Vec<(Manifest, Option<Manifest>)> {
        let mut judges: Vec<(Manifest, Option<Manifest>)> = Vec::new();
        for model in self.routes.iter().filter_map(|route| self.chooser(route, series)) {
            if judges.iter().all(|(other, _)| other.name != model.name) {
                let gate = model.accepts.gate.as_deref().and_then(|gate| self.model(gate));
                judges.push((model.clone(), gate.cloned()));
            }
        }
        judges
    }

    fn model(&self, name: &str) -> Option<&Manifest> {
        self.models.iter().find(|model| model.name == name)
    }

    fn late(&self, route: &Route) -> Late {
        route.late.unwrap_or(self.completeness.late)
    }

    fn candidate(
        &self,
        route: &Route,
        series: &ReceivingSeries,
        kind: Option<&SeriesKind>,
    ) -> Result<&Manifest, String> {
        if series.completed_revision.is_some() {
            match self.late(route) {
                Late::Rerun => {}
                Late::Ignore => return Err("instances came late, and late is ignore".into()),
                Late::Hold => return Err("instances came late, and late is hold: overread reread has it read".into()),
            }
        }
        matches(route, series)?;
        let model = self.model(&route.model);
        let model = model.ok_or_else(|| format!("model {} is not served: see overread check", route.model))?;
        match kind {
            Some(kind) => model.accepts_kind(kind).map_err(|refusal| refusal.reason)?,
            None => self.reads_modality(route, series)?,
        }
        Ok(model)
    }

    /// Whether the model of a route reads the modality that the index has of a series; no modality, and a model that is not
    /// served, speak against nothing.
    fn reads_modality(&self, route: &Route, series: &ReceivingSeries) -> Result<(), String> {
        let (modality, model) = (&series.modality, self.model(&route.model));
        match model.map(|model| &model.accepts.modality) {
            Some(read) if !modality.is_empty() && !read.contains(modality) => {
                Err(format!("The series is {modality}, the model reads {}.", read.join(" or ")))
            }
            _ => Ok(()),
        }
    }

    /// Who gets the results, and why the series is read, which begins with `fits`.
    fn destinations(
        &self,
        route: &Route,
        series: &ReceivingSeries,
        model: &Manifest,
        fits: String,
    ) -> (Vec<AeTitle>, String) {
        if model.identity().untrained && !self.allow_untrained {
            let reason = "nothing is sent: the model is untrained, and results.allow_untrained is false";
            return (Vec::new(), format!("{fits}; {reason}"));
        }
        let mut titles: Vec<AeTitle> = Vec::new();
        let mut unknown = Vec::new();
        for destination in &route.send_to {
            let title = match destination {
                Destination::Peer(title) => Some(title.clone()),
                Destination::Sender => series.sender.clone(),
            };
            match title {
                Some(title) if !self.peers.contains(&title) => unknown.push(title.to_string()),
                Some(title) if !titles.contains(&title) => titles.push(title),
                Some(_) => {}
                None => unknown.push("the sender, who is not known".into()),
            }
        }
        let mut reason = fits;
        if !unknown.is_empty() {
            reason = format!("{reason}; nothing is sent to {}: no [[peer]] has this title", unknown.join(", "));
        }
        (titles, reason)
    }
}

/// Whether a route that reads one series of a study is given an order by its model.
///
/// # Errors
/// What the model's manifest lacks.
pub fn orders(route: &Route, model: &Manifest) -> Result<(), String> {
    if route.series == SeriesChoice::Every || model.order_of_series().is_some() {
        return Ok(());
    }
    Err(format!("«preferred» needs accepts.prefer in the manifest of {}: no order suits all radiographs", model.name))
}

/// Whether a series fulfils a route's conditions; if not, which it fails.
pub(super) fn matches(route: &Route, series: &ReceivingSeries) -> Result<(), String> {
    let sender = series.sender.as_ref().map_or("", AeTitle::as_str);
    route.matches(&series.modality, sender, &series.description)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::config::NodeConfig;
    use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};
    use crate::store::SeriesKey;

    /// A patient route of a model that reads CT, and a quick one of a model that is not served.
    fn routing() -> Routing {
        let model = Manifest::parse(include_str!("../inference/manifest/example.toml")).unwrap();
        assert_eq!(model.accepts.modality, ["CT"]);
        let text = format!(
            "[[route]]\nmodel = \"{}\"\nsend_to = [\"sender\"]\nquiet_seconds = 600\n\
             [[route]]\nmodel = \"another\"\nsend_to = [\"sender\"]\nquiet_seconds = 1\n",
            model.name
        );
        let config = NodeConfig::from_text(Path::new("overread.toml"), &text, std::iter::empty()).unwrap();
        Routing {
            routes: config.routes,
            peers: Vec::new(),
            models: vec![model],
            completeness: config.completeness,
            allow_untrained: true,
        }
    }

    fn series(modality: &str) -> ReceivingSeries {
        ReceivingSeries {
            key: SeriesKey::made_up(1),
            study_instance_uid: StudyInstanceUid::parse("1.2").unwrap(),
            series_instance_uid: SeriesInstanceUid::parse("1.2.3").unwrap(),
            modality: modality.to_owned(),
            description: String::new(),
            body_part: String::new(),
            revision: 1,
            announced_instances: None,
            first_received_at: Timestamp(0),
            last_received_at: Timestamp(0),
            sender: None,
            open_associations: 0,
            released_at: None,
            completed_revision: None,
        }
    }

    #[test]
    fn a_route_whose_model_reads_no_such_modality_makes_no_series_wait() {
        let routing = routing();
        let quiet = |modality: &str| {
            routing.rules(&series(modality)).iter().map(|rule| rule.quiet.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(quiet("CT"), [600, 1]);
        assert_eq!(quiet("MR"), [1]);
        assert_eq!(quiet(""), [600, 1], "it may be anything");
        let none = Routing { routes: routing.routes[..1].to_vec(), ..routing.clone() };
        let rules = none.rules(&series("MR"));
        assert_eq!(rules, std::slice::from_ref(&none.completeness), "it takes no route");
        assert_eq!(rules[0].quiet, Duration::from_secs(20));
    }

    #[test]
    fn a_series_whose_headers_cannot_be_read_gets_no_job_of_a_model_that_does_not_read_its_modality() {
        let routing = routing();
        let candidate = |modality: &str| routing.candidate(&routing.routes[0], &series(modality), None).map(|_| ());
        assert_eq!(candidate("MR"), Err("The series is MR, the model reads CT.".to_owned()));
        assert_eq!((candidate("CT"), candidate("")), (Ok(()), Ok(())));
    }
}
