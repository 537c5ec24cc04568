//! Which models read a complete series, and who gets the results: a function of values.

use crate::config::{Completeness, Destination, Late, Route};
use crate::dicom::ae::AeTitle;
use crate::inference::manifest::Manifest;
use crate::store::{NewJob, ReceivingSeries, RouteDecision};
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
    /// `kind` is `None` where the series could not be read; its jobs then say why.
    #[must_use]
    pub fn decide(&self, series: &ReceivingSeries, kind: Option<&SeriesKind>) -> (Vec<RouteDecision>, Vec<NewJob>) {
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
            match self.candidate(route, series, kind) {
                Err(reason) => decisions.push(decision(false, reason)),
                Ok(model) => {
                    let (destinations, reason) = self.destinations(route, series, model);
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
        let may_take = |route: &&Route| matches(route, series).is_ok() && self.reads_modality(route, series).is_ok();
        let taken = self.routes.iter().filter(may_take);
        let mut rules: Vec<Completeness> = taken.map(|route| self.completeness.of_route(route)).collect();
        rules.dedup();
        if rules.is_empty() { vec![self.completeness.clone()] } else { rules }
    }

    fn candidate(
        &self,
        route: &Route,
        series: &ReceivingSeries,
        kind: Option<&SeriesKind>,
    ) -> Result<&Manifest, String> {
        if series.completed_revision.is_some() {
            match route.late.unwrap_or(self.completeness.late) {
                Late::Rerun => {}
                Late::Ignore => return Err("instances came late, and late is ignore".into()),
                Late::Hold => return Err("instances came late, and late is hold: overread reread has it read".into()),
            }
        }
        matches(route, series)?;
        let model = self.models.iter().find(|model| model.name == route.model);
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
        let (modality, model) = (&series.modality, self.models.iter().find(|model| model.name == route.model));
        match model.map(|model| &model.accepts.modality) {
            Some(read) if !modality.is_empty() && !read.contains(modality) => {
                Err(format!("The series is {modality}, the model reads {}.", read.join(" or ")))
            }
            _ => Ok(()),
        }
    }

    fn destinations(&self, route: &Route, series: &ReceivingSeries, model: &Manifest) -> (Vec<AeTitle>, String) {
        if model.identity().untrained && !self.allow_untrained {
            let reason =
                "the series fits; nothing is sent: the model is untrained, and results.allow_untrained is false";
            return (Vec::new(), reason.into());
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
        let mut reason = String::from("the series fits");
        if !unknown.is_empty() {
            reason = format!("{reason}; nothing is sent to {}: no [[peer]] has this title", unknown.join(", "));
        }
        (titles, reason)
    }
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
