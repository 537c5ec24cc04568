//! How pixels are kept in memory (PS3.3 C.7.6.3, Image Pixel module; PS3.5 section 8).

use crate::dicom::data_set::DataSet;
use crate::dicom::tags;

/// The Image Pixel module, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelFormat {
    /// Rows (0028,0010), at least 1.
    pub rows: usize,
    /// Columns (0028,0011), at least 1.
    pub columns: usize,
    /// Samples per Pixel (0028,0002), 1 to 4.
    pub samples: usize,
    /// Bits Allocated (0028,0100): 8 or 16.
    pub bits_allocated: u32,
    /// Bits Stored (0028,0101): 1 to Bits Allocated.
    pub bits_stored: u32,
    /// High Bit (0028,0102): Bits Stored - 1 to Bits Allocated - 1.
    pub high_bit: u32,
    /// Pixel Representation (0028,0103).
    pub signed: bool,
}

/// Why pixels cannot be read as a volume. Whoever made the image must act, or it is of a kind that has no volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PixelFormatError {
    /// An attribute is absent or out of its range.
    #[error("{0} is missing or out of range")]
    Attribute(&'static str),
    /// A format of the standard that is not read: single bits, 32 and 64 bits, floating point.
    #[error("pixels of {0} bits are not read")]
    BitsAllocated(i64),
}

impl PixelFormat {
    /// Reads the module from a data set.
    ///
    /// # Errors
    /// [`PixelFormatError`] names the attribute.
    pub fn read(data_set: &DataSet) -> Result<Self, PixelFormatError> {
        let within = |tag, name, least: i64, most: i64| {
            let value = data_set.integer(tag).filter(|v| (least..=most).contains(v));
            value.ok_or(PixelFormatError::Attribute(name))
        };
        let rows = within(tags::ROWS, "Rows", 1, 65535)?;
        let columns = within(tags::COLUMNS, "Columns", 1, 65535)?;
        let samples = match data_set.contains(tags::SAMPLES_PER_PIXEL) {
            true => within(tags::SAMPLES_PER_PIXEL, "Samples per Pixel", 1, 4)?,
            false => 1,
        };
        let allocated = within(tags::BITS_ALLOCATED, "Bits Allocated", 1, 65535)?;
        if allocated != 8 && allocated != 16 {
            return Err(PixelFormatError::BitsAllocated(allocated));
        }
        let stored = within(tags::BITS_STORED, "Bits Stored", 1, allocated)?;
        let high = match data_set.contains(tags::HIGH_BIT) {
            true => within(tags::HIGH_BIT, "High Bit", stored - 1, allocated - 1)?,
            false => stored - 1,
        };
        let signed = match data_set.contains(tags::PIXEL_REPRESENTATION) {
            true => within(tags::PIXEL_REPRESENTATION, "Pixel Representation", 0, 1)? == 1,
            false => false,
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "all are within 0 and 65535")]
        Ok(Self {
            rows: rows as usize,
            columns: columns as usize,
            samples: samples as usize,
            bits_allocated: allocated as u32,
            bits_stored: stored as u32,
            high_bit: high as u32,
            signed,
        })
    }

    /// Pixels of one frame.
    #[must_use]
    pub const fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    /// Bytes of one frame in native form.
    #[must_use]
    pub const fn frame_bytes(&self) -> usize {
        self.pixels() * self.samples * self.bits_allocated as usize / 8
    }

    /// Where the bits of a sample lie in a native cell.
    #[must_use]
    pub const fn native_samples(&self) -> SampleBits {
        SampleBits { shift: self.high_bit + 1 - self.bits_stored, bits: self.bits_stored, signed: self.signed }
    }
}

/// Which bits of a cell are the sample, and whether its uppermost is a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleBits {
    /// Bits below the sample.
    pub shift: u32,
    /// Bits of the sample, 1 to 16.
    pub bits: u32,
    /// Two's complement.
    pub signed: bool,
}

