//! Decoded frames straight into the volume: no copy of it is ever made.

use rayon::prelude::*;

use super::Voxels;
use super::decode::{DecodeError, PixelData};
use super::frame_header::FrameHeader;
use super::instance::{InstanceError, InstanceHeader, InstanceSource, pixel_data};
use super::plan::{FramePlace, Plan};
use super::refusal::{AssembleError, Refusal};
use super::rescale::{into_f32, into_i16};
use super::series::{Member, rescale_of};

/// The form that voxels are wanted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    I16,
    F32,
}

/// A volume's voxels, and the slots whose frames could not be decoded, ascending.
pub(super) struct Filled {
    pub(super) voxels: Voxels,
    pub(super) failures: Vec<(usize, DecodeError)>,
}

/// Why a slice has no values.
enum Failure {
    /// A file cannot be opened.
    Read(InstanceError),
    /// The frame is broken.
    Decode(DecodeError),
    /// A value does not fit in 16 bits: the whole volume must be of the larger form.
    TooNarrow,
}

/// A kind of voxel.
trait Value: Copy + Default + Send + Sync {
    /// Writes a decoded frame.
    fn write(pixels: &PixelData, header: &InstanceHeader, frame: &FrameHeader, out: &mut [Self])
    -> Result<(), Failure>;
    /// Writes a frame that was decoded early.
    fn copy(decoded: &Voxels, out: &mut [Self]) -> Result<(), Failure>;
}

impl Value for i16 {
    fn write(
        pixels: &PixelData,
        header: &InstanceHeader,
        frame: &FrameHeader,
        out: &mut [Self],
    ) -> Result<(), Failure> {
        let native = pixels.frame(frame.index).map_err(Failure::Decode)?;
        let whole = rescale_of(frame).whole().ok_or(Failure::TooNarrow)?;
        into_i16(&native, whole, header.padding.as_ref(), out).map_err(|_| Failure::TooNarrow)
    }

    fn copy(decoded: &Voxels, out: &mut [Self]) -> Result<(), Failure> {
        match decoded {
            Voxels::I16(values) if values.len() == out.len() => out.copy_from_slice(values),
            Voxels::I16(values) => return Err(short(values.len(), out.len())),
            Voxels::F32(_) => return Err(Failure::TooNarrow),
        }
        Ok(())
    }
}

impl Value for f32 {
    fn write(
        pixels: &PixelData,
        header: &InstanceHeader,
        frame: &FrameHeader,
        out: &mut [Self],
    ) -> Result<(), Failure> {
        let native = pixels.frame(frame.index).map_err(Failure::Decode)?;
        into_f32(&native, rescale_of(frame), header.padding.as_ref(), out);
        Ok(())
    }

    fn copy(decoded: &Voxels, out: &mut [Self]) -> Result<(), Failure> {
        match decoded {
            Voxels::F32(values) if values.len() == out.len() => out.copy_from_slice(values),
            Voxels::I16(values) if values.len() == out.len() => {
                for (place, value) in out.iter_mut().zip(values) {
                    *place = f32::from(*value);
                }
            }
            Voxels::F32(values) => return Err(short(values.len(), out.len())),
            Voxels::I16(values) => return Err(short(values.len(), out.len())),
        }
        Ok(())
    }
}

fn short(found: usize, expected: usize) -> Failure {
    Failure::Decode(DecodeError::Short { found, expected })
}

/// Decodes every slice of the plan. Falls back on the larger form where a value does not fit in the wanted one, if
/// `allowed` allows that form.
///
/// # Errors
/// [`AssembleError::Read`] where a file cannot be opened; what `allowed` refuses.
pub(super) fn fill(
    members: &mut [Member],
    plan: &Plan,
    wanted: Wanted,
    allowed: impl Fn(Wanted) -> Result<(), Refusal>,
) -> Result<Filled, AssembleError> {
    if wanted == Wanted::I16
        && let Some((voxels, failures)) = fill_with::<i16>(members, plan)?
    {
        return Ok(Filled { voxels: Voxels::I16(voxels), failures });
    }
    allowed(Wanted::F32)?;
    let filled = fill_with::<f32>(members, plan)?;
    // Single precision takes every value: the second form never has one that does not fit.
    let (voxels, failures) = filled.unwrap_or_default();
    Ok(Filled { voxels: Voxels::F32(voxels), failures })
}

type Slices<T> = (Vec<T>, Vec<(usize, DecodeError)>);

