//! Where the grid after the steps lies in the grid before them, along each axis: what is needed to bring scores back.

/// The axes of a grid after the steps in terms of the grid before them.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Slices, rows, columns; or rows, columns of an image.
    pub axes: Vec<Along>,
}

/// One axis. The centre of voxel `i` after the steps lies at `scale * i + offset` before them, in voxels of that grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Along {
    /// Voxels before for one voxel after, more than 0.
    pub scale: f64,
    /// Where voxel 0 after the steps lies, in voxels before.
    pub offset: f64,
    /// Voxels before the steps, at least 1.
    pub before: usize,
    /// Voxels after the steps, at least 1.
    pub after: usize,
    /// From where to where the steps kept the source, in voxels before: -0.5 to `before` - 0.5 where nothing was cut off.
    /// What lies elsewhere in the grid after the steps is filling.
    pub kept: [f64; 2],
}

/// Room for rounding where places are compared, in voxels.
const ROUNDING: f64 = 1e-6;

impl Field {
    /// Before any step.
    #[must_use]
    pub fn whole(extents: &[usize]) -> Self {
        let axes = extents.iter().map(|extent| Along::whole(*extent)).collect();
        Self { axes }
    }

    /// Extents before the steps.
    #[must_use]
    pub fn before(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| axis.before).collect()
    }

    /// Extents after the steps.
    #[must_use]
    pub fn after(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| axis.after).collect()
    }

    /// The same field of view cut into `extents` equal cells: a grid of patches or of a map that a module gives. One
    /// extent an axis; `None` where there are more or fewer, or one is 0.
    #[must_use]
    pub fn coarse(&self, extents: &[usize]) -> Option<Self> {
        if extents.len() != self.axes.len() || extents.contains(&0) {
            return None;
        }
        let axes =
            self.axes.iter().zip(extents).map(|(axis, extent)| axis.resized(*extent, Positions::Edges)).collect();
        Some(Self { axes })
    }

    /// Distances between voxels after the steps, mm, from those before.
    #[must_use]
    pub fn spacing_after(&self, before: &[f64]) -> Vec<f64> {
        self.axes.iter().zip(before).map(|(axis, mm)| axis.scale * mm).collect()
    }
}

/// Which places of an axis stay where they are when it gets another number of voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// The outer edges of the first and the last voxel (`align_corners=False`).
    Edges,
    /// The centres of the first and the last voxel (`align_corners=True`).
    Corners,
    /// PyTorch's `nearest`: voxel `i` is a copy of `floor(i * scale)`.
    Floor,
    /// PyTorch's `nearest-exact`: voxel `i` is a copy of `floor((i + 1/2) * scale)`.
    FloorOfCentre,
    /// `align_corners=True` together with `antialias=True`: PyTorch takes the scale of the corners and the centres of
    /// the edges.
    CornersFromEdge,
}

impl Along {
    /// Before any step.
    #[must_use]
    pub fn whole(extent: usize) -> Self {
        let kept = [-0.5, extent as f64 - 0.5];
        Self { scale: 1.0, offset: 0.0, before: extent, after: extent, kept }
    }

    /// After a step that gives the axis `extent` voxels.
    #[must_use]
    pub fn resized(&self, extent: usize, positions: Positions) -> Self {
        let (scale, offset) = if extent == self.after { (1.0, 0.0) } else { positions.map(self.after, extent) };
        Self { scale: self.scale * scale, offset: self.scale.mul_add(offset, self.offset), after: extent, ..*self }
    }

    /// After a step that leaves the first voxel in place and puts another every `scale` voxels.
    #[must_use]
    pub fn spread(&self, extent: usize, scale: f64) -> Self {
        Self { scale: self.scale * scale, after: extent, ..*self }
    }

    /// After a step that begins at voxel `start` (below 0: filling comes first) and goes on for `extent` voxels.
    #[must_use]
    pub fn cut(&self, start: i64, extent: usize) -> Self {
        let start = start as f64;
        let edge = |index: f64| self.scale.mul_add(index, self.offset);
        let mut kept = self.kept;
        if start > 0.0 {
            kept[0] = kept[0].max(edge(start - 0.5));
        }
        let end = start + extent as f64;
        if end < self.after as f64 {
            kept[1] = kept[1].min(edge(end - 0.5));
        }
        Self { offset: self.scale.mul_add(start, self.offset), after: extent, kept, ..*self }
    }

    /// First and last voxel after the steps that show the source and no filling. At least one: the nearest where a cell is
    /// larger than all that was kept.
    #[must_use]
    pub fn shown(&self) -> [usize; 2] {
        let last = (self.after - 1) as f64;
        let index = |place: f64| (place - self.offset) / self.scale;
        let first = (index(self.kept[0]) - ROUNDING).ceil().clamp(0.0, last);
        let end = (index(self.kept[1]) + ROUNDING).floor().clamp(0.0, last);
        if first > end {
            let middle = index(f64::midpoint(self.kept[0], self.kept[1])).round().clamp(0.0, last);
            return [middle as usize; 2];
        }
        [first as usize, end as usize]
    }

    /// Whether the model looked at voxel `index` of the grid before the steps.
    #[must_use]
    pub fn looked_at(&self, index: usize) -> bool {
        let index = index as f64;
        index > self.kept[0] - ROUNDING && index < self.kept[1] + ROUNDING
    }

