//! Positions become a grid: the order of slices, their spacing, the gaps. A function of numbers.

use super::frame_header::{Plane, dot};
use super::refusal::Refusal;
use super::uneven::{MOST_SLOTS, finer_grid, without_gaps_of_the_acquisition};

/// Positions nearer than this along the normal are one place, mm.
pub(super) const SAME_PLACE: f64 = 0.01;
/// How far a slice may lie off the even grid, as a share of the spacing.
const OFF_GRID: f64 = 0.1;
/// How far slices may be shifted within their planes, as a share of the pixel spacing.
const SHIFT: f64 = 0.5;

/// Planes in order on an even grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// Index of the plane and its slot on the grid, ascending along the normal.
    pub order: Vec<(usize, usize)>,
    /// Slots of the grid, gaps included.
    pub slots: usize,
    /// Between slots, mm.
    pub spacing: f64,
    /// The largest distance of a slice from its slot, mm.
    pub off_grid: f64,
    /// Slots that no slice is missing from, though none lies there: the grid is finer than the slices. Ascending.
    pub between: Vec<usize>,
    /// The shortest distance between neighbours, and the longest that is no gap, mm: both are [`Stack::spacing`] where slices lie evenly.
    pub distances: [f64; 2],
}

/// Why planes are no stack.
#[derive(Debug, Clone, PartialEq)]
pub enum StackError {
    /// Planes that share a place, each group in the order of the input.
    SharedPlaces(Vec<Vec<usize>>),
    /// Everything else.
    Refused(Refusal),
}

/// Puts planes of one orientation and pixel spacing on a grid along their normal, on which only missing slices leave gaps.
///
/// # Errors
/// [`StackError`]: shared places, tilt, shift, uneven spacing, fewer than two places.
pub fn stack(planes: &[&Plane]) -> Result<Stack, StackError> {
    let along = heights(planes)?;
    even_grid(&along).map_err(StackError::Refused)
}

/// As [`stack`], with slices at whatever distances: on a grid that is finer than they are where it must be, and with gaps only
/// where slices are further apart than those about them.
///
/// # Errors
/// [`StackError`], as [`stack`]; uneven spacing where distances do not come in blocks, or no such grid brings each slice near a slot.
pub fn uneven_stack(planes: &[&Plane]) -> Result<Stack, StackError> {
    let along = heights(planes)?;
    match even_grid(&along) {
        // One place far away leaves more slots than anybody lists.
        Ok(grid) if grid.slots > MOST_SLOTS * along.len() => Ok(grid),
        Ok(grid) => Ok(without_gaps_of_the_acquisition(grid, &along)),
        Err(_) => finer_grid(&along).map_err(StackError::Refused),
    }
}

/// Planes by their height along the normal, ascending.
fn heights(planes: &[&Plane]) -> Result<Vec<(usize, f64)>, StackError> {
    let Some(first) = planes.first() else { return Err(StackError::Refused(too_few(0))) };
    let normal = first.normal();
    let mut along: Vec<(usize, f64)> = planes.iter().map(|p| dot(p.position, normal)).enumerate().collect();
    along.sort_by(|a, b| a.1.total_cmp(&b.1));
    let places = along.chunk_by(|a, b| b.1 - a.1 < SAME_PLACE);
    let shared: Vec<Vec<usize>> = places.filter(|p| p.len() > 1).map(sorted_indices).collect();
    if !shared.is_empty() {
        return Err(StackError::SharedPlaces(shared));
    }
    if along.len() < 2 {
        return Err(StackError::Refused(too_few(along.len())));
    }
    let ordered: Vec<&Plane> = along.iter().map(|&(index, _)| planes[index]).collect();
    check_shift(&ordered, normal).map_err(StackError::Refused)?;
    Ok(along)
}

fn too_few(found: usize) -> Refusal {
    Refusal::TooFewSlices { found, least: 2 }
}

fn sorted_indices(place: &[(usize, f64)]) -> Vec<usize> {
    let mut indices: Vec<usize> = place.iter().map(|p| p.0).collect();
    indices.sort_unstable();
    indices
}

/// Refuses slices that are shifted within their planes: along a line, which is a tilted gantry, or in any other way.
fn check_shift(ordered: &[&Plane], normal: [f64; 3]) -> Result<(), Refusal> {
    let origin = ordered[0].position;
    let offsets: Vec<(f64, [f64; 3])> = ordered
        .iter()
        .map(|plane| {
            let from_origin: [f64; 3] = std::array::from_fn(|i| plane.position[i] - origin[i]);
            let height = dot(from_origin, normal);
            (height, std::array::from_fn(|i| from_origin[i] - height * normal[i]))
        })
        .collect();
    let length = |v: [f64; 3]| dot(v, v).sqrt();
    let tolerance = SHIFT * ordered[0].pixel_spacing[0].min(ordered[0].pixel_spacing[1]);
    let most = offsets.iter().map(|(_, offset)| length(*offset)).fold(0.0, f64::max);
    if most <= tolerance {
        return Ok(());
    }
    let (height, last) = offsets[offsets.len() - 1];
    let shear = last.map(|c| c / height);
    let on_a_line = offsets
        .iter()
        .all(|(height, offset)| length(std::array::from_fn(|i| offset[i] - height * shear[i])) <= tolerance);
    Err(if on_a_line {
        Refusal::GantryTilt { degrees: length(shear).atan().to_degrees() }
    } else {
        Refusal::ShiftedSlices(most)
    })
}

