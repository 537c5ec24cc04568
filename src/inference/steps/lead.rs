//! The first steps of a volume in the host's memory, slice by slice: changes of value, a linear change of the grid, changes of
//! value, and what is then cut or filled. No value exists as a fraction but those of a few slices and of the result, which is
//! made once and where it stays.

use std::ops::Range;

use rayon::prelude::*;
use tch::{Device, Kind, TchError, Tensor};

use super::field::Field;
use super::planes::Planes;
use super::prepare::State;
use super::resample::{bounded, extents_at, one_an_axis, spread_axes};
use super::rows::{Pair, Places, mix};
use super::way::places;
use super::{Antialias, Interpolation, Step, crop, intensity};
use crate::inference::engine::memory::kept_within;

/// Values of a slice, before and after. Slices are held in memory that nobody asks for beforehand: larger ones are left to the steps
/// one by one.
const LARGEST_PLANE: usize = 1 << 24;

/// Does the first steps, as many as can be done like this, and says how many they were; `None` where the first change of the grid
/// is none of these, and where something does not suit: the steps one by one then say what.
///
/// # Errors
/// [`TchError`] where memory ends.
pub(super) fn lead(
    planes: &impl Planes,
    spacing_mm: &[f64],
    steps: &[Step],
) -> Result<Option<(State, usize)>, TchError> {
    let before = steps.iter().map_while(Change::of).collect::<Vec<_>>();
    let done = before.len() + 1;
    let whole = Field::whole(&planes.extents());
    let grid = steps.get(before.len()).and_then(|step| Grid::after(&whole, spacing_mm, step));
    let Some(grid) = grid else { return Ok(None) };
    let after = steps[done..].iter().map_while(Change::of).collect::<Vec<_>>();
    let (done, cuts) = match steps.get(done + after.len()) {
        Some(Step::Fit { size, value }) if size.len() == 3 && !size.contains(&0) => {
            (done + after.len() + 1, Some((crop::middle(&grid.field, size), *value)))
        }
        _ => (done + after.len(), None),
    };
    let (cuts, value) = cuts.unwrap_or_else(|| (grid.field.after().iter().map(|extent| (0, *extent)).collect(), 0.0));
    let cut = crop::field_after(&grid.field, &cuts);
    let planes_are_small = [&whole, &grid.field, &cut]
        .into_iter()
        .all(|field| field.after().iter().skip(1).product::<usize>() <= LARGEST_PLANE);
    if !planes_are_small {
        return Ok(None);
    }
    let values = grid.values(planes, &before, &after, (&cuts, value))?;
    Ok(Some((State { values, field: cut, owned: true }, done)))
}

/// A step that makes of each value another by itself.
enum Change {
    Below { limit: f32, value: f32 },
    Clip { least: f32, most: f32 },
    Line { shift: f32, slope: f32, to: f32 },
}

impl Change {
    fn of(step: &Step) -> Option<Self> {
        match step {
            Step::ReplaceBelow { limit, value } => Some(Self::Below { limit: *limit as f32, value: *value as f32 }),
            Step::Clip([least, most]) => Some(Self::Clip { least: *least as f32, most: *most as f32 }),
            Step::Scale { from, to } => {
                Some(Self::Line { shift: from[0] as f32, slope: intensity::slope(*from, *to) as f32, to: to[0] as f32 })
            }
            _ => None,
        }
    }

    /// What is no number stays none, as in libtorch.
    fn make(&self, values: &mut [f32]) {
        match *self {
            Self::Below { limit, value } => {
                values.iter_mut().for_each(|at| *at = if *at < limit { value } else { *at });
            }
            Self::Clip { least, most } => values.iter_mut().for_each(|at| {
                let held = if *at < least { least } else { *at };
                *at = if held > most { most } else { held };
            }),
            Self::Line { shift, slope, to } => {
                values.iter_mut().for_each(|at| *at = (*at - shift) * slope + to);
            }
        }
    }
}

/// Does changes one after the other.
fn make(changes: &[Change], values: &mut [f32]) {
    if !changes.is_empty() {
        values.par_chunks_mut(1 << 14).for_each(|some| changes.iter().for_each(|change| change.make(some)));
    }
}

/// A grid that another becomes.
struct Grid {
    field: Field,
    /// Of each axis, in terms of the grid before.
    places: [Places; 3],
}

