//! Where a set of voxels lies in the patient: number, centroid, bounding box.

/// The voxels of one slice, by row and column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SliceExtent {
    pub(super) count: u64,
    row_sum: u64,
    column_sum: u64,
    rows: Option<[usize; 2]>,
    columns: Option<[usize; 2]>,
}

impl SliceExtent {
    pub(super) fn add(&mut self, row: usize, column: usize) {
        self.add_run(row, column, 1);
    }

    /// Adds `length` (not 0) voxels of one row from `column` on.
    pub(super) fn add_run(&mut self, row: usize, column: usize, length: usize) {
        let last = column + length - 1;
        self.count += length as u64;
        self.row_sum += (row * length) as u64;
        self.column_sum += ((column + last) * length / 2) as u64;
        self.rows = Some(widened(self.rows, row));
        self.columns = Some(widened(Some(widened(self.columns, column)), last));
    }

    /// The voxels of `wanted` in a slice of labels.
    pub(super) fn of_labels(slice: &[u8], columns: usize, wanted: u8) -> Self {
        let mut extent = Self::default();
        for (row, line) in slice.chunks(columns).enumerate() {
            for (chunk, labels) in line.chunks(16).enumerate() {
                if labels.iter().all(|label| *label == wanted) {
                    extent.add_run(row, chunk * 16, labels.len());
                } else if labels.contains(&wanted) {
                    let wanted_ones = labels.iter().enumerate().filter(|(_, label)| **label == wanted);
                    wanted_ones.for_each(|(offset, _)| extent.add(row, chunk * 16 + offset));
                }
            }
        }
        extent
    }
}

/// The voxels of one segment in LPS coordinates, mm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Extent {
    pub(super) count: u64,
    sum: [f64; 3],
    low: [f64; 3],
    high: [f64; 3],
}

impl Default for Extent {
    fn default() -> Self {
        Self { count: 0, sum: [0.0; 3], low: [f64::INFINITY; 3], high: [f64::NEG_INFINITY; 3] }
    }
}

impl Extent {
    /// Adds a slice; `place` gives the position of a (row, column), which may lie between voxels.
    pub(super) fn add(&mut self, slice: &SliceExtent, place: impl Fn(f64, f64) -> [f64; 3]) {
        let (Some(rows), Some(columns)) = (slice.rows, slice.columns) else { return };
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let real = |n: u64| n as f64;
        let count = real(slice.count);
        self.count += slice.count;
        let centre = place(real(slice.row_sum) / count, real(slice.column_sum) / count);
        for (sum, centre) in self.sum.iter_mut().zip(centre) {
            *sum += count * centre;
        }
        for row in rows {
            for column in columns {
                let corner = place(real(row as u64), real(column as u64));
                self.low = std::array::from_fn(|axis| self.low[axis].min(corner[axis]));
                self.high = std::array::from_fn(|axis| self.high[axis].max(corner[axis]));
            }
        }
    }

    /// The greatest distance along an axis between the centroids or the corners of two extents, mm.
    pub(super) fn distance(&self, other: &Self) -> f64 {
        let pairs = [(self.centroid(), other.centroid()), (self.low, other.low), (self.high, other.high)];
        pairs.iter().flat_map(|(a, b)| (0..3).map(move |axis| (a[axis] - b[axis]).abs())).fold(0.0, f64::max)
    }

    fn centroid(&self) -> [f64; 3] {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let count = self.count as f64;
        self.sum.map(|sum| sum / count)
    }
}

fn widened(range: Option<[usize; 2]>, value: usize) -> [usize; 2] {
    range.map_or([value; 2], |[low, high]| [low.min(value), high.max(value)])
}
