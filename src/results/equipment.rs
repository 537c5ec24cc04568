//! Who made the objects: Enhanced General Equipment (PS3.3 C.7.5.2) is this node, Contributing Equipment the algorithm.

use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::algorithm::{UNTRAINED, put_name};
use super::codes;
use super::dates::ContentTime;
use super::identifiers::Identifiers;
use super::plain_text::plain;
use super::request::ResultRequest;
use crate::dicom::code::CodedConcept;
use crate::dicom::data_set::DataSet;

/// What a series of results is, for [`put_series`].
pub(super) struct ResultSeries<'a> {
    pub(super) modality: &'a str,
    pub(super) uid: &'a str,
    pub(super) number: u32,
    /// Behind the title of the algorithm in the description.
    pub(super) noun: &'a str,
    pub(super) code: &'a CodedConcept,
}

/// General Series Module (PS3.3 C.7.3.1), SR Document Series Module (C.17.1).
pub(super) fn put_series(object: &mut DataSet, request: &ResultRequest<'_>, series: &ResultSeries<'_>) {
    object.put_text(tags::MODALITY, VR::CS, series.modality);
    object.put_uid(tags::SERIES_INSTANCE_UID, series.uid);
    object.put_text(tags::SERIES_NUMBER, VR::IS, &series.number.to_string());
    let description = format!("{}{} {}", untrained_prefix(request), request.algorithm.title, series.noun);
    object.put_text(tags::SERIES_DESCRIPTION, VR::LO, &plain(&description, 64));
    object.put_items(tags::SERIES_DESCRIPTION_CODE_SEQUENCE, vec![codes::item(series.code)]);
}

/// Enhanced General Equipment and the Contributing Equipment Sequence (PS3.3 C.12.1.1.4).
pub(super) fn put_equipment(
    object: &mut DataSet,
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    time: &ContentTime,
) {
    let node = request.equipment;
    object.put_text(tags::MANUFACTURER, VR::LO, &known(&node.manufacturer));
    object.put_text(tags::MANUFACTURER_MODEL_NAME, VR::LO, &known(&node.model_name));
    object.put_text(tags::DEVICE_SERIAL_NUMBER, VR::LO, &known(&node.serial_number));
    object.put_text(tags::SOFTWARE_VERSIONS, VR::LO, &known(&node.software_version));

    let algorithm = request.algorithm;
    let mut item = DataSet::new();
    item.put_items(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, vec![codes::item(&request.options.equipment_purpose)]);
    item.put_text(tags::MANUFACTURER, VR::LO, &known(&algorithm.manufacturer));
    put_name(&mut item, tags::MANUFACTURER_MODEL_NAME, algorithm);
    item.put_text(tags::SOFTWARE_VERSIONS, VR::LO, &known(&algorithm.version));
    item.put_uid(tags::DEVICE_UID, identifiers.device.as_str());
    item.put_text(tags::CONTRIBUTION_DATE_TIME, VR::DT, &time.date_time);
    let description = format!("{}{}", untrained_prefix(request), algorithm.title);
    item.put_text(tags::CONTRIBUTION_DESCRIPTION, VR::ST, &plain(&description, 1024));
    object.put_items(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE, vec![item]);
}

/// Stands before every description of what untrained weights made.
pub(super) fn untrained_prefix(request: &ResultRequest<'_>) -> String {
    if request.algorithm.untrained { format!("{UNTRAINED}: ") } else { String::new() }
}

/// The attributes of the module may not be empty.
fn known(text: &str) -> String {
    let text = plain(text, 64);
    if text.is_empty() { "unknown".to_owned() } else { text }
}
