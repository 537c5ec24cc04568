//! Content items of Structured Reports (PS3.3 C.17.3): one function for each value type that is written.

use bytes::Bytes;
use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::codes;
use super::evidence::instance_reference;
use super::grid::FrameReference;
use super::plain_text::plain;
use super::regions::Region;
use crate::dicom::code::CodedConcept;
use crate::dicom::data_set::{DataSet, decimal_string};

/// Relationship Type (0040,A010): of an item to the one that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relationship {
    Contains,
    HasObsContext,
    HasConceptMod,
    HasAcqContext,
    HasProperties,
    InferredFrom,
    SelectedFrom,
}

impl Relationship {
    const fn term(self) -> &'static str {
        match self {
            Self::Contains => "CONTAINS",
            Self::HasObsContext => "HAS OBS CONTEXT",
            Self::HasConceptMod => "HAS CONCEPT MOD",
            Self::HasAcqContext => "HAS ACQ CONTEXT",
            Self::HasProperties => "HAS PROPERTIES",
            Self::InferredFrom => "INFERRED FROM",
            Self::SelectedFrom => "SELECTED FROM",
        }
    }
}

/// CONTAINER, where its template is known with the identifier of that template (PS3.3 C.18.8).
pub(super) fn container(
    relationship: Relationship,
    name: &CodedConcept,
    template: Option<&str>,
    children: Vec<DataSet>,
) -> DataSet {
    let mut item = begin(relationship, "CONTAINER", name);
    put_container(&mut item, template, children);
    item
}

