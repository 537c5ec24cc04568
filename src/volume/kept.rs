//! What is kept of a header: a copy of its own, without what nobody asks for, and never more than a bound. A series has
//! thousands of headers in memory at a time, and whoever sent them chose their length.

use bytes::Bytes;

use crate::dicom::data_set::{DataSet, Element, Value};
use crate::dicom::{Tag, tags};

/// The most that is kept of one header, bytes. Real ones stay below 100 kB once private elements are gone.
pub(super) const MAX_KEPT: usize = 4 << 20;
/// The most that is kept of one element of an object that is no image.
const MAX_KEPT_OF_OTHERS: usize = 64 << 10;
/// What an element takes beside its value.
const ELEMENT: usize = size_of::<Element>();

/// A copy without private elements, curves, overlays, icons and the functional groups of all frames but the first; nothing
/// where that is more than [`MAX_KEPT`].
pub(super) fn kept(header: &DataSet) -> Option<DataSet> {
    let chosen = chosen(header, |_| true);
    (bytes(&chosen) <= MAX_KEPT).then(|| copied(&chosen))
}

/// The same of an object that is no image: of that only identification and description are of use, so long elements are
/// left out.
pub(super) fn kept_of_others(header: &DataSet) -> Option<DataSet> {
    let chosen = chosen(header, |element| bytes_of(element) <= MAX_KEPT_OF_OTHERS);
    (bytes(&chosen) <= MAX_KEPT).then(|| copied(&chosen))
}

/// How much memory a data set takes, about.
pub(super) fn bytes(data_set: &DataSet) -> usize {
    size_of::<DataSet>() + data_set.elements().iter().map(bytes_of).sum::<usize>()
}

fn bytes_of(element: &Element) -> usize {
    ELEMENT
        + match &element.value {
            Value::Bytes(bytes) => bytes.len(),
            Value::Items(items) => items.iter().map(bytes).sum(),
            Value::Fragments(fragments) => fragments.iter().map(Bytes::len).sum(),
        }
}

fn is_private(tag: Tag) -> bool {
    tag.group() % 2 == 1
}

/// Curves (retired) and overlays.
fn is_drawing(tag: Tag) -> bool {
    matches!(tag.group(), 0x5000..=0x501E | 0x6000..=0x601E)
}

fn chosen(header: &DataSet, fits: impl Fn(&Element) -> bool) -> DataSet {
    let mut chosen = DataSet::new();
    chosen.inherit_character_set(header.character_set().clone());
    for element in header.elements() {
        let tag = element.tag;
        let groups =
            matches!(tag, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE | tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
        if groups {
            let first = header.items(tag).first().map(without_private).into_iter().collect();
            chosen.put_items(tag, first);
        } else if !is_private(tag) && !is_drawing(tag) && tag != tags::ICON_IMAGE_SEQUENCE && fits(element) {
            chosen.put(tag, element.vr, element.value.clone());
        }
    }
    chosen
}

fn without_private(item: &DataSet) -> DataSet {
    let mut public = DataSet::new();
    public.inherit_character_set(item.character_set().clone());
    for element in item.elements().iter().filter(|element| !is_private(element.tag)) {
        let value = match &element.value {
            Value::Items(items) => Value::Items(items.iter().map(without_private).collect()),
            value => value.clone(),
        };
        public.put(element.tag, element.vr, value);
    }
    public
}

/// The same values in one piece of memory of their own.
fn copied(data_set: &DataSet) -> DataSet {
    let mut values = Vec::new();
    gather(data_set, &mut values);
    rebuilt(data_set, &mut Bytes::from(values))
}

fn gather(data_set: &DataSet, into: &mut Vec<u8>) {
    for element in data_set.elements() {
        match &element.value {
            Value::Bytes(bytes) => into.extend_from_slice(bytes),
            Value::Items(items) => items.iter().for_each(|item| gather(item, into)),
            Value::Fragments(fragments) => fragments.iter().for_each(|fragment| into.extend_from_slice(fragment)),
        }
    }
}

/// `values` begins with those of `data_set`, in the order of [`gather`]; they are taken off.
fn rebuilt(data_set: &DataSet, values: &mut Bytes) -> DataSet {
    let mut copy = DataSet::new();
    copy.inherit_character_set(data_set.character_set().clone());
    for element in data_set.elements() {
        let value = match &element.value {
            Value::Bytes(bytes) => Value::Bytes(values.split_to(bytes.len())),
            Value::Items(items) => Value::Items(items.iter().map(|item| rebuilt(item, values)).collect()),
            Value::Fragments(fragments) => {
                Value::Fragments(fragments.iter().map(|fragment| values.split_to(fragment.len())).collect())
            }
        };
        copy.put(element.tag, element.vr, value);
    }
    copy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::VR;

    fn header() -> DataSet {
        let mut nested = DataSet::new();
        nested.put_text(tags::CODE_VALUE, VR::SH, "T-1");
        let mut header = DataSet::new();
        header.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100");
        header.put_text(tags::PATIENT_NAME, VR::PN, "Jérôme");
        header.put_items(tags::PROCEDURE_CODE_SEQUENCE, vec![nested.clone(), nested.clone()]);
        header.put_bytes(Tag(0x0029, 0x1010), VR::OB, vec![1; 100_000]);
        header.put_bytes(Tag(0x6000, 0x3000), VR::OW, vec![1; 100_000]);
        header.put_items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, vec![nested.clone(), nested]);
        header
    }

    #[test]
    fn what_is_read_of_a_header_is_kept_in_memory_of_its_own() {
        let header = header();
        let kept = kept(&header).unwrap();
        assert_eq!(kept.text(tags::PATIENT_NAME).as_deref(), Some("Jérôme"));
        assert_eq!(kept.items(tags::PROCEDURE_CODE_SEQUENCE), header.items(tags::PROCEDURE_CODE_SEQUENCE));
        assert_eq!(kept.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).len(), 1);
        assert!(!kept.contains(Tag(0x0029, 0x1010)) && !kept.contains(Tag(0x6000, 0x3000)));
        assert!(bytes(&kept) < 2000);
        let same_place = |a: &DataSet, b: &DataSet| {
            a.bytes(tags::PATIENT_NAME).unwrap().as_ptr() == b.bytes(tags::PATIENT_NAME).unwrap().as_ptr()
        };
        assert!(!same_place(&kept, &header));
    }

    #[test]
    fn a_header_that_is_too_large_is_not_kept_in_part() {
        let mut header = header();
        header.put_bytes(tags::ICC_PROFILE, VR::OB, vec![0; MAX_KEPT]);
        assert!(kept(&header).is_none());
        assert!(!kept_of_others(&header).unwrap().contains(tags::ICC_PROFILE));
    }
}
