//! Writing a data set (PS3.5 section 7): defined lengths throughout, so that nothing needs a delimiter but pixel fragments.

use dicom_core::{Tag, VR};

use super::data_set::{DataSet, Element, Value};
use super::parse::has_short_length;
use super::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid};
use dicom_dictionary_std::tags;

/// Our own Implementation Class UID (PS3.7 section D.3.3.2), derived once from the project's name and never changed.
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.203640961226838205172873196441498718577";
/// Our own Implementation Version Name, at most 16 characters.
pub const IMPLEMENTATION_VERSION_NAME: &str = concat!("OVERREAD_", env!("CARGO_PKG_VERSION"));

/// The layouts that we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Explicit VR Little Endian.
    ExplicitLe,
    /// Implicit VR Little Endian: what every peer must take.
    ImplicitLe,
}

/// Encodes a data set; every value is padded to an even length (PS3.5 section 6.2).
#[must_use]
pub fn encode(data_set: &DataSet, layout: Layout) -> Vec<u8> {
    let mut out = Vec::with_capacity(length_of(data_set, layout));
    write_data_set(&mut out, data_set, layout);
    out
}

/// The preamble and the file meta information that make a data set a file (PS3.10 section 7.1).
#[must_use]
pub fn part10_header(
    sop_class: &SopClassUid,
    sop_instance: &SopInstanceUid,
    transfer_syntax: &TransferSyntaxUid,
    source_ae_title: Option<&str>,
) -> Vec<u8> {
    part10_header_with(sop_class, sop_instance, transfer_syntax, source_ae_title, None)
}

/// What [`part10_header_with`] adds to a header beside its filler.
pub const FILLER_HEAD: usize = 8 + even(IMPLEMENTATION_CLASS_UID.len()) + 12;

/// As [`part10_header`], longer by [`FILLER_HEAD`] and so many zeros, an even number: Private Information (0002,0102), which readers
/// pass over.
#[must_use]
pub fn part10_header_with(
    sop_class: &SopClassUid,
    sop_instance: &SopInstanceUid,
    transfer_syntax: &TransferSyntaxUid,
    source_ae_title: Option<&str>,
    filler: Option<usize>,
) -> Vec<u8> {
    let mut meta = DataSet::new();
    meta.put_bytes(tags::FILE_META_INFORMATION_VERSION, VR::OB, vec![0, 1]);
    meta.put_uid(tags::MEDIA_STORAGE_SOP_CLASS_UID, sop_class.as_str());
    meta.put_uid(tags::MEDIA_STORAGE_SOP_INSTANCE_UID, sop_instance.as_str());
    meta.put_uid(tags::TRANSFER_SYNTAX_UID, transfer_syntax.as_str());
    meta.put_uid(tags::IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_CLASS_UID);
    meta.put_text(tags::IMPLEMENTATION_VERSION_NAME, VR::SH, IMPLEMENTATION_VERSION_NAME);
    if let Some(title) = source_ae_title {
        meta.put_text(tags::SOURCE_APPLICATION_ENTITY_TITLE, VR::AE, title);
    }
    if let Some(count) = filler {
        meta.put_uid(tags::PRIVATE_INFORMATION_CREATOR_UID, IMPLEMENTATION_CLASS_UID);
        meta.put_bytes(tags::PRIVATE_INFORMATION, VR::OB, vec![0; count]);
    }
    let group = encode(&meta, Layout::ExplicitLe);
    let mut out = vec![0; 128];
    out.extend_from_slice(b"DICM");
    let mut group_length = DataSet::new();
    group_length.put_ul(tags::FILE_META_INFORMATION_GROUP_LENGTH, &[u32::try_from(group.len()).unwrap_or(u32::MAX)]);
    write_data_set(&mut out, &group_length, Layout::ExplicitLe);
    out.extend(group);
    out
}

fn write_data_set(out: &mut Vec<u8>, data_set: &DataSet, layout: Layout) {
    for element in data_set.elements() {
        write_element(out, element, layout);
    }
}

fn write_element(out: &mut Vec<u8>, element: &Element, layout: Layout) {
    match &element.value {
        Value::Bytes(bytes) => {
            write_head(out, element.tag, element.vr, even(bytes.len()), layout);
            out.extend_from_slice(bytes);
            if bytes.len() % 2 == 1 {
                out.push(padding(element.vr));
            }
        }
        Value::Items(items) => {
            let length = items.iter().map(|item| 8 + length_of(item, layout)).sum();
            write_head(out, element.tag, VR::SQ, length, layout);
            for item in items {
                write_item_head(out, 0xE000, length_of(item, layout));
                write_data_set(out, item, layout);
            }
        }
        Value::Fragments(fragments) => {
            write_head(out, element.tag, VR::OB, usize::MAX, layout);
            for fragment in fragments {
                write_item_head(out, 0xE000, even(fragment.len()));
                out.extend_from_slice(fragment);
                if fragment.len() % 2 == 1 {
                    out.push(0);
                }
            }
            write_item_head(out, 0xE0DD, 0);
        }
    }
}