    /// Where voxel `index` of the grid before the steps lies in the grid after them, held within what is
    /// [`shown`](Self::shown): the voxel below, the one above, and the share of the one above.
    #[must_use]
    pub fn between(&self, index: usize) -> (usize, usize, f64) {
        let [first, last] = self.shown();
        let place = ((index as f64 - self.offset) / self.scale).clamp(first as f64, last as f64);
        let below = place.floor();
        let above = (below as usize + 1).min(last);
        (below as usize, above, place - below)
    }
}

impl Positions {
    /// Scale and offset from `after` voxels back to `before`.
    fn map(self, before: usize, after: usize) -> (f64, f64) {
        let scale = before as f64 / after as f64;
        let edges = (scale, 0.5_f64.mul_add(scale, -0.5));
        // A copy of `floor(x)` shows on average what lies at `x` less the mean fraction of all `x`.
        let common = gcd(before, after);
        let (numerator, denominator) = (before / common, (after / common) as f64);
        let fraction = (denominator - 1.0) / (2.0 * denominator);
        match self {
            Self::Edges => edges,
            // One voxel has no second corner: it stands for all.
            Self::Corners | Self::CornersFromEdge if after == 1 || before == 1 => edges,
            Self::Corners => ((before - 1) as f64 / (after - 1) as f64, 0.0),
            Self::CornersFromEdge => {
                let scale = (before - 1) as f64 / (after - 1) as f64;
                (scale, 0.5_f64.mul_add(scale, -0.5))
            }
            Self::Floor => (scale, -fraction),
            Self::FloorOfCentre => {
                let half = (numerator % 2) as f64 / (2.0 * denominator);
                (scale, 0.5_f64.mul_add(scale, -half - fraction))
            }
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn an_axis_that_is_made_coarser_keeps_its_edges() {
        let axis = Along::whole(100).resized(50, Positions::Edges);
        assert!(near(axis.scale, 2.0) && near(axis.offset, 0.5));
        let finer = Along::whole(50).resized(100, Positions::Edges);
        assert!(near(finer.scale, 0.5) && near(finer.offset, -0.25));
    }

    #[test]
    fn an_axis_with_aligned_corners_keeps_its_corner_centres() {
        let axis = Along::whole(11).resized(6, Positions::Corners);
        assert!(near(axis.scale, 2.0) && near(axis.offset, 0.0));
        let one = Along::whole(11).resized(1, Positions::Corners);
        assert!(near(one.offset, 5.0), "one voxel stands for all: {one:?}");
        assert!((0..11).all(|index| one.between(index) == (0, 0, 0.0)));
    }

    #[test]
    fn copied_voxels_lie_on_average_where_they_were_copied_from() {
        for (before, after) in [(12, 12), (12, 6), (12, 24), (12, 8), (9, 3), (7, 5), (10, 4), (5, 13), (16, 8)] {
            let scale = before as f64 / after as f64;
            for (positions, shift) in [(Positions::Floor, 0.0), (Positions::FloorOfCentre, 0.5)] {
                let axis = Along::whole(before).resized(after, positions);
                let copied = |index: usize| ((index as f64 + shift) * scale).floor();
                let mean = (0..after).map(|i| copied(i) - axis.scale.mul_add(i as f64, axis.offset)).sum::<f64>();
                assert!((mean / after as f64).abs() < 1e-9, "{before} {after} {positions:?}: {mean}");
            }
        }
    }

    #[test]
    fn steps_compose_and_the_way_back_is_the_inverse() {
        let axis = Along::whole(100).cut(10, 60).resized(30, Positions::Edges).cut(-5, 40);
        assert_eq!((axis.before, axis.after), (100, 40));
        // Voxel 5 is the first that is no filling: voxels 10 and 11 of the source.
        assert!(near(axis.scale.mul_add(5.0, axis.offset), 10.5));
        assert_eq!(axis.shown(), [5, 34]);
        assert!(!axis.looked_at(9) && axis.looked_at(10) && axis.looked_at(69) && !axis.looked_at(70));

        assert!(near(axis.scale, 2.0) && near(axis.offset, 0.5));
    }

    #[test]
    fn nothing_is_read_from_the_filling() {
        let axis = Along::whole(10).cut(-3, 16);
        assert_eq!(axis.shown(), [3, 12]);
        assert_eq!(axis.between(0), (3, 4, 0.0));
        assert_eq!(axis.between(9), (12, 12, 0.0));
        assert!((0..10).all(|index| axis.looked_at(index)));
    }

    #[test]
    fn what_is_cut_off_by_a_second_cut_stays_cut_off() {
        let axis = Along::whole(50).cut(20, 20).cut(-10, 40);
        assert_eq!(axis.shown(), [10, 29]);
        assert!(!axis.looked_at(19) && axis.looked_at(20) && axis.looked_at(39) && !axis.looked_at(40));
    }

    #[test]
    fn a_coarse_grid_covers_the_same_field() {
        let field = Field::whole(&[1036, 518]).coarse(&[37, 37]).unwrap();
        assert_eq!(field.before(), [1036, 518]);
        assert_eq!(field.after(), [37, 37]);
        // The first patch is pixels 0 to 27, its centre 13.5.
        assert_eq!([field.axes[0].offset, field.axes[1].offset], [13.5, 6.5]);
        assert_eq!(field.axes[0].between(1035).0, 36);
        assert!(Field::whole(&[4, 4]).coarse(&[2]).is_none() && Field::whole(&[4]).coarse(&[0]).is_none());
    }

    #[test]
    fn spacing_follows_the_scale() {
        let field = Field { axes: vec![Along::whole(100).resized(40, Positions::Edges)] };
        assert!(near(field.spacing_after(&[0.6])[0], 1.5));
    }
}
