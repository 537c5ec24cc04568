//! Reading a data set from bytes of unknown goodwill (PS3.5 section 7).
//!
//! Nothing is reserved by a declared length: values are slices of what is there. Depth and number of elements are
//! bounded, so 28 bytes cannot ask for 4 GB, nor 70 kB overflow the stack.

use bytes::Bytes;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use self::within::swapped;
use super::data_set::{DataSet, Value};
use super::transfer_syntax::Encoding;

mod within;

/// How deep sequences may nest. Real objects stay below 20.
pub const MAX_DEPTH: usize = 64;
/// How many elements a data set may have, all levels together.
pub const MAX_ELEMENTS: usize = 4_000_000;

/// Why bytes are not a data set. Whoever made them must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The bytes end inside an element or before an open sequence is closed.
    #[error("the data set ends at byte {at}, inside {tag}: {declared} bytes are declared, {left} are left")]
    Truncated {
        /// The element that is cut.
        tag: Tag,
        /// Where its value begins.
        at: usize,
        /// The length it declares.
        declared: u64,
        /// What is there.
        left: usize,
    },
    /// More than [`MAX_DEPTH`] levels.
    #[error("sequences are nested more than {MAX_DEPTH} deep, at byte {0}")]
    TooDeep(usize),
    /// More than [`MAX_ELEMENTS`].
    #[error("the data set has more than {MAX_ELEMENTS} elements")]
    TooManyElements,
    /// Two bytes that are no value representation.
    #[error("{tag} at byte {at} has no value representation")]
    NoVr {
        /// The element.
        tag: Tag,
        /// Where it begins.
        at: usize,
    },
    /// Undefined length on something that is neither a sequence nor encapsulated pixel data.
    #[error("{0} has an undefined length, which its value representation does not allow")]
    UndefinedLength(Tag),
    /// Something other than an item or a delimiter inside a sequence.
    #[error("{found} at byte {at} stands where an item should begin")]
    NotAnItem {
        /// What stands there.
        found: Tag,
        /// Where.
        at: usize,
    },
    /// The deflate stream is broken, or what it holds is larger than allowed.
    #[error("the deflated data set cannot be inflated: {0}")]
    Deflate(String),
}

/// A data set up to its pixel data.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Everything before the pixel data.
    pub data_set: DataSet,
    /// Where the pixel data begins, if there is any.
    pub pixel_data: Option<PixelDataElement>,
}

/// Where pixel data lies in the bytes that were parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelDataElement {
    /// Pixel Data, Float Pixel Data or Double Float Pixel Data.
    pub tag: Tag,
    /// OB, OW, OF or OD.
    pub vr: VR,
    /// The first byte of the value.
    pub offset: usize,
    /// The declared length; none when encapsulated.
    pub length: Option<u32>,
}

/// Reads a whole data set, encapsulated pixel data included. `bytes` must already be inflated
/// (see [`super::inflate`]) where the transfer syntax deflates.
///
/// # Errors
/// [`ParseError`] names the element and the byte.
pub fn parse(bytes: &Bytes, encoding: Encoding) -> Result<DataSet, ParseError> {
    let mut reader = Reader { bytes, encoding, at: 0, elements: 0 };
    reader.data_set(bytes.len(), None, 0, &DataSet::new(), Stop::Never).map(|(data_set, _)| data_set)
}

/// Reads a data set up to its pixel data, which need not be there in full.
///
/// # Errors
/// [`ParseError`] names the element and the byte.
pub fn parse_header(bytes: &Bytes, encoding: Encoding) -> Result<Header, ParseError> {
    let mut reader = Reader { bytes, encoding, at: 0, elements: 0 };
    let (data_set, pixel_data) = reader.data_set(bytes.len(), None, 0, &DataSet::new(), Stop::PixelData)?;
    Ok(Header { data_set, pixel_data })
}

/// Reads the elements up to and including `last`; what comes behind it need not be there.
///
/// # Errors
/// [`ParseError`] names the element and the byte.
pub fn parse_through(bytes: &Bytes, encoding: Encoding, last: Tag) -> Result<DataSet, ParseError> {
    let mut reader = Reader { bytes, encoding, at: 0, elements: 0 };
    reader.data_set(bytes.len(), None, 0, &DataSet::new(), Stop::Behind(last)).map(|(data_set, _)| data_set)
}

