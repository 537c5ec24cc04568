//! RLE Lossless (PS3.5 annex G): one PackBits segment for each byte plane, the most significant first.

/// Why a frame is no RLE frame. Whoever compressed it must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunLengthError {
    /// The 64-byte header is cut, or its offsets lead out of the frame or backwards.
    #[error("the RLE header is broken")]
    Header,
    /// Another number of segments than samples × bytes.
    #[error("the RLE frame has {found} segments, {expected} are expected")]
    Segments {
        /// What the header declares.
        found: u32,
        /// Samples per pixel × bytes per sample.
        expected: usize,
    },
    /// A segment that ends before its plane is full.
    #[error("an RLE segment holds {found} bytes, {expected} are expected")]
    Short {
        /// Bytes that came out.
        found: usize,
        /// Pixels of the frame.
        expected: usize,
    },
}

/// Decodes one frame into `samples` interleaved samples of `cell_bytes` little-endian bytes.
///
/// # Errors
/// [`RunLengthError`]; nothing beyond `pixels × samples × cell_bytes` bytes is ever reserved.
pub fn decode(frame: &[u8], pixels: usize, samples: usize, cell_bytes: usize) -> Result<Vec<u8>, RunLengthError> {
    let planes = samples * cell_bytes;
    let words: Vec<u32> = frame
        .get(..64)
        .ok_or(RunLengthError::Header)?
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect();
    if words[0] as usize != planes || planes > 15 {
        return Err(RunLengthError::Segments { found: words[0], expected: planes });
    }
    let mut out = vec![0; pixels * planes];
    for plane in 0..planes {
        let start = words[1 + plane] as usize;
        let end = if plane + 1 < planes { words[2 + plane] as usize } else { frame.len() };
        let segment = frame.get(start..end).filter(|_| start >= 64).ok_or(RunLengthError::Header)?;
        // Segments come sample by sample, each from its most significant byte; the cells are little-endian.
        let (sample, byte) = (plane / cell_bytes, cell_bytes - 1 - plane % cell_bytes);
        let found = unpack(segment, out[sample * cell_bytes + byte..].iter_mut().step_by(planes));
        if found < pixels {
            return Err(RunLengthError::Short { found, expected: pixels });
        }
    }
    Ok(out)
}

/// PackBits (PS3.5 section G.3.2). Gives how many bytes were written; what a segment holds beyond its plane is padding.
fn unpack<'a>(segment: &[u8], mut out: impl Iterator<Item = &'a mut u8>) -> usize {
    let mut written = 0;
    let mut rest = segment;
    while let [control, after @ ..] = rest {
        let control = usize::from(*control);
        // 0 to 127: that many bytes and one more as they are. 129 to 255: one byte, repeated. 128: nothing.
        let (literal, repeated) = match control {
            0..=127 => (&after[..(control + 1).min(after.len())], 1),
            128 => (&after[..0], 0),
            _ => (&after[..1.min(after.len())], 257 - control),
        };
        for value in literal.iter().flat_map(|value| std::iter::repeat_n(*value, repeated)) {
            let Some(cell) = out.next() else { return written };
            *cell = value;
            written += 1;
        }
        rest = &after[literal.len()..];
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(segments: &[&[u8]]) -> Vec<u8> {
        let mut header = vec![u32::try_from(segments.len()).unwrap()];
        let mut at = 64;
        for segment in segments {
            header.push(at);
            at += u32::try_from(segment.len()).unwrap();
        }
        header.resize(16, 0);
        header.iter().flat_map(|w| w.to_le_bytes()).chain(segments.iter().flat_map(|s| s.iter().copied())).collect()
    }

    #[test]
    fn runs_and_literals_of_two_planes_become_little_endian_cells() {
        // High plane: 4 × 1. Low plane: literal 10, 20, then 2 × 30, then padding.
        let bytes = frame(&[&[253, 1], &[1, 10, 20, 255, 30, 0x80, 0]]);
        assert_eq!(decode(&bytes, 4, 1, 2).unwrap(), [10, 1, 20, 1, 30, 1, 30, 1]);
    }

    #[test]
    fn samples_are_interleaved() {
        let bytes = frame(&[&[1, 1, 2], &[1, 3, 4], &[1, 5, 6]]);
        assert_eq!(decode(&bytes, 2, 3, 1).unwrap(), [1, 3, 5, 2, 4, 6]);
    }

    #[test]
    fn broken_frames_are_errors_and_not_panics() {
        assert_eq!(decode(&[0; 63], 4, 1, 2), Err(RunLengthError::Header));
        assert_eq!(decode(&[0; 64], 4, 1, 2), Err(RunLengthError::Segments { found: 0, expected: 2 }));
        let short = frame(&[&[253, 1], &[0, 1]]);
        assert_eq!(decode(&short, 4, 1, 2), Err(RunLengthError::Short { found: 1, expected: 4 }));
        let cut_literal = frame(&[&[253, 1], &[127, 1]]);
        assert_eq!(decode(&cut_literal, 4, 1, 2), Err(RunLengthError::Short { found: 1, expected: 4 }));
        let mut backwards = frame(&[&[253, 1], &[253, 1]]);
        backwards[8..12].copy_from_slice(&10u32.to_le_bytes());
        assert_eq!(decode(&backwards, 4, 1, 2), Err(RunLengthError::Header));
        let mut outside = frame(&[&[253, 1], &[253, 1]]);
        outside[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(&outside, 4, 1, 2), Err(RunLengthError::Header));
    }
}
