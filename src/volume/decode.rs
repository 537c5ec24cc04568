//! Frames out of pixel data, whatever their compression, one at a time.

use std::borrow::Cow;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use dicom_dictionary_std::uids;
use dicom_encoding::adapters::{PixelDataObject, RawPixelData};
use dicom_encoding::transfer_syntax::{Codec, TransferSyntaxIndex};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use super::codestream::{self, CodestreamError, FrameHead};
use super::compression::Compression;
use super::encapsulated::{EncapsulationError, cut_into_frames, joined, read_fragments};
use super::pixel_format::{NativeFrame, PixelFormat, SampleBits};
use super::run_length::{self, RunLengthError};
use crate::dicom::VR;
use crate::dicom::parse::PixelDataElement;
use crate::dicom::transfer_syntax::Encoding;

/// How many bytes one frame may have in native form: 8192 × 8192 pixels of 16 bits twice over.
pub const MAX_FRAME_BYTES: usize = 256 << 20;

/// Why a frame cannot be decoded. Whoever made the image must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A frame that the pixel data does not hold.
    #[error("frame {0} is not in the pixel data")]
    NoFrame(usize),
    /// Native pixel data that ends early.
    #[error("the pixel data has {found} bytes, {expected} are expected")]
    Short {
        /// Bytes there are.
        found: usize,
        /// Bytes that the frames need.
        expected: usize,
    },
    /// Encapsulated where the transfer syntax says native, or the other way round.
    #[error("the pixel data is not laid out as the transfer syntax says")]
    Layout,
    /// More than [`MAX_FRAME_BYTES`].
    #[error("a frame of {0} bytes is too large")]
    TooLarge(usize),
    /// Fragments that make no frames.
    #[error(transparent)]
    Encapsulation(#[from] EncapsulationError),
    /// A codestream whose head cannot be read.
    #[error(transparent)]
    Codestream(#[from] CodestreamError),
    /// A codestream of another size than the data set declares.
    #[error("the compressed frame is {found}, the data set declares {declared}")]
    Mismatch {
        /// Rows × columns × components of the codestream.
        found: String,
        /// The same of the data set.
        declared: String,
    },
    /// RLE that is none.
    #[error(transparent)]
    RunLength(#[from] RunLengthError),
    /// A decoder gave up.
    #[error("the frame cannot be decompressed: {0}")]
    Codec(String),
}

/// The pixel data of one instance, ready to be decoded frame by frame from several threads.
#[derive(Debug, Clone)]
pub struct PixelData {
    format: PixelFormat,
    compression: Compression,
    frames: Frames,
}

#[derive(Debug, Clone)]
enum Frames {
    Native(Bytes),
    Fragments(Vec<Vec<Bytes>>),
}

impl PixelData {
    /// Locates the frames. `data_set` is what `element` was found in by
    /// [`parse_header`](crate::dicom::parse::parse_header); `extended` is the Extended Offset Table, empty where absent.
    ///
    /// # Errors
    /// [`DecodeError`] where pixel data and transfer syntax do not agree or the frames cannot be told apart.
    pub fn locate(
        data_set: &Bytes,
        element: PixelDataElement,
        encoding: Encoding,
        (format, compression, frames): (PixelFormat, Compression, usize),
        extended: &[u64],
    ) -> Result<Self, DecodeError> {
        if format.frame_bytes() > MAX_FRAME_BYTES {
            return Err(DecodeError::TooLarge(format.frame_bytes()));
        }
        let value = data_set.slice(element.offset.min(data_set.len())..);
        let frames = match (compression, element.length) {
            (Compression::Native, Some(length)) => {
                let value = value.slice(..value.len().min(length as usize));
                let expected = format.frame_bytes().saturating_mul(frames);
                if value.len() < expected {
                    return Err(DecodeError::Short { found: value.len(), expected });
                }
                let words = encoding == Encoding::ExplicitBe && (element.vr == VR::OW || format.bits_allocated == 16);
                // The last word may hold one pixel of 8 bits and a byte of padding: turned whole, it is the second one.
                let turned = value.len().min(expected + expected % 2);
                Frames::Native(if words { swap_words(&value.slice(..turned)) } else { value })
            }
            (Compression::Native, None) | (_, Some(_)) => return Err(DecodeError::Layout),
            (compression, None) => {
                let found = read_fragments(&value)?;
                Frames::Fragments(cut_into_frames(&found, extended, frames, |f| compression.begins_frame(f))?)
            }
        };
        Ok(Self { format, compression, frames })
    }

    /// The compressed (or native) bytes of a frame, counted from 0: equal bytes are equal pixels.
    ///
    /// # Errors
    /// [`DecodeError::NoFrame`].
    pub fn encoded_frame(&self, index: usize) -> Result<Bytes, DecodeError> {
        match &self.frames {
            Frames::Native(all) => {
                let length = self.format.frame_bytes();
                let start = index.checked_mul(length).filter(|s| s.saturating_add(length) <= all.len());
                start.map(|start| all.slice(start..start + length)).ok_or(DecodeError::NoFrame(index))
            }
            Frames::Fragments(frames) => frames.get(index).map(|f| joined(f)).ok_or(DecodeError::NoFrame(index)),
        }
    }

    /// Decodes one frame, counted from 0. Native frames are not copied.
    ///
    /// # Errors
    /// [`DecodeError`]; a panic of a foreign decoder is one as well.
    pub fn frame(&self, index: usize) -> Result<NativeFrame, DecodeError> {
        let encoded = self.encoded_frame(index)?;
        let format = &self.format;
        let cell_bytes = format.bits_allocated as usize / 8;
        let native = |bytes: Bytes| {
            let (found, expected) = (bytes.len(), format.frame_bytes());
            if found < expected {
                return Err(DecodeError::Short { found, expected });
            }
            Ok(NativeFrame { bytes: bytes.slice(..expected), cell_bytes, sample: format.native_samples() })
        };
        match self.compression {
            Compression::Native | Compression::EncapsulatedUncompressed => native(encoded),
            Compression::DeflatedFrame => native(inflate_frame(&encoded, format.frame_bytes())?),
            Compression::RunLength => {
                native(run_length::decode(&encoded, format.pixels(), format.samples, cell_bytes)?.into())
            }
            Compression::Jpeg | Compression::JpegLs => self.decompress(&encoded, codestream::jpeg_head(&encoded)?),
            Compression::Jpeg2000 => {
                let start = codestream::jpeg2000_start(&encoded).ok_or(CodestreamError::Head("JPEG 2000"))?;
                let stream = encoded.slice(start..);
                self.decompress(&stream, codestream::jpeg2000_head(&stream)?)
            }
        }
    }

    /// Lets a foreign decoder work on a codestream whose head agrees with the data set.
    fn decompress(&self, stream: &Bytes, head: FrameHead) -> Result<NativeFrame, DecodeError> {
        let format = &self.format;
        let declared = (format.rows, format.columns, format.samples);
        if (head.rows, head.columns, head.components) != declared || !(2..=16).contains(&head.precision) {
            return Err(DecodeError::Mismatch {
                found: format!("{} × {} × {}, {} bits", head.rows, head.columns, head.components, head.precision),
                declared: format!("{} × {} × {}", format.rows, format.columns, format.samples),
            });
        }
        let cell_bytes = if head.precision > 8 { 2 } else { 1 };
        let object = OneFrame { stream, format, cell_bytes };
        let mut bytes = Vec::new();
        // Foreign decoders panic on some malformed streams; that must cost this frame and no more.
        let outcome = catch_unwind(AssertUnwindSafe(|| decode_with_registry(self.compression, &object, &mut bytes)));
        outcome.unwrap_or_else(|_| Err(DecodeError::Codec("the decoder panicked".to_owned())))?;
        let expected = format.pixels() * format.samples * cell_bytes;
        if bytes.len() != expected {
            return Err(DecodeError::Short { found: bytes.len(), expected });
        }
        // The sign is the data set's to say: JPEG and JPEG-LS have none, and JPEG 2000 writers get theirs wrong.
        let sample = SampleBits { shift: 0, bits: head.precision.min(format.bits_stored), signed: format.signed };
        Ok(NativeFrame { bytes: bytes.into(), cell_bytes, sample })
    }
}

fn decode_with_registry(compression: Compression, object: &OneFrame, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    // One transfer syntax stands for each family: its adapter decodes all of them.
    let syntax = match compression {
        Compression::Jpeg => uids::JPEG_LOSSLESS_SV1,
        Compression::JpegLs => uids::JPEGLS_LOSSLESS,
        _ => uids::JPEG2000_LOSSLESS,
    };
    match TransferSyntaxRegistry.get(syntax).map(|s| s.codec()) {
        Some(Codec::EncapsulatedPixelData(Some(reader), _)) => {
            reader.decode_frame(object, 0, out).map_err(|e| DecodeError::Codec(e.to_string()))
        }
        _ => Err(DecodeError::Codec("this build has no decoder for it".to_owned())),
    }
}

fn inflate_frame(deflated: &[u8], expected: usize) -> Result<Bytes, DecodeError> {
    let mut out = Vec::with_capacity(expected);
    let mut reader = flate2::read::DeflateDecoder::new(deflated).take(expected as u64);
    reader.read_to_end(&mut out).map_err(|e| DecodeError::Codec(e.to_string()))?;
    Ok(out.into())
}

fn swap_words(big_endian: &[u8]) -> Bytes {
    let mut turned = big_endian.to_vec();
    for word in turned.as_chunks_mut::<2>().0 {
        word.swap(0, 1);
    }
    turned.into()
}

/// One compressed frame in the terms of the codec registry.
struct OneFrame<'a> {
    stream: &'a Bytes,
    format: &'a PixelFormat,
    cell_bytes: usize,
}

impl PixelDataObject for OneFrame<'_> {
    fn transfer_syntax_uid(&self) -> &str {
        ""
    }

    fn rows(&self) -> Option<u16> {
        u16::try_from(self.format.rows).ok()
    }

    fn cols(&self) -> Option<u16> {
        u16::try_from(self.format.columns).ok()
    }

    fn samples_per_pixel(&self) -> Option<u16> {
        u16::try_from(self.format.samples).ok()
    }

    /// Of the codestream, which is what the adapters lay their output out by.
    fn bits_allocated(&self) -> Option<u16> {
        u16::try_from(self.cell_bytes * 8).ok()
    }

    fn bits_stored(&self) -> Option<u16> {
        u16::try_from(self.format.bits_stored).ok()
    }

    fn photometric_interpretation(&self) -> Option<&str> {
        Some(if self.format.samples == 1 { "MONOCHROME2" } else { "RGB" })
    }

    fn number_of_frames(&self) -> Option<u32> {
        Some(1)
    }

    fn number_of_fragments(&self) -> Option<u32> {
        Some(1)
    }

    fn fragment(&self, fragment: usize) -> Option<Cow<'_, [u8]>> {
        (fragment == 0).then_some(Cow::Borrowed(&self.stream[..]))
    }

    fn offset_table(&self) -> Option<Cow<'_, [u32]>> {
        None
    }

    fn raw_pixel_data(&self) -> Option<RawPixelData> {
        Some(RawPixelData {
            fragments: std::iter::once(self.stream.to_vec()).collect(),
            offset_table: std::iter::empty().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_an_odd_number_of_pixels_in_big_endian_words_is_no_padding() {
        let format = PixelFormat {
            rows: 1,
            columns: 3,
            samples: 1,
            bits_allocated: 8,
            bits_stored: 8,
            high_bit: 7,
            signed: false,
        };
        // Pixels 1, 2, 3 and a byte of padding, two in a word.
        let bytes = Bytes::from_static(&[2, 1, 0, 3]);
        let element = PixelDataElement { tag: crate::dicom::tags::PIXEL_DATA, vr: VR::OW, offset: 0, length: Some(4) };
        let layout = (format, Compression::Native, 1);
        let pixels = PixelData::locate(&bytes, element, Encoding::ExplicitBe, layout, &[]).unwrap();
        assert_eq!(pixels.frame(0).unwrap().stored_values().collect::<Vec<_>>(), [1, 2, 3]);
    }
}
