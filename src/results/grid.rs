//! The pixels that a prediction is about, without their values: where they lie and which source frame each slice is.

use crate::dicom::uid::{SopClassUid, SopInstanceUid};
use crate::volume::radiograph::{Radiograph, SourceImage};
use crate::volume::{Geometry, SourceFrame, Stack, slice_number};

/// The grid that label maps and attention maps are on.
#[derive(Debug, Clone, Copy)]
pub enum SourceGrid<'a> {
    /// Slices with a place in the patient.
    Stack(StackGrid<'a>),
    /// One image in its own rows and columns, without a place in the patient: a radiograph.
    Image(ImageGrid<'a>),
}

/// The grid of a volume.
#[derive(Debug, Clone, Copy)]
pub struct StackGrid<'a> {
    /// Where the voxels lie.
    pub geometry: &'a Geometry,
    /// The source frame of each slice; none where the source has none.
    pub slices: &'a [Option<SourceFrame>],
    /// Those of the slices that lie between slices of the source at unequal distances: nothing is missing there.
    pub between: &'a [usize],
    /// What a reader should know of the source.
    pub warnings: &'a [String],
}

/// The grid of one image: maps on it have the shape 1, rows, columns.
#[derive(Debug, Clone, Copy)]
pub struct ImageGrid<'a> {
    /// Rows (0028,0010).
    pub rows: usize,
    /// Columns (0028,0011).
    pub columns: usize,
    /// Which image it is.
    pub image: FrameReference<'a>,
    /// Between rows and between columns, mm, where the image says so.
    pub pixel_spacing: Option<[f64; 2]>,
    /// What a reader should know of the source.
    pub warnings: &'a [String],
}

/// One frame of one instance, to be referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameReference<'a> {
    /// Of the instance.
    pub sop_class_uid: &'a SopClassUid,
    /// Of the instance.
    pub sop_instance_uid: &'a SopInstanceUid,
    /// From 1 in a multi-frame instance; nothing in a single-frame one.
    pub frame_number: Option<u32>,
}

impl<'a> From<&'a Stack> for SourceGrid<'a> {
    fn from(stack: &'a Stack) -> Self {
        let Stack { geometry, slices, warnings, between, .. } = stack;
        Self::Stack(StackGrid { geometry, slices, between, warnings })
    }
}

impl<'a> From<&'a Radiograph> for SourceGrid<'a> {
    fn from(radiograph: &'a Radiograph) -> Self {
        Self::Image(ImageGrid {
            rows: radiograph.rows,
            columns: radiograph.columns,
            image: FrameReference::from(&radiograph.image),
            pixel_spacing: radiograph.pixel_spacing,
            warnings: &radiograph.warnings,
        })
    }
}

impl<'a> From<&'a SourceImage> for FrameReference<'a> {
    fn from(image: &'a SourceImage) -> Self {
        Self {
            sop_class_uid: &image.sop_class_uid,
            sop_instance_uid: &image.sop_instance_uid,
            frame_number: image.frame_number,
        }
    }
}

impl<'a> From<&'a SourceFrame> for FrameReference<'a> {
    fn from(frame: &'a SourceFrame) -> Self {
        Self {
            sop_class_uid: &frame.sop_class_uid,
            sop_instance_uid: &frame.sop_instance_uid,
            frame_number: frame.frame_number,
        }
    }
}

impl StackGrid<'_> {
    /// Between slices of the source, mm; nothing for one slice, and where they lie at unequal distances.
    pub(super) fn slice_spacing(&self) -> Option<f64> {
        (self.geometry.shape[0] > 1 && self.between.is_empty()).then_some(self.geometry.spacing[0])
    }

    /// The shortest distance between slices of the source, mm; the grid's where there is one slice.
    pub(super) fn nearest(&self) -> f64 {
        let present: Vec<usize> = (0..self.slices.len()).filter(|slice| self.slices[*slice].is_some()).collect();
        let steps = present.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(1);
        #[expect(clippy::cast_precision_loss, reason = "a number of slices")]
        let slots = steps as f64;
        slots * self.geometry.spacing[0]
    }

    /// Which slice of the source it is, from 1, in the order of the grid, and of how many; those that are missing are counted.
    pub(super) fn number(&self, slice: usize) -> (usize, usize) {
        (slice_number(slice, self.between), self.slices.len() - self.between.len())
    }
}

impl<'a> SourceGrid<'a> {
    /// Slices, rows, columns.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        match self {
            Self::Stack(stack) => stack.geometry.shape,
            Self::Image(image) => [1, image.rows, image.columns],
        }
    }

    /// The source frame of a slice; nothing where the source has a gap.
    #[must_use]
    pub fn reference(&self, slice: usize) -> Option<FrameReference<'a>> {
        match self {
            Self::Stack(stack) => stack.slices.get(slice)?.as_ref().map(FrameReference::from),
            Self::Image(image) => (slice == 0).then_some(image.image),
        }
    }

    /// What a reader should know of the source.
    #[must_use]
    pub const fn warnings(&self) -> &'a [String] {
        match self {
            Self::Stack(stack) => stack.warnings,
            Self::Image(image) => image.warnings,
        }
    }

    /// How many slices the source lacks, and how many it should have.
    #[must_use]
    pub fn missing_slices(&self) -> (usize, usize) {
        let of = |stack: StackGrid<'_>| {
            let expected = stack.slices.len() - stack.between.len();
            (expected - stack.slices.iter().flatten().count(), expected)
        };
        self.stack().map_or((0, 0), of)
    }

    /// Pixels of one slice.
    pub(super) fn slice_size(&self) -> usize {
        let [_, rows, columns] = self.shape();
        rows * columns
    }

    pub(super) const fn stack(&self) -> Option<StackGrid<'a>> {
        match self {
            Self::Stack(stack) => Some(*stack),
            Self::Image(_) => None,
        }
    }

    /// Between rows and between columns, mm, where known.
    pub(super) fn pixel_spacing(&self) -> Option<[f64; 2]> {
        match self {
            Self::Stack(stack) => Some([stack.geometry.spacing[1], stack.geometry.spacing[2]]),
            Self::Image(image) => image.pixel_spacing,
        }
    }
}
