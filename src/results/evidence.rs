//! What every result object shares with its source: patient, study, times, references. Copied to the byte, in the
//! character repertoire of the source.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::dates::ContentTime;
use super::request::ResultRequest;
use crate::dicom::data_set::DataSet;
use crate::dicom::uid::{SopClassUid, SopInstanceUid};

/// Patient Module (PS3.3 C.7.1.1).
#[expect(deprecated, reason = "sources hold retired attributes")]
pub(super) const PATIENT: &[Tag] = &[
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::TYPE_OF_PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE,
    tags::SOURCE_PATIENT_GROUP_IDENTIFICATION_SEQUENCE,
    tags::GROUP_OF_PATIENTS_IDENTIFICATION_SEQUENCE,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_BIRTH_TIME,
    tags::PATIENT_BIRTH_DATE_IN_ALTERNATIVE_CALENDAR,
    tags::PATIENT_ALTERNATIVE_CALENDAR,
    tags::PATIENT_SEX,
    tags::QUALITY_CONTROL_SUBJECT,
    tags::REFERENCED_PATIENT_SEQUENCE,
    tags::OTHER_PATIENT_I_DS_SEQUENCE,
    tags::OTHER_PATIENT_NAMES,
    tags::ETHNIC_GROUP,
    tags::PATIENT_COMMENTS,
    tags::PATIENT_SPECIES_DESCRIPTION,
    tags::PATIENT_SPECIES_CODE_SEQUENCE,
    tags::PATIENT_BREED_DESCRIPTION,
    tags::PATIENT_BREED_CODE_SEQUENCE,
    tags::BREED_REGISTRATION_SEQUENCE,
    tags::RESPONSIBLE_PERSON,
    tags::RESPONSIBLE_PERSON_ROLE,
    tags::RESPONSIBLE_ORGANIZATION,
    tags::PATIENT_IDENTITY_REMOVED,
    tags::DEIDENTIFICATION_METHOD,
    tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
];

/// General Study Module (PS3.3 C.7.2.1).
pub(super) const GENERAL_STUDY: &[Tag] = &[
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::REFERRING_PHYSICIAN_IDENTIFICATION_SEQUENCE,
    tags::CONSULTING_PHYSICIAN_NAME,
    tags::CONSULTING_PHYSICIAN_IDENTIFICATION_SEQUENCE,
    tags::STUDY_DESCRIPTION,
    tags::PROCEDURE_CODE_SEQUENCE,
    tags::PHYSICIANS_OF_RECORD,
    tags::PHYSICIANS_OF_RECORD_IDENTIFICATION_SEQUENCE,
    tags::NAME_OF_PHYSICIANS_READING_STUDY,
    tags::PHYSICIANS_READING_STUDY_IDENTIFICATION_SEQUENCE,
    tags::REFERENCED_STUDY_SEQUENCE,
    tags::STUDY_ID,
    tags::REQUESTING_SERVICE_CODE_SEQUENCE,
    tags::REASON_FOR_PERFORMED_PROCEDURE_CODE_SEQUENCE,
];

/// Patient Study Module (PS3.3 C.7.2.2).
pub(super) const PATIENT_STUDY: &[Tag] = &[
    tags::ADMITTING_DIAGNOSES_DESCRIPTION,
    tags::ADMITTING_DIAGNOSES_CODE_SEQUENCE,
    tags::PATIENT_AGE,
    tags::PATIENT_SIZE,
    tags::PATIENT_WEIGHT,
    tags::PATIENT_SIZE_CODE_SEQUENCE,
    tags::MEDICAL_ALERTS,
    tags::ALLERGIES,
    tags::SMOKING_STATUS,
    tags::PREGNANCY_STATUS,
    tags::LAST_MENSTRUAL_DATE,
    tags::PATIENT_STATE,
    tags::OCCUPATION,
    tags::ADDITIONAL_PATIENT_HISTORY,
    tags::ADMISSION_ID,
    tags::ISSUER_OF_ADMISSION_ID_SEQUENCE,
    tags::REASON_FOR_VISIT,
    tags::REASON_FOR_VISIT_CODE_SEQUENCE,
    tags::SERVICE_EPISODE_ID,
    tags::SERVICE_EPISODE_DESCRIPTION,
    tags::ISSUER_OF_SERVICE_EPISODE_ID_SEQUENCE,
    tags::PATIENT_SEX_NEUTERED,
];

