//! DICOM files (PS3.10 section 7): where the file meta information ends and the data set begins.

use bytes::Bytes;
use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::data_set::DataSet;
use super::inflate::{inflate, inflate_beginning};
use super::parse::{ParseError, parse};
use super::transfer_syntax::Encoding;
use super::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid, UidError};

/// The most that a deflated data set is inflated to in memory, bytes.
const MAX_INFLATED: usize = 1 << 30;

/// A DICOM file, cut in two; nothing of it is copied.
#[derive(Debug, Clone, PartialEq)]
pub struct Part10 {
    /// Group 0002; empty where the file has none.
    pub meta: DataSet,
    /// The layout of `data_set`: that of its transfer syntax, or a guess where the file names none.
    pub encoding: Encoding,
    /// Everything behind group 0002, as it is.
    pub data_set: Bytes,
}

/// The beginning of a data set, in a layout that can be parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Beginning {
    /// Never the deflated one.
    pub encoding: Encoding,
    /// Inflated where that was needed, else not copied.
    pub bytes: Bytes,
    /// What comes behind them.
    pub end: End,
}

/// Where the beginning of a data set ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing comes behind it.
    All,
    /// More than was asked for.
    More,
    /// The stream that holds it ends before its end mark.
    Broken,
}

/// Why bytes are not a DICOM file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Part10Error {
    /// No transfer syntax, and nothing that looks like the first element of a data set.
    #[error("this is no DICOM file")]
    NotDicom,
    /// The file meta information cannot be read.
    #[error("the file meta information cannot be read: {0}")]
    Meta(#[from] ParseError),
    /// An identifier in the file meta information is missing or no UID.
    #[error("{tag} in the file meta information: {reason}")]
    Uid {
        /// Which.
        tag: Tag,
        /// Why.
        reason: UidError,
    },
}

impl Part10 {
    /// Cuts a file. Tolerant, since files come from everywhere: no preamble, no meta information, no group length or a
    /// wrong one. Some peers send data sets that begin with elements of group 0002: what begins anew where the group
    /// length ends belongs to the data set.
    ///
    /// # Errors
    /// [`Part10Error`] says what is not as it should be.
    pub fn split(file: &Bytes) -> Result<Self, Part10Error> {
        Self::cut(file, Author::Anybody)
    }

    /// Cuts a file that was written here: where its group length says, if an element ends there, whatever the data set
    /// begins with.
    ///
    /// # Errors
    /// As [`Self::split`].
    pub fn split_own(file: &Bytes) -> Result<Self, Part10Error> {
        Self::cut(file, Author::Ourselves)
    }

    fn cut(file: &Bytes, author: Author) -> Result<Self, Part10Error> {
        let start = first_element(file);
        let end = start + length_of_meta(&file[start..], author);
        let meta = file.slice(start..end);
        let meta = parse(&meta, layout_of_meta(&meta))?;
        let data_set = file.slice(end..);
        let encoding = match meta.uid(tags::TRANSFER_SYNTAX_UID, TransferSyntaxUid::parse) {
            Ok(transfer_syntax) => Encoding::of(&transfer_syntax),
            Err(_) => guess(&data_set).ok_or(Part10Error::NotDicom)?,
        };
        Ok(Self { meta, encoding, data_set })
    }

    /// Transfer Syntax UID (0002,0010).
    ///
    /// # Errors
    /// [`Part10Error::Uid`] where it is missing or no UID.
    pub fn transfer_syntax(&self) -> Result<TransferSyntaxUid, Part10Error> {
        self.uid(tags::TRANSFER_SYNTAX_UID, TransferSyntaxUid::parse)
    }

    /// Media Storage SOP Class UID (0002,0002).
    ///
    /// # Errors
    /// As [`Self::transfer_syntax`].
    pub fn sop_class(&self) -> Result<SopClassUid, Part10Error> {
        self.uid(tags::MEDIA_STORAGE_SOP_CLASS_UID, SopClassUid::parse)
    }

    /// Media Storage SOP Instance UID (0002,0003).
    ///
    /// # Errors
    /// As [`Self::transfer_syntax`].
    pub fn sop_instance(&self) -> Result<SopInstanceUid, Part10Error> {
        self.uid(tags::MEDIA_STORAGE_SOP_INSTANCE_UID, SopInstanceUid::parse)
    }

