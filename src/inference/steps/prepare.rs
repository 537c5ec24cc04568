//! The steps, in order, on a tensor.

use tch::{Kind, TchError, Tensor};

use super::field::Field;
use super::{Step, crop, intensity, resample};
use crate::inference::engine::memory::kept_within;

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
    let owned = values.f_kind()? != Kind::Float;
    let mut state = State { values: as_float(values)?, field: Field::whole(&extents), owned };
    for step in steps {
        state = state.after(step, spacing_mm)?;
    }
    Ok(Prepared { values: kept_within(|| state.values.f_contiguous())?, field: state.field })
}

/// With one channel. What had another type is let go.
fn as_float(values: Tensor) -> Result<Tensor, TchError> {
    kept_within(|| values.f_to_kind(Kind::Float))?.f_unsqueeze(0)
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
    fn after(self, step: &Step, spacing_mm: &[f64]) -> Result<Self, TchError> {
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
