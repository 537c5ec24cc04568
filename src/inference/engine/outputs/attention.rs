//! Where a model looked: weights of windows or a coarse grid, brought back to the source grid.

use tch::{Kind, Tensor};

use super::super::fault::Fault;
use super::super::inputs::turned;
use super::super::source::Source;
use super::to_vec;
use crate::inference::manifest::{AttentionOutput, AttentionOver, Window};
use crate::inference::prediction::AttentionMap;
use crate::inference::sliding_window::blend::spread;
use crate::inference::steps::{Back, Field, back};

/// The map of a tensor that was checked. The largest value becomes 1, what lies below 0 becomes 0.
pub(super) fn map(
    output: &AttentionOutput,
    tensor: &Tensor,
    source: &Source,
    field: &Field,
    window: Option<&Window>,
) -> Result<AttentionMap, Fault> {
    let weights = tensor.f_to_kind(Kind::Float)?;
    let (grid, coarse) = match (output.over, window, &field.after()[..]) {
        (AttentionOver::Windows, Some(window), [slices, rows, columns]) => {
            (spread(&weights, [*slices, *rows, *columns], window)?, field.clone())
        }
        _ => {
            let extents = super::shape(tensor);
            let extents = &extents[extents.len() - field.axes.len()..];
            let coarse = field.coarse(extents).ok_or_else(|| Fault::Wrong(format!("«{}» is empty", output.tensor)))?;
            let size: Vec<i64> = extents.iter().map(|extent| *extent as i64).collect();
            (weights.f_reshape(&size)?, coarse)
        }
    };
    let map = back(&grid.f_clamp_min(0.0)?.f_unsqueeze(0)?, &coarse, Back::Linear, 0.0)?.f_squeeze_dim(0)?;
    let mut map = if map.dim() == 2 { map.f_unsqueeze(0)? } else { map };
    let largest = map.f_max()?.f_double_value(&[])?;
    if largest > 0.0 {
        map = map.f_div_scalar_(largest)?;
    }
    let values: Vec<f32> = to_vec(&turned(&map, &source.turn.inverse())?)?;
    let key_slices = key_slices(&values, source.shape, &source.between, output.key_slices);
    Ok(AttentionMap { label: output.label.clone(), shape: source.shape, values, key_slices })
}

/// The slices whose values add up to most, the first of equals first. Two of them lie at least an eighth of the stack over
/// their number apart: the neighbours of a peak show nothing else. None of an image, none of `between`, of which nobody has an
/// image, and none where nothing weighs.
fn key_slices(values: &[f32], shape: [usize; 3], between: &[usize], count: usize) -> Vec<usize> {
    if shape[0] < 2 || count == 0 {
        return Vec::new();
    }
    let sum = |slice: &[f32]| slice.iter().map(|value| f64::from(*value)).sum::<f64>();
    let sums: Vec<f64> = values.chunks(shape[1] * shape[2]).map(sum).collect();
    let apart = (shape[0] / (8 * count)).max(1);
    let mut order: Vec<usize> =
        (0..sums.len()).filter(|slice| sums[*slice] > 0.0 && between.binary_search(slice).is_err()).collect();
    order.sort_by(|a, b| sums[*b].total_cmp(&sums[*a]));
    let mut chosen: Vec<usize> = Vec::new();
    for slice in order {
        if chosen.len() < count && chosen.iter().all(|other| slice.abs_diff(*other) >= apart) {
            chosen.push(slice);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_slices_are_peaks_that_lie_apart() {
        let mut sums = vec![0.0f32; 64];
        sums[10] = 5.0;
        sums[11] = 4.9;
        sums[14] = 4.0;
        sums[40] = 4.5;
        assert_eq!(key_slices(&sums, [64, 1, 1], &[], 3), [10, 40, 14]);
        assert_eq!(key_slices(&sums, [64, 1, 1], &[], 1), [10]);
        assert_eq!(key_slices(&sums, [64, 1, 1], &[9, 10, 40, 41], 3), [11, 14]);
        assert_eq!(key_slices(&[0.0; 8], [8, 1, 1], &[], 3), [0; 0]);
        assert_eq!(key_slices(&[1.0; 8], [1, 2, 4], &[], 3), [0; 0]);
    }
}
