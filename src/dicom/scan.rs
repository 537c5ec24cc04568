//! Checking the structure of a data set while it streams by, and keeping its header (PS3.5 section 7).
//!
//! Whatever its size, a data set is looked at once, in the pieces in which it arrives. What is held is the header: the
//! elements before the pixel data, without those too long to be of use for an index. Nothing is reserved by a declared
//! length, and depth and number of elements are bounded as in [`super::parse`].

use bytes::Bytes;
use dicom_core::{Tag, VR};

use super::data_set::DataSet;
use super::parse::{
    ITEM, ITEM_DELIMITER, MAX_DEPTH, MAX_ELEMENTS, ParseError, SEQUENCE_DELIMITER, UNDEFINED, dictionary_vr,
    has_short_length, is_pixel_data, parse,
};
use super::transfer_syntax::Encoding;

/// Longer elements are checked and not kept: tables of frames, contours, curves.
pub const MAX_KEPT_ELEMENT: usize = 64 * 1024;
/// All that is kept together.
pub const MAX_KEPT: usize = 4 * 1024 * 1024;
/// How much may come out of a deflated data set.
const MAX_INFLATED: u64 = 1 << 32;

/// Looks at a data set piece by piece.
pub struct Scanner {
    structure: Structure,
    inflater: Option<Inflater>,
}

impl Scanner {
    /// Begins at the first byte of a data set.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        let inflater = (encoding == Encoding::DeflatedExplicitLe).then(Inflater::new);
        Self { structure: Structure::new(encoding), inflater }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`ParseError`] as soon as it is certain that this is no data set; then nothing more should be fed.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        match &mut self.inflater {
            None => self.structure.feed(bytes),
            Some(inflater) => inflater.feed(bytes, &mut self.structure),
        }
    }

    /// Says that this was all, and gives the header.
    ///
    /// # Errors
    /// [`ParseError::Truncated`] when something is still open.
    pub fn finish(self) -> Result<DataSet, ParseError> {
        if let Some(inflater) = &self.inflater
            && !inflater.ended
        {
            return Err(ParseError::Deflate("it ends before its end mark".to_owned()));
        }
        self.structure.finish()
    }
}

struct Inflater {
    stream: flate2::Decompress,
    out: Vec<u8>,
    ended: bool,
}

impl Inflater {
    fn new() -> Self {
        Self { stream: flate2::Decompress::new(false), out: Vec::with_capacity(32 * 1024), ended: false }
    }

