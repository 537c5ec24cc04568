//! A story out of the rows.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use super::super::Store;
use super::super::error::StoreError;
use super::super::ids::JobId;
use super::super::instance::unsigned;
use super::super::layout::Origin;
use super::super::state::{DeliveryState, JobState, SeriesState};
use super::{
    AttemptStory, CompletionStory, DeliveryStory, EmbeddingStory, JobStory, KeptAsideStory, ResultStory, RouteStory,
    SeriesStory, SourceStory, StudyStory,
};
use crate::clock::Timestamp;

impl Store {
    /// The studies that a Study, Series or SOP Instance UID or an Accession Number names, each with its whole story.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn why(&self, uid_or_accession: &str) -> Result<Vec<StudyStory>, StoreError> {
        let keys: Vec<i64> = sqlx::query_scalar(
            "SELECT study_key FROM study WHERE study_instance_uid = $1 OR (accession_number = $1 AND $1 <> '') \
             UNION SELECT study_key FROM series WHERE series_instance_uid = $1 \
             UNION SELECT series.study_key FROM series JOIN instance ON instance.series_key = series.series_key \
                 WHERE instance.sop_instance_uid = $1 \
             UNION SELECT study.study_key FROM study JOIN kept_aside \
                 ON kept_aside.study_instance_uid = study.study_instance_uid WHERE kept_aside.sop_instance_uid = $1 \
             ORDER BY 1",
        )
        .bind(uid_or_accession.trim())
        .fetch_all(self.readers())
        .await?;
        let mut studies = Vec::with_capacity(keys.len());
        for key in keys {
            studies.push(study_story(self.readers(), key).await?);
        }
        Ok(studies)
    }
}

async fn study_story(readers: &SqlitePool, key: i64) -> Result<StudyStory, StoreError> {
    let row = sqlx::query("SELECT * FROM study WHERE study_key = $1").bind(key).fetch_one(readers).await?;
    let mut study = StudyStory {
        study_instance_uid: row.try_get("study_instance_uid")?,
        accession_number: row.try_get("accession_number")?,
        study_date: row.try_get("study_date")?,
        description: row.try_get("study_description")?,
        instances: count(&row, "number_of_instances")?,
        first_received_at: at(&row, "first_received_at")?,
        last_received_at: at(&row, "last_received_at")?,
        series: Vec::new(),
        kept_aside: Vec::new(),
    };
    study.kept_aside = all(
        sqlx::query("SELECT * FROM kept_aside WHERE study_instance_uid = $1 ORDER BY kept_key")
            .bind(&study.study_instance_uid)
            .fetch_all(readers)
            .await?,
        kept_aside_story,
    )?;
    study.series = all(
        sqlx::query("SELECT * FROM series WHERE study_key = $1 ORDER BY origin, series_number, series_key")
            .bind(key)
            .fetch_all(readers)
            .await?,
        series_story,
    )?;
    for series in &mut study.series {
        complete_series_story(readers, series).await?;
    }
    Ok(study)
}

async fn complete_series_story(readers: &SqlitePool, series: &mut SeriesStory) -> Result<(), StoreError> {
    series.sources = all(
        sqlx::query(
            "SELECT association.association_id, association.calling_ae_title, association.peer_address, \
             association.released_at, association.ended_at, series_source.instances, series_source.first_received_at, \
             series_source.last_received_at FROM series_source \
             JOIN association ON association.association_key = series_source.association_key \
             WHERE series_source.series_key = $1 ORDER BY series_source.first_received_at",
        )
        .bind(series.key)
        .fetch_all(readers)
        .await?,
        source_story,
    )?;
    series.completions = all(
        sqlx::query("SELECT * FROM series_completion WHERE series_key = $1 ORDER BY revision")
            .bind(series.key)
            .fetch_all(readers)
            .await?,
        completion_story,
    )?;
    series.routes = all(
        sqlx::query("SELECT * FROM route_decision WHERE series_key = $1 ORDER BY revision, route")
            .bind(series.key)
            .fetch_all(readers)
            .await?,
        route_story,
    )?;
    series.jobs = all(
        sqlx::query("SELECT * FROM job WHERE series_key = $1 ORDER BY job_id")
            .bind(series.key)
            .fetch_all(readers)
            .await?,
        job_story,
    )?;
    for job in &mut series.jobs {
        job.attempts = all(
            sqlx::query("SELECT * FROM job_attempt WHERE job_id = $1 ORDER BY attempt")
                .bind(job.id)
                .fetch_all(readers)
                .await?,
            attempt_story,
        )?;
        job.results = result_stories(readers, job.id).await?;
    }
    series.embeddings = all(
        sqlx::query("SELECT * FROM embedding WHERE series_key = $1 ORDER BY embedding_key")
            .bind(series.key)
            .fetch_all(readers)
            .await?,
        embedding_story,
    )?;
    Ok(())
}

async fn result_stories(readers: &SqlitePool, job: JobId) -> Result<Vec<ResultStory>, StoreError> {
    let rows = sqlx::query(
        "SELECT result.kind, instance.instance_key, instance.sop_instance_uid, instance.sop_class_uid FROM result \
         JOIN instance ON instance.instance_key = result.instance_key WHERE result.job_id = $1 \
         ORDER BY instance.instance_key",
    )
    .bind(job)
    .fetch_all(readers)
    .await?;
    let mut results = Vec::with_capacity(rows.len());
    for row in rows {
        let deliveries = sqlx::query("SELECT * FROM delivery WHERE instance_key = $1 ORDER BY delivery_id")
            .bind(row.try_get::<i64, _>("instance_key")?)
            .fetch_all(readers)
            .await?;
        results.push(ResultStory {
            kind: row.try_get("kind")?,
            sop_instance_uid: row.try_get("sop_instance_uid")?,
            sop_class_uid: row.try_get("sop_class_uid")?,
            deliveries: all(deliveries, delivery_story)?,
        });
    }
    Ok(results)
}

