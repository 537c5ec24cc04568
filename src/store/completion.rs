//! That a revision of a series is complete, and by which signal: the series says it of the last one, its story of all.

use sqlx::sqlite::SqliteConnection;

use super::error::StoreError;
use super::series::Completion;
use crate::clock::Timestamp;

/// Takes a series as complete, if it is still receiving in this very revision. Gives whether it was.
pub(super) async fn mark_complete(
    connection: &mut SqliteConnection,
    completion: &Completion<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let changed = sqlx::query(
        "UPDATE series SET state = 'complete', signal = $1, completed_at = $2, completed_revision = revision \
         WHERE series_key = $3 AND revision = $4 AND state = 'receiving'",
    )
    .bind(completion.signal)
    .bind(now.0)
    .bind(completion.series)
    .bind(completion.revision)
    .execute(&mut *connection)
    .await?;
    if changed.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO series_completion (series_key, revision, signal, completed_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (series_key, revision) DO UPDATE SET signal = excluded.signal, completed_at = excluded.completed_at",
    )
    .bind(completion.series)
    .bind(completion.revision)
    .bind(completion.signal)
    .bind(now.0)
    .execute(connection)
    .await?;
    Ok(true)
}
