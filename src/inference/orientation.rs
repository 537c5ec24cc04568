//! Turning a grid so that its axes increase in the patient directions that a model expects, and back: by permuting and
//! flipping axes only, so that every voxel keeps its value.

use std::fmt;

use crate::volume::Geometry;

/// The patient directions in which slices, rows and columns increase, such as `SPL`: to Superior, Posterior, Left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axes([Direction; 3]);

/// One of the six directions along the patient's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Direction {
    letter: char,
    /// 0, 1, 2 for the x, y, z of patient coordinates (LPS).
    axis: usize,
    /// Whether it points to L, P or S.
    positive: bool,
}

const DIRECTIONS: [Direction; 6] = [
    Direction { letter: 'L', axis: 0, positive: true },
    Direction { letter: 'R', axis: 0, positive: false },
    Direction { letter: 'P', axis: 1, positive: true },
    Direction { letter: 'A', axis: 1, positive: false },
    Direction { letter: 'S', axis: 2, positive: true },
    Direction { letter: 'I', axis: 2, positive: false },
];

impl Axes {
    /// Reads three letters: one of S and I, one of A and P, one of L and R, in the order slices, rows, columns.
    ///
    /// # Errors
    /// What is wrong, for the author of a manifest.
    pub fn parse(letters: &str) -> Result<Self, String> {
        let found: Vec<Direction> =
            letters.chars().filter_map(|c| DIRECTIONS.into_iter().find(|d| d.letter == c)).collect();
        let wrong =
            || format!("«{letters}» is not an orientation: one of S, I, one of A, P and one of L, R, such as SPL");
        let axes: [Direction; 3] = found.try_into().map_err(|_| wrong())?;
        let covered = (0..3).all(|axis| axes.iter().any(|direction| direction.axis == axis));
        if letters.len() == 3 && covered { Ok(Self(axes)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Axes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|direction| write!(f, "{}", direction.letter))
    }
}

/// Which axis of the source becomes which of the target, and which are run through backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reorientation {
    /// Axis of the source that becomes each axis of the target.
    pub source_axis: [usize; 3],
    /// Whether each axis of the target runs against its source axis.
    pub flipped: [bool; 3],
}

