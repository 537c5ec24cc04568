//! The columns of patient, study and series that come from a header: written once for inserting and once for renewing.

use sqlx::query_builder::Separated;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{QueryBuilder, Row};

use super::commit::NewRow;
use super::error::StoreError;
use super::fold::fold_person_names;
use super::ids::SeriesKey;
use super::layout::Origin;
use super::row::{IndexRow, PatientColumns, SeriesColumns, StudyColumns};

const PATIENT: &str = "patient_id, issuer_of_patient_id, patient_name, patient_name_folded, birth_date, sex";

const STUDY: &str = "study_date, study_time, accession_number, study_id, study_description, \
     referring_physician, referring_physician_folded, patient_age";

const SERIES: &str = "modality, series_number, series_description, series_date, series_time, \
     body_part, protocol_name, laterality, patient_position, performed_date, performed_time, requested_procedure_id, \
     scheduled_step_id, station_name, institution_name, manufacturer, manufacturer_model, performing_physician, \
     performing_physician_folded, operators_name, operators_name_folded, announced_instances";

type Values<'a> = Separated<'a, Sqlite, &'static str>;

fn patient_values(values: &mut Values<'_>, patient: &PatientColumns) {
    values
        .push_bind(patient.patient_id.clone())
        .push_bind(patient.issuer.clone())
        .push_bind(patient.name.clone())
        .push_bind(patient.name_folded.clone())
        .push_bind(patient.birth_date.clone())
        .push_bind(patient.sex.clone());
}

fn study_values(values: &mut Values<'_>, study: &StudyColumns) {
    values
        .push_bind(study.date.clone())
        .push_bind(study.time.clone())
        .push_bind(study.accession_number.clone())
        .push_bind(study.study_id.clone())
        .push_bind(study.description.clone())
        .push_bind(study.referring_physician.clone())
        .push_bind(study.referring_physician_folded())
        .push_bind(study.patient_age.clone());
}

fn series_values(values: &mut Values<'_>, series: &SeriesColumns) {
    values
        .push_bind(series.modality.clone())
        .push_bind(series.number)
        .push_bind(series.description.clone())
        .push_bind(series.date.clone())
        .push_bind(series.time.clone())
        .push_bind(series.body_part.clone())
        .push_bind(series.protocol_name.clone())
        .push_bind(series.laterality.clone())
        .push_bind(series.patient_position.clone())
        .push_bind(series.performed_date.clone())
        .push_bind(series.performed_time.clone())
        .push_bind(series.requested_procedure_id.clone())
        .push_bind(series.scheduled_step_id.clone())
        .push_bind(series.station_name.clone())
        .push_bind(series.institution_name.clone())
        .push_bind(series.manufacturer.clone())
        .push_bind(series.manufacturer_model.clone())
        .push_bind(series.performing_physician.clone())
        .push_bind(fold_person_names(&series.performing_physician))
        .push_bind(series.operators_name.clone())
        .push_bind(fold_person_names(&series.operators_name))
        .push_bind(series.announced_instances);
}

/// The patient's row, made or renewed: its attributes are those of the patient's newest study.
pub(super) async fn ensure_patient(connection: &mut SqliteConnection, row: &IndexRow) -> Result<i64, StoreError> {
    let mut query = QueryBuilder::new(format!("INSERT INTO patient ({PATIENT}, identity) VALUES ("));
    let mut values = query.separated(", ");
    patient_values(&mut values, &row.patient);
    values.push_bind(row.patient.identity(&row.study.uid));
    query.push(
        ") ON CONFLICT (identity) DO UPDATE SET patient_name = excluded.patient_name, \
         patient_name_folded = excluded.patient_name_folded, birth_date = excluded.birth_date, sex = excluded.sex \
         RETURNING patient_key",
    );
    Ok(query.build().fetch_one(connection).await?.try_get("patient_key")?)
}

/// A new study, of this patient.
pub(super) async fn insert_study(
    connection: &mut SqliteConnection,
    patient_key: i64,
    new: &NewRow,
) -> Result<i64, StoreError> {
    let at = new.received_at.0;
    let mut query = QueryBuilder::new(format!(
        "INSERT INTO study ({STUDY}, {PATIENT}, study_instance_uid, patient_key, first_received_at, last_received_at) \
         VALUES ("
    ));
    let mut values = query.separated(", ");
    study_values(&mut values, &new.row.study);
    patient_values(&mut values, &new.row.patient);
    values.push_bind(new.row.study.uid.as_str().to_owned()).push_bind(patient_key).push_bind(at).push_bind(at);
    query.push(") RETURNING study_key");
    Ok(query.build().fetch_one(connection).await?.try_get("study_key")?)
}

/// A new series of this study: receiving, or read where it is a result.
pub(super) async fn insert_series(
    connection: &mut SqliteConnection,
    study_key: i64,
    new: &NewRow,
) -> Result<SeriesKey, StoreError> {
    let at = new.received_at.0;
    let mut query = QueryBuilder::new(format!(
        "INSERT INTO series ({SERIES}, series_instance_uid, study_key, origin, state, first_received_at, \
         last_received_at) VALUES ("
    ));
    let mut values = query.separated(", ");
    series_values(&mut values, &new.row.series);
    values
        .push_bind(new.row.series.uid.as_str().to_owned())
        .push_bind(study_key)
        .push_bind(new.origin.word())
        .push_bind(if new.origin == Origin::Received { "receiving" } else { "read" })
        .push_bind(at)
        .push_bind(at);
    query.push(") RETURNING series_key");
    Ok(query.build().fetch_one(connection).await?.try_get("series_key")?)
}

/// Writes what a header says over what the rows above its instance say.
pub(super) async fn renew(
    connection: &mut SqliteConnection,
    series: SeriesKey,
    row: &IndexRow,
) -> Result<(), StoreError> {
    let mut query = QueryBuilder::new(format!("UPDATE series SET ({SERIES}) = ("));
    series_values(&mut query.separated(", "), &row.series);
    query.push(") WHERE series_key = ").push_bind(series);
    query.build().execute(&mut *connection).await?;
    let patient_key = ensure_patient(connection, row).await?;
    let mut query = QueryBuilder::new(format!("UPDATE study SET ({STUDY}, {PATIENT}, patient_key) = ("));
    let mut values = query.separated(", ");
    study_values(&mut values, &row.study);
    patient_values(&mut values, &row.patient);
    values.push_bind(patient_key);
    query.push(") WHERE study_instance_uid = ").push_bind(row.study.uid.as_str().to_owned());
    query.build().execute(connection).await?;
    Ok(())
}
