//! `overread why`: the whole story of a study, told from the database.

use super::{WithConfig, counted, exit, load_config, print, say, shown_time};
use crate::clock::{Clock, Timestamp};
use crate::store::{
    AttemptStory, CompletionStory, DeliveryStory, EmbeddingStory, JobStory, ResultStory, RouteStory, SeriesStory,
    SourceStory, StudyStory,
};
use crate::store::{DeliveryState, JobState, Origin, SeriesState, Store};

/// Tell the whole story of a study: what came, what was decided, what was made of it, where it went
#[derive(Debug, clap::Args)]
pub(super) struct Why {
    #[command(flatten)]
    config: WithConfig,
    /// A Study, Series or SOP Instance UID, or an accession number
    #[arg(value_name = "UID-OR-ACCESSION")]
    what: String,
}

/// Looks it up; a node may be running meanwhile.
pub(super) async fn why(arguments: Why) -> u8 {
    let Some(config) = load_config(&arguments.config) else { return exit::FAILED };
    let store = match Store::open_to_look(&config.node.data, Clock::System).await {
        Ok(store) => store,
        Err(error) => {
            say(format_args!("{error}"));
            return exit::FAILED;
        }
    };
    let studies = store.why(&arguments.what).await;
    match studies {
        Ok(studies) if studies.is_empty() => {
            say(format_args!("nothing is known of «{}»", arguments.what));
            exit::NOTHING
        }
        Ok(studies) => {
            let now = Clock::System.now();
            for study in &studies {
                print(format_args!("{}", story(study, now).trim_end()));
            }
            exit::DONE
        }
        Err(error) => {
            say(format_args!("{error}"));
            exit::FAILED
        }
    }
}

/// The story as indented lines.
fn story(study: &StudyStory, now: Timestamp) -> String {
    let mut lines = Lines::default();
    let accession = match study.accession_number.as_str() {
        "" => "no accession number".to_owned(),
        number => format!("accession {number}"),
    };
    lines.add(0, format!("study {}", study.study_instance_uid));
    let instances = counted(study.instances, "instance", "instances");
    lines.add(1, format!("{accession}, {instances} in {} series", study.series.len()));
    for series in &study.series {
        tell_series(&mut lines, series, now);
    }
    for aside in &study.kept_aside {
        lines.add(1, format!("kept aside: other content under instance {}", aside.sop_instance_uid));
        lines.add(
            2,
            format!(
                "from {}, {}, last at {}, in aside/{}",
                aside.calling_ae_title,
                counted(aside.times_received, "time", "times"),
                shown_time(aside.last_received_at),
                aside.file_name
            ),
        );
    }
    lines.0
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    /// One line, whatever a sender or a peer has written into it.
    fn add(&mut self, level: usize, line: impl AsRef<str>) {
        self.0.push_str(&"  ".repeat(level));
        self.0.extend(line.as_ref().chars().map(|c| if c.is_control() { ' ' } else { c }));
        self.0.push('\n');
    }
}

fn tell_series(lines: &mut Lines, series: &SeriesStory, now: Timestamp) {
    let number = series.number.map(|n| format!(" {n}")).unwrap_or_default();
    let what = if series.description.is_empty() { String::new() } else { format!(" «{}»", series.description) };
    lines.add(1, format!("series {}", series.series_instance_uid));
    lines.add(2, format!("{}{number}{what}: {}", or_unknown(&series.modality), series.state));
    if series.origin == Origin::Result {
        let instances = counted(series.instances, "instance", "instances");
        lines.add(2, format!("made here at {}, {instances}", shown_time(series.first_received_at)));
        return;
    }
    for source in &series.sources {
        tell_source(lines, source);
    }
    tell_completions(lines, series, now);
    for route in &series.routes {
        tell_route(lines, route);
    }
    if series.routes.is_empty() && series.state != SeriesState::Receiving {
        lines.add(
            2,
            match series.was_found_by_reindex() {
                true => "no route was asked: it was found by reindex; overread reread has it read",
                false => "no route is configured: nothing reads it",
            },
        );
    }
    for job in &series.jobs {
        tell_job(lines, job, now);
    }
    for kept in &series.embeddings {
        let EmbeddingStory { model_name, model_version, revision, path, created_at } = kept;
        let at = shown_time(*created_at);
        lines.add(
            2,
            format!("embeddings by {model_name} {model_version} (revision {revision}), kept at {at} in {path}"),
        );
    }
}

fn tell_source(lines: &mut Lines, source: &SourceStory) {
    lines.add(
        2,
        format!(
            "received {} from {} at {}, {} to {}{}",
            counted(source.instances, "instance", "instances"),
            source.calling_ae_title,
            source.peer_address,
            shown_time(source.first_received_at),
            shown_time(source.last_received_at),
            match (source.ended_at, source.released_at) {
                (None, _) => ", the association is open",
                (Some(_), None) => ", the association broke off",
                (Some(_), Some(_)) => "",
            }
        ),
    );
}