/// Attributes that must be present even if nothing is known (type 2).
const MAY_BE_EMPTY: &[(Tag, VR)] = &[
    (tags::PATIENT_NAME, VR::PN),
    (tags::PATIENT_ID, VR::LO),
    (tags::PATIENT_BIRTH_DATE, VR::DA),
    (tags::PATIENT_SEX, VR::CS),
    (tags::STUDY_DATE, VR::DA),
    (tags::STUDY_TIME, VR::TM),
    (tags::ACCESSION_NUMBER, VR::SH),
    (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
    (tags::STUDY_ID, VR::SH),
];

/// Begins an object: its repertoire, patient, study and patient-study modules, all from the source.
pub(super) fn begin(request: &ResultRequest<'_>) -> DataSet {
    let header = &request.source.header;
    let mut object = DataSet::new();
    // First of all, since text that is put afterwards follows it.
    if !header.character_set().terms().is_empty() {
        object.copy(header, tags::SPECIFIC_CHARACTER_SET);
    }
    object.copy(header, tags::TIMEZONE_OFFSET_FROM_UTC);
    object.copy(header, tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED);
    for tag in [PATIENT, GENERAL_STUDY, PATIENT_STUDY].into_iter().flatten().filter(|tag| is_copied(header, **tag)) {
        object.copy(header, *tag);
    }
    for (tag, vr) in MAY_BE_EMPTY {
        if !object.contains(*tag) {
            object.put_text(*tag, *vr, "");
        }
    }
    object.put_uid(tags::STUDY_INSTANCE_UID, request.source.study_instance_uid.as_str());
    object
}

/// SOP Common Module (PS3.3 C.12.1) and the content date that all IODs here have.
pub(super) fn put_instance(object: &mut DataSet, class: &SopClassUid, instance: &SopInstanceUid, time: &ContentTime) {
    object.put_uid(tags::SOP_CLASS_UID, class.as_str());
    object.put_uid(tags::SOP_INSTANCE_UID, instance.as_str());
    object.put_text(tags::INSTANCE_NUMBER, VR::IS, "1");
    object.put_text(tags::INSTANCE_CREATION_DATE, VR::DA, &time.date);
    object.put_text(tags::INSTANCE_CREATION_TIME, VR::TM, &time.time);
    object.put_text(tags::CONTENT_DATE, VR::DA, &time.date);
    object.put_text(tags::CONTENT_TIME, VR::TM, &time.time);
    object.put_text(tags::SERIES_DATE, VR::DA, &time.date);
    object.put_text(tags::SERIES_TIME, VR::TM, &time.time);
}

/// SOP Instance Reference Macro (PS3.3 Table 10-11).
pub(super) fn instance_reference(class: &SopClassUid, instance: &SopInstanceUid) -> DataSet {
    let mut item = DataSet::new();
    item.put_uid(tags::REFERENCED_SOP_CLASS_UID, class.as_str());
    item.put_uid(tags::REFERENCED_SOP_INSTANCE_UID, instance.as_str());
    item
}

/// References to every instance of the source series.
pub(super) fn source_references(request: &ResultRequest<'_>) -> Vec<DataSet> {
    request.source.instances.iter().map(|(class, instance)| instance_reference(class, instance)).collect()
}

/// Referenced Request Sequence (PS3.3 C.17.2) from the requests that the source names.
pub(super) fn request_references(source: &DataSet, study_instance_uid: &str) -> Vec<DataSet> {
    let with_id = |item: &&DataSet| item.text(tags::REQUESTED_PROCEDURE_ID).is_some();
    source
        .items(tags::REQUEST_ATTRIBUTES_SEQUENCE)
        .iter()
        .filter(with_id)
        .map(|request| {
            let mut item = DataSet::new();
            item.put_uid(tags::STUDY_INSTANCE_UID, study_instance_uid);
            item.put_items(tags::REFERENCED_STUDY_SEQUENCE, Vec::new());
            for (tag, vr) in [
                (tags::ACCESSION_NUMBER, VR::SH),
                (tags::PLACER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST, VR::LO),
                (tags::FILLER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST, VR::LO),
                (tags::REQUESTED_PROCEDURE_ID, VR::SH),
                (tags::REQUESTED_PROCEDURE_DESCRIPTION, VR::LO),
                (tags::REQUESTED_PROCEDURE_CODE_SEQUENCE, VR::SQ),
            ] {
                if vr == VR::SQ {
                    item.put_items(tag, request.items(tag).to_vec());
                } else {
                    let value = request.bytes(tag).or_else(|| source.bytes(tag)).cloned().unwrap_or_default();
                    item.put_bytes(tag, vr, value);
                }
            }
            item.copy(request, tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE);
            if !item.contains(tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE) {
                item.copy(source, tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE);
            }
            item
        })
        .collect()
}

/// Whether what the source has of these modules is taken over. An age in another form than the standard's («81») is not: nobody is
/// told apart by it, and it makes an object invalid that is right otherwise.
pub(super) fn is_copied(header: &DataSet, tag: Tag) -> bool {
    tag != tags::PATIENT_AGE || header.text(tag).is_none_or(|age| is_age(&age))
}

/// Whether a value is an age string (PS3.5 section 6.2, AS): three digits and D, W, M or Y.
fn is_age(text: &str) -> bool {
    matches!(text.trim_end().as_bytes(), [digits @ .., b'D' | b'W' | b'M' | b'Y'] if digits.len() == 3 && digits.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_three_digits_and_a_unit() {
        for (text, is) in [
            ("081Y", true),
            ("003M ", true),
            ("81", false),
            ("81Y", false),
            ("0081Y", false),
            ("", false),
            ("08éY", false),
        ] {
            assert_eq!(is_age(text), is, "{text}");
        }
    }
}
