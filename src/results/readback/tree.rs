//! Questions to a content tree as it was read.

use dicom_dictionary_std::tags;

use super::super::codes;
use crate::dicom::code::CodedConcept;
use crate::dicom::data_set::DataSet;

/// The content items below one.
pub(super) fn children(item: &DataSet) -> &[DataSet] {
    item.items(tags::CONTENT_SEQUENCE)
}

/// The children of a value type.
pub(super) fn of_type<'a>(item: &'a DataSet, value_type: &'a str) -> impl Iterator<Item = &'a DataSet> {
    children(item).iter().filter(move |child| is_type(child, value_type))
}

/// The children whose concept name is this one.
pub(super) fn named<'a>(item: &'a DataSet, name: &CodedConcept) -> Vec<&'a DataSet> {
    let is = |child: &&DataSet| is_code(child.items(tags::CONCEPT_NAME_CODE_SEQUENCE), name);
    children(item).iter().filter(is).collect()
}

/// All content items of a value type, at any depth.
pub(super) fn all_of_type<'a>(item: &'a DataSet, value_type: &'a str) -> Box<dyn Iterator<Item = &'a DataSet> + 'a> {
    Box::new(children(item).iter().flat_map(move |child| {
        let itself = is_type(child, value_type).then_some(child);
        itself.into_iter().chain(all_of_type(child, value_type))
    }))
}

/// Whether the value of a CODE is this one.
pub(super) fn has_value(item: &DataSet, code: &CodedConcept) -> bool {
    is_code(item.items(tags::CONCEPT_CODE_SEQUENCE), code)
}

/// Whether the first item of a code sequence is this code.
pub(super) fn is_code(items: &[DataSet], code: &CodedConcept) -> bool {
    let is = |item: &DataSet, tag, text: &str| item.text(tag).as_deref() == Some(text);
    items
        .first()
        .is_some_and(|i| is(i, tags::CODE_VALUE, &code.value) && is(i, tags::CODING_SCHEME_DESIGNATOR, &code.scheme))
}

/// The exact value of a NUM in this unit.
pub(super) fn exact(item: &DataSet, unit: &CodedConcept) -> Option<f64> {
    let measured = item.items(tags::MEASURED_VALUE_SEQUENCE).first()?;
    let units = measured.items(tags::MEASUREMENT_UNITS_CODE_SEQUENCE);
    is_code(units, unit).then(|| measured.number(tags::FLOATING_POINT_VALUE))?
}

/// Instance and frame that an IMAGE refers to.
pub(super) fn referenced(image: &DataSet) -> Option<(String, Option<i64>)> {
    let reference = image.items(tags::REFERENCED_SOP_SEQUENCE).first()?;
    Some((reference.text(tags::REFERENCED_SOP_INSTANCE_UID)?, reference.integer(tags::REFERENCED_FRAME_NUMBER)))
}

/// The Measurement Groups below Imaging Measurements, in order.
pub(super) fn groups(object: &DataSet) -> Vec<&DataSet> {
    named(object, &codes::IMAGING_MEASUREMENTS).into_iter().flat_map(children).collect()
}

/// The Tracking Unique Identifier of a group.
pub(super) fn tracking(group: &DataSet) -> Option<String> {
    of_type(group, "UIDREF").find_map(|item| item.text(tags::UID))
}

fn is_type(item: &DataSet, value_type: &str) -> bool {
    item.text(tags::VALUE_TYPE).as_deref() == Some(value_type)
}
