//! Who observed what, in which language: TID 1204, TID 1001 with 1002 and 1004, and the procedure of TID 1500 row 3.

use dicom_dictionary_std::tags;

use super::super::codes;
use super::super::content::{Relationship, code, code_item, text, uid_reference};
use super::super::identifiers::Identifiers;
use super::super::request::ResultRequest;
use crate::dicom::data_set::DataSet;

/// TID 1204, Language of Content Item and Descendants.
pub(super) fn language() -> Vec<DataSet> {
    vec![code(Relationship::HasConceptMod, &codes::LANGUAGE, &codes::ENGLISH)]
}

/// TID 1004, Device Observer Identifying Attributes: the algorithm is the device that observed.
pub(super) fn device_observer(request: &ResultRequest<'_>, identifiers: &Identifiers) -> Vec<DataSet> {
    let context = Relationship::HasObsContext;
    let algorithm = request.algorithm;
    vec![
        code(context, &codes::OBSERVER_TYPE, &codes::DEVICE),
        uid_reference(context, &codes::DEVICE_OBSERVER_UID, identifiers.device.as_str()),
        text(context, &codes::DEVICE_OBSERVER_NAME, &algorithm.title),
        text(context, &codes::DEVICE_OBSERVER_MANUFACTURER, &algorithm.manufacturer),
        text(context, &codes::DEVICE_OBSERVER_MODEL_NAME, &algorithm.name),
        text(context, &codes::DEVICE_OBSERVER_SERIAL_NUMBER, &request.equipment.serial_number),
    ]
}

/// The imaging procedure: as the source codes it, or else what its modality stands for.
pub(super) fn procedure_reported(request: &ResultRequest<'_>) -> Vec<DataSet> {
    let header = &request.source.header;
    let relationship = Relationship::HasConceptMod;
    let coded: Vec<DataSet> = header
        .items(tags::PROCEDURE_CODE_SEQUENCE)
        .iter()
        .filter_map(complete_code)
        .map(|value| code_item(relationship, &codes::PROCEDURE_REPORTED, value))
        .collect();
    if !coded.is_empty() {
        return coded;
    }
    let modality = header.text(tags::MODALITY).unwrap_or_default();
    vec![code(relationship, &codes::PROCEDURE_REPORTED, &codes::procedure(&modality))]
}

/// The parts of a code that stand for themselves, where all that must be there is there.
fn complete_code(source: &DataSet) -> Option<DataSet> {
    let mut item = DataSet::new();
    for tag in [
        tags::CODE_VALUE,
        tags::CODING_SCHEME_DESIGNATOR,
        tags::CODING_SCHEME_VERSION,
        tags::CODE_MEANING,
        tags::LONG_CODE_VALUE,
        tags::URN_CODE_VALUE,
    ] {
        if source.text(tag).is_some() {
            item.copy(source, tag);
        }
    }
    let named = item.contains(tags::CODE_VALUE) || item.contains(tags::LONG_CODE_VALUE);
    let complete = item.contains(tags::CODING_SCHEME_DESIGNATOR) && item.contains(tags::CODE_MEANING);
    (named && complete).then_some(item)
}
