//! What a compressed frame says of itself, read before a decoder is let near it.
//!
//! Decoders reserve what a codestream declares: a few bytes can ask for gigabytes. So size, components and precision are
//! read here first and held against the data set.

/// The head of a compressed frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Lines.
    pub rows: usize,
    /// Samples a line.
    pub columns: usize,
    /// Components.
    pub components: usize,
    /// Bits a sample.
    pub precision: u32,
}

/// Why a codestream is not given to a decoder. Whoever compressed it must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodestreamError {
    /// It does not begin as its transfer syntax says, or ends before its frame header.
    #[error("the compressed frame has no readable {0} header")]
    Head(&'static str),
    /// Subsampled components, offsets or an absurd number of tiles.
    #[error("the JPEG 2000 frame has an image grid that no single-resolution image needs")]
    Grid,
}

/// Reads the head of a JPEG or JPEG-LS frame (ISO/IEC 10918-1 B.2.2, ISO/IEC 14495-1 C.2.2).
///
/// # Errors
/// [`CodestreamError::Head`] where no frame header is found.
pub fn jpeg_head(stream: &[u8]) -> Result<FrameHead, CodestreamError> {
    let broken = CodestreamError::Head("JPEG");
    let mut rest = stream.strip_prefix(&[0xFF, 0xD8]).ok_or(broken.clone())?;
    while let [0xFF, marker, after @ ..] = rest {
        match marker {
            0xFF => rest = &rest[1..],
            0x01 | 0xD0..=0xD7 => rest = after,
            // A scan or the end before any frame header.
            0xD8..=0xDA => return Err(broken),
            // Every SOF, the one of JPEG-LS included; C4, C8 and CC are tables and extensions.
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF | 0xF7 => {
                let head: &[u8; 8] = after.first_chunk().ok_or(broken)?;
                return Ok(FrameHead {
                    precision: u32::from(head[2]),
                    rows: usize::from(u16::from_be_bytes([head[3], head[4]])),
                    columns: usize::from(u16::from_be_bytes([head[5], head[6]])),
                    components: usize::from(head[7]),
                });
            }
            _ => {
                let length: &[u8; 2] = after.first_chunk().ok_or(broken.clone())?;
                let length = usize::from(u16::from_be_bytes(*length)).max(2);
                rest = after.get(length..).ok_or(broken.clone())?;
            }
        }
    }
    Err(broken)
}

/// Where the codestream begins in a JPEG 2000 frame: at once, as DICOM wants it, or after the boxes of a JP2 file.
#[must_use]
pub fn jpeg2000_start(stream: &[u8]) -> Option<usize> {
    const SOC_SIZ: [u8; 4] = [0xFF, 0x4F, 0xFF, 0x51];
    if stream.starts_with(&SOC_SIZ) {
        return Some(0);
    }
    let boxes = stream.get(..4096).unwrap_or(stream);
    let jp2 = boxes.get(4..8) == Some(b"jP  ");
    jp2.then(|| boxes.windows(4).position(|window| window == SOC_SIZ)).flatten()
}

/// Reads the SIZ marker of a JPEG 2000 or HTJ2K codestream (ISO/IEC 15444-1 A.5.1) that begins at its SOC marker.
///
/// # Errors
/// [`CodestreamError::Head`] where it is cut, [`CodestreamError::Grid`] where it would make a decoder reserve far more
/// than the image.
pub fn jpeg2000_head(codestream: &[u8]) -> Result<FrameHead, CodestreamError> {
    const MOST_TILES: u32 = 4096;
    let broken = CodestreamError::Head("JPEG 2000");
    let siz: &[u8; 38] = codestream.get(4..).and_then(|s| s.first_chunk()).ok_or(broken.clone())?;
    let word = |at: usize| u32::from_be_bytes([siz[at], siz[at + 1], siz[at + 2], siz[at + 3]]);
    let (width, height, left, top) = (word(4), word(8), word(12), word(16));
    let (tile_width, tile_height) = (word(20), word(24));
    let components = usize::from(u16::from_be_bytes([siz[36], siz[37]]));
    if width <= left || height <= top || tile_width == 0 || tile_height == 0 {
        return Err(broken);
    }
    let tiles = u64::from(width.div_ceil(tile_width)) * u64::from(height.div_ceil(tile_height));
    if tiles > u64::from(MOST_TILES) {
        return Err(CodestreamError::Grid);
    }
    let each = codestream.get(42..42 + 3 * components).ok_or(broken.clone())?;
    let (each, _) = each.as_chunks::<3>();
    if each.iter().any(|c| c[1] != 1 || c[2] != 1) {
        return Err(CodestreamError::Grid);
    }
    let precision = each.iter().map(|c| u32::from(c[0] & 0x7F) + 1).max().ok_or(broken)?;
    Ok(FrameHead { rows: (height - top) as usize, columns: (width - left) as usize, components, precision })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_header_is_found_behind_other_segments() {
        let stream = [
            0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 0xFF, 0xC0, 0xFF, 0xC4, 0, 2, 0xFF, 0xFF, 0xC3, 0, 11, 16, 1, 2, 0, 9, 1, 1,
            0x11, 0,
        ];
        let head = jpeg_head(&stream).unwrap();
        assert_eq!(head, FrameHead { rows: 258, columns: 9, components: 1, precision: 16 });
        assert!(jpeg_head(&stream[..20]).is_err());
        assert!(jpeg_head(&[0xFF, 0xD8, 0xFF, 0xDA, 0, 2]).is_err());
    }

    fn siz(width: u32, tile: u32, components: u16) -> Vec<u8> {
        let mut out = vec![0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0];
        for word in [width, 64, 0, 0, tile, tile, 0, 0] {
            out.extend(word.to_be_bytes());
        }
        out.extend(components.to_be_bytes());
        out.extend([0x8F, 1, 1].repeat(components.into()));
        out
    }

    #[test]
    fn sixty_thousand_tiles_and_cut_headers_are_refused() {
        let head = jpeg2000_head(&siz(32, 64, 1)).unwrap();
        assert_eq!(head, FrameHead { rows: 64, columns: 32, components: 1, precision: 16 });
        assert_eq!(jpeg2000_head(&siz(60_000, 1, 1)), Err(CodestreamError::Grid));
        assert!(jpeg2000_head(&siz(32, 64, 3)[..45]).is_err());
        assert!(jpeg2000_head(&siz(32, 0, 1)).is_err());
    }

    #[test]
    fn boxes_before_the_codestream_are_stepped_over() {
        let mut jp2 = b"\0\0\0\x0CjP  \r\n\x87\n".to_vec();
        jp2.extend(siz(32, 64, 1));
        assert_eq!(jpeg2000_start(&jp2), Some(12));
        assert_eq!(jpeg2000_start(b"\xFF\xD8"), None);
    }
}