/// Finds the grid: its spacing is near the median distance, and every distance is a multiple of it.
fn even_grid(along: &[(usize, f64)]) -> Result<Stack, Refusal> {
    let steps = steps(along);
    let sorted = sorted(&steps);
    let (least, median, most) = (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    let uneven = Refusal::VariableSpacing { least, most };
    let mut slot = 0;
    let mut slots = vec![0];
    for step in steps {
        let multiple = (step / median).round();
        if multiple < 1.0 {
            return Err(uneven);
        }
        slot += whole(multiple);
        slots.push(slot);
    }
    let grid = Stack::on(along, &slots);
    if grid.off_grid > OFF_GRID * grid.spacing {
        return Err(uneven);
    }
    Ok(grid)
}

pub(super) fn steps(along: &[(usize, f64)]) -> Vec<f64> {
    along.windows(2).map(|pair| pair[1].1 - pair[0].1).collect()
}

pub(super) fn sorted(steps: &[f64]) -> Vec<f64> {
    let mut sorted = steps.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// A number of slots that is not below 0; more than any volume has where it is beyond that.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by 0 and 1e8")]
pub(super) fn whole(count: f64) -> usize {
    count.clamp(0.0, 1e8) as usize
}

impl Stack {
    /// Planes in these slots, ascending from 0, at the spacing that fits the first and the last of them.
    #[expect(clippy::cast_precision_loss, reason = "numbers of slices")]
    pub(super) fn on(along: &[(usize, f64)], slots: &[usize]) -> Self {
        let (bottom, top) = (along[0].1, along[along.len() - 1].1);
        let last = slots[slots.len() - 1];
        // To the nanometre, which is far beyond what positions are written with: 3 mm and not 2.9999999999999996.
        let spacing = ((top - bottom) / last as f64 * 1e6).round() / 1e6;
        let off = along.iter().zip(slots).map(|((_, at), slot)| (at - bottom - *slot as f64 * spacing).abs());
        Self {
            order: along.iter().zip(slots).map(|((index, _), slot)| (*index, *slot)).collect(),
            slots: last + 1,
            spacing,
            off_grid: off.fold(0.0, f64::max),
            between: Vec::new(),
            distances: [spacing; 2],
        }
    }

    /// How many slices there should be.
    #[must_use]
    pub const fn expected(&self) -> usize {
        self.slots - self.between.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(position: [f64; 3]) -> Plane {
        Plane {
            position_text: String::new(),
            orientation_text: String::new(),
            spacing_text: String::new(),
            position,
            column_direction: [1.0, 0.0, 0.0],
            row_direction: [0.0, 1.0, 0.0],
            pixel_spacing: [0.7, 0.7],
        }
    }

    fn stacked(positions: &[[f64; 3]]) -> Result<Stack, StackError> {
        let planes: Vec<Plane> = positions.iter().map(|p| plane(*p)).collect();
        stack(&planes.iter().collect::<Vec<_>>())
    }

    fn heights(z: &[f64]) -> Result<Stack, StackError> {
        stacked(&z.iter().map(|z| [5.0, 6.0, *z]).collect::<Vec<_>>())
    }

    #[test]
    fn slices_are_sorted_and_gaps_leave_empty_slots() {
        let found = heights(&[4.0, 0.0, 1.0, 5.0, 2.0, 6.0]).unwrap();
        assert_eq!(found.order, [(1, 0), (2, 1), (4, 2), (0, 4), (3, 5), (5, 6)]);
        assert_eq!((found.slots, found.spacing), (7, 1.0));
    }

    #[test]
    fn positions_rounded_by_the_sender_are_even_enough() {
        let z: Vec<f64> = (0..40).map(|i| (f64::from(i) * 12.5).round() / 10.0).collect();
        let found = heights(&z).unwrap();
        assert_eq!(found.slots, 40);
        assert!((found.spacing - 1.25).abs() < 0.01 && found.off_grid <= 0.06);
    }

    #[test]
    fn a_spacing_that_changes_is_variable() {
        let result = heights(&[0.0, 1.0, 2.0, 3.0, 4.5, 6.0, 7.5]);
        assert_eq!(result, Err(StackError::Refused(Refusal::VariableSpacing { least: 1.0, most: 1.5 })));
    }

    #[test]
    fn a_shear_is_a_tilt_and_a_jump_is_a_shift() {
        let tilted: Vec<[f64; 3]> = (0..10).map(|i| [0.0, f64::from(i) * 0.5, f64::from(i)]).collect();
        let Err(StackError::Refused(Refusal::GantryTilt { degrees })) = stacked(&tilted) else { panic!() };
        assert!((degrees - 26.565).abs() < 0.01);
        let jump: Vec<[f64; 3]> = (0..10).map(|i| [if i > 4 { 9.0 } else { 0.0 }, 0.0, f64::from(i)]).collect();
        assert_eq!(stacked(&jump), Err(StackError::Refused(Refusal::ShiftedSlices(9.0))));
    }

    #[test]
    fn places_that_are_shared_are_named() {
        assert_eq!(heights(&[0.0, 1.0, 0.001, 2.0]), Err(StackError::SharedPlaces(vec![vec![0, 2]])));
        assert!(matches!(heights(&[3.0]), Err(StackError::Refused(Refusal::TooFewSlices { found: 1, .. }))));
    }

    #[test]
    fn one_slice_far_away_costs_no_memory() {
        let far = heights(&[0.0, 1.0, 2.0, 900_000.0]).unwrap();
        assert_eq!((far.order.len(), far.slots), (4, 900_001));
    }
}