pub(super) const ITEM: Tag = Tag(0xFFFE, 0xE000);
pub(super) const ITEM_DELIMITER: Tag = Tag(0xFFFE, 0xE00D);
pub(super) const SEQUENCE_DELIMITER: Tag = Tag(0xFFFE, 0xE0DD);
pub(super) const UNDEFINED: u32 = 0xFFFF_FFFF;

/// Where reading ends before the bytes do; the outermost data set's elements count.
#[derive(Clone, Copy)]
enum Stop {
    Never,
    /// Before the pixel data.
    PixelData,
    /// Before the first element behind this one.
    Behind(Tag),
}

struct Reader<'a> {
    bytes: &'a Bytes,
    encoding: Encoding,
    at: usize,
    elements: usize,
}

impl Reader<'_> {
    /// Reads elements up to `end`, or to the delimiter of an item whose length is undefined (`until`).
    fn data_set(
        &mut self,
        end: usize,
        until: Option<Tag>,
        depth: usize,
        around: &DataSet,
        stop: Stop,
    ) -> Result<(DataSet, Option<PixelDataElement>), ParseError> {
        let mut data_set = DataSet::new();
        data_set.inherit_character_set(around.character_set().clone());
        let pixel_data = self.elements_into(&mut data_set, end, until, depth, stop)?;
        data_set.sort();
        Ok((data_set, pixel_data))
    }

    /// Appends elements in the order in which they come: putting each in its place would take a hostile order's time.
    fn elements_into(
        &mut self,
        data_set: &mut DataSet,
        end: usize,
        until: Option<Tag>,
        depth: usize,
        stop: Stop,
    ) -> Result<Option<PixelDataElement>, ParseError> {
        while self.at < end {
            let begin = self.at;
            let tag = self.tag(end)?;
            if Some(tag) == until {
                self.u32(tag, end)?;
                return Ok(None);
            }
            if depth == 0 && matches!(stop, Stop::Behind(last) if tag > last) {
                return Ok(None);
            }
            if tag.group() == 0xFFFE {
                return Err(ParseError::NotAnItem { found: tag, at: begin });
            }
            let (vr, length) = self.vr_and_length(tag, begin, end)?;
            self.elements += 1;
            if self.elements > MAX_ELEMENTS {
                return Err(ParseError::TooManyElements);
            }
            if depth == 0 && matches!(stop, Stop::PixelData) && is_pixel_data(tag) {
                let length = (length != UNDEFINED).then_some(length);
                return Ok(Some(PixelDataElement { tag, vr, offset: self.at, length }));
            }
            let value = self.value(tag, vr, length, end, depth, data_set)?;
            let vr = if matches!(value, Value::Items(_)) { VR::SQ } else { vr };
            data_set.append(tag, vr, value);
        }
        match until {
            Some(tag) => Err(ParseError::Truncated { tag, at: self.at, declared: 8, left: 0 }),
            None => Ok(None),
        }
    }

    fn value(
        &mut self,
        tag: Tag,
        vr: VR,
        length: u32,
        end: usize,
        depth: usize,
        around: &DataSet,
    ) -> Result<Value, ParseError> {
        if length == UNDEFINED && is_pixel_data(tag) {
            return self.fragments(tag, end).map(Value::Fragments);
        }
        if vr == VR::SQ {
            return self.items(tag, length, end, depth, around).map(Value::Items);
        }
        if length == UNDEFINED {
            if vr != VR::UN {
                return Err(ParseError::UndefinedLength(tag));
            }
            // An unknown sequence: its content is implicit little endian whatever is around it (PS3.5 section 6.2.2, note 4).
            let outer = std::mem::replace(&mut self.encoding, Encoding::ImplicitLe);
            let items = self.items(tag, length, end, depth, around);
            self.encoding = outer;
            return items.map(Value::Items);
        }
        let bytes = self.take(tag, length, end)?;
        Ok(Value::Bytes(if self.encoding == Encoding::ExplicitBe { swapped(&bytes, vr) } else { bytes }))
    }

    fn items(
        &mut self,
        tag: Tag,
        length: u32,
        end: usize,
        depth: usize,
        around: &DataSet,
    ) -> Result<Vec<DataSet>, ParseError> {
        if depth >= MAX_DEPTH {
            return Err(ParseError::TooDeep(self.at));
        }
        let end = if length == UNDEFINED { end } else { self.end_of(tag, length, end)? };
        let mut items = Vec::new();
        while self.at < end {
            let begin = self.at;
            let item = self.tag(end)?;
            let item_length = self.u32(item, end)?;
            match item {
                ITEM => {
                    self.elements += 1;
                    if self.elements > MAX_ELEMENTS {
                        return Err(ParseError::TooManyElements);
                    }
                    let (item_end, until) = if item_length == UNDEFINED {
                        (end, Some(ITEM_DELIMITER))
                    } else {
                        (self.end_of(item, item_length, end)?, None)
                    };
                    items.push(self.data_set(item_end, until, depth + 1, around, Stop::Never)?.0);
                }
                SEQUENCE_DELIMITER if length == UNDEFINED => return Ok(items),
                found => return Err(ParseError::NotAnItem { found, at: begin }),
            }
        }
        if length == UNDEFINED {
            return Err(ParseError::Truncated { tag, at: self.at, declared: 8, left: 0 });
        }
        Ok(items)
    }

    fn fragments(&mut self, tag: Tag, end: usize) -> Result<Vec<Bytes>, ParseError> {
        let mut fragments = Vec::new();
        while self.at < end {
            let begin = self.at;
            let item = self.tag(end)?;
            let length = self.u32(item, end)?;
            match item {
                ITEM => {
                    self.elements += 1;
                    if self.elements > MAX_ELEMENTS {
                        return Err(ParseError::TooManyElements);
                    }
                    fragments.push(self.take(item, length, end)?);
                }
                SEQUENCE_DELIMITER => return Ok(fragments),
                found => return Err(ParseError::NotAnItem { found, at: begin }),
            }
        }
        Err(ParseError::Truncated { tag, at: self.at, declared: 8, left: 0 })
    }

    fn vr_and_length(&mut self, tag: Tag, begin: usize, end: usize) -> Result<(VR, u32), ParseError> {
        if self.encoding == Encoding::ImplicitLe {
            let length = self.u32(tag, end)?;
            return Ok((dictionary_vr(tag), length));
        }
        let code = [self.u8(tag, end)?, self.u8(tag, end)?];
        let vr = match VR::from_binary(code) {
            Some(vr) => vr,
            // A representation of a later edition has the long form (PS3.5 section 6.2, note on unknown VRs).
            None if code.iter().all(u8::is_ascii_uppercase) => VR::UN,
            None => return Err(ParseError::NoVr { tag, at: begin }),
        };
        if has_short_length(vr) {
            return Ok((vr, u32::from(self.u16(tag, end)?)));
        }
        self.u16(tag, end)?;
        let length = self.u32(tag, end)?;
        Ok((vr, length))
    }
}

/// Pixel Data, Float Pixel Data or Double Float Pixel Data.
pub(super) fn is_pixel_data(tag: Tag) -> bool {
    matches!(tag, tags::PIXEL_DATA | tags::FLOAT_PIXEL_DATA | tags::DOUBLE_FLOAT_PIXEL_DATA)
}

/// Whether the explicit form has a 16-bit length (PS3.5 table 7.1-2).
pub(super) fn has_short_length(vr: VR) -> bool {
    !matches!(
        vr,
        VR::OB
            | VR::OD
            | VR::OF
            | VR::OL
            | VR::OV
            | VR::OW
            | VR::SQ
            | VR::SV
            | VR::UC
            | VR::UN
            | VR::UR
            | VR::UT
            | VR::UV
    )
}

/// The representation that the dictionary gives a tag: UN for private and unknown ones, UL for group lengths.
pub(super) fn dictionary_vr(tag: Tag) -> VR {
    if tag.element() == 0 {
        return VR::UL;
    }
    if tag.group() % 2 == 1 {
        return if (0x10..=0xFF).contains(&tag.element()) { VR::LO } else { VR::UN };
    }
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}

#[cfg(test)]
mod tests;