fn fill_with<T: Value>(members: &mut [Member], plan: &Plan) -> Result<Option<Slices<T>>, InstanceError> {
    let [slices, rows, columns] = plan.geometry.shape;
    let mut voxels = vec![T::default(); slices * rows * columns];
    let mut work: Vec<Vec<(usize, FramePlace, &mut [T])>> = members.iter().map(|_| Vec::new()).collect();
    for (slot, (place, out)) in plan.slots.iter().zip(voxels.chunks_exact_mut(rows * columns)).enumerate() {
        if let Some(place) = place {
            work[place.member].push((slot, *place, out));
        }
    }
    let failures: Vec<(usize, Failure)> =
        work.into_par_iter().zip(&*members).flat_map(|(slices, member)| fill_from(member, slices)).collect();
    let mut broken = Vec::new();
    let mut too_narrow = false;
    for (slot, failure) in failures {
        match failure {
            Failure::Read(error) => return Err(error),
            Failure::Decode(error) => broken.push((slot, error)),
            Failure::TooNarrow => too_narrow = true,
        }
    }
    if too_narrow {
        return Ok(None);
    }
    // What was decoded early is of no use any more: the volume has it.
    for member in members {
        if let InstanceSource::Decoded(early) = &member.source {
            member.source = early.encoded.clone();
        }
    }
    broken.sort_by_key(|(slot, _)| *slot);
    Ok(Some((voxels, broken)))
}

/// Fills the slices that come from one instance, which is opened once.
fn fill_from<T: Value>(member: &Member, slices: Vec<(usize, FramePlace, &mut [T])>) -> Vec<(usize, Failure)> {
    if slices.is_empty() {
        return Vec::new();
    }
    let header = &member.header;
    let opened = match &member.source {
        InstanceSource::Decoded(_) => None,
        source => match source.open() {
            Ok(file) => Some(pixel_data(&file, header)),
            Err(error) => {
                return match slices.first() {
                    Some((slot, ..)) => vec![(*slot, Failure::Read(error))],
                    None => Vec::new(),
                };
            }
        },
    };
    let write = |place: FramePlace, out: &mut [T]| match (&member.source, &opened) {
        (_, Some(Ok(pixels))) => match header.frames.get(place.frame) {
            Some(frame) => T::write(pixels, header, frame, out),
            None => Err(Failure::Decode(DecodeError::NoFrame(place.frame))),
        },
        (_, Some(Err(error))) => Err(Failure::Decode(error.clone())),
        (InstanceSource::Decoded(early), None) => match early.frames.get(place.frame) {
            Some(Ok(decoded)) => T::copy(decoded, out),
            Some(Err(error)) => Err(Failure::Decode(error.clone())),
            None => Err(Failure::Decode(DecodeError::NoFrame(place.frame))),
        },
        (_, None) => Err(Failure::Decode(DecodeError::NoFrame(place.frame))),
    };
    slices
        .into_par_iter()
        .filter_map(|(slot, place, out)| write(place, out).err().map(|failure| (slot, failure)))
        .collect()
}

impl Voxels {
    /// Keeps `count` slices of `pixels` values from slice `first` on.
    pub(super) fn keep_slices(&mut self, first: usize, count: usize, pixels: usize) {
        match self {
            Self::I16(values) => keep(values, first * pixels, count * pixels),
            Self::F32(values) => keep(values, first * pixels, count * pixels),
        }
    }

    /// Fills empty slots from the slices on either side, by distance. Gives how many there were. The first and the last
    /// slot must not be empty.
    pub(super) fn interpolate_missing(&mut self, slots: &[Option<FramePlace>], pixels: usize) -> usize {
        let mut filled = 0;
        let mut below = 0;
        for (above, _) in slots.iter().enumerate().filter(|(_, slot)| slot.is_some()) {
            for missing in below + 1..above {
                #[expect(clippy::cast_precision_loss, reason = "numbers of slices")]
                let share = (missing - below) as f32 / (above - below) as f32;
                self.blend(missing, (below, above), share, pixels);
                filled += 1;
            }
            below = above;
        }
        filled
    }

    fn blend(&mut self, slot: usize, (below, above): (usize, usize), share: f32, pixels: usize) {
        let mix = |a: f32, b: f32| a + (b - a) * share;
        for pixel in 0..pixels {
            let (to, from, next) = (slot * pixels + pixel, below * pixels + pixel, above * pixels + pixel);
            match self {
                #[expect(clippy::cast_possible_truncation, reason = "between two values that fit")]
                Self::I16(v) => v[to] = mix(f32::from(v[from]), f32::from(v[next])).round() as i16,
                Self::F32(v) => v[to] = mix(v[from], v[next]),
            }
        }
    }
}

fn keep<T>(values: &mut Vec<T>, first: usize, count: usize) {
    values.drain(..first);
    values.truncate(count);
}
