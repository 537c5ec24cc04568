//! TID 1600, Image Library: every image that was looked at, with what all have in common (TID 1602, TID 1604).
//!
//! It stands in every report, so that «not analysed» and «nothing found» differ.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::super::acquisition::{self, AcquisitionFacts};
use super::super::codes;
use super::super::content::{self, Relationship, container, number, uid_reference};
use super::super::dates::{is_date, is_time};
use super::super::evidence::instance_reference;
use super::super::identifiers::Identifiers;
use super::super::request::ResultRequest;
use crate::dicom::code::CodedConcept;
use crate::dicom::data_set::DataSet;
use crate::volume::source::is_image_storage;

const CONTEXT: Relationship = Relationship::HasAcqContext;

/// Nothing where the series holds no images: IMAGE items refer to nothing else (PS3.3 C.18.4).
pub(super) fn image_library(request: &ResultRequest<'_>, identifiers: &Identifiers) -> Option<DataSet> {
    let mut items = common_descriptors(request, identifiers);
    let images = request.source.instances.iter().filter(|(class, _)| is_image_storage(class));
    let before = items.len();
    items.extend(images.map(|(class, instance)| {
        content::image(Relationship::Contains, &codes::SOURCE, instance_reference(class, instance))
    }));
    let group = || container(Relationship::Contains, &codes::IMAGE_LIBRARY_GROUP, None, items.clone());
    (items.len() > before)
        .then(|| container(Relationship::Contains, &codes::IMAGE_LIBRARY, Some("1600"), vec![group()]))
}

fn common_descriptors(request: &ResultRequest<'_>, identifiers: &Identifiers) -> Vec<DataSet> {
    let header = &request.source.header;
    let facts = acquisition::facts(request);
    let mut items: Vec<DataSet> =
        codes::modality(&facts.modality).iter().map(|m| content::code(CONTEXT, &codes::MODALITY, m)).collect();
    for (tag, name) in [
        (tags::STUDY_DATE, codes::STUDY_DATE),
        (tags::CONTENT_DATE, codes::CONTENT_DATE),
        (tags::ACQUISITION_DATE, codes::ACQUISITION_DATE),
    ] {
        items.extend(value(header, tag, is_date).map(|value| content::date(CONTEXT, &name, value)));
    }
    for (tag, name) in [
        (tags::STUDY_TIME, codes::STUDY_TIME),
        (tags::CONTENT_TIME, codes::CONTENT_TIME),
        (tags::ACQUISITION_TIME, codes::ACQUISITION_TIME),
    ] {
        items.extend(value(header, tag, is_time).map(|value| content::time(CONTEXT, &name, value)));
    }
    if request.source.frame_of_reference_uid.is_some() {
        let uid = identifiers.frame_of_reference.as_str();
        items.push(uid_reference(CONTEXT, &codes::FRAME_OF_REFERENCE_UID, uid));
    }
    items.extend(measures(request, &facts));
    items.extend(facts.contrast_agent.map(|agent| content::text_bytes(CONTEXT, &codes::CONTRAST_AGENT, agent)));
    items
}

fn measures(request: &ResultRequest<'_>, facts: &AcquisitionFacts) -> impl Iterator<Item = DataSet> {
    let size = |at: usize, tag: Tag| {
        let of_grid = request.grid.and_then(|g| u32::try_from(g.shape()[at]).ok()).map(f64::from);
        of_grid.or_else(|| request.source.header.number(tag))
    };
    let measure = |name: CodedConcept, value: Option<f64>, unit: CodedConcept| {
        value.filter(|v| v.is_finite()).map(|value| number(CONTEXT, &name, value, &unit, Vec::new()))
    };
    let spacing = facts.pixel_spacing;
    [
        measure(codes::PIXEL_DATA_ROWS, size(1, tags::ROWS), codes::PIXELS),
        measure(codes::PIXEL_DATA_COLUMNS, size(2, tags::COLUMNS), codes::PIXELS),
        measure(codes::HORIZONTAL_PIXEL_SPACING, spacing.map(|[_, columns]| columns), codes::MILLIMETRE),
        measure(codes::VERTICAL_PIXEL_SPACING, spacing.map(|[rows, _]| rows), codes::MILLIMETRE),
        measure(codes::SPACING_BETWEEN_SLICES, facts.spacing_between_slices, codes::MILLIMETRE),
        measure(codes::SLICE_THICKNESS, facts.slice_thickness, codes::MILLIMETRE),
        measure(codes::KVP, facts.kvp, codes::KILOVOLT),
    ]
    .into_iter()
    .flatten()
}

/// The bytes of a date or a time of today's form: in a content item it is our word and no copy.
fn value(header: &DataSet, tag: Tag, is_valid: fn(&str) -> bool) -> Option<bytes::Bytes> {
    header.text(tag).filter(|text| is_valid(text)).and_then(|_| header.bytes(tag).cloned())
}
