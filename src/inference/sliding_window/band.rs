//! Blended scores of the slices that windows still reach: what no further window touches is handed over and forgotten.

use tch::{Device, TchError, Tensor};

use super::Plan;
use super::blend::{as_i64, cut, zeros};
use crate::inference::manifest::Window;

/// Takes slices of blended scores: the first of them in the volume, and float32 [1, k, slices, rows, columns], which the
/// next ones overwrite.
pub type Take<'a, E> = &'a mut dyn FnMut(usize, &Tensor) -> Result<(), E>;

/// Sums over as many slices as a window has.
pub(super) struct Band {
    /// [1, k, slices of a window, padded rows, padded columns]
    sums: Tensor,
    /// Of the weights: the same with one channel.
    counts: Tensor,
    /// Padded slice that it begins with.
    first: usize,
}

impl Band {
    pub(super) fn new(channels: i64, plan: &Plan, window: &Window, device: Device) -> Result<Self, TchError> {
        let extents = [window.size[0], plan.padded[1], plan.padded[2]];
        Ok(Self { sums: zeros(channels, extents, device)?, counts: zeros(1, extents, device)?, first: 0 })
    }

    /// Adds a window that begins in the first slice of the band.
    pub(super) fn add(
        &mut self,
        weighted: &Tensor,
        weights: &Tensor,
        start: [usize; 3],
        size: [usize; 3],
    ) -> Result<(), TchError> {
        let start = [start[0] - self.first, start[1], start[2]];
        let _ = cut(&self.sums, start, size)?.f_add_(weighted)?;
        let _ = cut(&self.counts, start, size)?.f_add_(weights)?;
        Ok(())
    }

    /// Hands over the slices before `end`, which no window to come reaches, and moves on to it.
    pub(super) fn finish<E: From<TchError>>(
        &mut self,
        end: usize,
        plan: &Plan,
        shape: [usize; 3],
        take: &mut Take<'_, E>,
    ) -> Result<(), E> {
        let count = end.saturating_sub(self.first);
        if count == 0 {
            return Ok(());
        }
        let slices = |tensor: &Tensor, from: usize, count: usize| tensor.f_narrow(2, as_i64(from), as_i64(count));
        let _ = slices(&self.sums, 0, count)?.f_div_(&slices(&self.counts, 0, count)?)?;
        let [above, rows, columns] = plan.padding.map(|[before, _]| before);
        let (from, to) = (self.first.max(above), end.min(above + shape[0]));
        if from < to {
            let inside = cut(&self.sums, [from - self.first, rows, columns], [to - from, shape[1], shape[2]])?;
            take(from - above, &inside)?;
        }
        let all = plan.padded[0].min(usize::try_from(self.sums.size()[2]).unwrap_or(0));
        for tensor in [&self.sums, &self.counts] {
            // Slice by slice: where windows overlap by more than half, what stays overlaps its new place.
            for slice in 0..all - count {
                slices(tensor, slice, 1)?.f_copy_(&slices(tensor, slice + count, 1)?)?;
            }
            let _ = slices(tensor, all - count, count)?.f_zero_()?;
        }
        self.first = end;
        Ok(())
    }
}
