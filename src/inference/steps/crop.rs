//! Steps that cut the grid or fill around it.

use tch::{TchError, Tensor};

use super::field::{Along, Field};
use super::prepare::State;
use super::resample::one_an_axis;
use crate::inference::engine::memory::kept_within;

/// Cuts out the box around everything above `above`, with at least `margin_mm` on every side where the grid has it.
/// Nothing above it leaves the grid whole.
pub(super) fn body(state: State, spacing_mm: &[f64], above: f64, margin_mm: f64) -> Result<State, TchError> {
    let spacing = state.field.spacing_after(spacing_mm);
    let mut cuts = Vec::with_capacity(spacing.len());
    for (axis, mm) in spacing.iter().enumerate() {
        let Some([first, last]) = extent_above(&state.values, axis + 1, above)? else { return Ok(state) };
        // Whole voxels; what is a margin of whole voxels but for rounding gets no voxel more.
        let margin = ((margin_mm / mm - 1e-6).ceil().max(0.0)).min(state.field.axes[axis].after as f64) as usize;
        let end = (last + margin + 1).min(state.field.axes[axis].after);
        let start = first.saturating_sub(margin);
        cuts.push((start as i64, end - start));
    }
    cut(state, &cuts, 0.0)
}

/// First and last index along a dimension where a value is above a limit.
fn extent_above(values: &Tensor, dimension: usize, above: f64) -> Result<Option<[usize; 2]>, TchError> {
    let others: Vec<i64> = (0..values.dim()).filter(|other| *other != dimension).map(|other| other as i64).collect();
    let largest = values.f_amax(&others, false)?;
    let largest: Vec<f32> = Vec::try_from(&largest)?;
    let is_above = |value: &f32| f64::from(*value) > above;
    let (first, last) = (largest.iter().position(is_above), largest.iter().rposition(is_above));
    Ok(first.zip(last).map(|(first, last)| [first, last]))
}

/// Cuts or fills each axis around its middle.
///
/// Where an odd voxel is left over, volumes follow MONAI's `ResizeWithPadOrCrop` (and, for even sizes, CT-CLIP's own
/// placement, which is the same): a cut begins at `extent / 2 - size / 2`, so that the odd voxel goes at the end, except
/// from an even extent to an odd size, where it goes at the beginning; filling has the odd voxel at the end. Images
/// follow torchvision's `CenterCrop`: a cut begins at half the difference, rounded half to even; filling as above.
pub(super) fn fit(state: State, size: &[usize], value: f64) -> Result<State, TchError> {
    one_an_axis(&state.field, size.len())?;
    if size.contains(&0) {
        return Err(TchError::Shape(format!("no grid has the size {size:?}")));
    }
    let cuts = middle(&state.field, size);
    cut(state, &cuts, value)
}

/// `(first voxel, extent)` of each axis for [`fit`].
pub(super) fn middle(field: &Field, size: &[usize]) -> Vec<(i64, usize)> {
    let image = size.len() == 2;
    field.axes.iter().zip(size).map(|(axis, size)| (first_voxel(axis.after, *size, image), *size)).collect()
}

/// The grid after cuts of `(first voxel, extent)`.
pub(super) fn field_after(field: &Field, cuts: &[(i64, usize)]) -> Field {
    let along = |(axis, (start, extent)): (&Along, &(i64, usize))| axis.cut(*start, *extent);
    Field { axes: field.axes.iter().zip(cuts).map(along).collect() }
}

/// Which voxel becomes the first; below 0 where filling comes before.
fn first_voxel(extent: usize, size: usize, image: bool) -> i64 {
    if size >= extent {
        -(((size - extent) / 2) as i64)
    } else if image {
        (((extent - size) as f64 / 2.0).round_ties_even()) as i64
    } else {
        (extent / 2) as i64 - (size / 2) as i64
    }
}

/// Takes `(first voxel, extent)` of each axis; what lies outside of the grid becomes `value`.
fn cut(state: State, cuts: &[(i64, usize)], value: f64) -> Result<State, TchError> {
    let State { mut values, field, mut owned } = state;
    let mut filling = Vec::new();
    for (axis, ((start, extent), along)) in cuts.iter().zip(&field.axes).enumerate() {
        let (first, end) = ((*start).max(0), (start + *extent as i64).min(along.after as i64));
        values = values.f_narrow(axis as i64 + 1, first, end - first)?;
        filling.push([first - start, start + *extent as i64 - end]);
    }
    if filling.iter().flatten().any(|amount| *amount > 0) {
        // Last axis first, as PyTorch has it.
        let amounts: Vec<i64> = filling.iter().rev().flatten().copied().collect();
        values = kept_within(|| values.f_pad(&amounts, "constant", value))?;
        owned = true;
    }
    Ok(State { values, field: field_after(&field, cuts), owned })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_odd_voxel_lies_where_the_published_code_has_it() {
        // MONAI's CenterSpatialCrop: extent // 2 - size // 2.
        for (extent, size, first) in [(5, 4, 0), (5, 2, 1), (4, 3, 1), (7, 4, 1), (6, 3, 2), (6, 2, 2)] {
            assert_eq!(first_voxel(extent, size, false), first, "{extent} {size}");
        }
        // CT-CLIP: (extent - size) // 2, the same wherever the size is even.
        for extent in 480..520 {
            assert_eq!(first_voxel(extent, 480, false), (extent as i64 - 480) / 2);
        }
        // torchvision's CenterCrop: round((extent - size) / 2), half to even.
        for (extent, size, first) in [(521, 518, 2), (519, 518, 0), (523, 518, 2), (525, 518, 4)] {
            assert_eq!(first_voxel(extent, size, true), first, "{extent} {size}");
        }
        for image in [false, true] {
            assert_eq!((first_voxel(3, 6, image), first_voxel(4, 6, image)), (-1, -1));
        }
    }
}