/// The attributes of a container in `item`, which may be the document itself.
pub(super) fn put_container(item: &mut DataSet, template: Option<&str>, children: Vec<DataSet>) {
    item.put_text(tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE");
    if let Some(identifier) = template {
        let mut template = DataSet::new();
        template.put_text(tags::MAPPING_RESOURCE, VR::CS, "DCMR");
        template.put_text(tags::TEMPLATE_IDENTIFIER, VR::CS, identifier);
        item.put_items(tags::CONTENT_TEMPLATE_SEQUENCE, vec![template]);
    }
    if !children.is_empty() {
        item.put_items(tags::CONTENT_SEQUENCE, children);
    }
}

/// The same item with children.
pub(super) fn with_children(mut item: DataSet, children: Vec<DataSet>) -> DataSet {
    if !children.is_empty() {
        item.put_items(tags::CONTENT_SEQUENCE, children);
    }
    item
}

/// CODE.
pub(super) fn code(relationship: Relationship, name: &CodedConcept, value: &CodedConcept) -> DataSet {
    code_item(relationship, name, codes::item(value))
}

/// CODE with a value that is already an item, copied from the source for instance.
pub(super) fn code_item(relationship: Relationship, name: &CodedConcept, value: DataSet) -> DataSet {
    let mut item = begin(relationship, "CODE", name);
    item.put_items(tags::CONCEPT_CODE_SEQUENCE, vec![value]);
    item
}

/// TEXT; may not be empty.
pub(super) fn text(relationship: Relationship, name: &CodedConcept, value: &str) -> DataSet {
    let value = plain(value, 4096);
    text_bytes(relationship, name, if value.is_empty() { Bytes::from_static(b"unknown") } else { value.into() })
}

/// TEXT in the repertoire of the source.
pub(super) fn text_bytes(relationship: Relationship, name: &CodedConcept, value: Bytes) -> DataSet {
    let mut item = begin(relationship, "TEXT", name);
    item.put_bytes(tags::TEXT_VALUE, VR::UT, value);
    item
}

/// UIDREF.
pub(super) fn uid_reference(relationship: Relationship, name: &CodedConcept, uid: &str) -> DataSet {
    let mut item = begin(relationship, "UIDREF", name);
    item.put_uid(tags::UID, uid);
    item
}

/// DATE, the value as it stands in the source.
pub(super) fn date(relationship: Relationship, name: &CodedConcept, value: Bytes) -> DataSet {
    let mut item = begin(relationship, "DATE", name);
    item.put_bytes(tags::DATE, VR::DA, value);
    item
}

/// TIME, the value as it stands in the source.
pub(super) fn time(relationship: Relationship, name: &CodedConcept, value: Bytes) -> DataSet {
    let mut item = begin(relationship, "TIME", name);
    item.put_bytes(tags::TIME, VR::TM, value);
    item
}

/// NUM. Numeric Value is rounded for reading, Floating Point Value is exact. `value` is finite: a NUM without a value is allowed
/// (PS3.3 C.18.1), and there are readers that open no report with one in it.
pub(super) fn number(
    relationship: Relationship,
    name: &CodedConcept,
    value: f64,
    unit: &CodedConcept,
    children: Vec<DataSet>,
) -> DataSet {
    let mut item = begin(relationship, "NUM", name);
    let mut measured = DataSet::new();
    measured.put_text(tags::NUMERIC_VALUE, VR::DS, &readable(value));
    measured.put_fd(tags::FLOATING_POINT_VALUE, &[value]);
    measured.put_items(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, vec![codes::item(unit)]);
    item.put_items(tags::MEASURED_VALUE_SEQUENCE, vec![measured]);
    with_children(item, children)
}

/// IMAGE, by a SOP Instance Reference Macro.
pub(super) fn image(relationship: Relationship, name: &CodedConcept, reference: DataSet) -> DataSet {
    let mut item = begin(relationship, "IMAGE", name);
    item.put_items(tags::REFERENCED_SOP_SEQUENCE, vec![reference]);
    item
}

/// Reference to one frame of an instance.
pub(super) fn frame_reference(frame: FrameReference<'_>) -> DataSet {
    let mut reference = instance_reference(frame.sop_class_uid, frame.sop_instance_uid);
    if let Some(number) = frame.frame_number {
        reference.put_text(tags::REFERENCED_FRAME_NUMBER, VR::IS, &number.to_string());
    }
    reference
}

/// SCOORD: the outline of a rectangle of pixels in an image (PS3.3 C.18.6). Coordinates count from the top left corner of
/// the first pixel, so that the outline runs around the pixels and not through them.
pub(super) fn rectangle(
    relationship: Relationship,
    name: &CodedConcept,
    region: &Region,
    children: Vec<DataSet>,
) -> DataSet {
    let ([top, bottom], [left, right]) = (region.rows, region.columns);
    let corners = [[left, top], [right + 1, top], [right + 1, bottom + 1], [left, bottom + 1], [left, top]];
    #[expect(clippy::cast_precision_loss, reason = "an image has at most 65,535 rows and columns")]
    let bytes: Vec<u8> = corners.as_flattened().iter().flat_map(|n| (*n as f32).to_le_bytes()).collect();
    let mut item = begin(relationship, "SCOORD", name);
    item.put_bytes(tags::GRAPHIC_DATA, VR::FL, bytes);
    item.put_text(tags::GRAPHIC_TYPE, VR::CS, "POLYLINE");
    with_children(item, children)
}

fn begin(relationship: Relationship, value_type: &str, name: &CodedConcept) -> DataSet {
    let mut item = DataSet::new();
    item.put_text(tags::RELATIONSHIP_TYPE, VR::CS, relationship.term());
    item.put_text(tags::VALUE_TYPE, VR::CS, value_type);
    item.put_items(tags::CONCEPT_NAME_CODE_SEQUENCE, vec![codes::item(name)]);
    item
}

/// Six significant digits, never fewer than the whole part has, for the eye; at most the 16 characters of VR DS.
pub(super) fn readable(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e15).contains(&size) {
        return decimal_string(format!("{value:.5e}").parse().unwrap_or(value));
    }
    let decimals = (0..=9).find(|decimals| size * 10_f64.powi(*decimals) >= 99_999.5).unwrap_or(9);
    #[expect(clippy::cast_sign_loss, reason = "counted from 0")]
    let text = format!("{value:.*}", decimals as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_for_the_eye_but_keep_their_whole_part() {
        let cases = [
            (4_803.512_345_678_9, "4803.51"),
            (-849.612_345, "-849.612"),
            (6.378_123_9, "6.37812"),
            (-909.0, "-909"),
            (0.0, "0"),
            (480_351_234.6, "480351235"),
            (0.000_123_456_789, "0.000123457"),
            (100.0, "100"),
        ];
        for (value, expected) in cases {
            assert_eq!(readable(value), expected);
        }
        for value in [1e300, -1.234_567e-12, 9.999_999e14, -1.0 / 3.0, 99_999.96] {
            let text = readable(value);
            assert!(text.len() <= 16, "{text}");
            assert!((text.parse::<f64>().unwrap() - value).abs() <= value.abs() * 1e-5, "{value} {text}");
        }
    }
}