impl Reorientation {
    /// From the grid of a volume to `axes`. An oblique grid is taken for the axis-aligned one that it lies nearest to.
    #[must_use]
    pub fn to_axes(geometry: &Geometry, axes: Axes) -> Self {
        let along = [geometry.slice_direction, geometry.row_direction, geometry.column_direction];
        let cosine = |target: usize, source: usize| {
            let direction = axes.0[target];
            let component = along[source][direction.axis];
            if direction.positive { component } else { -component }
        };
        let mut best = (f64::NEG_INFINITY, [0, 1, 2]);
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let score = (0..3).map(|target| cosine(target, order[target]).abs()).sum::<f64>();
            // The first of equals wins, with room for rounding: a volume at 45° is turned the same way every time.
            if score > best.0 + 1e-9 {
                best = (score, order);
            }
        }
        let source_axis = best.1;
        Self { source_axis, flipped: std::array::from_fn(|target| cosine(target, source_axis[target]) < 0.0) }
    }

    /// The way back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let target_of = |source: usize| (0..3).find(|target| self.source_axis[*target] == source).unwrap_or(source);
        let source_axis: [usize; 3] = std::array::from_fn(target_of);
        Self { source_axis, flipped: std::array::from_fn(|axis| self.flipped[source_axis[axis]]) }
    }

    /// One value an axis (a shape, a spacing), reordered.
    #[must_use]
    pub fn reorder<T: Copy>(&self, values: [T; 3]) -> [T; 3] {
        self.source_axis.map(|axis| values[axis])
    }

    /// Whether nothing moves.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.source_axis == [0, 1, 2] && self.flipped == [false; 3]
    }

    /// The voxels of a grid of `shape`, reordered. `voxels` must hold as many as the shape says.
    #[must_use]
    pub fn apply<T: Copy>(&self, voxels: &[T], shape: [usize; 3]) -> Vec<T> {
        let stride = [shape[1] * shape[2], shape[2], 1];
        let [depth, height, width] = self.reorder(shape);
        // Where index i of a target axis lies in the source, counted from the first voxel.
        let offset = |axis: usize, index: usize, extent: usize| {
            let index = if self.flipped[axis] { extent - 1 - index } else { index };
            index * stride[self.source_axis[axis]]
        };
        let mut turned = Vec::with_capacity(voxels.len());
        for z in 0..depth {
            for y in 0..height {
                let row = offset(0, z, depth) + offset(1, y, height);
                turned.extend((0..width).map(|x| voxels[row + offset(2, x, width)]));
            }
        }
        turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(axis: usize, positive: bool) -> [f64; 3] {
        std::array::from_fn(|a| if a == axis { if positive { 1.0 } else { -1.0 } } else { 0.0 })
    }

    fn grid(directions: [[f64; 3]; 3]) -> Geometry {
        Geometry {
            shape: [2, 3, 4],
            origin: [10.0, -20.0, 30.0],
            slice_direction: directions[0],
            row_direction: directions[1],
            column_direction: directions[2],
            spacing: [3.0, 2.0, 1.0],
        }
    }

    fn all_aligned() -> Vec<Geometry> {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let mut grids = Vec::new();
        for order in orders {
            for signs in 0..8 {
                grids.push(grid(std::array::from_fn(|axis| unit(order[axis], signs >> axis & 1 == 0))));
            }
        }
        grids
    }

    /// A value for each voxel that says where in the patient it lies.
    fn positions(geometry: &Geometry) -> Vec<[i64; 3]> {
        let mut values = Vec::new();
        let [depth, height, width] = geometry.shape;
        for z in 0..depth {
            for y in 0..height {
                for x in 0..width {
                    values.push(geometry.position([z as f64, y as f64, x as f64]).map(|mm| mm.round() as i64));
                }
            }
        }
        values
    }

    #[test]
    fn all_48_orientations_end_up_increasing_to_superior_posterior_left() {
        let axes = Axes::parse("SPL").unwrap();
        let grids = all_aligned();
        assert_eq!(grids.len(), 48);
        for geometry in grids {
            let turn = Reorientation::to_axes(&geometry, axes);
            let turned = turn.apply(&positions(&geometry), geometry.shape);
            let [depth, height, width] = turn.reorder(geometry.shape);
            let [dz, dy, dx] = turn.reorder(geometry.spacing).map(|mm| mm as i64);
            let at = |z: usize, y: usize, x: usize| turned[(z * height + y) * width + x];
            let first = at(0, 0, 0);
            for z in 0..depth {
                for y in 0..height {
                    for x in 0..width {
                        let expected = [first[0] + dx * x as i64, first[1] + dy * y as i64, first[2] + dz * z as i64];
                        assert_eq!(at(z, y, x), expected, "{geometry:?} {turn:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_way_back_is_exact_for_all_orientations_and_axes() {
        for letters in ["SPL", "IAR", "LPS", "PRI", "ASL", "RSA"] {
            let axes = Axes::parse(letters).unwrap();
            for geometry in all_aligned() {
                let voxels = positions(&geometry);
                let turn = Reorientation::to_axes(&geometry, axes);
                let turned = turn.apply(&voxels, geometry.shape);
                let back = turn.inverse();
                assert_eq!(back.apply(&turned, turn.reorder(geometry.shape)), voxels, "{letters} {geometry:?}");
                assert_eq!(back.reorder(turn.reorder(geometry.shape)), geometry.shape);
            }
        }
    }

    #[test]
    fn an_oblique_grid_is_taken_for_its_nearest() {
        // Head first supine, tilted by 20° about the left-right axis and 10° in the plane.
        let (tilt, turn) = (20f64.to_radians(), 10f64.to_radians());
        let column = [turn.cos(), turn.sin() * tilt.cos(), turn.sin() * tilt.sin()];
        let row = [-turn.sin(), turn.cos() * tilt.cos(), turn.cos() * tilt.sin()];
        let slice = [0.0, -tilt.sin(), tilt.cos()];
        let axes = Axes::parse("SPL").unwrap();
        assert!(Reorientation::to_axes(&grid([slice, row, column]), axes).is_identity());
        let descending = slice.map(|c| -c);
        let turned = Reorientation::to_axes(&grid([descending, row, column]), axes);
        assert_eq!(turned, Reorientation { source_axis: [0, 1, 2], flipped: [true, false, false] });
    }

    #[test]
    fn at_45_degrees_the_choice_does_not_hang_on_rounding() {
        let half = std::f64::consts::FRAC_1_SQRT_2;
        let axes = Axes::parse("SPL").unwrap();
        for jitter in [0.0, 1e-12, -1e-12] {
            let row = [0.0, half + jitter, half - jitter];
            let slice = [0.0, -half, half];
            let turn = Reorientation::to_axes(&grid([slice, row, [1.0, 0.0, 0.0]]), axes);
            assert_eq!(turn.source_axis, [0, 1, 2]);
        }
    }

    #[test]
    fn letters_that_are_no_orientation_are_refused() {
        for letters in ["", "SP", "SPLS", "SPP", "SIL", "spl", "XYZ", "SPL "] {
            assert!(Axes::parse(letters).is_err(), "{letters}");
        }
        assert_eq!(Axes::parse("IAR").unwrap().to_string(), "IAR");
    }
}