/// Appends one element whose value is bytes, padded to even length.
pub fn write_value(out: &mut Vec<u8>, tag: Tag, vr: VR, bytes: &[u8], layout: Layout) {
    write_head(out, tag, vr, even(bytes.len()), layout);
    out.extend_from_slice(bytes);
    if bytes.len() % 2 == 1 {
        out.push(padding(vr));
    }
}

fn write_item_head(out: &mut Vec<u8>, element: u16, length: usize) {
    out.extend(0xFFFE_u16.to_le_bytes());
    out.extend(element.to_le_bytes());
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

/// `usize::MAX` stands for an undefined length.
fn write_head(out: &mut Vec<u8>, tag: Tag, vr: VR, length: usize, layout: Layout) {
    out.extend(tag.group().to_le_bytes());
    out.extend(tag.element().to_le_bytes());
    if layout == Layout::ExplicitLe {
        // A value too long for the short form is written as UN (PS3.5 section 6.2.2, note 7).
        let vr = if has_short_length(vr) && length > 0xFFFF { VR::UN } else { vr };
        out.extend(vr.to_bytes());
        if let (true, Ok(length)) = (has_short_length(vr), u16::try_from(length)) {
            out.extend(length.to_le_bytes());
            return;
        }
        out.extend([0, 0]);
    }
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

/// How many bytes a data set takes when encoded.
#[must_use]
pub fn length_of(data_set: &DataSet, layout: Layout) -> usize {
    data_set.elements().iter().map(|e| length_of_element(e, layout)).sum()
}

fn length_of_element(element: &Element, layout: Layout) -> usize {
    let value = match &element.value {
        Value::Bytes(bytes) => even(bytes.len()),
        Value::Items(items) => items.iter().map(|item| 8 + length_of(item, layout)).sum(),
        Value::Fragments(fragments) => fragments.iter().map(|f| 8 + even(f.len())).sum::<usize>() + 8,
    };
    let short = match (&element.value, layout) {
        (_, Layout::ImplicitLe) => true,
        (Value::Bytes(bytes), Layout::ExplicitLe) => has_short_length(element.vr) && even(bytes.len()) <= 0xFFFF,
        (Value::Items(_) | Value::Fragments(_), Layout::ExplicitLe) => false,
    };
    if short { 8 + value } else { 12 + value }
}

const fn even(length: usize) -> usize {
    length + length % 2
}

const fn padding(vr: VR) -> u8 {
    match vr {
        VR::UI | VR::OB | VR::UN => 0,
        _ => b' ',
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::super::transfer_syntax::Encoding;
    use super::*;

    fn nested() -> DataSet {
        let mut item = DataSet::new();
        item.put_uid(tags::REFERENCED_SOP_INSTANCE_UID, "1.2.3");
        item.put_items(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, vec![DataSet::new()]);
        let mut ds = DataSet::new();
        ds.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
        ds.put_text(tags::PATIENT_NAME, VR::PN, "Ивано́в^Пётр");
        ds.put_items(tags::SOURCE_IMAGE_SEQUENCE, vec![item]);
        ds.put_us(tags::ROWS, &[3]);
        ds.put_bytes(tags::PIXEL_DATA, VR::OB, vec![1, 2, 3, 4]);
        ds
    }

    #[test]
    fn what_is_written_is_read_back_the_same_in_both_layouts() {
        for (layout, encoding) in
            [(Layout::ExplicitLe, Encoding::ExplicitLe), (Layout::ImplicitLe, Encoding::ImplicitLe)]
        {
            let bytes = encode(&nested(), layout);
            assert_eq!(bytes.len(), length_of(&nested(), layout));
            let back = parse(&bytes.into(), encoding).unwrap();
            assert_eq!(back.text(tags::PATIENT_NAME), nested().text(tags::PATIENT_NAME));
            assert_eq!(back.items(tags::SOURCE_IMAGE_SEQUENCE).len(), 1);
            assert_eq!(encode(&back, layout), encode(&nested(), layout));
        }
    }

    #[test]
    fn odd_values_are_padded_by_their_representation() {
        let mut ds = DataSet::new();
        ds.put_uid(tags::SOP_INSTANCE_UID, "1.2.3");
        ds.put_text(tags::PATIENT_ID, VR::LO, "abc");
        let bytes = encode(&ds, Layout::ExplicitLe);
        assert!(bytes.windows(6).any(|w| w == b"1.2.3\0"));
        assert!(bytes.ends_with(b"abc "));
    }
}
