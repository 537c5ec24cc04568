//! How SQLite goes about what the loops ask again and again: what is done and over is not looked through.

use super::*;
use crate::store::series::known;
use crate::store::{jobs, outbox};

/// What is asked at every turn of a loop, or under the lock of the writer.
const HOT: [&str; 12] = [
    jobs::claim::CLAIM,
    jobs::claim::RUNNING,
    jobs::end::SUPERSEDE,
    outbox::CLAIM,
    outbox::WAITING,
    outbox::GIVE_UP_WAITING,
    outbox::RESET,
    outbox::RESEND_DEAD,
    outbox::RESEND_STUDY,
    known::RECEIVING,
    known::OF_STUDY,
    known::MODELS_OF_STUDY,
];

/// A year of it: all read, all delivered.
const YEAR: &str = "WITH RECURSIVE day (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM day WHERE n < 3000) \
     INSERT INTO study (study_key, patient_key, study_instance_uid, study_date, study_time, accession_number, study_id, \
         study_description, referring_physician, referring_physician_folded, patient_age, patient_id, \
         issuer_of_patient_id, patient_name, patient_name_folded, birth_date, sex, first_received_at, last_received_at) \
     SELECT 1000 + n, 1, '1.9.' || n, '', '', '', '', '', '', '', '', '', '', '', '', '', '', 0, 0 FROM day; \
     INSERT INTO series (series_key, study_key, series_instance_uid, modality, series_description, series_date, \
         series_time, body_part, protocol_name, laterality, patient_position, performed_date, performed_time, \
         requested_procedure_id, scheduled_step_id, station_name, institution_name, manufacturer, manufacturer_model, \
         performing_physician, operators_name, origin, state, first_received_at, last_received_at) \
     SELECT study_key, study_key, '1.9.' || study_key, 'CT', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', \
         '', '', 'received', 'read', 0, 0 FROM study WHERE study_key > 1000; \
     INSERT INTO association (association_key, association_id, calling_ae_title, peer_address, first_received_at, ended_at) \
     SELECT study_key, study_key, 'CT1', '', 0, 0 FROM study WHERE study_key > 1000; \
     INSERT INTO series_source (series_key, association_key, instances, first_received_at, last_received_at) \
     SELECT series_key, series_key, 1, 0, 0 FROM series WHERE series_key > 1000; \
     INSERT INTO job (job_id, series_key, revision, model_name, model_version, model_hash, route, reason, destinations, \
         state, attempts, not_before, created_at) \
     SELECT series_key, series_key, 1, 'lung', '1', '', 0, '', 'PACS', 'done', 1, 0, 0 FROM series WHERE series_key > 1000; \
     INSERT INTO job_attempt (job_id, attempt, owner, started_at) SELECT job_id, 1, '', 0 FROM job; \
     INSERT INTO delivery (destination, instance_key, job_id, state, attempts, next_attempt_at, created_at) \
     SELECT 'PACS' || job_id, 1, job_id, 'delivered', 1, 0, 0 FROM job WHERE job_id > 1000; ANALYZE";

async fn steps(bench: &Bench, sql: &'static str) -> Vec<String> {
    let explained = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
    let rows = explained.fetch_all(&mut *bench.store.inner.writer.lock().await.unwrap()).await.unwrap();
    rows.iter().map(|row| sqlx::Row::get(row, "detail")).collect()
}

/// Whether a step looks through a table, or through an index that holds all of it. Those of what is open are small.
fn looks_through_all(step: &str) -> bool {
    let open = ["job_queued_or_running", "delivery_pending_or_sending", "delivery_dead", "series_receiving", "next"];
    step.starts_with("SCAN ") && !open.iter().any(|name| step.ends_with(name))
}

#[tokio::test]
async fn what_is_over_costs_the_loops_nothing() {
    let bench = Bench::new().await;
    bench.complete(&["lung"]).await;
    assert!(steps(&bench, "SELECT * FROM job WHERE reason = ''").await.iter().any(|step| looks_through_all(step)));
    for is_analyzed in [false, true] {
        if is_analyzed {
            sqlx::raw_sql(YEAR).execute(&mut *bench.store.inner.writer.lock().await.unwrap()).await.unwrap();
        }
        for sql in HOT {
            let steps = steps(&bench, sql).await;
            assert!(!steps.iter().any(|step| looks_through_all(step)), "analyzed: {is_analyzed}: {sql}: {steps:#?}");
        }
    }
}
