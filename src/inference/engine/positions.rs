//! Which slices a model of some slices is shown, and which lie around one slice. Pure.

use crate::inference::orientation::Reorientation;
use crate::inference::prediction::Touched;

/// `count` indices from `first` to `last`, evenly spaced, as NumPy's `linspace` has them, rounded half to even.
pub(super) fn evenly_spaced(first: usize, last: usize, count: usize) -> Vec<usize> {
    let step = (last as f64 - first as f64) / (count.max(2) - 1) as f64;
    let index = |i: usize| if i > 0 && i + 1 == count { last as f64 } else { (i as f64).mul_add(step, first as f64) };
    (0..count).map(|i| index(i).round_ties_even() as usize).collect()
}

/// The first and the last slice, in the model's axes, that a label map on the source grid touches.
pub(super) fn ends(touched: &Touched, turn: &Reorientation) -> Option<(usize, usize)> {
    let axis = turn.source_axis[0];
    let [first, last] = touched.ends?[axis];
    let end = touched.shape[axis] - 1;
    Some(if turn.flipped[0] { (end - last, end - first) } else { (first, last) })
}

/// `window` indices around `slice`, `window / 2` of them before it; beyond the ends the end slice is repeated.
pub(super) fn around(slice: usize, window: usize, slices: usize) -> Vec<usize> {
    (0..window).map(|i| (slice + i).saturating_sub(window / 2).min(slices - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::prediction::LabelMap;

    #[test]
    fn slices_are_spread_as_numpy_spreads_them() {
        // numpy.rint(numpy.linspace(first, last, count))
        assert_eq!(evenly_spaced(0, 9, 5), [0, 2, 4, 7, 9]);
        assert_eq!(evenly_spaced(3, 8, 3), [3, 6, 8]);
        assert_eq!(evenly_spaced(2, 7, 3), [2, 4, 7]);
        assert_eq!(evenly_spaced(4, 4, 3), [4, 4, 4]);
        assert_eq!(evenly_spaced(5, 90, 1), [5]);
        assert_eq!(evenly_spaced(0, 2, 5), [0, 0, 1, 2, 2]);
    }

    #[test]
    fn the_slices_that_a_map_touches_are_counted_in_the_models_axes() {
        let mut labels = vec![0; 24];
        labels[6] = 1; // (0, 1, 2)
        labels[14] = 2; // (1, 0, 2)
        let mut map = LabelMap { shape: [2, 3, 4], labels };
        let found = |map: &LabelMap, source_axis, flipped| {
            ends(&map.touched(), &Reorientation { source_axis, flipped: [flipped, false, false] })
        };
        assert_eq!(found(&map, [0, 1, 2], false), Some((0, 1)));
        assert_eq!(found(&map, [1, 0, 2], false), Some((0, 1)));
        assert_eq!(found(&map, [1, 0, 2], true), Some((1, 2)));
        assert_eq!(found(&map, [2, 0, 1], false), Some((2, 2)));
        map.labels[5] = 1; // (0, 1, 1)
        map.labels[7] = 1; // (0, 1, 3)
        assert_eq!(map.touched().ends, Some([[0, 1], [0, 1], [1, 3]]));
        assert_eq!(found(&LabelMap { shape: [1, 1, 1], labels: vec![0] }, [0, 1, 2], false), None);
    }

    #[test]
    fn around_a_slice_the_ends_are_repeated() {
        assert_eq!(around(0, 4, 10), [0, 0, 0, 1]);
        assert_eq!(around(5, 4, 10), [3, 4, 5, 6]);
        assert_eq!(around(9, 5, 10), [7, 8, 9, 9, 9]);
        assert_eq!(around(0, 3, 1), [0, 0, 0]);
    }
}
