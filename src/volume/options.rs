//! What is asked of a series before it is a volume.

/// Bounds and choices. The defaults suit a model that measures.
#[derive(Debug, Clone, PartialEq)]
pub struct AssembleOptions {
    /// Fewer slices are refused; fewer than two always.
    pub min_slices: usize,
    /// A larger share of missing slices is refused; a smaller one is filled by interpolation, with a warning.
    pub max_missing_share: f64,
    /// Whether reformats, projections and other derived images may be slices.
    pub accept_derived: bool,
    /// What becomes of several acquisitions of one region in one series.
    pub several_acquisitions: SeveralAcquisitions,
    /// Whether slices at unequal distances are put on an even grid that is finer than they are, by interpolation, with a
    /// warning; else they are refused.
    pub uneven_slices: bool,
    /// More memory is refused, in bytes of the form that the voxels are kept in.
    pub max_volume_bytes: usize,
}

/// What becomes of several acquisitions (phases, kernels, repetitions) in one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeveralAcquisitions {
    /// The one with the most slices is read, the first of them where several have as many, with a warning.
    ReadLargest,
    /// The series is refused.
    Refuse,
}

impl Default for AssembleOptions {
    fn default() -> Self {
        Self {
            min_slices: 3,
            max_missing_share: 0.05,
            accept_derived: false,
            several_acquisitions: SeveralAcquisitions::ReadLargest,
            uneven_slices: false,
            max_volume_bytes: 2 << 30,
        }
    }
}