impl SampleBits {
    /// The stored value of a cell. Bits outside of the sample (old overlays, garbage) are not looked at.
    #[must_use]
    #[inline]
    pub const fn value(self, cell: u16) -> i32 {
        let unused = 32 - self.bits;
        let raised = ((cell as u32) >> self.shift) << unused;
        if self.signed { raised.cast_signed() >> unused } else { (raised >> unused).cast_signed() }
    }

    /// The values that a sample can have.
    #[must_use]
    pub const fn range(self) -> std::ops::RangeInclusive<i32> {
        if self.signed { -(1 << (self.bits - 1))..=(1 << (self.bits - 1)) - 1 } else { 0..=(1 << self.bits) - 1 }
    }

    /// A number as the value of a sample: Pixel Padding Value and its like, whose sign depends on who wrote it.
    #[must_use]
    pub const fn reinterpreted(self, number: i64) -> i32 {
        let unused = 64 - self.bits;
        let raised = number << unused;
        #[expect(clippy::cast_possible_truncation, reason = "at most 16 bits are left")]
        if self.signed { (raised >> unused) as i32 } else { (raised.cast_unsigned() >> unused) as i32 }
    }
}

/// One frame in native form.
#[derive(Debug, Clone)]
pub struct NativeFrame {
    /// Rows, columns, samples: cells of `cell_bytes` little-endian bytes.
    pub bytes: bytes::Bytes,
    /// 1 or 2.
    pub cell_bytes: usize,
    /// What of a cell is the sample.
    pub sample: SampleBits,
}

impl NativeFrame {
    /// The stored values, row by row, samples of a pixel together.
    pub fn stored_values(&self) -> impl Iterator<Item = i32> + '_ {
        self.bytes.chunks_exact(self.cell_bytes).map(|cell| {
            let cell = match cell {
                [low, high] => u16::from_le_bytes([*low, *high]),
                _ => u16::from(cell.first().copied().unwrap_or_default()),
            };
            self.sample.value(cell)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_bits_of_sixteen_are_masked_shifted_and_signed() {
        let low = SampleBits { shift: 0, bits: 12, signed: true };
        assert_eq!(low.value(0x0FFF), -1);
        assert_eq!(low.value(0xF7FF), 2047, "the overlay bits above do not count");
        let high = SampleBits { shift: 4, bits: 12, signed: false };
        assert_eq!(high.value(0xFFF3), 4095);
        let all = SampleBits { shift: 0, bits: 16, signed: true };
        assert_eq!((all.value(0x8000), all.value(0x7FFF)), (-32768, 32767));
    }

    #[test]
    fn a_padding_value_reads_the_same_however_its_sign_was_written() {
        let signed = SampleBits { shift: 0, bits: 16, signed: true };
        assert_eq!((signed.reinterpreted(63536), signed.reinterpreted(-2000)), (-2000, -2000));
        let unsigned = SampleBits { shift: 0, bits: 16, signed: false };
        assert_eq!((unsigned.reinterpreted(63536), unsigned.reinterpreted(-2000)), (63536, 63536));
    }

    #[test]
    fn a_high_bit_below_the_stored_bits_is_refused() {
        let mut ds = DataSet::new();
        for (tag, value) in [
            (tags::ROWS, 2),
            (tags::COLUMNS, 2),
            (tags::BITS_ALLOCATED, 16),
            (tags::BITS_STORED, 12),
            (tags::HIGH_BIT, 10),
        ] {
            ds.put_us(tag, &[value]);
        }
        assert_eq!(PixelFormat::read(&ds), Err(PixelFormatError::Attribute("High Bit")));
        ds.put_us(tags::HIGH_BIT, &[11]);
        assert_eq!(PixelFormat::read(&ds).unwrap().frame_bytes(), 8);
        ds.put_us(tags::BITS_ALLOCATED, &[32]);
        assert_eq!(PixelFormat::read(&ds), Err(PixelFormatError::BitsAllocated(32)));
    }
}