    /// The data set in a layout that can be parsed, which is never the deflated one: inflated where it has to be, else
    /// not copied.
    ///
    /// # Errors
    /// [`ParseError::Deflate`] where the stream is broken, or holds more than 1 GiB.
    pub fn inflated(&self) -> Result<(Encoding, Bytes), ParseError> {
        match self.encoding {
            Encoding::DeflatedExplicitLe => Ok((Encoding::ExplicitLe, inflate(&self.data_set, MAX_INFLATED)?)),
            encoding => Ok((encoding, self.data_set.clone())),
        }
    }

    /// The first bytes of [`Self::inflated`]: `most` of them where the data set is deflated, and all there are before the
    /// stream ends otherwise than it should.
    ///
    /// # Errors
    /// [`ParseError::Deflate`] where the stream is broken from its first byte on.
    pub fn beginning(&self, most: usize) -> Result<Beginning, ParseError> {
        if self.encoding != Encoding::DeflatedExplicitLe {
            return Ok(Beginning { encoding: self.encoding, bytes: self.data_set.clone(), end: End::All });
        }
        let (bytes, end) = inflate_beginning(&self.data_set, most.min(MAX_INFLATED))?;
        Ok(Beginning { encoding: Encoding::ExplicitLe, bytes, end })
    }

    fn uid<T>(&self, tag: Tag, parse: fn(&str) -> Result<T, UidError>) -> Result<T, Part10Error> {
        self.meta.uid(tag, parse).map_err(|reason| Part10Error::Uid { tag, reason })
    }
}

/// Where the first element of a file begins.
fn first_element(file: &[u8]) -> usize {
    match file.get(128..132) {
        Some(b"DICM") => 132,
        _ if file.starts_with(b"DICM") => 4,
        _ => 0,
    }
}

/// How many bytes from the first element on belong to group 0002 by (0002,0000), where that is the first.
fn group_length(bytes: &[u8]) -> Option<usize> {
    let [2, 0, 0, 0, b'U', b'L', 4, 0, length @ ..] = bytes.first_chunk::<12>()? else { return None };
    usize::try_from(u32::from_le_bytes(*length)).ok()?.checked_add(12)
}

/// Who wrote a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Author {
    Ourselves,
    Anybody,
}

/// How many bytes from the first element on are file meta information: by the elements themselves, because the group length
/// is left out by some writers, and wrong from others. Elements stand in ascending order.
fn length_of_meta(bytes: &[u8], author: Author) -> usize {
    let declared = group_length(bytes);
    let (mut at, mut last) = (0, 0);
    while let Some(&[2, 0, low, high, a, b, c, d]) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let element = u16::from_le_bytes([low, high]);
        if declared == Some(at) && (author == Author::Ourselves || element <= last) {
            break;
        }
        last = element;
        let (head, length) = match &[a, b] {
            b"OB" | b"OW" | b"UN" | b"UT" | b"SQ" | b"UC" | b"UR" => {
                let Some(length) = bytes.get(at + 8..).and_then(|rest| rest.first_chunk::<4>()) else { break };
                (12, u32::from_le_bytes(*length) as usize)
            }
            [b'A'..=b'Z', b'A'..=b'Z'] => (8, usize::from(u16::from_le_bytes([c, d]))),
            _ => (8, u32::from_le_bytes([a, b, c, d]) as usize),
        };
        at = (at + head).saturating_add(length);
    }
    at.min(bytes.len())
}

