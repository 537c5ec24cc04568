//! A DICOM file taken apart (PS3.10 section 7): which transfer syntax, where the data set lies.
//!
//! Tolerant, since files come from everywhere: no preamble, no meta information, no group length or a wrong one.

use bytes::Bytes;

use crate::dicom::parse::{ParseError, inflate};
use crate::dicom::transfer_syntax::Encoding;
use crate::dicom::uid::TransferSyntaxUid;

/// How many bytes a deflated data set may have once inflated.
pub const MAX_INFLATED: usize = 512 << 20;

/// A file's data set with what is needed to read it.
#[derive(Debug, Clone)]
pub struct Part10 {
    /// As the file declares it; `None` where it declares none and the layout was guessed.
    pub transfer_syntax: Option<TransferSyntaxUid>,
    /// The layout of `data_set`. A deflated one is inflated already, so this is never the deflated layout.
    pub encoding: Encoding,
    /// The data set without preamble and file meta information. A slice of the file unless it was deflated.
    pub data_set: Bytes,
}

/// Why a file cannot be taken apart. Whoever made it must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Part10Error {
    /// Too short for one element, or nothing that looks like an element.
    #[error("this is no DICOM file")]
    NotDicom,
    /// The deflate stream is broken or holds more than [`MAX_INFLATED`] bytes.
    #[error(transparent)]
    Deflate(#[from] ParseError),
}

/// Takes a file apart.
///
/// # Errors
/// [`Part10Error`] where the bytes are no DICOM file or their deflate stream is broken.
pub fn split(file: &Bytes) -> Result<Part10, Part10Error> {
    let start = match file.get(128..132) {
        Some(b"DICM") => 132,
        _ if file.starts_with(b"DICM") => 4,
        _ => 0,
    };
    let (declared, end_of_meta) = read_meta(file, start);
    let rest = file.slice(end_of_meta.min(file.len())..);
    let encoding = match &declared {
        Some(syntax) => Encoding::of(syntax),
        None => guess(&rest).ok_or(Part10Error::NotDicom)?,
    };
    if encoding == Encoding::DeflatedExplicitLe {
        let data_set = inflate(&rest, MAX_INFLATED)?;
        return Ok(Part10 { transfer_syntax: declared, encoding: Encoding::ExplicitLe, data_set });
    }
    Ok(Part10 { transfer_syntax: declared, encoding, data_set: rest })
}

/// Walks the elements of group 0002, by themselves and not by their group length, which is often wrong.
/// Gives the transfer syntax and where the group ends.
fn read_meta(file: &Bytes, start: usize) -> (Option<TransferSyntaxUid>, usize) {
    let mut at = start;
    let mut transfer_syntax = None;
    while let Some(element) = meta_element(file, at) {
        if element.number == 0x0010 {
            let text: String = file[element.value.clone()].iter().map(|&b| char::from(b)).collect();
            transfer_syntax = TransferSyntaxUid::parse(&text).ok();
        }
        at = element.value.end;
    }
    (transfer_syntax, at)
}

struct MetaElement {
    number: u16,
    value: std::ops::Range<usize>,
}

/// The element of group 0002 at `at`; nothing where another group begins or the bytes end.
fn meta_element(file: &[u8], at: usize) -> Option<MetaElement> {
    let head: [u8; 8] = *file.get(at..)?.first_chunk()?;
    if u16::from_le_bytes([head[0], head[1]]) != 2 {
        return None;
    }
    let number = u16::from_le_bytes([head[2], head[3]]);
    let (start, length) = match &head[4..6] {
        b"OB" | b"UN" | b"OW" | b"UT" => {
            let length: [u8; 4] = *file.get(at + 8..)?.first_chunk()?;
            (at + 12, u32::from_le_bytes(length))
        }
        vr if vr.iter().all(u8::is_ascii_uppercase) => (at + 8, u32::from(u16::from_le_bytes([head[6], head[7]]))),
        // Meta information in the implicit layout: wrong, but met.
        _ => (at + 8, u32::from_le_bytes([head[4], head[5], head[6], head[7]])),
    };
    let end = start.checked_add(length as usize)?;
    (end <= file.len()).then_some(MetaElement { number, value: start..end })
}

/// The layout of a data set by its first element: the group tells the byte order, the letters the value representation.
fn guess(data_set: &[u8]) -> Option<Encoding> {
    let head: [u8; 8] = *data_set.first_chunk()?;
    let explicit = head[4..6].iter().all(u8::is_ascii_uppercase);
    match (u16::from_le_bytes([head[0], head[1]]), u16::from_be_bytes([head[0], head[1]])) {
        (1..=0x28, _) if explicit => Some(Encoding::ExplicitLe),
        (_, 1..=0x28) if explicit => Some(Encoding::ExplicitBe),
        (1..=0x28, _) => Some(Encoding::ImplicitLe),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explicit(group: u16, element: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(group.to_le_bytes());
        out.extend(element.to_le_bytes());
        out.extend(vr);
        out.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
        out.extend(value);
        out
    }

    #[test]
    fn a_wrong_group_length_and_a_missing_preamble_do_no_harm() {
        let mut file = explicit(2, 0, b"UL", &9999u32.to_le_bytes());
        file.extend(explicit(2, 0x10, b"UI", b"1.2.840.10008.1.2\0"));
        file.extend([0x10, 0, 0x20, 0, 2, 0, 0, 0, b'4', b'2']);
        let part10 = split(&file.clone().into()).unwrap();
        assert_eq!(part10.encoding, Encoding::ImplicitLe);
        assert_eq!(part10.data_set.len(), 10);
        let mut with_preamble = vec![7; 128];
        with_preamble.extend(b"DICM");
        with_preamble.extend(&file);
        assert_eq!(split(&with_preamble.into()).unwrap().data_set, part10.data_set);
    }

    #[test]
    fn without_meta_information_the_layout_is_read_from_the_first_element() {
        let explicit_le = explicit(8, 0x60, b"CS", b"CT");
        assert_eq!(split(&explicit_le.into()).unwrap().encoding, Encoding::ExplicitLe);
        let big = [0, 8, 0, 0x60, b'C', b'S', 0, 2, b'C', b'T'];
        assert_eq!(split(&Bytes::copy_from_slice(&big)).unwrap().encoding, Encoding::ExplicitBe);
        let implicit = [8, 0, 0x60, 0, 2, 0, 0, 0, b'C', b'T'];
        assert_eq!(split(&Bytes::copy_from_slice(&implicit)).unwrap().encoding, Encoding::ImplicitLe);
    }

    #[test]
    fn text_and_emptiness_are_no_dicom_file() {
        assert_eq!(split(&Bytes::new()).unwrap_err(), Part10Error::NotDicom);
        assert_eq!(split(&Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n")).unwrap_err(), Part10Error::NotDicom);
    }
}
