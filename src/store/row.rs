//! What the index keeps of an instance, read from its header.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::error::Unusable;
use super::fold::fold_person_name;
use super::incoming::NewInstance;
use crate::dicom::data_set::DataSet;
use crate::dicom::uid::{SeriesInstanceUid, SopClassUid, SopInstanceUid, StudyInstanceUid, TransferSyntaxUid};

/// All columns that come from the data set, by the tables of `migrations/0001_index.sql`.
#[derive(Debug, Clone)]
pub(super) struct IndexRow {
    pub(super) patient: PatientColumns,
    pub(super) study: StudyColumns,
    pub(super) series: SeriesColumns,
    pub(super) instance: InstanceColumns,
}

#[derive(Debug, Clone)]
pub(super) struct PatientColumns {
    pub(super) patient_id: String,
    pub(super) issuer: String,
    pub(super) name: String,
    pub(super) name_folded: String,
    pub(super) birth_date: String,
    pub(super) sex: String,
}

#[derive(Debug, Clone)]
pub(super) struct StudyColumns {
    pub(super) uid: StudyInstanceUid,
    pub(super) date: String,
    pub(super) time: String,
    pub(super) accession_number: String,
    pub(super) study_id: String,
    pub(super) description: String,
    pub(super) referring_physician: String,
    pub(super) patient_age: String,
}

#[derive(Debug, Clone)]
pub(super) struct SeriesColumns {
    pub(super) uid: SeriesInstanceUid,
    pub(super) modality: String,
    pub(super) number: Option<i64>,
    pub(super) description: String,
    pub(super) date: String,
    pub(super) time: String,
    pub(super) body_part: String,
    pub(super) protocol_name: String,
    pub(super) laterality: String,
    pub(super) patient_position: String,
    pub(super) performed_date: String,
    pub(super) performed_time: String,
    pub(super) requested_procedure_id: String,
    pub(super) scheduled_step_id: String,
    pub(super) station_name: String,
    pub(super) institution_name: String,
    pub(super) manufacturer: String,
    pub(super) manufacturer_model: String,
    pub(super) performing_physician: String,
    pub(super) operators_name: String,
    pub(super) announced_instances: Option<i64>,
}

#[derive(Debug, Clone)]
pub(super) struct InstanceColumns {
    pub(super) uid: SopInstanceUid,
    pub(super) sop_class_uid: SopClassUid,
    pub(super) transfer_syntax_uid: TransferSyntaxUid,
    pub(super) number: Option<i64>,
    pub(super) acquisition_number: Option<i64>,
    pub(super) rows: Option<i64>,
    pub(super) columns: Option<i64>,
    pub(super) number_of_frames: Option<i64>,
    pub(super) content_date: String,
    pub(super) content_time: String,
    pub(super) image_type: String,
}

impl IndexRow {
    /// Reads the columns; `announced` is what the command (or the file meta information) says of the instance.
    pub(super) fn from_header(header: &DataSet, announced: &NewInstance) -> Result<Self, Unusable> {
        let study = header.uid(tags::STUDY_INSTANCE_UID, StudyInstanceUid::parse).map_err(Unusable::Study)?;
        let series = header.uid(tags::SERIES_INSTANCE_UID, SeriesInstanceUid::parse).map_err(Unusable::Series)?;
        if header.uid(tags::SOP_INSTANCE_UID, SopInstanceUid::parse).as_ref() != Ok(&announced.sop_instance_uid) {
            return Err(Unusable::OtherInstance);
        }
        if header.uid(tags::SOP_CLASS_UID, SopClassUid::parse).as_ref() != Ok(&announced.sop_class_uid) {
            return Err(Unusable::OtherClass);
        }
        Ok(Self {
            patient: PatientColumns::from_header(header),
            study: StudyColumns::from_header(header, study),
            series: SeriesColumns::from_header(header, series),
            instance: InstanceColumns::from_header(header, announced),
        })
    }
}

impl PatientColumns {
    fn from_header(header: &DataSet) -> Self {
        let name = text(header, tags::PATIENT_NAME);
        Self {
            patient_id: text(header, tags::PATIENT_ID),
            issuer: text(header, tags::ISSUER_OF_PATIENT_ID),
            name_folded: fold_person_name(&name),
            name,
            birth_date: date(header, tags::PATIENT_BIRTH_DATE),
            sex: text(header, tags::PATIENT_SEX),
        }
    }

