//! Stored values to modality units (PS3.3 C.11.1, Modality LUT module: the linear form).

use std::ops::RangeInclusive;

use super::pixel_format::NativeFrame;

/// Rescale Slope and Intercept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rescale {
    /// (0028,1053), not zero.
    pub slope: f64,
    /// (0028,1052).
    pub intercept: f64,
}

/// A value that is outside of 16 signed bits and is no padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoesNotFit;

impl Rescale {
    /// Slope 1, intercept 0.
    pub const IDENTITY: Self = Self { slope: 1.0, intercept: 0.0 };

    /// Slope and intercept as whole numbers, where every result is one and can be computed in 32 bits.
    #[must_use]
    pub fn whole(self) -> Option<(i32, i32)> {
        let small = |v: f64, most: f64| v.fract() == 0.0 && v.abs() <= most;
        #[expect(clippy::cast_possible_truncation, reason = "whole and small")]
        (small(self.slope, 16_384.0) && small(self.intercept, 1_000_000_000.0))
            .then_some((self.slope as i32, self.intercept as i32))
    }
}

/// What a padding value that does not fit in 16 bits becomes, in either form: it says nothing about the patient, and should
/// not cost a volume its compact form.
pub const PADDING: i16 = i16::MIN;

/// Rescales one frame into `out`, which has one place a pixel. A padding value that does not fit becomes [`PADDING`].
///
/// # Errors
/// [`DoesNotFit`] where another value does not fit; `out` is then of no use.
pub fn into_i16(
    frame: &NativeFrame,
    (slope, intercept): (i32, i32),
    padding: Option<&RangeInclusive<i32>>,
    out: &mut [i16],
) -> Result<(), DoesNotFit> {
    let sample = frame.sample;
    let rescaled = |cell: u16| sample.value(cell) * slope + intercept;
    let misfits = if frame.cell_bytes == 2 {
        write_i16(frame.bytes.as_chunks::<2>().0.iter().map(|b| rescaled(u16::from_le_bytes(*b))), out)
    } else {
        write_i16(frame.bytes.iter().map(|b| rescaled(u16::from(*b))), out)
    };
    if !misfits {
        return Ok(());
    }
    let padding = padding.ok_or(DoesNotFit)?;
    for (place, stored) in out.iter_mut().zip(frame.stored_values()) {
        *place = match i16::try_from(stored * slope + intercept) {
            Ok(value) => value,
            Err(_) if padding.contains(&stored) => PADDING,
            Err(_) => return Err(DoesNotFit),
        };
    }
    Ok(())
}

/// Writes what fits and says whether something did not. Without a branch a value, so that it runs as vector code.
#[inline]
fn write_i16(values: impl Iterator<Item = i32>, out: &mut [i16]) -> bool {
    let mut misfits = 0;
    for (place, value) in out.iter_mut().zip(values) {
        #[expect(clippy::cast_possible_truncation, reason = "what is cut off is counted as a misfit")]
        let low = value as i16;
        misfits |= value ^ i32::from(low);
        *place = low;
    }
    misfits != 0
}

/// Rescales one frame into `out`, which has one place a pixel. Padding becomes what [`into_i16`] makes of it.
pub fn into_f32(frame: &NativeFrame, rescale: Rescale, padding: Option<&RangeInclusive<i32>>, out: &mut [f32]) {
    let fits = f64::from(i16::MIN)..=f64::from(i16::MAX);
    let is_padding = |stored: i32| padding.is_some_and(|range| range.contains(&stored));
    for (place, stored) in out.iter_mut().zip(frame.stored_values()) {
        let value = f64::from(stored).mul_add(rescale.slope, rescale.intercept);
        #[expect(clippy::cast_possible_truncation, reason = "volumes are kept in single precision")]
        let single = value as f32;
        *place = if is_padding(stored) && !fits.contains(&value) { f32::from(PADDING) } else { single };
    }
}

#[cfg(test)]
mod tests {
    use super::super::pixel_format::SampleBits;
    use super::*;

    fn frame(cells: &[u16]) -> NativeFrame {
        NativeFrame {
            bytes: cells.iter().flat_map(|c| c.to_le_bytes()).collect::<Vec<u8>>().into(),
            cell_bytes: 2,
            sample: SampleBits { shift: 0, bits: 16, signed: false },
        }
    }

    #[test]
    fn hounsfield_units_of_unsigned_pixels() {
        let mut out = [0; 3];
        into_i16(&frame(&[0, 1024, 4095]), (1, -1024), None, &mut out).unwrap();
        assert_eq!(out, [-1024, 0, 3071]);
    }

    #[test]
    fn only_padding_may_be_cut_to_what_fits() {
        let mut out = [0; 2];
        let frame = frame(&[63536, 1000]);
        assert_eq!(into_i16(&frame, (1, -1024), None, &mut out), Err(DoesNotFit));
        assert_eq!(into_i16(&frame, (1, -1024), Some(&(5..=9)), &mut out), Err(DoesNotFit));
        into_i16(&frame, (1, -1024), Some(&(63536..=63536)), &mut out).unwrap();
        assert_eq!(out, [-32768, -24]);
    }

    #[test]
    fn padding_is_the_same_in_both_forms() {
        let frame = frame(&[63536, 100, 0]);
        for padding in [63536..=63536, 0..=100, 5..=9] {
            let (mut whole, mut single) = ([0; 3], [0.0; 3]);
            into_f32(&frame, Rescale { slope: 1.0, intercept: -1024.0 }, Some(&padding), &mut single);
            match into_i16(&frame, (1, -1024), Some(&padding), &mut whole) {
                Ok(()) => assert_eq!(single, whole.map(f32::from)),
                Err(DoesNotFit) => assert_eq!(single, [62512.0, -924.0, -1024.0]),
            }
        }
    }

    #[test]
    fn fractions_are_not_whole() {
        assert_eq!(Rescale { slope: 1.0, intercept: -1024.0 }.whole(), Some((1, -1024)));
        assert_eq!(Rescale { slope: 0.5, intercept: 0.0 }.whole(), None);
        let mut out = [0.0; 2];
        into_f32(&frame(&[3, 65535]), Rescale { slope: 0.5, intercept: 1.0 }, None, &mut out);
        assert_eq!(out, [2.5, 32768.5]);
    }
}
