//! The numbers and values of a data set, within bounds.

use bytes::Bytes;
use dicom_core::{Tag, VR};

use super::{ParseError, Reader};
use crate::dicom::transfer_syntax::Encoding;

impl Reader<'_> {
    pub(super) fn tag(&mut self, end: usize) -> Result<Tag, ParseError> {
        let nowhere = Tag(0, 0);
        Ok(Tag(self.u16(nowhere, end)?, self.u16(nowhere, end)?))
    }

    pub(super) fn u8(&mut self, tag: Tag, end: usize) -> Result<u8, ParseError> {
        self.array::<1>(tag, end).map(|[b]| b)
    }

    pub(super) fn u16(&mut self, tag: Tag, end: usize) -> Result<u16, ParseError> {
        let bytes = self.array(tag, end)?;
        Ok(if self.encoding == Encoding::ExplicitBe { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    pub(super) fn u32(&mut self, tag: Tag, end: usize) -> Result<u32, ParseError> {
        let bytes = self.array(tag, end)?;
        Ok(if self.encoding == Encoding::ExplicitBe { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn array<const N: usize>(&mut self, tag: Tag, end: usize) -> Result<[u8; N], ParseError> {
        let left = end.saturating_sub(self.at);
        let truncated = ParseError::Truncated { tag, at: self.at, declared: N as u64, left };
        if left < N {
            return Err(truncated);
        }
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).copied().ok_or(truncated)?;
        self.at += N;
        Ok(bytes)
    }

    pub(super) fn end_of(&self, tag: Tag, length: u32, end: usize) -> Result<usize, ParseError> {
        let left = end.saturating_sub(self.at);
        if length as usize > left {
            return Err(ParseError::Truncated { tag, at: self.at, declared: u64::from(length), left });
        }
        Ok(self.at + length as usize)
    }

    pub(super) fn take(&mut self, tag: Tag, length: u32, end: usize) -> Result<Bytes, ParseError> {
        let value_end = self.end_of(tag, length, end)?;
        let value = self.bytes.slice(self.at..value_end);
        self.at = value_end;
        Ok(value)
    }
}

/// Brings a big-endian value into little-endian order.
pub(super) fn swapped(bytes: &Bytes, vr: VR) -> Bytes {
    let width = match vr {
        VR::US | VR::SS | VR::OW | VR::AT => 2,
        VR::UL | VR::SL | VR::FL | VR::OF | VR::OL => 4,
        VR::FD | VR::OD | VR::SV | VR::UV | VR::OV => 8,
        _ => return bytes.clone(),
    };
    let mut turned = bytes.to_vec();
    for number in turned.chunks_exact_mut(width) {
        number.reverse();
    }
    turned.into()
}