    /// What tells this patient from others. Without a Patient ID nothing does: each study is then a patient of its own.
    pub(super) fn identity(&self, study: &StudyInstanceUid) -> String {
        if self.patient_id.is_empty() {
            format!("\\\\{study}")
        } else {
            format!("{}\\{}", self.patient_id, self.issuer)
        }
    }
}

impl StudyColumns {
    fn from_header(header: &DataSet, uid: StudyInstanceUid) -> Self {
        Self {
            uid,
            date: date(header, tags::STUDY_DATE),
            time: time(header, tags::STUDY_TIME),
            accession_number: text(header, tags::ACCESSION_NUMBER),
            study_id: text(header, tags::STUDY_ID),
            description: text(header, tags::STUDY_DESCRIPTION),
            referring_physician: text(header, tags::REFERRING_PHYSICIAN_NAME),
            patient_age: text(header, tags::PATIENT_AGE),
        }
    }

    pub(super) fn referring_physician_folded(&self) -> String {
        fold_person_name(&self.referring_physician)
    }
}

impl SeriesColumns {
    fn from_header(header: &DataSet, uid: SeriesInstanceUid) -> Self {
        let no_request = DataSet::new();
        let request = header.items(tags::REQUEST_ATTRIBUTES_SEQUENCE).first().unwrap_or(&no_request);
        Self {
            uid,
            modality: text(header, tags::MODALITY),
            number: header.integer(tags::SERIES_NUMBER),
            description: text(header, tags::SERIES_DESCRIPTION),
            date: date(header, tags::SERIES_DATE),
            time: time(header, tags::SERIES_TIME),
            body_part: text(header, tags::BODY_PART_EXAMINED),
            protocol_name: text(header, tags::PROTOCOL_NAME),
            laterality: text(header, tags::LATERALITY),
            patient_position: text(header, tags::PATIENT_POSITION),
            performed_date: date(header, tags::PERFORMED_PROCEDURE_STEP_START_DATE),
            performed_time: time(header, tags::PERFORMED_PROCEDURE_STEP_START_TIME),
            requested_procedure_id: text(request, tags::REQUESTED_PROCEDURE_ID),
            scheduled_step_id: text(request, tags::SCHEDULED_PROCEDURE_STEP_ID),
            station_name: text(header, tags::STATION_NAME),
            institution_name: text(header, tags::INSTITUTION_NAME),
            manufacturer: text(header, tags::MANUFACTURER),
            manufacturer_model: text(header, tags::MANUFACTURER_MODEL_NAME),
            performing_physician: text(header, tags::PERFORMING_PHYSICIAN_NAME),
            operators_name: text(header, tags::OPERATORS_NAME),
            announced_instances: header.integer(tags::NUMBER_OF_SERIES_RELATED_INSTANCES),
        }
    }
}

impl InstanceColumns {
    fn from_header(header: &DataSet, announced: &NewInstance) -> Self {
        Self {
            uid: announced.sop_instance_uid.clone(),
            sop_class_uid: announced.sop_class_uid.clone(),
            transfer_syntax_uid: announced.transfer_syntax_uid.clone(),
            number: header.integer(tags::INSTANCE_NUMBER),
            acquisition_number: header.integer(tags::ACQUISITION_NUMBER),
            rows: header.integer(tags::ROWS),
            columns: header.integer(tags::COLUMNS),
            number_of_frames: header.integer(tags::NUMBER_OF_FRAMES),
            content_date: date(header, tags::CONTENT_DATE),
            content_time: time(header, tags::CONTENT_TIME),
            image_type: text(header, tags::IMAGE_TYPE),
        }
    }
}

/// Text that SQL can hold: NUL has no place in it.
fn text(header: &DataSet, tag: Tag) -> String {
    let mut text = header.text(tag).unwrap_or_default();
    if text.contains('\0') {
        text = text.replace('\0', "");
    }
    text
}

/// A date as YYYYMMDD; the form with dots of ACR-NEMA (PS3.5 section 6.2, note on DA) is brought into it.
fn date(header: &DataSet, tag: Tag) -> String {
    let date = text(header, tag);
    match date.as_bytes() {
        [_, _, _, _, b'.', _, _, b'.', _, _] => date.replace('.', ""),
        _ => date,
    }
}

/// A time as HHMMSS.FFFFFF; the form with colons of ACR-NEMA (PS3.5 section 6.2, note on TM) is brought into it.
fn time(header: &DataSet, tag: Tag) -> String {
    let time = text(header, tag);
    match time.as_bytes() {
        [_, _, b':', _, _] | [_, _, b':', _, _, b':', _, _, ..] => time.replace(':', ""),
        _ => time,
    }
}
