//! The whole story of a study: what came, what was decided, what was made of it, where it went.

mod read;

use super::ids::{DeliveryId, JobId, SeriesKey};
use super::layout::Origin;
use super::reindex::FOUND_BY_REINDEX;
use super::state::{DeliveryState, JobState, SeriesState};
use crate::clock::Timestamp;

/// A study and all that has happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyStory {
    /// Study Instance UID.
    pub study_instance_uid: String,
    /// Accession Number, empty where unknown.
    pub accession_number: String,
    /// Study Date, YYYYMMDD, empty where unknown.
    pub study_date: String,
    /// Study Description, empty where unknown.
    pub description: String,
    /// Instances, results included.
    pub instances: u64,
    /// When the first instance came.
    pub first_received_at: Timestamp,
    /// When the last instance came or was made.
    pub last_received_at: Timestamp,
    /// Its series, received ones first.
    pub series: Vec<SeriesStory>,
    /// Content that came under SOP Instance UIDs that were taken.
    pub kept_aside: Vec<KeptAsideStory>,
}

/// A series and what was decided about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesStory {
    key: SeriesKey,
    /// Series Instance UID.
    pub series_instance_uid: String,
    /// Modality.
    pub modality: String,
    /// Series Number.
    pub number: Option<i64>,
    /// Series Description, empty where unknown.
    pub description: String,
    /// Received, or made here.
    pub origin: Origin,
    /// Where it stands.
    pub state: SeriesState,
    /// How many instances have come.
    pub revision: i64,
    /// How many instances there are.
    pub instances: u64,
    /// Why it was taken as complete; empty while receiving.
    pub signal: String,
    /// When the first instance came.
    pub first_received_at: Timestamp,
    /// When the last instance came.
    pub last_received_at: Timestamp,
    /// When it was taken as complete.
    pub completed_at: Option<Timestamp>,
    /// When its last job ended.
    pub read_at: Option<Timestamp>,
    /// From whom it came.
    pub sources: Vec<SourceStory>,
    /// Which revisions were taken as complete, and why.
    pub completions: Vec<CompletionStory>,
    /// What the routes said, by revision.
    pub routes: Vec<RouteStory>,
    /// Who read it.
    pub jobs: Vec<JobStory>,
    /// The embeddings that are kept of it.
    pub embeddings: Vec<EmbeddingStory>,
}

impl SeriesStory {
    /// Whether no route was asked because it was found by [`super::Store::reindex`].
    #[must_use]
    pub fn was_found_by_reindex(&self) -> bool {
        self.signal == FOUND_BY_REINDEX
    }
}

/// A revision of a series that was taken as complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionStory {
    /// Which.
    pub revision: i64,
    /// Why.
    pub signal: String,
    /// When.
    pub completed_at: Timestamp,
}

/// An association that sent instances of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStory {
    /// As the log has it.
    pub association_id: String,
    /// Who called.
    pub calling_ae_title: String,
    /// From where.
    pub peer_address: String,
    /// How many instances.
    pub instances: u64,
    /// The first.
    pub first_received_at: Timestamp,
    /// The last.
    pub last_received_at: Timestamp,
    /// When the peer released the association; nothing where it did not.
    pub released_at: Option<Timestamp>,
    /// When the association ended, in whatever way; nothing while it is open.
    pub ended_at: Option<Timestamp>,
}

/// What a route said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteStory {
    /// Of which revision.
    pub revision: i64,
    /// Index in the configuration.
    pub route: u32,
    /// The model it names.
    pub model_name: String,
    /// Whether it matched.
    pub matched: bool,
    /// Why, or why not.
    pub reason: String,
    /// When.
    pub decided_at: Timestamp,
}

/// A job with its attempts and results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStory {
    /// As the log has it.
    pub id: JobId,
    /// Of which revision.
    pub revision: i64,
    /// By which model.
    pub model_name: String,
    /// Its version.
    pub model_version: String,
    /// Where it stands.
    pub state: JobState,
    /// What the worker said of its end.
    pub outcome: String,
    /// Why it failed last, empty where it did not.
    pub cause: String,
    /// To whom its results go, as its routes said when it was queued.
    pub destinations: Vec<String>,
    /// Whether it was ended by a package whose weights are untrained.
    pub untrained: bool,
    /// When it was queued.
    pub created_at: Timestamp,
    /// Not to be tried earlier, where it is queued.
    pub not_before: Timestamp,
    /// When it was done or failed.
    pub ended_at: Option<Timestamp>,
    /// Every time it was tried.
    pub attempts: Vec<AttemptStory>,
    /// What it made.
    pub results: Vec<ResultStory>,
}

/// Embeddings that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingStory {
    /// By which model.
    pub model_name: String,
    /// Its version.
    pub model_version: String,
    /// Of which revision.
    pub revision: i64,
    /// The file, below the data folder.
    pub path: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptStory {
    /// From 1.
    pub attempt: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// `done`, `retry`, `failed`, `put back`, `lease lost`; empty while running.
    pub ending: String,
    /// Why it was not done.
    pub cause: String,
}

/// A result and its ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultStory {
    /// What it is.
    pub kind: String,
    /// SOP Instance UID.
    pub sop_instance_uid: String,
    /// SOP Class UID.
    pub sop_class_uid: String,
    /// Where it goes.
    pub deliveries: Vec<DeliveryStory>,
}

/// A result on its way to a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryStory {
    /// As the log has it.
    pub id: DeliveryId,
    /// To whom.
    pub destination: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, where it is pending.
    pub next_attempt_at: Timestamp,
    /// When it was tried last.
    pub last_attempt_at: Option<Timestamp>,
    /// The peer's last status.
    pub last_status: Option<u16>,
    /// What the peer said with it.
    pub last_comment: String,
    /// When the attempt began that it answered last.
    pub answered_at: Option<Timestamp>,
    /// Why there was no answer since; empty where there was one.
    pub no_answer: String,
    /// When the peer took it.
    pub delivered_at: Option<Timestamp>,
}

/// Other content under a taken SOP Instance UID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAsideStory {
    /// The SOP Instance UID.
    pub sop_instance_uid: String,
    /// The file, below `aside/`.
    pub file_name: String,
    /// Who sent it.
    pub calling_ae_title: String,
    /// How often.
    pub times_received: u64,
    /// When last.
    pub last_received_at: Timestamp,
}
