//! Coding Scheme Identification Sequence (PS3.3 C.12.1): every private scheme that an object uses is declared in it.

use std::collections::BTreeSet;

use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::plain_text::plain;
use super::request::ResultRequest;
use crate::dicom::data_set::{DataSet, Value};

/// Declares the private schemes of a finished object. Those that came with the source keep the source's declaration.
pub(super) fn declare(object: &mut DataSet, request: &ResultRequest<'_>) {
    let mut designators = BTreeSet::new();
    collect(object, &mut designators);
    let of_source = request.source.header.items(tags::CODING_SCHEME_IDENTIFICATION_SEQUENCE);
    let items: Vec<DataSet> = designators
        .iter()
        .map(|designator| {
            let declared =
                of_source.iter().find(|d| d.text(tags::CODING_SCHEME_DESIGNATOR).as_ref() == Some(designator));
            declared.cloned().unwrap_or_else(|| declaration(designator, request))
        })
        .collect();
    if !items.is_empty() {
        object.put_items(tags::CODING_SCHEME_IDENTIFICATION_SEQUENCE, items);
    }
}

fn declaration(designator: &str, request: &ResultRequest<'_>) -> DataSet {
    let mut item = DataSet::new();
    item.put_text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, designator);
    let ours = request.groups().iter().flat_map(|group| {
        let of_measurements =
            group.measurements.iter().flat_map(|m| [Some(&m.concept), m.derivation.as_ref(), Some(&m.unit)]);
        of_measurements.chain([Some(&group.finding), group.finding_site.as_ref(), group.laterality.as_ref()])
    });
    let prediction = request.outcome.reading();
    let of_findings =
        prediction.into_iter().flat_map(|p| &p.findings).flat_map(|f| [Some(&f.concept), f.site.as_ref()]);
    let of_segments = prediction.into_iter().flat_map(|p| &p.segments);
    let of_segments =
        of_segments.flat_map(|s| [Some(&s.category), Some(&s.property_type), s.laterality.as_ref(), s.region.as_ref()]);
    if ours.chain(of_findings).chain(of_segments).flatten().any(|code| code.scheme == designator) {
        let algorithm = request.algorithm;
        let name = format!("Private codes of {}", algorithm.name);
        item.put_text(tags::CODING_SCHEME_NAME, VR::ST, &plain(&name, 1024));
        let organization = plain(&algorithm.manufacturer, 1024);
        item.put_text(tags::CODING_SCHEME_RESPONSIBLE_ORGANIZATION, VR::ST, &organization);
    }
    item
}

fn collect(data_set: &DataSet, designators: &mut BTreeSet<String>) {
    if let Some(designator) = data_set.text(tags::CODING_SCHEME_DESIGNATOR)
        && designator.starts_with("99")
    {
        designators.insert(designator);
    }
    for element in data_set.elements() {
        if let Value::Items(items) = &element.value {
            items.iter().for_each(|item| collect(item, designators));
        }
    }
}