/// Explicit VR Little Endian; some writers take the implicit layout here too, which is wrong, but met.
fn layout_of_meta(meta: &[u8]) -> Encoding {
    match meta.get(4..6) {
        Some([b'A'..=b'Z', b'A'..=b'Z']) | None => Encoding::ExplicitLe,
        Some(_) => Encoding::ImplicitLe,
    }
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
    use super::super::encode::part10_header;
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

    fn split(file: impl Into<Bytes>) -> Result<Part10, Part10Error> {
        Part10::split(&file.into())
    }

    #[test]
    fn our_own_header_is_cut_off_exactly() {
        let class = SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap();
        let instance = SopInstanceUid::parse("1.2.3").unwrap();
        let syntax = TransferSyntaxUid::parse("1.2.840.10008.1.2").unwrap();
        let mut file = part10_header(&class, &instance, &syntax, Some("PACS"));
        file.extend_from_slice(&[8, 0, 5, 0, 0, 0, 0, 0]);
        let part10 = split(file).unwrap();
        assert_eq!((part10.sop_class().unwrap(), part10.sop_instance().unwrap()), (class, instance));
        assert_eq!((part10.transfer_syntax().unwrap(), part10.encoding), (syntax, Encoding::ImplicitLe));
        assert_eq!(&part10.data_set[..], &[8, 0, 5, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_data_set_that_begins_with_group_0002_is_left_whole_behind_our_own_header() {
        let class = SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap();
        let instance = SopInstanceUid::parse("1.2.3").unwrap();
        let syntax = TransferSyntaxUid::parse("1.2.840.10008.1.2").unwrap();
        // In either layout, and naming another syntax.
        let implicit = b"\x02\x00\x10\x00\x02\x00\x00\x00X\0\x08\x00\x05\x00\x00\x00\x00\x00".to_vec();
        let explicit_layout = explicit(2, 0x10, b"UI", b"1.2.840.10008.1.2.5\0");
        for data_set in [implicit, explicit_layout] {
            let mut file = part10_header(&class, &instance, &syntax, Some("PACS"));
            file.extend_from_slice(&data_set);
            for cut in [Part10::split, Part10::split_own] {
                let part10 = cut(&file.clone().into()).unwrap();
                assert_eq!(
                    (part10.data_set.to_vec(), part10.transfer_syntax().unwrap()),
                    (data_set.clone(), syntax.clone())
                );
            }
        }
        for wrong in [None, Some(25), Some(9999), Some(u32::MAX)] {
            let mut foreign = wrong.map_or(Vec::new(), |length| explicit(2, 0, b"UL", &length.to_le_bytes()));
            foreign.extend(explicit(2, 0x10, b"UI", b"1.2.840.10008.1.2\0"));
            foreign.extend([0x10, 0, 0x20, 0, 2, 0, 0, 0, b'4', b'2']);
            assert_eq!(Part10::split_own(&foreign.clone().into()), split(foreign), "{wrong:?}: as any other");
        }
    }

    #[test]
    fn a_wrong_group_length_and_a_missing_preamble_do_no_harm() {
        let mut file = explicit(2, 0, b"UL", &9999u32.to_le_bytes());
        file.extend(explicit(2, 0x10, b"UI", b"1.2.840.10008.1.2\0"));
        file.extend([0x10, 0, 0x20, 0, 2, 0, 0, 0, b'4', b'2']);
        let part10 = split(file.clone()).unwrap();
        assert_eq!(part10.encoding, Encoding::ImplicitLe);
        assert_eq!(part10.data_set.len(), 10);
        let mut with_preamble = vec![7; 128];
        with_preamble.extend(b"DICM");
        with_preamble.extend(&file);
        assert_eq!(split(with_preamble).unwrap().data_set, part10.data_set);
    }

    #[test]
    fn meta_information_in_the_implicit_layout_is_read() {
        let mut file = b"DICM\x02\x00\x10\x00\x14\x00\x00\x001.2.840.10008.1.2.1\0".to_vec();
        file.extend(explicit(8, 0x60, b"CS", b"CT"));
        let part10 = split(file).unwrap();
        assert_eq!(part10.transfer_syntax().unwrap().as_str(), "1.2.840.10008.1.2.1");
        assert_eq!(part10.data_set.len(), 10);
    }

    #[test]
    fn without_meta_information_the_layout_is_read_from_the_first_element() {
        assert_eq!(split(explicit(8, 0x60, b"CS", b"CT")).unwrap().encoding, Encoding::ExplicitLe);
        let big = [0, 8, 0, 0x60, b'C', b'S', 0, 2, b'C', b'T'];
        assert_eq!(split(Bytes::copy_from_slice(&big)).unwrap().encoding, Encoding::ExplicitBe);
        let implicit = [8, 0, 0x60, 0, 2, 0, 0, 0, b'C', b'T'];
        let part10 = split(Bytes::copy_from_slice(&implicit)).unwrap();
        assert_eq!(part10.encoding, Encoding::ImplicitLe);
        assert!(matches!(part10.sop_class(), Err(Part10Error::Uid { .. })));
    }

    #[test]
    fn a_meta_element_longer_than_the_file_is_truncated() {
        let mut file = vec![0; 128];
        file.extend_from_slice(b"DICM\x02\x00\x10\x00UI\xFF\xFF1.2");
        assert!(matches!(split(file), Err(Part10Error::Meta(ParseError::Truncated { .. }))));
    }

    #[test]
    fn text_and_emptiness_are_no_dicom_file() {
        assert_eq!(split(Bytes::new()), Err(Part10Error::NotDicom));
        assert_eq!(split(&b"GET / HTTP/1.1\r\n\r\n"[..]), Err(Part10Error::NotDicom));
    }
}
