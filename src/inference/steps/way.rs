//! The way back, slab by slab: the box that the model looked at.

use std::ops::Range;

use tch::{Device, Kind, TchError, Tensor};

use super::back::Back;
use super::choice::Choice;
use super::field::{Along, Field};
use super::rows::{Places, Slices};

/// Values of one slab on the grid before the steps, beside the scores themselves.
const SLAB_VALUES: usize = 16 << 20;

/// What is the same for all slabs.
pub(super) struct Way<'a> {
    scores: &'a Tensor,
    field: &'a Field,
    mode: Back,
    /// Whether the scores lie in the host's memory.
    pub(super) on_host: bool,
    /// Of each axis before the steps.
    looked_at: Vec<Range<usize>>,
    /// Slices at a time.
    slab: usize,
}

impl<'a> Way<'a> {
    pub(super) fn new(scores: &'a Tensor, field: &'a Field, mode: Back) -> Result<Self, TchError> {
        let size = scores.size();
        let after: Vec<i64> = field.after().iter().map(|extent| *extent as i64).collect();
        if !matches!(after.len(), 2 | 3) || size.len() != after.len() + 1 || size[1..] != after || size[0] < 1 {
            return Err(TchError::Shape(format!("scores of {size:?} do not lie on a grid of {after:?}")));
        }
        let looked_at: Vec<Range<usize>> = field.axes.iter().map(looked_at).collect();
        let plane: usize = field.axes.iter().skip(1).map(|axis| axis.before).product();
        let slab = (SLAB_VALUES / (plane * size[0] as usize)).max(1);
        Ok(Self { scores, field, mode, on_host: scores.device() == Device::Cpu, looked_at, slab })
    }

    /// Every slab of the box that the model looked at, and its first slice.
    pub(super) fn slabs<E: From<TchError>>(
        &self,
        mut each: impl FnMut(usize, &Tensor) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.on_host && self.mode == Back::Linear {
            let mut host = self.slices()?;
            for (index, place) in host.places {
                let values = Tensor::f_from_slice(&host.slices.scores_at(place)?)?;
                each(index, &values.f_view(host.size.as_slice())?)?;
            }
            return Ok(());
        }
        let samples = |axis: usize, range: &Range<usize>| {
            Samples::new(&self.field.axes[axis], range.clone(), self.mode, self.scores.device())
        };
        let rest = self.looked_at.iter().enumerate().skip(1);
        let rest = rest.map(|(axis, range)| samples(axis, range)).collect::<Result<Vec<_>, _>>()?;
        for range in chunks(self.looked_at[0].clone(), self.slab) {
            let slab = samples(0, &range)?.of(self.scores, 1)?;
            let mut slab = slab.f_to_kind(self.mode.kind(self.scores)?)?;
            for (axis, samples) in rest.iter().enumerate() {
                slab = samples.of(&slab, axis as i64 + 2)?;
            }
            each(range.start, &slab)?;
        }
        Ok(())
    }

    /// The labels of every slab of the box, without the dimension for channels.
    pub(super) fn labels(
        &self,
        choice: &Choice,
        mut each: impl FnMut(usize, &Tensor) -> Result<(), TchError>,
    ) -> Result<(), TchError> {
        if !self.on_host {
            return self.slabs(|first, scores| each(first, &choice.of(scores)?));
        }
        let mut host = self.slices()?;
        for (index, place) in host.places {
            let labels = Tensor::f_from_slice(&host.slices.labels_at(place, choice)?)?;
            each(index, &labels.f_view(&host.size[1..])?)?;
        }
        Ok(())
    }

    /// Puts a slab of the box where it belongs in `whole`, which is of the grid before the steps and has as many
    /// dimensions.
    pub(super) fn place_in(&self, whole: &Tensor, first: usize, slab: &Tensor) -> Result<(), TchError> {
        let mut place = whole.shallow_clone();
        let channels = whole.dim() - self.looked_at.len();
        for (axis, range) in self.looked_at.iter().enumerate() {
            let start = if axis == 0 { first } else { range.start };
            place = place.f_narrow((axis + channels) as i64, start as i64, slab.size()[axis + channels])?;
        }
        place.f_copy_(slab)
    }

    /// For scores in the host's memory. An image is one slice.
    fn slices(&self) -> Result<OnHost, TchError> {
        let places = |axis: usize| places(&self.field.axes[axis], &self.looked_at[axis]);
        let mut size = vec![self.scores.size()[0]];
        let (slices, places) = if let [rows, columns] = &self.looked_at[..] {
            size.extend([rows.len() as i64, columns.len() as i64]);
            let slices = Slices::new(self.scores.f_unsqueeze(1)?, places(0), places(1));
            (slices, vec![(rows.start, (0, 0, 0.0))])
        } else {
            size.extend([1, self.looked_at[1].len() as i64, self.looked_at[2].len() as i64]);
            let slices = Slices::new(self.scores.shallow_clone(), places(1), places(2));
            (slices, self.looked_at[0].clone().zip(places(0)).collect())
        };
        Ok(OnHost { slices, places, size })
    }
}

/// What is done slice by slice.
struct OnHost {
    slices: Slices,
    /// Slices of the box, and where they lie between those of the scores.
    places: Vec<(usize, (usize, usize, f32))>,
    /// Channels and the rest of a slab.
    size: Vec<i64>,
}

/// Where the voxels of a range lie between those of the scores.
pub(super) fn places(axis: &Along, range: &Range<usize>) -> Places {
    let place = |(below, above, share): (usize, usize, f64)| (below, above, share as f32);
    range.clone().map(|index| place(axis.between(index))).collect()
}

/// The voxels before the steps that the model looked at.
pub(super) fn looked_at(axis: &Along) -> Range<usize> {
    let first = (0..axis.before).find(|index| axis.looked_at(*index));
    let last = (0..axis.before).rfind(|index| axis.looked_at(*index));
    match (first, last) {
        (Some(first), Some(last)) => first..last + 1,
        _ => 0..0,
    }
}

/// A range in pieces.
fn chunks(range: Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(length).map(move |start| start..(start + length).min(end))
}

/// Where the voxels of a range lie between those of the scores, on a device.
struct Samples {
    below: Tensor,
    /// The voxels above and their shares; `None` where every place is one voxel's.
    above: Option<(Tensor, Tensor)>,
}

impl Samples {
    fn new(axis: &Along, range: Range<usize>, mode: Back, device: Device) -> Result<Self, TchError> {
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