    fn feed(&mut self, mut bytes: &[u8], structure: &mut Structure) -> Result<(), ParseError> {
        // Behind the end there may be a byte that makes the length even.
        while !self.ended {
            let before = (self.stream.total_in(), self.stream.total_out());
            self.out.clear();
            let status = self.stream.decompress_vec(bytes, &mut self.out, flate2::FlushDecompress::None);
            let status = status.map_err(|error| ParseError::Deflate(error.to_string()))?;
            let taken = usize::try_from(self.stream.total_in() - before.0).unwrap_or(bytes.len());
            bytes = bytes.get(taken..).unwrap_or_default();
            if self.stream.total_out() > MAX_INFLATED {
                return Err(ParseError::Deflate(format!("it holds more than {MAX_INFLATED} bytes")));
            }
            structure.feed(&self.out)?;
            self.ended = status == flate2::Status::StreamEnd;
            if taken == 0 && self.out.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

/// Something that is open.
#[derive(Clone, Copy)]
struct Open {
    what: What,
    tag: Tag,
    /// Where it ends at the latest; its own end where its length is defined, else that of what is around it.
    end: u64,
    defined: bool,
    implicit: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Sequence,
    Item,
    Fragments,
}

/// A tag with what it declares.
struct Head {
    tag: Tag,
    vr: VR,
    length: u32,
}

struct Structure {
    encoding: Encoding,
    open: Vec<Open>,
    /// Of a head that is cut by the end of a piece.
    head: Vec<u8>,
    /// Bytes of a value that are still to come.
    value_left: u64,
    value_tag: Tag,
    position: u64,
    elements: usize,
    kept: Vec<u8>,
    kept_before: usize,
    keeping: bool,
    behind_pixel_data: bool,
}

impl Structure {
    fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            open: Vec::new(),
            head: Vec::new(),
            value_left: 0,
            value_tag: Tag(0, 0),
            position: 0,
            elements: 0,
            kept: Vec::new(),
            kept_before: 0,
            keeping: false,
            behind_pixel_data: false,
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), ParseError> {
        while !bytes.is_empty() {
            if self.value_left > 0 {
                let there = usize::try_from(self.value_left).unwrap_or(usize::MAX).min(bytes.len());
                let (value, rest) = bytes.split_at(there);
                self.pass(value);
                self.value_left -= there as u64;
                bytes = rest;
                continue;
            }
            self.close_what_ended();
            let wanted = self.head_length() - self.head.len();
            let (part, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.head.extend_from_slice(part);
            bytes = rest;
            if self.head.len() == self.head_length() {
                self.take_head()?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<DataSet, ParseError> {
        let at = self.at();
        if self.value_left > 0 {
            return Err(ParseError::Truncated { tag: self.value_tag, at, declared: self.value_left, left: 0 });
        }
        self.close_what_ended();
        if let Some(open) = self.open.last() {
            return Err(ParseError::Truncated { tag: open.tag, at, declared: 8, left: self.head.len() });
        }
        if !self.head.is_empty() {
            return Err(ParseError::Truncated { tag: Tag(0, 0), at, declared: 8, left: self.head.len() });
        }
        parse(&Bytes::from(self.kept), self.encoding)
    }

    /// How long the head is, as far as what is there of it tells.
    fn head_length(&self) -> usize {
        let inside_sequence = self.open.last().is_some_and(|open| open.what != What::Item);
        if self.is_implicit() || inside_sequence || self.head.len() < 6 {
            return 8;
        }
        let delimiter = self.u16_at(0) == 0xFFFE;
        let short = VR::from_binary([self.head[4], self.head[5]]).is_some_and(has_short_length);
        let unknown = !self.head[4..6].iter().all(u8::is_ascii_uppercase);
        if delimiter || short || unknown { 8 } else { 12 }
    }

    fn take_head(&mut self) -> Result<(), ParseError> {
        let inside = self.open.last().copied();
        let tag = Tag(self.u16_at(0), self.u16_at(2));
        let end = inside.map_or(u64::MAX, |open| open.end);
        let left = end.saturating_sub(self.position);
        if (self.head.len() as u64) > left {
            let declared = self.head.len() as u64;
            return Err(ParseError::Truncated { tag, at: self.at(), declared, left: as_usize(left) });
        }
        match inside.map(|open| open.what) {
            Some(What::Sequence) => self.take_item(tag, inside)?,
            Some(What::Fragments) => self.take_fragment(tag)?,
            Some(What::Item) if tag == ITEM_DELIMITER && inside.is_some_and(|open| !open.defined) => {
                self.pass_head();
                self.open.pop();
            }
            _ => self.take_element(tag, end)?,
        }
        Ok(())
    }

    fn take_element(&mut self, tag: Tag, end: u64) -> Result<(), ParseError> {
        if tag.group() == 0xFFFE {
            return Err(ParseError::NotAnItem { found: tag, at: self.at() });
        }
        let head = self.read_head(tag)?;
        self.count()?;
        if self.open.is_empty() {
            self.begin_top_element(&head);
        }
        self.pass_head();
        let implicit = self.is_implicit();
        let what = match (head.vr, head.length) {
            (_, UNDEFINED) if is_pixel_data(tag) => What::Fragments,
            (VR::SQ, _) => What::Sequence,
            (VR::UN, UNDEFINED) => {
                // The content of an unknown sequence is implicit (PS3.5 section 6.2.2, note 4).
                return self.push(Open { what: What::Sequence, tag, end, defined: false, implicit: true });
            }
            (_, UNDEFINED) => return Err(ParseError::UndefinedLength(tag)),
            _ => {
                self.end_of(tag, head.length, end)?;
                self.value_left = u64::from(head.length);
                self.value_tag = tag;
                return Ok(());
            }
        };
        let defined = head.length != UNDEFINED;
        let end = if defined { self.end_of(tag, head.length, end)? } else { end };
        self.push(Open { what, tag, end, defined, implicit })
    }

    fn take_item(&mut self, tag: Tag, inside: Option<Open>) -> Result<(), ParseError> {
        let Some(sequence) = inside else { return Ok(()) };
        let length = self.u32_at(4);
        let at = self.at();
        match tag {
            ITEM => {
                self.count()?;
                self.pass_head();
                let defined = length != UNDEFINED;
                let end = if defined { self.end_of(tag, length, sequence.end)? } else { sequence.end };
                self.push(Open { what: What::Item, tag, end, defined, implicit: sequence.implicit })
            }
            SEQUENCE_DELIMITER if !sequence.defined => {
                self.pass_head();
                self.open.pop();
                Ok(())
            }
            found => Err(ParseError::NotAnItem { found, at }),
        }
    }

    fn take_fragment(&mut self, tag: Tag) -> Result<(), ParseError> {
        let length = self.u32_at(4);
        let at = self.at();
        let end = self.open.last().map_or(u64::MAX, |open| open.end);
        match tag {
            ITEM => {
                self.count()?;
                self.pass_head();
                if length == UNDEFINED {
                    return Err(ParseError::UndefinedLength(tag));
                }
                self.end_of(tag, length, end)?;
                self.value_left = u64::from(length);
                self.value_tag = tag;
            }
            SEQUENCE_DELIMITER => {
                self.pass_head();
                self.open.pop();
            }
            found => return Err(ParseError::NotAnItem { found, at }),
        }
        Ok(())
    }

    fn read_head(&self, tag: Tag) -> Result<Head, ParseError> {
        if self.is_implicit() {
            return Ok(Head { tag, vr: dictionary_vr(tag), length: self.u32_at(4) });
        }
        let code = [self.head[4], self.head[5]];
        let vr = match VR::from_binary(code) {
            Some(vr) => vr,
            None if code.iter().all(u8::is_ascii_uppercase) => VR::UN,
            None => return Err(ParseError::NoVr { tag, at: self.at() }),
        };
        let length = if self.head.len() == 12 { self.u32_at(8) } else { u32::from(self.u16_at(6)) };
        Ok(Head { tag, vr, length })
    }

    fn begin_top_element(&mut self, head: &Head) {
        self.behind_pixel_data |= is_pixel_data(head.tag);
        let short = head.length == UNDEFINED || head.length as usize <= MAX_KEPT_ELEMENT;
        self.keeping = short && !self.behind_pixel_data && self.kept.len() < MAX_KEPT;
        self.kept_before = self.kept.len();
    }

    fn push(&mut self, open: Open) -> Result<(), ParseError> {
        let deep = self.open.iter().filter(|open| open.what == What::Sequence).count();
        if open.what == What::Sequence && deep >= MAX_DEPTH {
            return Err(ParseError::TooDeep(self.at()));
        }
        self.open.push(open);
        Ok(())
    }

    fn close_what_ended(&mut self) {
        while self.open.last().is_some_and(|open| open.defined && open.end == self.position) && self.head.is_empty() {
            self.open.pop();
        }
    }

    fn count(&mut self) -> Result<(), ParseError> {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS { Err(ParseError::TooManyElements) } else { Ok(()) }
    }

    fn pass_head(&mut self) {
        let head = std::mem::take(&mut self.head);
        self.pass(&head);
        self.head = head;
        self.head.clear();
    }

    /// Counts bytes, and keeps them where the element that they belong to is kept.
    fn pass(&mut self, bytes: &[u8]) {
        self.position += bytes.len() as u64;
        if self.keeping {
            self.kept.extend_from_slice(bytes);
            if self.kept.len() - self.kept_before > MAX_KEPT_ELEMENT + 12 {
                self.kept.truncate(self.kept_before);
                self.keeping = false;
            }
        }
    }

    fn end_of(&self, tag: Tag, length: u32, end: u64) -> Result<u64, ParseError> {
        let left = end.saturating_sub(self.position);
        if u64::from(length) > left {
            let declared = u64::from(length);
            return Err(ParseError::Truncated { tag, at: self.at(), declared, left: as_usize(left) });
        }
        Ok(self.position + u64::from(length))
    }

    fn is_implicit(&self) -> bool {
        self.open.last().map_or(self.encoding == Encoding::ImplicitLe, |open| open.implicit)
    }

    fn is_big_endian(&self) -> bool {
        self.encoding == Encoding::ExplicitBe && !self.is_implicit()
    }

    fn u16_at(&self, at: usize) -> u16 {
        let bytes = self.head.get(at..).and_then(|rest| rest.first_chunk::<2>()).copied().unwrap_or_default();
        if self.is_big_endian() { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32_at(&self, at: usize) -> u32 {
        let bytes = self.head.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
        if self.is_big_endian() { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn at(&self) -> usize {
        as_usize(self.position)
    }
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
