//! Linear interpolation of scores on the host, slice by slice, several rows at a time: many times faster there than
//! libtorch's operators, and with room for no more than the scores of one slice.

use rayon::prelude::*;
use tch::{Kind, TchError, Tensor};

use super::choice::Choice;

/// For each voxel of an axis: the score's voxel below, the one above, the share of the one above.
pub(super) type Places = Vec<(usize, usize, f32)>;

/// Scores that are brought to a finer or coarser grid.
pub(super) struct Slices {
    /// [channels, slices, rows, columns]
    scores: Tensor,
    /// Which slice of all is the first of these.
    first: usize,
    rows: Places,
    columns: Places,
    channels: usize,
    /// Rows and columns of the scores.
    size: [usize; 2],
    read: Pair,
}

impl Slices {
    /// `rows` and `columns` are those wanted, in terms of the scores'.
    pub(super) fn new(scores: Tensor, rows: Places, columns: Places) -> Self {
        let size: Vec<usize> = scores.size().iter().map(|extent| usize::try_from(*extent).unwrap_or(0)).collect();
        let read = Pair::of(size[0] * size[2] * size[3]);
        let (channels, size) = (size[0], [size[2], size[3]]);
        Self { scores, first: 0, rows, columns, channels, size, read }
    }

    /// Goes on with other slices of as many channels, rows and columns. Of those before the last one can still be read.
    pub(super) fn go_on(&mut self, first: usize, scores: Tensor) -> Result<(), TchError> {
        let held = usize::try_from(self.scores.size()[1]).unwrap_or(0);
        if held > 0 {
            let read = slice_of(&self.scores, self.first);
            self.read.hold(self.first + held - 1, usize::MAX, &read)?;
        }
        (self.first, self.scores) = (first, scores);
        Ok(())
    }

    /// Scores [channels, rows, columns] at a place between two slices.
    pub(super) fn scores_at(&mut self, place: (usize, usize, f32)) -> Result<Vec<f32>, TchError> {
        let between = self.read.between(place, slice_of(&self.scores, self.first))?;
        let (height, width) = (self.size[0], self.size[1]);
        let mut found = vec![0.0; self.channels * self.rows.len() * self.columns.len()];
        let rows = self.rows.len().max(1);
        found.par_chunks_mut(self.columns.len().max(1)).enumerate().for_each_init(
            || vec![0.0; width],
            |row, (index, out)| {
                let channel = &between[index / rows * height * width..][..height * width];
                mix(channel, width, self.rows[index % rows], row);
                for (out, (below, above, share)) in out.iter_mut().zip(&self.columns) {
                    *out = row[*below] + (row[*above] - row[*below]) * share;
                }
            },
        );
        Ok(found)
    }

    /// The labels at a place between two slices, [rows, columns].
    pub(super) fn labels_at(&mut self, place: (usize, usize, f32), choice: &Choice) -> Result<Vec<u8>, TchError> {
        let between = self.read.between(place, slice_of(&self.scores, self.first))?;
        let (height, width) = (self.size[0], self.size[1]);
        let mut labels = vec![0; self.rows.len() * self.columns.len()];
        labels.par_chunks_mut(self.columns.len().max(1)).enumerate().for_each_init(
            || (vec![0.0; width], vec![0.0; self.columns.len()]),
            |(row, best), (index, labels)| {
                best.fill(f32::NEG_INFINITY);
                for (channel, scores) in between.chunks_exact(height * width).enumerate() {
                    let (label, least) = choice.label(channel);
                    mix(scores, width, self.rows[index], row);
                    for ((found, best), (below, above, share)) in labels.iter_mut().zip(&mut *best).zip(&self.columns) {
                        let score = row[*below] + (row[*above] - row[*below]) * share;
                        let better = score > *best && score >= least;
                        *found = if better { label } else { *found };
                        *best = if better { score } else { *best };
                    }
                }
            },
        );
        Ok(labels)
    }
}

/// Reads slices of scores, the first of which is `first`.
fn slice_of(scores: &Tensor, first: usize) -> impl Fn(usize, &mut [f32]) -> Result<(), TchError> {
    move |index, values| {
        let slice = scores.f_narrow(1, index as i64 - first as i64, 1)?;
        slice.f_to_kind(Kind::Float)?.f_contiguous()?.f_copy_data(values, values.len())
    }
}

/// Two slices that were read, and what lies between them.
pub(super) struct Pair {
    read: [(Option<usize>, Vec<f32>); 2],
    between: Vec<f32>,
}

impl Pair {
    /// Of slices with so many values.
    pub(super) fn of(values: usize) -> Self {
        let empty = || (None, vec![0.0; values]);
        Self { read: [empty(), empty()], between: vec![0.0; values] }
    }

    /// The values at a place between two slices; those that are not held are read.
    pub(super) fn between(
        &mut self,
        (below, above, share): (usize, usize, f32),
        read: impl Fn(usize, &mut [f32]) -> Result<(), TchError>,
    ) -> Result<&[f32], TchError> {
        let first = self.hold(below, above, &read)?;
        if share == 0.0 {
            return Ok(&self.read[first].1);
        }
        let second = self.hold(above, below, &read)?;
        let pairs = self.read[first].1.par_iter().zip(&self.read[second].1).with_min_len(1 << 14);
        pairs.zip(&mut self.between).for_each(|((below, above), between)| *between = below + (above - below) * share);
        Ok(&self.between)
    }

    /// Which of the two slices is `wanted`; where it is neither, it takes the place of the one that is not `kept`.
    fn hold(
        &mut self,
        wanted: usize,
        kept: usize,
        read: &impl Fn(usize, &mut [f32]) -> Result<(), TchError>,
    ) -> Result<usize, TchError> {
        if let Some(held) = self.read.iter().position(|(index, _)| *index == Some(wanted)) {
            return Ok(held);
        }
        let place = usize::from(self.read[0].0 == Some(kept));
        let (index, values) = &mut self.read[place];
        // Half of another slice is none.
        *index = None;
        read(wanted, values)?;
        *index = Some(wanted);
        Ok(place)
    }
}

/// A row between two rows.
pub(super) fn mix(channel: &[f32], width: usize, (below, above, share): (usize, usize, f32), row: &mut [f32]) {
    let (below, above) = (&channel[below * width..][..width], &channel[above * width..][..width]);
    for ((out, below), above) in row.iter_mut().zip(below).zip(above) {
        *out = below + (above - below) * share;
    }
}
