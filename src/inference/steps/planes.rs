//! Values of a volume, read slice by slice into float32: from a tensor, or from the voxels of a series, turned on the way.

use rayon::prelude::*;
use tch::{Kind, TchError, Tensor};

use crate::inference::orientation::Reorientation;
use crate::volume::Voxels;

/// How many rows of a slice are read at a time where they lie across the memory: as many as one line of the cache has values for.
const ROWS_AT_A_TIME: usize = 32;

/// Where slices are read from.
pub(super) trait Planes {
    /// Slices, rows, columns.
    fn extents(&self) -> [usize; 3];

    /// Reads slice `index` into `plane`, which has a value for each row and column.
    ///
    /// # Errors
    /// [`TchError`] where memory ends.
    fn read(&self, index: usize, plane: &mut [f32]) -> Result<(), TchError>;
}

/// A tensor [slices, rows, columns] of any type in the host's memory.
pub(super) struct OfTensor<'a>(pub(super) &'a Tensor);

impl Planes for OfTensor<'_> {
    fn extents(&self) -> [usize; 3] {
        let size = self.0.size();
        std::array::from_fn(|axis| size.get(axis).map_or(0, |extent| *extent as usize))
    }

    fn read(&self, index: usize, plane: &mut [f32]) -> Result<(), TchError> {
        let slice = self.0.f_narrow(0, index as i64, 1)?.f_to_kind(Kind::Float)?.f_contiguous()?;
        slice.f_copy_data(plane, plane.len())
    }
}

/// The voxels of a series in a model's axes.
pub(super) struct Turned<'a> {
    voxels: &'a Voxels,
    extents: [usize; 3],
    /// Of the first voxel in the memory, and from one slice, row, column to the next.
    first: isize,
    strides: [isize; 3],
}

impl<'a> Turned<'a> {
    /// `None` where there are not as many voxels as `shape` (slices, rows, columns of the series) says, and where a slice would
    /// have to be gathered from all over the memory.
    pub(super) fn new(voxels: &'a Voxels, shape: [usize; 3], turn: &Reorientation) -> Option<Self> {
        let count = match voxels {
            Voxels::I16(values) => values.len(),
            Voxels::F32(values) => values.len(),
        };
        if turn.source_axis[0] != 0 || count == 0 || shape.iter().product::<usize>() != count {
            return None;
        }
        let steps = [shape[1] * shape[2], shape[2], 1];
        let extents = turn.reorder(shape);
        let (mut first, mut strides) = (0, [0; 3]);
        for axis in 0..3 {
            let step = isize::try_from(steps[turn.source_axis[axis]]).ok()?;
            strides[axis] = if turn.flipped[axis] { -step } else { step };
            first += if turn.flipped[axis] { step * isize::try_from(extents[axis] - 1).ok()? } else { 0 };
        }
        Some(Self { voxels, extents, first, strides })
    }

    fn fill<T: Copy + Sync>(&self, index: usize, values: &[T], plane: &mut [f32], fraction: impl Fn(T) -> f32 + Sync) {
        let columns = self.extents[2].max(1);
        let [slice, row, column] = self.strides;
        let start = self.first + slice * index as isize;
        plane.par_chunks_mut(columns * ROWS_AT_A_TIME).enumerate().for_each(|(group, rows)| {
            let start = start + row * (group * ROWS_AT_A_TIME) as isize;
            if column == 1 {
                for (number, out) in rows.chunks_mut(columns).enumerate() {
                    let from = (start + row * number as isize) as usize;
                    for (out, value) in out.iter_mut().zip(&values[from..from + columns]) {
                        *out = fraction(*value);
                    }
                }
                return;
            }
            for at in 0..columns {
                let start = start + column * at as isize;
                for (number, out) in rows[at..].iter_mut().step_by(columns).enumerate() {
                    *out = fraction(values[(start + row * number as isize) as usize]);
                }
            }
        });
    }
}

impl Planes for Turned<'_> {
    fn extents(&self) -> [usize; 3] {
        self.extents
    }

    fn read(&self, index: usize, plane: &mut [f32]) -> Result<(), TchError> {
        match self.voxels {
            Voxels::I16(values) => self.fill(index, values, plane, f32::from),
            Voxels::F32(values) => self.fill(index, values, plane, |value| value),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voxels_are_read_as_they_would_lie_after_the_turn() {
        let shape = [3, 40, 7];
        let values: Vec<i16> = (0..3 * 40 * 7).collect();
        let fractions: Vec<f32> = values.iter().map(|value| f32::from(*value)).collect();
        for source_axis in [[0, 1, 2], [0, 2, 1]] {
            for flips in 0..8_u8 {
                let turn = Reorientation { source_axis, flipped: [1, 2, 4].map(|bit| flips & bit != 0) };
                let expected = turn.apply(&fractions, shape);
                for voxels in [Voxels::I16(values.clone()), Voxels::F32(fractions.clone())] {
                    let planes = Turned::new(&voxels, shape, &turn).unwrap();
                    assert_eq!(planes.extents(), turn.reorder(shape));
                    let mut plane = vec![f32::NAN; 40 * 7];
                    for (index, expected) in expected.chunks(40 * 7).enumerate() {
                        planes.read(index, &mut plane).unwrap();
                        assert_eq!(plane, expected, "{turn:?} {index}");
                    }
                }
            }
        }
        let across = Reorientation { source_axis: [2, 1, 0], flipped: [false; 3] };
        assert!(Turned::new(&Voxels::I16(values.clone()), shape, &across).is_none());
        let same = Reorientation { source_axis: [0, 1, 2], flipped: [false; 3] };
        assert!(Turned::new(&Voxels::I16(values), [3, 40, 8], &same).is_none(), "not as many voxels");
    }
}
