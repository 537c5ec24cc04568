//! The steps, in order, on a tensor.

use std::sync::Arc;

use tch::{Device, Kind, TchError, Tensor};

use super::field::Field;
use super::lead::lead;
use super::planes::{OfTensor, Turned};
use super::{Step, crop, intensity, resample};
use crate::inference::engine::memory::kept_within;
use crate::inference::orientation::Reorientation;
use crate::volume::Voxels;

/// What a module takes, and where it lies.
#[derive(Debug)]
pub struct Prepared {
    /// Float32 [channels, slices, rows, columns] or [channels, rows, columns], contiguous, on the device of the input.
    pub values: Tensor,
    /// From this grid to the one before the steps.
    pub field: Field,
}

/// Does the steps, in their order.
///
/// `values` is [slices, rows, columns] in the model's axes, or [rows, columns], of any type; what it shares with others is
/// not written to. `spacing_mm` has one distance an axis. Beside the values and what comes of them, room is taken for one
/// more copy at most.
///
/// # Errors
/// [`TchError`] where a step does not suit the dimensions, would leave nothing, or memory ends.
pub fn apply(values: Tensor, spacing_mm: &[f64], steps: &[Step]) -> Result<Prepared, TchError> {
    let extents = extents(&values.size())?;
    if !matches!(extents.len(), 2 | 3) || spacing_mm.len() != extents.len() {
        return Err(TchError::Shape(format!(
            "values of extents {extents:?} with distances {spacing_mm:?} cannot be prepared"
        )));
    }
    let is_led = values.device() == Device::Cpu && extents.len() == 3;
    let led = if is_led { lead(&OfTensor(&values), spacing_mm, steps)? } else { None };
    let (state, done) = match led {
        Some(led) => {
            drop(values);
            led
        }
        None => (State::whole(values, &extents)?, 0),
    };
    state.after_all(&steps[done..], spacing_mm)
}

/// The same of the voxels of a series with `shape` slices, rows, columns, which are turned into the model's axes by `turn`, in
/// the host's memory; lets go of them as soon as steps have made others of them.
///
/// # Errors
/// Those of [`apply`]. The inner one gives the voxels back where the steps need a tensor: those do that do not begin with a linear
/// change of the grid, but for changes of values before it, or whose slices are not those of the series.
pub fn apply_to_voxels(
    voxels: Arc<Voxels>,
    shape: [usize; 3],
    turn: &Reorientation,
    spacing_mm: &[f64],
    steps: &[Step],
) -> Result<Result<Prepared, Arc<Voxels>>, TchError> {
    let led = match Turned::new(&voxels, shape, turn) {
        Some(planes) => lead(&planes, spacing_mm, steps)?,
        None => None,
    };
    let Some((state, done)) = led else { return Ok(Err(voxels)) };
    drop(voxels);
    state.after_all(&steps[done..], spacing_mm).map(Ok)
}

fn extents(size: &[i64]) -> Result<Vec<usize>, TchError> {
    let extents = size.iter().map(|extent| usize::try_from(*extent).ok().filter(|extent| *extent > 0));
    extents.collect::<Option<_>>().ok_or_else(|| TchError::Shape(format!("there are no values: {size:?}")))
}

/// Between two steps.
pub(super) struct State {
    /// [channels, ...].
    pub(super) values: Tensor,
    pub(super) field: Field,
    /// Whether nobody else has the values, so that they may be changed in place.
    pub(super) owned: bool,
}

impl State {
    /// Before the first step, with one channel. What had another type or order in memory is let go.
    fn whole(values: Tensor, extents: &[usize]) -> Result<Self, TchError> {
        let owned = values.f_kind()? != Kind::Float;
        let in_order = kept_within(|| values.f_contiguous())?;
        drop(values);
        let values = kept_within(|| in_order.f_to_kind(Kind::Float))?.f_unsqueeze(0)?;
        Ok(Self { values, field: Field::whole(extents), owned })
    }

    fn after_all(mut self, steps: &[Step], spacing_mm: &[f64]) -> Result<Prepared, TchError> {
        for step in steps {
            self = self.after(step, spacing_mm)?;
        }
        Ok(Prepared { values: kept_within(|| self.values.f_contiguous())?, field: self.field })
    }

    pub(super) fn after(self, step: &Step, spacing_mm: &[f64]) -> Result<Self, TchError> {
        match step {
            Step::ReplaceBelow { .. }
            | Step::Clip(_)
            | Step::Scale { .. }
            | Step::Percentile { .. }
            | Step::ZScore { .. }
            | Step::Standardise { .. } => intensity::change(self, step),
            Step::Spacing { mm, rounding, method } => {
                let size = resample::extents_at(&self.field, spacing_mm, mm, *rounding)?;
                resample::resize(self, &size, *method)
            }
            Step::Resample { mm } => resample::spread(self, spacing_mm, mm),
            Step::Resize { size, method } => resample::resize(self, size, *method),
            Step::ShorterSide { length, method } => {
                let size = resample::shorter_side(&self.field.after(), *length)?;
                resample::resize(self, &size, *method)
            }
            Step::CropBody { above, margin_mm } => crop::body(self, spacing_mm, *above, *margin_mm),
            Step::Fit { size, value } => crop::fit(self, size, *value),
        }
    }
}
