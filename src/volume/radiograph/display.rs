//! Stored values to grey levels: modality, values of interest, polarity (PS3.4 N.2, grayscale transformations).
//!
//! There are at most 65,536 stored values: each is transformed once, in double precision, and the pixels are looked up.

use super::Voi;
use super::lookup::Lookup;
use super::voi::Transform;
use crate::dicom::tags;
use crate::volume::instance::InstanceHeader;
use crate::volume::pixel_format::NativeFrame;
use crate::volume::refusal::Refusal;
use crate::volume::rescale::Rescale;

/// Grey levels of an image.
pub(super) struct Displayed {
    pub(super) values: Vec<f32>,
    pub(super) padding: Option<Vec<bool>>,
    pub(super) warnings: Vec<String>,
}

/// From stored values to modality values (PS3.3 C.11.1).
enum Modality {
    Linear(Rescale),
    Table(Lookup),
}

impl Modality {
    fn of(header: &InstanceHeader, least: i32) -> Result<Self, Refusal> {
        if let Some(item) = header.data_set.items(tags::MODALITY_LUT_SEQUENCE).first() {
            return Lookup::read(item, least < 0).map(Self::Table).ok_or(Refusal::ModalityLut);
        }
        match header.frames.first().and_then(|frame| frame.rescale) {
            None => Ok(Self::Linear(Rescale::IDENTITY)),
            Some(Ok(rescale)) => Ok(Self::Linear(rescale)),
            Some(Err(())) => Err(Refusal::Rescale),
        }
    }

    fn value(&self, stored: i32) -> f64 {
        match self {
            Self::Linear(rescale) => f64::from(stored) * rescale.slope + rescale.intercept,
            Self::Table(table) => table.output(f64::from(stored)),
        }
    }
}

/// What each stored value, from the least possible one on, is.
struct Stored {
    least: i32,
    /// Whether a pixel that is no padding has it.
    seen: Vec<bool>,
    is_padding: Vec<bool>,
}

impl Stored {
    fn of(header: &InstanceHeader, frame: &NativeFrame) -> Self {
        let bits = frame.sample.bits;
        let least = if frame.sample.signed { -(1_i32 << (bits - 1)) } else { 0 };
        let inside = |at: usize| header.padding.as_ref().is_some_and(|range| range.contains(&(least + at as i32)));
        let is_padding: Vec<bool> = (0..1_usize << bits).map(inside).collect();
        let mut seen = vec![false; 1 << bits];
        for stored in frame.stored_values() {
            seen[(stored - least) as usize] = true;
        }
        for (seen, padding) in seen.iter_mut().zip(&is_padding) {
            *seen &= !padding;
        }
        Self { least, seen, is_padding }
    }

    /// The stored values that are image.
    fn image(&self) -> impl Iterator<Item = i32> + '_ {
        let seen = self.seen.iter().enumerate().filter(|(_, seen)| **seen);
        seen.map(|(at, _)| self.least + at as i32)
    }
}

/// Transforms a frame.
///
/// # Errors
/// [`Refusal::Rescale`] and [`Refusal::ModalityLut`] where units make no sense; [`Refusal::Blank`] where there is no image.
pub(super) fn displayed(header: &InstanceHeader, frame: &NativeFrame, voi: Voi) -> Result<Displayed, Refusal> {
    let stored = Stored::of(header, frame);
    let modality = Modality::of(header, stored.least)?;
    let values = stored.image().map(|value| modality.value(value));
    let range = values.fold([f64::INFINITY, f64::NEG_INFINITY], |[a, b], value| [a.min(value), b.max(value)]);
    if range[0] >= range[1] {
        return Err(Refusal::Blank);
    }
    let (transform, mut warnings) = match voi {
        Voi::First => first(header, &stored, &modality, range),
        Voi::Whole => (Transform::Range(range), Vec::new()),
    };
    let inverted = is_inverted(header, &mut warnings);
    let levels: Vec<f32> = stored
        .is_padding
        .iter()
        .enumerate()
        .map(|(at, is_padding)| {
            let level = transform.level(modality.value(stored.least + at as i32));
            let shown = if inverted { 1.0 - level } else { level };
            #[expect(clippy::cast_possible_truncation, reason = "grey levels are kept in single precision")]
            if *is_padding { 0.0 } else { shown as f32 }
        })
        .collect();
    let at = |value: i32| (value - stored.least) as usize;
    let values = frame.stored_values().map(|value| levels[at(value)]).collect();
    let padding: Option<Vec<bool>> =
        header.padding.as_ref().map(|_| frame.stored_values().map(|value| stored.is_padding[at(value)]).collect());
    Ok(Displayed { values, padding: padding.filter(|padding| padding.contains(&true)), warnings })
}

/// The image's own transformation, or its whole range; and what is to be said about it.
fn first(header: &InstanceHeader, stored: &Stored, modality: &Modality, range: [f64; 2]) -> (Transform, Vec<String>) {
    let greatest = stored.least + stored.seen.len() as i32 - 1;
    let negative = modality.value(stored.least).min(modality.value(greatest)) < 0.0;
    let (found, mut warnings) = Transform::first(&header.data_set, negative);
    let Some(transform) = found else {
        warnings.push("The image names no window; all of its values are shown.".to_owned());
        return (Transform::Range(range), warnings);
    };
    let level = transform.level(range[0]);
    // A window beside all values shows nothing of the image.
    if stored.image().any(|value| (transform.level(modality.value(value)) - level).abs() > LEAST_CONTRAST) {
        return (transform, warnings);
    }
    warnings.push("The window of the image shows none of its values; all of them are shown.".to_owned());
    (Transform::Range(range), warnings)
}

/// Half a grey level of 8 bits.
const LEAST_CONTRAST: f64 = 0.5 / 255.0;

/// Whether small values are bright: MONOCHROME1 (PS3.3 C.7.6.3.1.2), or Presentation LUT Shape INVERSE, which says the
/// same in other words where both stand (C.8.11.3.1.2).
fn is_inverted(header: &InstanceHeader, warnings: &mut Vec<String>) -> bool {
    let text = |tag| header.data_set.text(tag);
    let (photometric, shape) = (text(tags::PHOTOMETRIC_INTERPRETATION), text(tags::PRESENTATION_LUT_SHAPE));
    match (photometric.as_deref(), shape.as_deref()) {
        (Some("MONOCHROME1"), Some("IDENTITY")) => {
            warnings.push(
                "The image is MONOCHROME1 with a Presentation LUT Shape of IDENTITY; it was shown as MONOCHROME1."
                    .to_owned(),
            );
            true
        }
        (Some("MONOCHROME1"), _) => true,
        (Some(_), Some("INVERSE")) => {
            warnings.push(
                "The image is MONOCHROME2 with a Presentation LUT Shape of INVERSE; it was shown inverted.".to_owned(),
            );
            true
        }
        (None, shape) => {
            warnings.push("The image has no Photometric Interpretation; it was taken for MONOCHROME2.".to_owned());
            shape == Some("INVERSE")
        }
        (Some(_), _) => false,
    }
}
