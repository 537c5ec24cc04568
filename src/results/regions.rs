//! Where a label lies in an image: one rectangle for each patch of it that hangs together.

use crate::inference::prediction::LabelMap;

/// At most so many rectangles of a label are worth a look each; what is smaller is in the segmentation.
pub(super) const MOST: usize = 8;

/// A rectangle of pixels, both ends included, around pixels that touch each other, be it at a corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) rows: [usize; 2],
    pub(super) columns: [usize; 2],
    /// Pixels of the label in it.
    pub(super) count: usize,
}

/// The regions of a label in the first slice of a map, the largest first.
pub(super) fn regions(map: &LabelMap, label: u8) -> Vec<Region> {
    let [_, rows, columns] = map.shape;
    let Some(slice) = map.labels.get(..rows * columns).filter(|slice| !slice.is_empty()) else { return Vec::new() };
    let mut regions = Joined::default();
    let mut above: Vec<Run> = Vec::new();
    for (row, line) in slice.chunks(columns).enumerate() {
        let mut here = Vec::new();
        for [first, last] in runs(line, label) {
            let region = Region { rows: [row; 2], columns: [first, last], count: last - first + 1 };
            let mut index = regions.add(region);
            let touching = above.iter().filter(|run| run.first <= last + 1 && first <= run.last + 1);
            for run in touching {
                index = regions.join(index, run.region);
            }
            here.push(Run { first, last, region: index });
        }
        above = here;
    }
    regions.into_largest_first()
}

/// Neighbouring pixels of one row.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: usize,
    last: usize,
    region: usize,
}

/// First and last column of each run of a label in a row.
fn runs(line: &[u8], label: u8) -> Vec<[usize; 2]> {
    let mut runs: Vec<[usize; 2]> = Vec::new();
    for (column, _) in line.iter().enumerate().filter(|(_, l)| **l == label) {
        match runs.last_mut() {
            Some([_, last]) if *last + 1 == column => *last = column,
            _ => runs.push([column; 2]),
        }
    }
    runs
}

/// Regions that grow together; each knows the one that it has become part of.
#[derive(Debug, Default)]
struct Joined {
    regions: Vec<Region>,
    part_of: Vec<usize>,
}

impl Joined {
    fn add(&mut self, region: Region) -> usize {
        self.regions.push(region);
        self.part_of.push(self.regions.len() - 1);
        self.regions.len() - 1
    }

    fn whole(&mut self, mut index: usize) -> usize {
        while self.part_of[index] != index {
            self.part_of[index] = self.part_of[self.part_of[index]];
            index = self.part_of[index];
        }
        index
    }

    fn join(&mut self, one: usize, other: usize) -> usize {
        let (one, other) = (self.whole(one), self.whole(other));
        if one == other {
            return one;
        }
        let (a, b) = (self.regions[one], self.regions[other]);
        let both = |a: [usize; 2], b: [usize; 2]| [a[0].min(b[0]), a[1].max(b[1])];
        self.regions[one] =
            Region { rows: both(a.rows, b.rows), columns: both(a.columns, b.columns), count: a.count + b.count };
        self.part_of[other] = one;
        one
    }

    fn into_largest_first(self) -> Vec<Region> {
        let wholes = self.part_of.iter().enumerate().filter(|(index, whole)| index == *whole);
        let mut regions: Vec<Region> = wholes.map(|(index, _)| self.regions[index]).collect();
        regions.sort_by_key(|region| (std::cmp::Reverse(region.count), region.rows, region.columns));
        regions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(picture: &[&str]) -> LabelMap {
        let labels = picture.iter().flat_map(|line| line.bytes().map(|b| b - b'0')).collect();
        LabelMap { shape: [1, picture.len(), picture[0].len()], labels }
    }

    #[test]
    fn what_touches_is_one_region_and_the_largest_comes_first() {
        let map = map(&[
            "1000000220", //
            "0100011220",
            "1000010000",
            "0000011110",
            "0000000010",
            "1100022110",
        ]);
        let found = regions(&map, 1);
        assert_eq!(
            found,
            [
                Region { rows: [1, 5], columns: [5, 8], count: 10 },
                Region { rows: [0, 2], columns: [0, 1], count: 3 },
                Region { rows: [5, 5], columns: [0, 1], count: 2 },
            ]
        );
        assert_eq!(regions(&map, 2).len(), 2);
        assert!(regions(&map, 3).is_empty());
    }

    #[test]
    fn a_spiral_is_one_region_however_late_its_arms_meet() {
        let map = map(&["1010101", "1010101", "1010101", "1111111"]);
        assert_eq!(regions(&map, 1), [Region { rows: [0, 3], columns: [0, 6], count: 19 }]);
    }
}
