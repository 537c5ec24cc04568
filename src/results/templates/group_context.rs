//! What begins every Measurement Group: TID 4108 tracking, TID 4019 algorithm, finding and site of TID 1410, 1411, 1501.

use super::super::codes;
use super::super::content::{Relationship, code, container, text, uid_reference, with_children};
use super::super::plain_text::plain;
use super::super::request::ResultRequest;
use crate::dicom::code::CodedConcept;
use crate::dicom::data_set::DataSet;
use crate::dicom::uid::OtherUid;

/// CONTAINER (125007, DCM, "Measurement Group") of a template.
pub(super) fn group(template: &str, items: Vec<DataSet>) -> DataSet {
    container(Relationship::Contains, &codes::MEASUREMENT_GROUP, Some(template), items)
}

/// TID 4108, Tracking Identifier.
pub(super) fn tracking(label: &str, uid: &OtherUid) -> Vec<DataSet> {
    let context = Relationship::HasObsContext;
    vec![
        text(context, &codes::TRACKING_IDENTIFIER, &plain(label, 64)),
        uid_reference(context, &codes::TRACKING_UNIQUE_IDENTIFIER, uid.as_str()),
    ]
}

/// TID 4019, Algorithm Identification, with the parameters that hold for this group.
pub(super) fn algorithm_identification(request: &ResultRequest<'_>, parameters: &[String]) -> Vec<DataSet> {
    let modifier = Relationship::HasConceptMod;
    let identity = request.algorithm;
    let mut items = vec![
        text(modifier, &codes::ALGORITHM_NAME, &plain(&identity.name, 64)),
        text(modifier, &codes::ALGORITHM_VERSION, &identity.version),
        text(modifier, &codes::ALGORITHM_MANUFACTURER, &identity.manufacturer),
    ];
    items.extend(parameters.iter().map(|parameter| text(modifier, &codes::ALGORITHM_PARAMETERS, parameter)));
    items.push(code(modifier, &codes::ALGORITHM_FAMILY, &identity.family));
    items
}

/// Finding Site with its laterality.
pub(super) fn finding_site(site: &CodedConcept, laterality: Option<&CodedConcept>) -> DataSet {
    let modifier = Relationship::HasConceptMod;
    let laterality = laterality.into_iter().map(|side| code(modifier, &codes::LATERALITY, side)).collect();
    with_children(code(modifier, &codes::FINDING_SITE, site), laterality)
}
