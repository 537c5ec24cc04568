//! Scores on the grid after the steps, brought back to the grid before them.

use std::ops::Range;

use tch::{Kind, TchError, Tensor};

use super::field::{Along, Field};

/// How a value between voxels is made on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// Linear along each axis: scores, probabilities, attention. Gives float32.
    Linear,
    /// Of the nearest voxel: labels. Keeps the type.
    Nearest,
}

/// Values of one slab on the grid before the steps, beside the scores themselves.
const SLAB_VALUES: usize = 16 << 20;

/// Brings scores back to the grid before the steps: [channels, slices, rows, columns] (or [channels, rows, columns]) to
/// the same of [`Field::before`]. What the steps cut off becomes `outside`; nothing is read from what they filled.
///
/// # Errors
/// [`TchError`] where the scores do not lie on the grid of the field, or memory ends.
pub fn back(scores: &Tensor, field: &Field, mode: Back, outside: f64) -> Result<Tensor, TchError> {
    let kind = mode.kind(scores)?;
    let mut size = vec![scores.size().first().copied().unwrap_or(0)];
    size.extend(field.axes.iter().map(|axis| axis.before as i64));
    let whole = Tensor::f_empty(&size, (kind, scores.device()))?;
    each_slab_back(scores, field, mode, outside, |first, slab| {
        whole.f_narrow(1, first as i64, slab.size()[1])?.f_copy_(slab)
    })?;
    Ok(whole)
}

/// The channel with the largest score for each voxel of the grid before the steps, as uint8 without a dimension for
/// channels; 0 where the model did not look. Never holds all channels of that grid at once.
///
/// # Errors
/// Those of [`back`]; more than 256 channels.
pub fn argmax_back(scores: &Tensor, field: &Field) -> Result<Tensor, TchError> {
    let channels = scores.size().first().copied().unwrap_or(0);
    if !(1..=256).contains(&channels) {
        return Err(TchError::Shape(format!("{channels} channels cannot become labels of 8 bits")));
    }
    let size: Vec<i64> = field.axes.iter().map(|axis| axis.before as i64).collect();
    let labels = Tensor::f_zeros(&size, (Kind::Uint8, scores.device()))?;
    let way = Way::new(scores, field, Back::Linear)?;
    way.slabs(|first, scores| {
        let mut place = labels.shallow_clone();
        let looked_at = way.looked_at.iter().enumerate();
        for (axis, range) in looked_at {
            let (start, extent) = if axis == 0 { (first, scores.size()[1]) } else { (range.start, range.len() as i64) };
            place = place.f_narrow(axis as i64, start as i64, extent)?;
        }
        place.f_copy_(&scores.f_argmax(0, false)?)
    })?;
    Ok(labels)
}

/// The same as [`back`], a slab of slices (rows of an image) after the other: `each` is given the index of the first one
/// and the slab [channels, some slices, rows, columns].
///
/// # Errors
/// Those of [`back`] and of `each`.
pub fn each_slab_back<E: From<TchError>>(
    scores: &Tensor,
    field: &Field,
    mode: Back,
    outside: f64,
    mut each: impl FnMut(usize, &Tensor) -> Result<(), E>,
) -> Result<(), E> {
    let way = Way::new(scores, field, mode)?;
    let looked_at = way.looked_at[0].clone();
    for range in chunks(0..looked_at.start, way.slab) {
        each(range.start, &way.nothing(range.len(), outside)?)?;
    }
    way.slabs(|first, slab| each(first, &way.surrounded(slab, outside)?))?;
    for range in chunks(looked_at.end..field.axes[0].before, way.slab) {
        each(range.start, &way.nothing(range.len(), outside)?)?;
    }
    Ok(())
}

impl Back {
    fn kind(self, scores: &Tensor) -> Result<Kind, TchError> {
        match self {
            Self::Linear => Ok(Kind::Float),
            Self::Nearest => scores.f_kind(),
        }
    }
}

/// What is the same for all slabs.
struct Way<'a> {
    scores: &'a Tensor,
    field: &'a Field,
    mode: Back,
    /// Of each axis before the steps.
    looked_at: Vec<Range<usize>>,
    /// How the axes after the first one are sampled.
    samples: Vec<Samples>,
    /// Slices at a time.
    slab: usize,
}

