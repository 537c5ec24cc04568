//! Look-up tables: items of a Modality LUT Sequence or a VOI LUT Sequence (PS3.3 C.11.1.1 and C.11.2.1.1).

use crate::dicom::VR;
use crate::dicom::data_set::DataSet;
use crate::dicom::tags;

/// A table of outputs for whole inputs in a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lookup {
    /// The input of the first entry; smaller ones give the same.
    first: i64,
    entries: Vec<u16>,
    /// Bits of an entry, as declared.
    bits: u32,
}

impl Lookup {
    /// Reads an item; `negative` says whether inputs can be negative, which the value of the first one does not. `None`
    /// where it makes no sense.
    pub(super) fn read(item: &DataSet, negative: bool) -> Option<Self> {
        let descriptor = item.bytes(tags::LUT_DESCRIPTOR)?;
        let (words, rest) = descriptor.as_chunks::<2>();
        let [count, first, bits] = words.iter().map(|word| u16::from_le_bytes(*word)).collect::<Vec<_>>()[..] else {
            return None;
        };
        if !rest.is_empty() || !(8..=16).contains(&bits) {
            return None;
        }
        let count = if count == 0 { 1 << 16 } else { usize::from(count) };
        let signed = negative || item.element(tags::LUT_DESCRIPTOR)?.vr == VR::SS;
        let first = if signed { i64::from(first.cast_signed()) } else { i64::from(first) };
        let data = item.bytes(tags::LUT_DATA)?;
        // Entries of 8 bits lie in one byte or in two.
        let entries: Vec<u16> = if bits == 8 && data.len() < count * 2 {
            data.iter().take(count).map(|byte| u16::from(*byte)).collect()
        } else {
            data.as_chunks::<2>().0.iter().take(count).map(|word| u16::from_le_bytes(*word)).collect()
        };
        (entries.len() == count).then_some(Self { first, entries, bits: u32::from(bits) })
    }

    /// The output for a value; of what lies between whole inputs the lower one's.
    pub(super) fn output(&self, value: f64) -> f64 {
        let last = (self.entries.len() - 1) as f64;
        let index = (value - self.first as f64).floor().clamp(0.0, last) as usize;
        self.entries.get(index).copied().map_or(0.0, f64::from)
    }

    /// The greatest output that counts as full: by the bits declared, or that of the table where it does not use even half
    /// of them, for then they are the bits allocated.
    pub(super) fn full(&self) -> f64 {
        let greatest = self.entries.iter().copied().max().map_or(0.0, f64::from);
        let declared = f64::from((1_u32 << self.bits) - 1);
        if greatest * 2.0 < declared && greatest > 0.0 { greatest } else { declared }
    }

    /// Whether all outputs are the same.
    pub(super) fn is_flat(&self) -> bool {
        self.entries.iter().all(|entry| Some(entry) == self.entries.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(descriptor: [u16; 3], data: &[u8]) -> DataSet {
        let mut item = DataSet::new();
        item.put_us(tags::LUT_DESCRIPTOR, &descriptor);
        item.put_bytes(tags::LUT_DATA, VR::OW, data.to_vec());
        item
    }

    #[test]
    fn inputs_beyond_the_table_give_its_ends() {
        let table = Lookup::read(&item([3, 10, 16], &[1, 0, 2, 0, 0, 1]), false).unwrap();
        let outputs: Vec<f64> = [-5.0, 10.0, 11.0, 11.9, 12.0, 500.0].map(|value| table.output(value)).to_vec();
        assert_eq!(outputs, [1.0, 1.0, 2.0, 2.0, 256.0, 256.0]);
    }

    #[test]
    fn the_first_input_is_signed_where_inputs_can_be_negative() {
        let words = [0_u8, 0, 1, 0, 2, 0];
        let table = |negative| Lookup::read(&item([3, 0xFFFF, 16], &words), negative).unwrap();
        assert_eq!(table(true).output(0.0), 1.0);
        assert_eq!(table(false).output(0.0), 0.0);
        assert_eq!(table(false).output(65_536.0), 1.0);
    }

    #[test]
    fn entries_of_eight_bits_may_share_a_word() {
        let packed = Lookup::read(&item([4, 0, 8], &[1, 2, 3, 255]), false).unwrap();
        let apart = Lookup::read(&item([4, 0, 8], &[1, 0, 2, 0, 3, 0, 255, 0]), false).unwrap();
        assert_eq!(packed, apart);
        assert_eq!(packed.full(), 255.0);
    }

    #[test]
    fn a_table_that_claims_more_bits_than_it_uses_is_full_at_its_greatest() {
        let table = Lookup::read(&item([2, 0, 16], &[0, 0, 0xFF, 0x0F]), false).unwrap();
        assert_eq!(table.full(), 4095.0);
        let table = Lookup::read(&item([2, 0, 12], &[0, 0, 0xFF, 0x0E]), false).unwrap();
        assert_eq!(table.full(), 4095.0);
    }

    #[test]
    fn tables_that_end_early_or_declare_nonsense_are_none() {
        for (descriptor, data) in [
            ([3, 0, 16], &[1_u8, 0, 2, 0][..]),
            ([0, 0, 16], &[1, 0]),
            ([1, 0, 32], &[1, 0]),
            ([1, 0, 7], &[1, 0]),
            ([5, 0, 8], &[1, 2, 3, 4]),
        ] {
            assert_eq!(Lookup::read(&item(descriptor, data), false), None, "{descriptor:?}");
        }
        assert_eq!(Lookup::read(&DataSet::new(), false), None);
    }
}
