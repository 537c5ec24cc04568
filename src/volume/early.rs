//! Pixels decoded before their series is complete.

use rayon::prelude::*;

use super::Voxels;
use super::decode::{DecodeError, PixelData};
use super::frame_header::FrameHeader;
use super::instance::{InstanceError, InstanceHeader, InstanceSource, pixel_data};
use super::kept::bytes;
use super::rescale::{into_f32, into_i16};
use super::series::rescale_of;

/// An instance whose pixels were decoded before its series was complete.
#[derive(Debug)]
pub struct DecodedInstance {
    pub(super) header: InstanceHeader,
    /// As it came: two instances are the same image only where these are.
    pub(super) encoded: InstanceSource,
    /// One for each frame, in modality units.
    pub(super) frames: Vec<Result<Voxels, DecodeError>>,
}

impl DecodedInstance {
    /// How much memory it takes: its pixels, its header, and what each frame takes even where it failed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let size = |frame: &Result<Voxels, DecodeError>| match frame {
            Ok(Voxels::I16(values)) => size_of_val(&values[..]),
            Ok(Voxels::F32(values)) => size_of_val(&values[..]),
            Err(_) => 0,
        };
        header_bytes(&self.header) + self.frames.iter().map(size).sum::<usize>()
    }
}

/// Decodes one instance at once, as it arrives: worth it for compressed ones. What is wrong with its pixels is kept and
/// weighed when the series is assembled. Nothing where it would take more than `most_bytes` by what its header declares, or
/// can be no slice: a small file may unfold into any number of frames.
///
/// # Errors
/// [`InstanceError`] where it has no readable header.
pub fn decode_instance(encoded: InstanceSource, most_bytes: usize) -> Result<Option<DecodedInstance>, InstanceError> {
    let header = encoded.header()?;
    if declared_bytes(&header).is_none_or(|declared| declared > most_bytes) {
        return Ok(None);
    }
    let file = encoded.open()?;
    let pixels = pixel_data(&file, &header);
    let decode = |frame: &FrameHeader| values(pixels.as_ref().map_err(Clone::clone)?, &header, frame);
    let frames = header.frames.par_iter().map(decode).collect();
    Ok(Some(DecodedInstance { header, encoded, frames }))
}

/// What it takes with its pixels in the larger of the two forms; nothing where it has none, or is in colour.
fn declared_bytes(header: &InstanceHeader) -> Option<usize> {
    let format = header.format.as_ref().ok().filter(|format| format.samples == 1 && !header.frames.is_empty())?;
    let pixels = format.pixels().checked_mul(header.frames.len())?.checked_mul(size_of::<f32>())?;
    pixels.checked_add(header_bytes(header))
}

/// What a header takes, with all that is known of its frames.
fn header_bytes(header: &InstanceHeader) -> usize {
    // A frame's texts: position, orientation, spacing, image type, kernel and what tells acquisitions apart.
    const FRAME: usize = size_of::<FrameHeader>() + size_of::<Result<Voxels, DecodeError>>() + 512;
    size_of::<DecodedInstance>() + bytes(&header.data_set) + header.frames.len() * FRAME
}

fn values(pixels: &PixelData, header: &InstanceHeader, frame: &FrameHeader) -> Result<Voxels, DecodeError> {
    let native = pixels.frame(frame.index)?;
    let count = native.bytes.len() / native.cell_bytes;
    let rescale = rescale_of(frame);
    if let Some(whole) = rescale.whole() {
        let mut out = vec![0_i16; count];
        if into_i16(&native, whole, header.padding.as_ref(), &mut out).is_ok() {
            return Ok(Voxels::I16(out));
        }
    }
    let mut out = vec![0_f32; count];
    into_f32(&native, rescale, header.padding.as_ref(), &mut out);
    Ok(Voxels::F32(out))
}
