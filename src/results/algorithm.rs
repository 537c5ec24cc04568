//! One algorithm, the same in Segmentation, report and equipment (PS3.3 Table 10-19, PS3.16 TID 4019).

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::codes;
use super::plain_text::plain;
use super::request::ResultRequest;
use crate::dicom::data_set::DataSet;
use crate::inference::prediction::AlgorithmIdentity;

/// Says in every object that the weights mean nothing.
pub(super) const UNTRAINED: &str = "UNTRAINED MODEL, NOT FOR CLINICAL USE";

/// The algorithm's name, in an attribute of VR LO.
pub(super) fn put_name(item: &mut DataSet, tag: Tag, algorithm: &AlgorithmIdentity) {
    item.put_text(tag, VR::LO, &plain(&algorithm.name, 64));
}

/// Algorithm Identification Macro.
pub(super) fn identification(request: &ResultRequest<'_>) -> DataSet {
    let algorithm = request.algorithm;
    let mut item = DataSet::new();
    item.put_items(tags::ALGORITHM_FAMILY_CODE_SEQUENCE, vec![codes::item(&algorithm.family)]);
    put_name(&mut item, tags::ALGORITHM_NAME, algorithm);
    item.put_text(tags::ALGORITHM_VERSION, VR::LO, &plain(&algorithm.version, 64));
    item.put_text(tags::ALGORITHM_PARAMETERS, VR::LT, &plain(&parameters(request).join("; "), 10_240));
    item.put_text(tags::ALGORITHM_SOURCE, VR::LO, &plain(&algorithm.manufacturer, 64));
    item
}

/// What the numbers depend on, with what identifies weights and configuration; first of all that they mean nothing, where
/// the weights are untrained.
pub(super) fn parameters(request: &ResultRequest<'_>) -> Vec<String> {
    let algorithm = request.algorithm;
    let mut parameters: Vec<String> = algorithm.parameters.iter().map(|p| plain(p, 1024)).collect();
    parameters.push(format!("weights_sha256={}", plain(&algorithm.weights_sha256, 64)));
    parameters.push(format!("configuration={}", plain(request.configuration_hash, 64)));
    marked(request, parameters)
}

/// Parameters with the mark of untrained weights before them.
pub(super) fn marked(request: &ResultRequest<'_>, mut parameters: Vec<String>) -> Vec<String> {
    if request.algorithm.untrained {
        parameters.insert(0, UNTRAINED.to_owned());
    }
    parameters
}
