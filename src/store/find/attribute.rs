//! The attributes that the index holds, and how SQL spells them.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

/// The levels of the Query/Retrieve information models (PS3.4 section C.6), from the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// PATIENT.
    Patient,
    /// STUDY.
    Study,
    /// SERIES.
    Series,
    /// IMAGE: any composite instance.
    Image,
}

/// An attribute that can be matched on or returned.
#[derive(Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its tag.
    pub tag: Tag,
    /// Its value representation.
    pub vr: VR,
    /// The level whose entities have it; it can be asked for at this level and below.
    pub level: Level,
    /// The sequence in whose item it stands.
    pub within: Option<Tag>,
    pub(super) column: Column,
}

/// How an attribute is kept. `@` stands for the table that has the patient's attributes at the level of the query:
/// `patient` at the patient level, below it `study`, which has its own copy of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// Text with one value, or a date: compared as it is.
    Text(&'static str),
    /// A time, as precise as it came.
    Time(&'static str),
    /// A person name; the columns that matching looks at have the endings `_folded` (all component groups),
    /// `_ideographic` and `_phonetic`.
    Name(&'static str),
    /// Person names joined by backslashes, of which any may match; folded in the column with the ending `_folded`.
    Names(&'static str),
    /// Values joined by backslashes, of which any may match.
    Many(&'static str),
    /// A whole number or null.
    Number(&'static str),
    /// Counted (PS3.4 section C.3.4): returned, never matched.
    Returned(&'static str),
}

impl Attribute {
    /// The attribute with this tag outside of sequences, where the index holds it.
    #[must_use]
    pub fn of(tag: Tag) -> Option<&'static Self> {
        Self::in_item(None, tag)
    }

    /// The attribute with this tag in the items of `sequence`, or outside of all, where the index holds it.
    #[must_use]
    pub fn in_item(sequence: Option<Tag>, tag: Tag) -> Option<&'static Self> {
        ATTRIBUTES.iter().find(|a| a.tag == tag && a.within == sequence)
    }

    /// All that the index holds from the items of this sequence; none for a sequence it does not know.
    pub fn all_in_items(sequence: Tag) -> impl Iterator<Item = &'static Self> {
        ATTRIBUTES.iter().filter(move |a| a.within == Some(sequence))
    }

    /// Whether a value can be matched. Counts, for one, can only be returned: asked for with a value, they are universal.
    #[must_use]
    pub fn can_match(&self) -> bool {
        !matches!(self.column, Column::Returned(_))
    }
}

const fn at(level: Level, tag: Tag, vr: VR, column: Column) -> Attribute {
    Attribute { tag, vr, level, within: None, column }
}

const fn within(sequence: Tag, level: Level, tag: Tag, vr: VR, column: Column) -> Attribute {
    Attribute { tag, vr, level, within: Some(sequence), column }
}

use Column::{Many, Name, Names, Number, Returned, Text, Time};
use Level::{Image, Patient, Series, Study};

/// How many studies, series and instances the patient of the row has.
const STUDIES_OF_PATIENT: &str = "(SELECT count(*) FROM study AS sibling WHERE sibling.patient_key = @.patient_key AND sibling.number_of_instances > 0)";
const SERIES_OF_PATIENT: &str = "(SELECT coalesce(sum(sibling.number_of_series), 0) FROM study AS sibling WHERE sibling.patient_key = @.patient_key)";
const INSTANCES_OF_PATIENT: &str = "(SELECT coalesce(sum(sibling.number_of_instances), 0) FROM study AS sibling WHERE sibling.patient_key = @.patient_key)";

static ATTRIBUTES: &[Attribute] = &[
    at(Patient, tags::PATIENT_NAME, VR::PN, Name("@.patient_name")),
    at(Patient, tags::PATIENT_ID, VR::LO, Text("@.patient_id")),
    at(Patient, tags::ISSUER_OF_PATIENT_ID, VR::LO, Text("@.issuer_of_patient_id")),
    at(Patient, tags::PATIENT_BIRTH_DATE, VR::DA, Text("@.birth_date")),
    at(Patient, tags::PATIENT_SEX, VR::CS, Text("@.sex")),
    at(Patient, tags::NUMBER_OF_PATIENT_RELATED_STUDIES, VR::IS, Returned(STUDIES_OF_PATIENT)),
    at(Patient, tags::NUMBER_OF_PATIENT_RELATED_SERIES, VR::IS, Returned(SERIES_OF_PATIENT)),
    at(Patient, tags::NUMBER_OF_PATIENT_RELATED_INSTANCES, VR::IS, Returned(INSTANCES_OF_PATIENT)),
    at(Study, tags::STUDY_INSTANCE_UID, VR::UI, Text("study.study_instance_uid")),
    at(Study, tags::STUDY_DATE, VR::DA, Text("study.study_date")),
    at(Study, tags::STUDY_TIME, VR::TM, Time("study.study_time")),
    at(Study, tags::ACCESSION_NUMBER, VR::SH, Text("study.accession_number")),
    at(Study, tags::STUDY_ID, VR::SH, Text("study.study_id")),
    at(Study, tags::STUDY_DESCRIPTION, VR::LO, Text("study.study_description")),
    at(Study, tags::REFERRING_PHYSICIAN_NAME, VR::PN, Name("study.referring_physician")),
    at(Study, tags::PATIENT_AGE, VR::AS, Text("study.patient_age")),
    at(Study, tags::MODALITIES_IN_STUDY, VR::CS, Many("study.modalities")),
    at(Study, tags::SOP_CLASSES_IN_STUDY, VR::UI, Many("study.sop_classes")),
    at(Study, tags::NUMBER_OF_STUDY_RELATED_SERIES, VR::IS, Returned("study.number_of_series")),
    at(Study, tags::NUMBER_OF_STUDY_RELATED_INSTANCES, VR::IS, Returned("study.number_of_instances")),
    at(Series, tags::SERIES_INSTANCE_UID, VR::UI, Text("series.series_instance_uid")),
    at(Series, tags::MODALITY, VR::CS, Text("series.modality")),
    at(Series, tags::SERIES_NUMBER, VR::IS, Number("series.series_number")),
    at(Series, tags::SERIES_DESCRIPTION, VR::LO, Text("series.series_description")),
    at(Series, tags::SERIES_DATE, VR::DA, Text("series.series_date")),
    at(Series, tags::SERIES_TIME, VR::TM, Time("series.series_time")),
    at(Series, tags::BODY_PART_EXAMINED, VR::CS, Text("series.body_part")),
    at(Series, tags::PROTOCOL_NAME, VR::LO, Text("series.protocol_name")),
    at(Series, tags::LATERALITY, VR::CS, Text("series.laterality")),
    at(Series, tags::PATIENT_POSITION, VR::CS, Text("series.patient_position")),
    at(Series, tags::PERFORMED_PROCEDURE_STEP_START_DATE, VR::DA, Text("series.performed_date")),
    at(Series, tags::PERFORMED_PROCEDURE_STEP_START_TIME, VR::TM, Time("series.performed_time")),
    at(Series, tags::STATION_NAME, VR::SH, Text("series.station_name")),
    at(Series, tags::INSTITUTION_NAME, VR::LO, Text("series.institution_name")),
    at(Series, tags::MANUFACTURER, VR::LO, Text("series.manufacturer")),
    at(Series, tags::MANUFACTURER_MODEL_NAME, VR::LO, Text("series.manufacturer_model")),
    at(Series, tags::PERFORMING_PHYSICIAN_NAME, VR::PN, Names("series.performing_physician")),
    at(Series, tags::OPERATORS_NAME, VR::PN, Names("series.operators_name")),
    at(Series, tags::NUMBER_OF_SERIES_RELATED_INSTANCES, VR::IS, Returned("series.number_of_instances")),
    within(
        tags::REQUEST_ATTRIBUTES_SEQUENCE,
        Series,
        tags::SCHEDULED_PROCEDURE_STEP_ID,
        VR::SH,
        Text("series.scheduled_step_id"),
    ),
    within(
        tags::REQUEST_ATTRIBUTES_SEQUENCE,
        Series,
        tags::REQUESTED_PROCEDURE_ID,
        VR::SH,
        Text("series.requested_procedure_id"),
    ),
    at(Image, tags::SOP_INSTANCE_UID, VR::UI, Text("instance.sop_instance_uid")),
    at(Image, tags::SOP_CLASS_UID, VR::UI, Text("instance.sop_class_uid")),
    at(Image, tags::AVAILABLE_TRANSFER_SYNTAX_UID, VR::UI, Text("instance.transfer_syntax_uid")),
    at(Image, tags::INSTANCE_NUMBER, VR::IS, Number("instance.instance_number")),
    at(Image, tags::ACQUISITION_NUMBER, VR::IS, Number("instance.acquisition_number")),
    at(Image, tags::ROWS, VR::US, Number("instance.rows")),
    at(Image, tags::COLUMNS, VR::US, Number("instance.columns")),
    at(Image, tags::NUMBER_OF_FRAMES, VR::IS, Number("instance.number_of_frames")),
    at(Image, tags::CONTENT_DATE, VR::DA, Text("instance.content_date")),
    at(Image, tags::CONTENT_TIME, VR::TM, Time("instance.content_time")),
    at(Image, tags::IMAGE_TYPE, VR::CS, Many("instance.image_type")),
];
