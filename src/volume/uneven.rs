//! Slices at unequal distances on an even grid that is finer than they are. A function of numbers.

use super::refusal::Refusal;
use super::stack::{Stack, sorted, steps, whole};

/// How many slots the usual distance is divided into at most.
const FINEST: u32 = 8;
/// How far a slice may lie off its slot, as a share of the grid's spacing: as on a grid that no slice lies between.
const OFF_SLOT: f64 = 0.1;
/// Distances are the same where they differ by no more than this share.
const ALIKE: f64 = 0.1;
/// So many distances of one length, one after the other, are a block.
const BLOCK: usize = 3;
/// A distance belongs to the acquisition, and is no gap in it, where so many of its like lie in blocks.
const IN_BLOCKS: f64 = 0.75;
/// How many slots there are for each slice at most, whatever the gaps: places far away cost no memory.
pub(super) const MOST_SLOTS: usize = 32;
/// A distance is a gap where it is so much longer than those about it that belong to the acquisition.
const GAP: f64 = 1.5;

/// Finds the grid: the coarsest whole part of the median distance by which every slice lies near a slot of its own.
///
/// # Errors
/// [`Refusal::VariableSpacing`] where most distances are in no blocks (what else lies at alternating distances may be two
/// acquisitions), where no grid fits, or where it would have too many slots.
pub(super) fn finer_grid(along: &[(usize, f64)]) -> Result<Stack, Refusal> {
    let steps = steps(along);
    let sorted = sorted(&steps);
    let (least, median, most) = (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    let refusal = Refusal::VariableSpacing { least, most };
    let belonging = in_blocks(&steps, &sorted).into_iter().filter(|belongs| *belongs).count();
    if !is_most(belonging, steps.len()) {
        return Err(refusal);
    }
    let grid = (1..=FINEST).find_map(|parts| {
        let slots = slots(&steps, median / f64::from(parts));
        // Two slices may not share a slot.
        let grid = slots.is_sorted_by(|a, b| a < b).then(|| Stack::on(along, &slots))?;
        (grid.off_grid <= OFF_SLOT * grid.spacing && grid.slots <= MOST_SLOTS * along.len()).then_some(grid)
    });
    let grid = grid.ok_or(refusal)?;
    Ok(without_gaps_of_the_acquisition(grid, along))
}

#[expect(clippy::cast_precision_loss, reason = "numbers of slices")]
fn is_most(count: usize, all: usize) -> bool {
    count as f64 >= IN_BLOCKS * all as f64
}

/// Slots by the distances from slice to slice: where those are rounded, the spacing is not known well enough to go by places.
fn slots(steps: &[f64], spacing: f64) -> Vec<usize> {
    let mut slots = vec![0];
    let mut slot = 0;
    for step in steps {
        slot += whole((step / spacing).round());
        slots.push(slot);
    }
    slots
}

/// Takes the empty slots for `between`, but for those where slices are further apart than those of the acquisition about them.
pub(super) fn without_gaps_of_the_acquisition(mut grid: Stack, along: &[(usize, f64)]) -> Stack {
    let steps = steps(along);
    let sorted = sorted(&steps);
    let usual = usual_distances(&steps, &sorted);
    grid.between = between(&grid, &steps, &usual);
    if !grid.between.is_empty() {
        grid.distances = [sorted[0], usual.into_iter().fold(sorted[0], f64::max)];
    }
    grid
}

/// For each distance the longest that belongs to the acquisition there: itself, or the nearest that do on either side.
fn usual_distances(steps: &[f64], sorted_steps: &[f64]) -> Vec<f64> {
    let belongs = in_blocks(steps, sorted_steps);
    let nearest = |steps: &mut dyn Iterator<Item = (f64, bool)>| -> Vec<Option<f64>> {
        let mut last = None;
        steps
            .map(|(step, belongs)| {
                last = if belongs { Some(step) } else { last };
                last
            })
            .collect()
    };
    let before = nearest(&mut steps.iter().copied().zip(belongs.iter().copied()));
    let after = nearest(&mut steps.iter().copied().zip(belongs.iter().copied()).rev());
    let median = sorted_steps[sorted_steps.len() / 2];
    before
        .into_iter()
        .zip(after.into_iter().rev())
        .map(|(before, after)| before.into_iter().chain(after).reduce(f64::max).unwrap_or(median))
        .collect()
}

/// Whether a distance is one of which most lie in blocks: slices that were lost leave long distances one by one.
fn in_blocks(steps: &[f64], sorted_steps: &[f64]) -> Vec<bool> {
    let alike = |a: &f64, b: &f64| (a - b).abs() <= ALIKE * a.max(*b);
    let blocks = steps.chunk_by(alike).filter(|run| run.len() >= BLOCK);
    let of_blocks = sorted(&blocks.flatten().copied().collect::<Vec<f64>>());
    let count = |sorted: &[f64], step: f64| {
        let above = sorted.partition_point(|other| *other <= step * (1.0 + ALIKE));
        above - sorted.partition_point(|other| *other < step * (1.0 - ALIKE))
    };
    let belongs = |step: &f64| {
        let in_blocks = count(&of_blocks, *step);
        in_blocks > 0 && is_most(in_blocks, count(sorted_steps, *step))
    };
    steps.iter().map(belongs).collect()
}

/// The empty slots from which nothing is missing.
fn between(grid: &Stack, steps: &[f64], usual: &[f64]) -> Vec<usize> {
    let mut between = Vec::new();
    for ((pair, step), usual) in grid.order.windows(2).zip(steps).zip(usual) {
        let (first, last) = (pair[0].1, pair[1].1);
        let parts = if *step > GAP * usual { whole((step / usual).round()).max(2) } else { 1 };
        let mut missing = (1..parts).map(|part| first + (last - first) * part / parts).peekable();
        for slot in first + 1..last {
            while missing.next_if(|place| *place < slot).is_some() {}
            if missing.peek() != Some(&slot) {
                between.push(slot);
            }
        }
    }
    between
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(heights: &[f64]) -> Result<Stack, Refusal> {
        finer_grid(&heights.iter().copied().enumerate().collect::<Vec<_>>())
    }

    /// Heights from 0 on, by runs of distances.
    fn runs(runs: &[(usize, f64)]) -> Vec<f64> {
        let mut heights = vec![0.0];
        for step in runs.iter().flat_map(|(count, step)| std::iter::repeat_n(step, *count)) {
            heights.push(heights[heights.len() - 1] + step);
        }
        heights
    }

    fn missing(grid: &Stack) -> usize {
        grid.expected() - grid.order.len()
    }

    #[test]
    fn each_slice_lies_in_a_slot_of_the_coarsest_grid_that_has_one_for_all() {
        let grid = found(&runs(&[(3, 1.0), (3, 1.5)])).unwrap();
        assert_eq!((grid.spacing, grid.slots, grid.off_grid, grid.distances), (0.5, 16, 0.0, [1.0, 1.5]));
        assert_eq!(grid.order.iter().map(|(_, slot)| *slot).collect::<Vec<_>>(), [0, 2, 4, 6, 9, 12, 15]);
        assert_eq!((missing(&grid), grid.between.len()), (0, 9));
        let grid = found(&runs(&[(20, 10.0), (20, 5.0)])).unwrap();
        assert_eq!((grid.spacing, missing(&grid), grid.distances), (5.0, 0, [5.0, 10.0]));
        let grid = found(&runs(&[(10, 1.25), (30, 5.0), (10, 1.25)])).unwrap();
        assert_eq!((grid.spacing, missing(&grid)), (1.25, 0));
    }

    #[test]
    fn slices_that_were_lost_are_missing_all_the_same() {
        let mut heights = runs(&[(20, 1.0), (20, 1.5)]);
        // One of either distance, and two that lay side by side.
        for lost in [31, 30, 25, 8] {
            heights.remove(lost);
        }
        let grid = found(&heights).unwrap();
        assert_eq!((grid.spacing, missing(&grid), grid.distances), (0.5, 4, [1.0, 1.5]));
    }

    #[test]
    fn slices_that_were_lost_one_by_one_do_not_pass_for_an_acquisition() {
        let heights: Vec<f64> = (0_u32..100).filter(|i| i % 7 != 3).map(f64::from).collect();
        let grid = found(&heights).unwrap();
        assert_eq!((grid.spacing, missing(&grid), grid.between.len()), (1.0, 14, 0));
    }

    #[test]
    fn distances_in_no_blocks_are_refused() {
        let irregular = found(&[0.0, 1.13, 1.92, 3.1, 4.27, 5.0, 6.21, 7.4, 8.05]);
        assert!(matches!(irregular, Err(Refusal::VariableSpacing { .. })));
        // As of two acquisitions whose slices lie between each other's.
        let alternating: Vec<f64> = (0..20).flat_map(|i| [f64::from(i) * 10.0, f64::from(i) * 10.0 + 3.0]).collect();
        assert!(matches!(found(&alternating), Err(Refusal::VariableSpacing { .. })));
    }

    #[test]
    fn gaps_of_one_length_side_by_side_are_gaps() {
        let mut heights = runs(&[(60, 7.0)]);
        heights.remove(22);
        heights.remove(20);
        let along: Vec<(usize, f64)> = heights.iter().copied().enumerate().collect();
        let all: Vec<usize> = (0..=60).filter(|slot| ![20, 22].contains(slot)).collect();
        let grid = without_gaps_of_the_acquisition(Stack::on(&along, &all), &along);
        assert_eq!((missing(&grid), grid.distances), (2, [7.0, 7.0]));
    }

    #[test]
    fn distances_that_the_sender_rounded_are_those_that_were_meant() {
        let mut heights = runs(&[(60, 1.25), (60, 5.0), (60, 1.25)]);
        heights.iter_mut().for_each(|height| *height = (*height * 10.0).round() / 10.0);
        let grid = found(&heights).unwrap();
        assert!((grid.spacing - 1.25).abs() < 1e-3 && grid.slots == 361 && missing(&grid) == 0, "{grid:?}");
    }

    #[test]
    fn what_no_grid_brings_near_is_refused_and_costs_no_memory() {
        let close = found(&[0.0, 1.0, 2.0, 2.02, 3.0, 4.0]);
        assert!(matches!(close, Err(Refusal::VariableSpacing { .. })));
        let far = found(&[0.0, 1.0, 2.5, 3.5, 5.0, 900_000.0]);
        assert!(matches!(far, Err(Refusal::VariableSpacing { .. })));
    }
}