impl<'a> Way<'a> {
    fn new(scores: &'a Tensor, field: &'a Field, mode: Back) -> Result<Self, TchError> {
        let size = scores.size();
        let after: Vec<i64> = field.after().iter().map(|extent| *extent as i64).collect();
        if size.len() != after.len() + 1 || size[1..] != after || size[0] < 1 {
            return Err(TchError::Shape(format!("scores of {size:?} do not lie on a grid of {after:?}")));
        }
        let looked_at: Vec<Range<usize>> = field.axes.iter().map(looked_at).collect();
        let plane: usize = looked_at.iter().skip(1).map(Range::len).product();
        let slab = (SLAB_VALUES / (plane * size[0] as usize).max(1)).max(1);
        let rest = field.axes.iter().zip(&looked_at).skip(1);
        let samples =
            rest.map(|(axis, range)| Samples::new(axis, range.clone(), mode, scores)).collect::<Result<_, _>>()?;
        Ok(Self { scores, field, mode, looked_at, samples, slab })
    }

    /// Every slab of the box that the model looked at, and its first slice.
    fn slabs<E: From<TchError>>(&self, mut each: impl FnMut(usize, &Tensor) -> Result<(), E>) -> Result<(), E> {
        for range in chunks(self.looked_at[0].clone(), self.slab) {
            let first = Samples::new(&self.field.axes[0], range.clone(), self.mode, self.scores)?;
            let mut slab = first.of(self.scores, 1)?.f_to_kind(self.mode.kind(self.scores)?)?;
            for (axis, samples) in self.samples.iter().enumerate() {
                slab = samples.of(&slab, axis as i64 + 2)?;
            }
            each(range.start, &slab)?;
        }
        Ok(())
    }

    /// A slab of the box with what lies around it in the same slices.
    fn surrounded(&self, slab: &Tensor, outside: f64) -> Result<Tensor, TchError> {
        let mut amounts = Vec::new();
        for (axis, range) in self.field.axes.iter().zip(&self.looked_at).skip(1).rev() {
            amounts.extend([range.start as i64, (axis.before - range.end) as i64]);
        }
        if amounts.iter().all(|amount| *amount == 0) {
            Ok(slab.shallow_clone())
        } else {
            slab.f_pad(&amounts, "constant", outside)
        }
    }

    /// Slices that the model did not look at.
    fn nothing(&self, slices: usize, outside: f64) -> Result<Tensor, TchError> {
        let mut size = vec![self.scores.size()[0], slices as i64];
        size.extend(self.field.axes.iter().skip(1).map(|axis| axis.before as i64));
        Tensor::f_full(&size, outside, (self.mode.kind(self.scores)?, self.scores.device()))
    }
}

fn looked_at(axis: &Along) -> Range<usize> {
    let first = (0..axis.before).find(|index| axis.looked_at(*index));
    let last = (0..axis.before).rfind(|index| axis.looked_at(*index));
    match (first, last) {
        (Some(first), Some(last)) => first..last + 1,
        _ => 0..0,
    }
}

fn chunks(range: Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(length).map(move |start| start..(start + length).min(end))
}

/// Where the voxels of a range lie between those of the scores.
struct Samples {
    below: Tensor,
    /// The voxels above and their shares; `None` where every place is one voxel's.
    above: Option<(Tensor, Tensor)>,
}

impl Samples {
    fn new(axis: &Along, range: Range<usize>, mode: Back, scores: &Tensor) -> Result<Self, TchError> {
        let device = scores.device();
        let places: Vec<(usize, usize, f64)> = range.map(|index| axis.between(index)).collect();
        let nearest = |(below, above, share): &(usize, usize, f64)| if *share < 0.5 { *below } else { *above };
        let index = |voxels: Vec<usize>| {
            let voxels: Vec<i64> = voxels.into_iter().map(|voxel| voxel as i64).collect();
            Tensor::f_from_slice(&voxels)?.f_to_device(device)
        };
        if mode == Back::Nearest || places.iter().all(|(_, _, share)| *share == 0.0) {
            return Ok(Self { below: index(places.iter().map(nearest).collect())?, above: None });
        }
        let shares: Vec<f32> = places.iter().map(|(_, _, share)| *share as f32).collect();
        let above = index(places.iter().map(|(_, above, _)| *above).collect())?;
        let below = index(places.iter().map(|(below, ..)| *below).collect())?;
        Ok(Self { below, above: Some((above, Tensor::f_from_slice(&shares)?.f_to_device(device)?)) })
    }

    fn of(&self, values: &Tensor, dimension: i64) -> Result<Tensor, TchError> {
        let below = values.f_index_select(dimension, &self.below)?;
        let Some((above, shares)) = &self.above else { return Ok(below) };
        let above = values.f_index_select(dimension, above)?;
        let mut shape = vec![1; values.dim()];
        shape[dimension as usize] = -1;
        let (mut below, above) = (below.f_to_kind(Kind::Float)?, above.f_to_kind(Kind::Float)?);
        below.f_lerp_tensor_(&above, &shares.f_view(shape.as_slice())?)
    }
}
