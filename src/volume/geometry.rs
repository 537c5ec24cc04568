//! Where voxels lie in the patient: LPS coordinates in millimetres (PS3.3 C.7.6.2.1.1).

/// A regular grid of voxels. Indices are (slice, row, column), in this order everywhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    /// Slices, rows, columns.
    pub shape: [usize; 3],
    /// Centre of voxel (0, 0, 0), mm.
    pub origin: [f64; 3],
    /// Unit vector from slice 0 towards slice 1: always column direction × row direction, the normal of Image Orientation
    /// (Patient). Slices are sorted along it, whatever order they came in.
    pub slice_direction: [f64; 3],
    /// Unit vector from row 0 towards row 1 (the second triple of Image Orientation (Patient)).
    pub row_direction: [f64; 3],
    /// Unit vector from column 0 towards column 1 (the first triple of Image Orientation (Patient)).
    pub column_direction: [f64; 3],
    /// Between slices, between rows, between columns, mm. All positive.
    pub spacing: [f64; 3],
}

impl Geometry {
    /// The place of a (possibly fractional) voxel index in the patient, mm.
    #[must_use]
    pub fn position(&self, index: [f64; 3]) -> [f64; 3] {
        let along = [self.slice_direction, self.row_direction, self.column_direction];
        std::array::from_fn(|axis| {
            self.origin[axis] + (0..3).map(|d| index[d] * self.spacing[d] * along[d][axis]).sum::<f64>()
        })
    }

    /// The volume of one voxel, mm³.
    #[must_use]
    pub fn voxel_volume(&self) -> f64 {
        self.spacing.iter().product()
    }

    /// How many voxels there are.
    #[must_use]
    pub fn voxel_count(&self) -> usize {
        self.shape.iter().product()
    }
}