fn series_story(row: &SqliteRow) -> Result<SeriesStory, StoreError> {
    Ok(SeriesStory {
        key: row.try_get("series_key")?,
        series_instance_uid: row.try_get("series_instance_uid")?,
        modality: row.try_get("modality")?,
        number: row.try_get("series_number")?,
        description: row.try_get("series_description")?,
        origin: Origin::from_word(row.try_get("origin")?)?,
        state: SeriesState::from_word(row.try_get("state")?)?,
        instances: count(row, "number_of_instances")?,
        revision: row.try_get("revision")?,
        signal: row.try_get("signal")?,
        first_received_at: at(row, "first_received_at")?,
        last_received_at: at(row, "last_received_at")?,
        completed_at: maybe_at(row, "completed_at")?,
        read_at: maybe_at(row, "read_at")?,
        sources: Vec::new(),
        completions: Vec::new(),
        routes: Vec::new(),
        jobs: Vec::new(),
        embeddings: Vec::new(),
    })
}

fn source_story(row: &SqliteRow) -> Result<SourceStory, StoreError> {
    Ok(SourceStory {
        association_id: row.try_get("association_id")?,
        calling_ae_title: row.try_get("calling_ae_title")?,
        peer_address: row.try_get("peer_address")?,
        instances: count(row, "instances")?,
        first_received_at: at(row, "first_received_at")?,
        last_received_at: at(row, "last_received_at")?,
        released_at: maybe_at(row, "released_at")?,
        ended_at: maybe_at(row, "ended_at")?,
    })
}

fn completion_story(row: &SqliteRow) -> Result<CompletionStory, StoreError> {
    Ok(CompletionStory {
        revision: row.try_get("revision")?,
        signal: row.try_get("signal")?,
        completed_at: at(row, "completed_at")?,
    })
}

fn route_story(row: &SqliteRow) -> Result<RouteStory, StoreError> {
    Ok(RouteStory {
        revision: row.try_get("revision")?,
        route: row.try_get("route")?,
        model_name: row.try_get("model_name")?,
        matched: row.try_get::<i64, _>("matched")? != 0,
        reason: row.try_get("reason")?,
        decided_at: at(row, "decided_at")?,
    })
}

fn job_story(row: &SqliteRow) -> Result<JobStory, StoreError> {
    let destinations: &str = row.try_get("destinations")?;
    Ok(JobStory {
        id: row.try_get("job_id")?,
        revision: row.try_get("revision")?,
        model_name: row.try_get("model_name")?,
        model_version: row.try_get("model_version")?,
        state: JobState::from_word(row.try_get("state")?)?,
        outcome: row.try_get("outcome")?,
        cause: row.try_get("cause")?,
        destinations: destinations.split('\\').filter(|title| !title.is_empty()).map(str::to_owned).collect(),
        untrained: row.try_get("untrained")?,
        created_at: at(row, "created_at")?,
        not_before: at(row, "not_before")?,
        ended_at: maybe_at(row, "ended_at")?,
        attempts: Vec::new(),
        results: Vec::new(),
    })
}

fn embedding_story(row: &SqliteRow) -> Result<EmbeddingStory, StoreError> {
    Ok(EmbeddingStory {
        model_name: row.try_get("model_name")?,
        model_version: row.try_get("model_version")?,
        revision: row.try_get("revision")?,
        path: row.try_get("path")?,
        created_at: at(row, "created_at")?,
    })
}

fn attempt_story(row: &SqliteRow) -> Result<AttemptStory, StoreError> {
    Ok(AttemptStory {
        attempt: row.try_get("attempt")?,
        started_at: at(row, "started_at")?,
        ended_at: maybe_at(row, "ended_at")?,
        ending: row.try_get("ending")?,
        cause: row.try_get("cause")?,
    })
}

fn delivery_story(row: &SqliteRow) -> Result<DeliveryStory, StoreError> {
    Ok(DeliveryStory {
        id: row.try_get("delivery_id")?,
        destination: row.try_get("destination")?,
        state: DeliveryState::from_word(row.try_get("state")?)?,
        attempts: row.try_get("attempts")?,
        next_attempt_at: at(row, "next_attempt_at")?,
        last_attempt_at: maybe_at(row, "last_attempt_at")?,
        last_status: row.try_get::<Option<i64>, _>("last_status")?.and_then(|s| u16::try_from(s).ok()),
        last_comment: row.try_get("last_comment")?,
        answered_at: maybe_at(row, "answered_at")?,
        no_answer: row.try_get("no_answer")?,
        delivered_at: maybe_at(row, "delivered_at")?,
    })
}

fn kept_aside_story(row: &SqliteRow) -> Result<KeptAsideStory, StoreError> {
    Ok(KeptAsideStory {
        sop_instance_uid: row.try_get("sop_instance_uid")?,
        file_name: row.try_get("file_name")?,
        calling_ae_title: row.try_get("calling_ae_title")?,
        times_received: count(row, "times_received")?,
        last_received_at: at(row, "last_received_at")?,
    })
}

fn all<T>(rows: Vec<SqliteRow>, read: fn(&SqliteRow) -> Result<T, StoreError>) -> Result<Vec<T>, StoreError> {
    rows.iter().map(read).collect()
}

fn at(row: &SqliteRow, column: &str) -> Result<Timestamp, StoreError> {
    Ok(Timestamp(row.try_get(column)?))
}

fn maybe_at(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp))
}

fn count(row: &SqliteRow, column: &str) -> Result<u64, StoreError> {
    Ok(unsigned(row.try_get(column)?))
}
