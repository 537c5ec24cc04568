//! A person wants a study read again: jobs that failed, and series that a model has not read.

use sqlx::sqlite::Sqlite;
use sqlx::{Connection, QueryBuilder};

use super::Store;
use super::error::StoreError;
use crate::clock::Timestamp;
use crate::dicom::uid::StudyInstanceUid;

/// What is going to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reread {
    /// Failed jobs that are queued again.
    pub jobs: u64,
    /// Series of which a route was not asked, or did not fit, for which all are asked again.
    pub series: u64,
}

impl Store {
    /// Queues the failed jobs of a study again, those of the last revision of their series, with a fresh count of attempts, and
    /// lets the completeness loop decide anew on its series that no job has read, on those that some route did not fit, among which
    /// are those that were held because instances came late, and on those of which one of `models`, those that routes name, was
    /// never asked: its route is new. A model that has read a revision does not read it again. A node that runs beside sees it
    /// when it next looks.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub async fn reread(
        &self,
        study: &StudyInstanceUid,
        models: &[&str],
        now: Timestamp,
    ) -> Result<Reread, StoreError> {
        let mut connection = self.inner.writer.lock().await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let series = decide_anew(study, models).build().execute(&mut *transaction).await?.rows_affected();
        // What was tried before counts as put back: the number of an attempt stays unique, the count starts anew.
        let jobs = sqlx::query(
            "UPDATE job SET state = 'queued', put_back = attempts, not_before = $2, ended_at = NULL \
             WHERE state = 'failed' AND EXISTS (SELECT 1 FROM series \
                 WHERE study_key = (SELECT study_key FROM study WHERE study_instance_uid = $1) \
                 AND series.series_key = job.series_key AND series.revision = job.revision)",
        )
        .bind(study.as_str())
        .bind(now.0)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        transaction.commit().await?;
        drop(connection);
        self.inner.changes.series.send_replace(());
        self.inner.changes.jobs.send_replace(());
        Ok(Reread { jobs, series })
    }
}

/// Makes the series receiving that are decided on anew.
fn decide_anew(study: &StudyInstanceUid, models: &[&str]) -> QueryBuilder<Sqlite> {
    let mut update = QueryBuilder::new(
        "UPDATE series SET state = 'receiving', completed_revision = NULL, completed_at = NULL, read_at = NULL, \
         signal = '' WHERE study_key = (SELECT study_key FROM study WHERE study_instance_uid = ",
    );
    update.push_bind(study.as_str().to_owned());
    update.push(
        ") AND origin = 'received' AND state IN ('complete', 'read') AND (NOT EXISTS \
         (SELECT 1 FROM job WHERE job.series_key = series.series_key AND job.revision = series.revision) OR EXISTS \
         (SELECT 1 FROM route_decision WHERE route_decision.series_key = series.series_key \
             AND route_decision.revision = series.revision AND NOT route_decision.matched)",
    );
    for model in models {
        for (before, asked) in [(" OR (NOT EXISTS", "route_decision"), (" AND NOT EXISTS", "job")] {
            update.push(format!(
                "{before} (SELECT 1 FROM {asked} WHERE {asked}.series_key = series.series_key \
                 AND {asked}.revision = series.revision AND {asked}.model_name = "
            ));
            update.push_bind((*model).to_owned()).push(")");
        }
        update.push(")");
    }
    update.push(")");
    update
}
