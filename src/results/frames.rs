//! Label map to one-bit frames (PS3.5 section 8.2, PS3.3 C.8.20.2.1): bits of all frames in a row, the lowest bit of each
//! byte first, frames not padded to bytes.

/// One frame of a Segmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlannedFrame {
    /// Of the source volume.
    pub(super) slice: usize,
    /// The label in the label map.
    pub(super) label: u8,
    /// Segment Number in the object, from 1.
    pub(super) segment_number: u16,
    /// Where the slice stands among those that the object has, from 1.
    pub(super) position_index: u32,
}

/// Which labels occur in one slice.
pub(super) fn labels_in(slice: &[u8]) -> [bool; 256] {
    let mut found = [false; 256];
    let (words, rest) = slice.as_chunks::<8>();
    // Neighbours are mostly alike: a word that repeats the last one has nothing new.
    let mut last = None;
    for word in words {
        if Some(word) != last {
            word.iter().for_each(|label| found[usize::from(*label)] = true);
            last = Some(word);
        }
    }
    rest.iter().for_each(|label| found[usize::from(*label)] = true);
    found
}

/// Appends bits to a buffer of bytes.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    /// Bits that do not fill a byte yet, the first in the lowest place.
    pending: u8,
    pending_bits: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, pending: 0, pending_bits: 0 }
    }

    /// Appends one bit for each label: 1 where it is `wanted`.
    pub(super) fn push_frame(&mut self, labels: &[u8], wanted: u8) {
        let (words, rest) = labels.as_chunks::<8>();
        for word in words {
            self.push(equal_bits(*word, wanted), 8);
        }
        let bits = rest.iter().enumerate().fold(0, |bits, (at, label)| bits | u8::from(*label == wanted) << at);
        self.push(bits, u32::try_from(rest.len()).unwrap_or(0));
    }

    /// Writes what is pending, filled up with zeros.
    pub(super) fn finish(self) {
        if self.pending_bits > 0 {
            self.out.push(self.pending);
        }
    }

    /// Appends the lowest `count` (at most 8) of `bits`; the higher ones must be zero.
    fn push(&mut self, bits: u8, count: u32) {
        let joined = u16::from(self.pending) | u16::from(bits) << self.pending_bits;
        let [low, high] = joined.to_le_bytes();
        self.pending_bits += count;
        if self.pending_bits >= 8 {
            self.out.push(low);
            self.pending = high;
            self.pending_bits -= 8;
        } else {
            self.pending = low;
        }
    }
}

/// Bit n says whether byte n of `word` is `wanted`; all eight bytes at once.
fn equal_bits(word: [u8; 8], wanted: u8) -> u8 {
    const LOW_SEVEN: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    const ONES: u64 = 0x0101_0101_0101_0101;
    let difference = u64::from_le_bytes(word) ^ (ONES * u64::from(wanted));
    // The highest bit of each byte: whether the byte differs. No carry leaves a byte.
    let differs = ((difference & LOW_SEVEN) + LOW_SEVEN) | difference;
    let equal = (!differs >> 7) & ONES;
    // Byte n holds 0 or 1; the product moves it to bit 56 + n.
    (equal.wrapping_mul(0x0102_0408_1020_4080) >> 56).to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slow way, for comparison: bit by bit.
    fn packed_slowly(labels: &[u8], wanted: u8) -> Vec<u8> {
        let mut bytes = vec![0; labels.len().div_ceil(8)];
        for (at, label) in labels.iter().enumerate() {
            bytes[at / 8] |= u8::from(*label == wanted) << (at % 8);
        }
        bytes
    }

    #[test]
    fn frames_follow_each_other_without_padding_between_them() {
        let label = |at: usize| [0, 1, 2, 1, 255, 0, 0, 129][(at * at + at / 3) % 8];
        for frame_size in [1, 5, 8, 9, 63, 64, 77] {
            let labels: Vec<u8> = (0..5 * frame_size).map(label).collect();
            for wanted in [1, 2, 129, 255] {
                let mut packed = Vec::new();
                let mut writer = BitWriter::new(&mut packed);
                labels.chunks(frame_size).for_each(|frame| writer.push_frame(frame, wanted));
                writer.finish();
                assert_eq!(packed, packed_slowly(&labels, wanted), "{frame_size} {wanted}");
            }
        }
    }

    #[test]
    fn every_label_of_a_slice_is_found() {
        let mut slice = vec![0; 67];
        slice[8..16].fill(3);
        slice[66] = 200;
        let found = labels_in(&slice);
        let labels: Vec<usize> = (0..256).filter(|l| found[*l]).collect();
        assert_eq!(labels, [0, 3, 200]);
    }
}
