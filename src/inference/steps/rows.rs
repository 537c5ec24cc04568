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
    /// Two slices of the scores with their indices, each [channels, rows, columns].
    read: [(Option<usize>, Vec<f32>); 2],
    /// What lies between them.
    between: Vec<f32>,
}

impl Slices {
    /// `rows` and `columns` are those wanted, in terms of the scores'.
    pub(super) fn new(scores: Tensor, rows: Places, columns: Places) -> Self {
        let size: Vec<usize> = scores.size().iter().map(|extent| usize::try_from(*extent).unwrap_or(0)).collect();
        let values = size[0] * size[2] * size[3];
        let empty = || (None, vec![0.0; values]);
        let (channels, size) = (size[0], [size[2], size[3]]);
        Self { scores, first: 0, rows, columns, channels, size, read: [empty(), empty()], between: vec![0.0; values] }
    }

    /// Goes on with other slices of as many channels, rows and columns. Of those before the last one can still be read.
    pub(super) fn go_on(&mut self, first: usize, scores: Tensor) -> Result<(), TchError> {
        let held = usize::try_from(self.scores.size()[1]).unwrap_or(0);
        if held > 0 {
            self.read_slice(self.first + held - 1, usize::MAX)?;
        }
        (self.first, self.scores) = (first, scores);
        Ok(())
    }

    /// Scores [channels, rows, columns] at a place between two slices.
    pub(super) fn scores_at(&mut self, place: (usize, usize, f32)) -> Result<Vec<f32>, TchError> {
        self.read_between(place)?;
        let (height, width) = (self.size[0], self.size[1]);
        let mut found = vec![0.0; self.channels * self.rows.len() * self.columns.len()];
        let rows = self.rows.len().max(1);
        found.par_chunks_mut(self.columns.len().max(1)).enumerate().for_each_init(
            || vec![0.0; width],
            |row, (index, out)| {
                let channel = &self.between[index / rows * height * width..][..height * width];
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
        self.read_between(place)?;
        let (height, width) = (self.size[0], self.size[1]);
        let mut labels = vec![0; self.rows.len() * self.columns.len()];
        labels.par_chunks_mut(self.columns.len().max(1)).enumerate().for_each_init(
            || (vec![0.0; width], vec![0.0; self.columns.len()]),
            |(row, best), (index, labels)| {
                best.fill(f32::NEG_INFINITY);
                for (channel, scores) in self.between.chunks_exact(height * width).enumerate() {
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

    fn read_between(&mut self, (below, above, share): (usize, usize, f32)) -> Result<(), TchError> {
        let first = self.read_slice(below, above)?;
        if share == 0.0 {
            self.between.copy_from_slice(&self.read[first].1);
            return Ok(());
        }
        let second = self.read_slice(above, below)?;
        let pairs = self.read[first].1.par_iter().zip(&self.read[second].1).with_min_len(1 << 14);
        pairs.zip(&mut self.between).for_each(|((below, above), between)| *between = below + (above - below) * share);
        Ok(())
    }

    /// Which of the two slices held is `wanted`; where it is neither, it takes the place of the one that is not `kept`.
    fn read_slice(&mut self, wanted: usize, kept: usize) -> Result<usize, TchError> {
        if let Some(held) = self.read.iter().position(|(index, _)| *index == Some(wanted)) {
            return Ok(held);
        }
        let place = usize::from(self.read[0].0 == Some(kept));
        let slice =
            self.scores.f_narrow(1, wanted as i64 - self.first as i64, 1)?.f_to_kind(Kind::Float)?.f_contiguous()?;
        let (index, values) = &mut self.read[place];
        let count = values.len();
        slice.f_copy_data(values, count)?;
        *index = Some(wanted);
        Ok(place)
    }
}

/// A row between two rows.
fn mix(channel: &[f32], width: usize, (below, above, share): (usize, usize, f32), row: &mut [f32]) {
    let (below, above) = (&channel[below * width..][..width], &channel[above * width..][..width]);
    for ((out, below), above) in row.iter_mut().zip(below).zip(above) {
        *out = below + (above - below) * share;
    }
}