/// By which signals it was complete, in earlier revisions too.
fn tell_completions(lines: &mut Lines, series: &SeriesStory, now: Timestamp) {
    let is_receiving = series.state == SeriesState::Receiving;
    for earlier in series.completions.iter().filter(|one| is_receiving || one.revision < series.revision) {
        let CompletionStory { revision, signal, completed_at } = earlier;
        lines.add(2, format!("revision {revision} was complete at {}: {signal}", shown_time(*completed_at)));
    }
    match (is_receiving, series.completed_at) {
        (true, _) => {
            let quiet = now.since(series.last_received_at) / 1000;
            let instances = counted(series.instances, "instance", "instances");
            lines.add(2, format!("not complete yet: {instances} so far, the last one {quiet} s ago"));
        }
        (false, Some(at)) => lines.add(2, format!("complete at {}: {}", shown_time(at), series.signal)),
        (false, None) => lines.add(2, format!("complete: {}", or_unknown(&series.signal))),
    }
}

fn tell_route(lines: &mut Lines, route: &RouteStory) {
    let matched = if route.matched { "matched" } else { "did not match" };
    lines.add(
        2,
        format!(
            "route[{}] to model {} {matched} (revision {}): {}",
            route.route, route.model_name, route.revision, route.reason
        ),
    );
}

fn tell_job(lines: &mut Lines, job: &JobStory, now: Timestamp) {
    let when = match job.state {
        JobState::Queued if job.not_before > now => {
            format!(" at {}, next attempt at {}", shown_time(job.created_at), shown_time(job.not_before))
        }
        JobState::Queued => format!(" at {}", shown_time(job.created_at)),
        JobState::Running | JobState::Done | JobState::Failed => {
            job.ended_at.map(|at| format!(" at {}", shown_time(at))).unwrap_or_default()
        }
    };
    let word = if job.outcome.is_empty() { String::new() } else { format!(": {}", job.outcome) };
    lines.add(
        2,
        format!(
            "job {} by model {} {} (revision {}): {}{when}{word}",
            job.id, job.model_name, job.model_version, job.revision, job.state
        ),
    );
    if !job.cause.is_empty() {
        lines.add(3, format!("last failure: {}", job.cause));
    }
    for attempt in &job.attempts {
        tell_attempt(lines, attempt);
    }
    if job.state == JobState::Failed {
        lines.add(3, "not tried again by itself; after mending the cause: overread reread");
    }
    for result in &job.results {
        tell_result(lines, job, result, now);
    }
}

fn tell_attempt(lines: &mut Lines, attempt: &AttemptStory) {
    let ending = match attempt.ended_at {
        Some(at) => format!(
            "{} after {:.1} s",
            if attempt.ending.is_empty() { "ended" } else { &attempt.ending },
            at.since(attempt.started_at) as f64 / 1000.0
        ),
        None => "running".to_owned(),
    };
    let cause = if attempt.cause.is_empty() { String::new() } else { format!(": {}", attempt.cause) };
    lines.add(3, format!("attempt {} at {}: {ending}{cause}", attempt.attempt, shown_time(attempt.started_at)));
}

fn tell_result(lines: &mut Lines, job: &JobStory, result: &ResultStory, now: Timestamp) {
    lines.add(3, format!("{} {}", result.kind, result.sop_instance_uid));
    if result.deliveries.is_empty() {
        let withheld = job.untrained && !job.destinations.is_empty();
        let why =
            if withheld { ": the model that read it is untrained, and results.allow_untrained was false" } else { "" };
        lines.add(4, format!("goes to nobody{why}"));
    }
    for delivery in &result.deliveries {
        lines.add(4, tell_delivery(delivery, now));
        if delivery.state == DeliveryState::Dead {
            lines.add(5, "not sent again by itself; after mending the cause: overread resend");
        }
    }
}

fn tell_delivery(delivery: &DeliveryStory, now: Timestamp) -> String {
    let when = match delivery.state {
        DeliveryState::Delivered => delivery.delivered_at.map(|at| format!(" at {}", shown_time(at))),
        DeliveryState::Pending if delivery.next_attempt_at <= now => {
            Some(", it is sent when its destination is called next".to_owned())
        }
        DeliveryState::Pending => Some(format!(", next attempt at {}", shown_time(delivery.next_attempt_at))),
        DeliveryState::Sending | DeliveryState::Dead => {
            delivery.last_attempt_at.map(|at| format!(", last attempt at {}", shown_time(at)))
        }
    };
    format!(
        "to {}: {}{} ({}{})",
        delivery.destination,
        delivery.state,
        when.unwrap_or_default(),
        counted(delivery.attempts, "attempt", "attempts"),
        told_answer(delivery)
    )
}

/// The peer's last answer, and why there has been none since.
fn told_answer(delivery: &DeliveryStory) -> String {
    let DeliveryStory { last_status, last_comment, answered_at, no_answer, .. } = delivery;
    let comment = if last_comment.is_empty() { String::new() } else { format!(" «{last_comment}»") };
    match (last_status, no_answer.as_str()) {
        (None, "") => String::new(),
        (None, why) => format!(", no answer: {why}"),
        (Some(status), "") => format!(", last answer {status:04X}H{comment}"),
        (Some(status), why) => {
            let at = answered_at.map(|at| format!(" at {}", shown_time(at))).unwrap_or_default();
            format!(", last answer {status:04X}H{comment}{at}, none since: {why}")
        }
    }
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

#[cfg(test)]
mod tests;