impl Grid {
    fn after(whole: &Field, spacing_mm: &[f64], step: &Step) -> Option<Self> {
        let (size, method) = match step {
            Step::Resample { mm } => {
                let (field, wanted) = spread_axes(whole, spacing_mm, mm).ok()?;
                bounded(1, &field.after()).ok()?;
                let places = wanted.axes.iter().map(|axis| places(axis, &(0..axis.before))).collect::<Vec<_>>();
                return Some(Self { field, places: places.try_into().ok()? });
            }
            Step::Spacing { mm, rounding, method } => (extents_at(whole, spacing_mm, mm, *rounding).ok()?, *method),
            Step::Resize { size, method } => (size.clone(), *method),
            _ => return None,
        };
        let Interpolation::Linear { align_corners, antialias: Antialias::None } = method else { return None };
        one_an_axis(whole, size.len()).ok()?;
        if size.contains(&0) || whole.after() == size || bounded(1, &size).is_err() {
            return None;
        }
        let axes = whole.axes.iter().zip(&size);
        let places = axes.clone().map(|(axis, extent)| as_libtorch(axis.after, *extent, align_corners));
        let places = places.collect::<Vec<_>>().try_into().ok()?;
        let axes = axes.map(|(axis, extent)| axis.resized(*extent, method.positions())).collect();
        Some(Self { field: Field { axes }, places })
    }

    /// The values on the part of this grid that `cuts` leave, and what they are filled with: [1, slices, rows, columns].
    fn values(
        &self,
        planes: &impl Planes,
        before: &[Change],
        after: &[Change],
        (cuts, value): (&[(i64, usize)], f64),
    ) -> Result<Tensor, TchError> {
        let extents = self.field.after();
        let parts: Vec<Part> = cuts.iter().zip(extents).map(|(cut, extent)| Part::of(*cut, extent)).collect();
        let size: Vec<i64> = std::iter::once(1).chain(cuts.iter().map(|(_, extent)| *extent as i64)).collect();
        let whole = kept_within(|| Tensor::f_empty(&size, (Kind::Float, Device::Cpu)))?;
        let [slices, rows, columns] = &self.places;
        let (slices, rows) = (&slices[parts[0].source.clone()], &rows[parts[1].source.clone()]);
        let columns = &columns[parts[2].source.clone()];
        let [_, height, width] = planes.extents();
        let read = |index: usize, plane: &mut [f32]| {
            planes.read(index, plane)?;
            make(before, plane);
            Ok(())
        };
        let empty = vec![value as f32; cuts[1].1 * cuts[2].1];
        let (mut pair, mut plane) = (Pair::of(height * width), empty.clone());
        let row_values = cuts[2].1;
        for index in 0..cuts[0].1 {
            let place = index.checked_sub(parts[0].first).and_then(|index| slices.get(index));
            let made = match place {
                None => &empty,
                Some(place) => {
                    let between = pair.between(*place, read)?;
                    let shown = plane[parts[1].first * row_values..].par_chunks_mut(row_values).zip(rows);
                    shown.for_each_init(
                        || vec![0.0; width],
                        |row, (out, place)| {
                            mix(between, width, *place, row);
                            let out = &mut out[parts[2].first..];
                            for (out, (below, above, share)) in out.iter_mut().zip(columns) {
                                *out = row[*below] + (row[*above] - row[*below]) * share;
                            }
                            let shown = columns.len();
                            after.iter().for_each(|change| change.make(&mut out[..shown]));
                        },
                    );
                    &plane
                }
            };
            whole
                .f_narrow(1, index as i64, 1)?
                .f_copy_(&Tensor::f_from_slice(made)?.f_view([1, 1, size[2], size[3]])?)?;
        }
        Ok(whole)
    }
}

/// What a cut leaves of an axis.
struct Part {
    /// Of the grid before the cut.
    source: Range<usize>,
    /// Where it begins after the cut.
    first: usize,
}

impl Part {
    fn of((start, extent): (i64, usize), whole: usize) -> Self {
        let (begin, end) = (start.max(0), (start + extent as i64).min(whole as i64));
        Self { source: begin as usize..end.max(begin) as usize, first: (begin - start) as usize }
    }
}

/// Where libtorch's linear interpolation looks, with the rounding of its float32.
fn as_libtorch(before: usize, after: usize, align_corners: bool) -> Places {
    if before == after {
        return (0..after).map(|index| (index, index, 0.0)).collect();
    }
    let last = before - 1;
    let scale = match (align_corners, after) {
        (true, 1) => 0.0,
        (true, _) => last as f32 / (after - 1) as f32,
        (false, _) => before as f32 / after as f32,
    };
    let place = |index: usize| {
        let index = index as f32;
        let place = if align_corners { scale * index } else { (scale * (index + 0.5) - 0.5).max(0.0) };
        let below = (place as usize).min(last);
        (below, (below + 1).min(last), (place - below as f32).clamp(0.0, 1.0))
    };
    (0..after).map(place).collect()
}
