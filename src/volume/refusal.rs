//! Why a series is no volume, each reason by its own name.

use super::decode::DecodeError;
use super::instance::InstanceError;
use super::pixel_format::PixelFormatError;

/// Why a series is not read. A result and not a failure: the sentence is for the radiologist.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Not one instance.
    #[error("The series holds no instance.")]
    Empty,
    /// An instance that is no readable data set: leaving it out could leave out a slice.
    #[error("An instance of the series cannot be read: {0}.")]
    UnreadableInstance(String),
    /// Patient ID, name or birth date differ.
    #[error("The instances of the series name different patients ({0}).")]
    SeveralPatients(&'static str),
    /// Study Instance UIDs differ.
    #[error("The instances belong to {0} different studies.")]
    SeveralStudies(usize),
    /// Series Instance UIDs differ.
    #[error("The instances belong to {0} different series.")]
    SeveralSeries(usize),
    /// No instance of a SOP class that has slices.
    #[error("The series holds no cross-sectional images but {0}.")]
    NoCrossSections(String),
    /// No instance of a SOP class that has radiographs.
    #[error("The series holds no radiographs but {0}.")]
    NoRadiographs(String),
    /// Number of Frames and the functional groups of frames do not agree: some frame's place is not known.
    #[error("An image declares {declared} frames and describes {described} of them.")]
    UndescribedFrames {
        /// Number of Frames (0028,0008).
        declared: usize,
        /// Items of the Per-frame Functional Groups Sequence.
        described: usize,
    },
    /// Several frames where one image is read.
    #[error("The image has {0} frames, only single images are read.")]
    SeveralFrames(usize),
    /// More pixels than allowed.
    #[error("The image has {rows} × {columns} pixels, at most {megapixels} million are read.")]
    ImageTooLarge {
        /// Rows of the image.
        rows: usize,
        /// Columns of the image.
        columns: usize,
        /// By the options, in millions of 2^20.
        megapixels: usize,
    },
    /// Nothing but one value, or nothing but padding.
    #[error("The image is of one value throughout.")]
    Blank,
    /// Nothing but localizers.
    #[error("The series holds only localizer images.")]
    Localizer,
    /// Nothing but reformats, projections, captures.
    #[error("The series holds only derived images ({0}).")]
    Derived(String),
    /// No image has position, orientation and spacing.
    #[error("The images do not say where they lie in the patient.")]
    NoGeometry,
    /// An image without Pixel Data.
    #[error("An image of the series has no pixel data.")]
    NoPixelData,
    /// Colour instead of one value a pixel.
    #[error("The images are in colour.")]
    Colour,
    /// A pixel format that is not read.
    #[error("The pixel format of an image is not read: {0}.")]
    PixelFormat(#[from] PixelFormatError),
    /// A transfer syntax that is not read.
    #[error("The images are compressed in a way that is not read (transfer syntax {0}).")]
    TransferSyntax(String),
    /// A Modality LUT Sequence in place of slope and intercept, of slices; or one that makes no sense, of a radiograph.
    #[error("The images map their values by a Modality LUT that is not read.")]
    ModalityLut,
    /// Slope or intercept are no numbers, or the slope is 0.
    #[error("Rescale Slope or Rescale Intercept of an image makes no sense.")]
    Rescale,
    /// Orientations differ.
    #[error("The images lie in {0} different orientations.")]
    MixedOrientations(usize),
    /// Rows or Columns differ.
    #[error("The images are of {0} different sizes.")]
    MixedSizes(usize),
    /// Pixel Spacing differs.
    #[error("The images have {0} different pixel spacings.")]
    MixedPixelSpacings(usize),
    /// Several acquisitions, where one may not be picked or they show different regions.
    #[error("The series holds {count} acquisitions, told apart by {key}.")]
    SeveralAcquisitions {
        /// The attribute that tells them apart.
        key: &'static str,
        /// How many there are.
        count: usize,
    },
    /// Several different images at one place, and nothing tells acquisitions apart.
    #[error("{0} places in the patient are shown by several different images.")]
    DuplicatedPositions(usize),
    /// A stack that is sheared along a straight line.
    #[error("The gantry was tilted by {degrees:.1} degrees: the slices are shifted against each other.")]
    GantryTilt {
        /// Between the stack's axis and the normal of its slices.
        degrees: f64,
    },
    /// Slices that are shifted within their planes without a pattern.
    #[error("The slices are shifted against each other by up to {0:.1} mm.")]
    ShiftedSlices(f64),
    /// Distances between slices that no even grid with gaps explains.
    #[error("The distance between slices varies from {least:.2} to {most:.2} mm.")]
    VariableSpacing {
        /// Smallest distance, mm.
        least: f64,
        /// Largest distance, mm.
        most: f64,
    },
    /// More slices missing than allowed.
    #[error("{:.0} % of the slices are missing ({missing} of {expected}); at most {:.0} % may be.", 100.0 * share, 100.0 * allowed)]
    MissingSlices {
        /// Slices that are not there.
        missing: usize,
        /// Slices of the whole grid.
        expected: usize,
        /// The first by the second.
        share: f64,
        /// By the options.
        allowed: f64,
    },
    /// Too few to be a volume.
    #[error("The series has {found} slices, at least {least} are needed.")]
    TooFewSlices {
        /// Slices there are.
        found: usize,
        /// By the options.
        least: usize,
    },
    /// More memory than allowed.
    #[error("The volume would need {needed_mb} MB of memory, {allowed_mb} MB are allowed.")]
    TooLarge {
        /// Of the volume, in the form that it would be made in.
        needed_mb: usize,
        /// By the options.
        allowed_mb: usize,
    },
    /// Not one frame, or too few of them, can be decoded.
    #[error("{failed} of {total} images cannot be decoded: {first}.")]
    Undecodable {
        /// Frames that cannot.
        failed: usize,
        /// All frames.
        total: usize,
        /// What is wrong with the first of them.
        first: DecodeError,
    },
}

impl Refusal {
    /// A short stable word for logs, tables and reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty-series",
            Self::UnreadableInstance(_) => "unreadable-instance",
            Self::SeveralPatients(_) => "several-patients",
            Self::SeveralStudies(_) => "several-studies",
            Self::SeveralSeries(_) => "several-series",
            Self::NoCrossSections(_) => "no-cross-sections",
            Self::NoRadiographs(_) => "no-radiographs",
            Self::UndescribedFrames { .. } => "undescribed-frames",
            Self::SeveralFrames(_) => "several-frames",
            Self::ImageTooLarge { .. } => "image-too-large",
            Self::Blank => "blank",
            Self::Localizer => "localizer",
            Self::Derived(_) => "derived",
            Self::NoGeometry => "no-geometry",
            Self::NoPixelData => "no-pixel-data",
            Self::Colour => "colour",
            Self::PixelFormat(_) => "pixel-format",
            Self::TransferSyntax(_) => "transfer-syntax",
            Self::ModalityLut => "modality-lut",
            Self::Rescale => "rescale",
            Self::MixedOrientations(_) => "mixed-orientations",
            Self::MixedSizes(_) => "mixed-sizes",
            Self::MixedPixelSpacings(_) => "mixed-pixel-spacings",
            Self::SeveralAcquisitions { .. } => "several-acquisitions",
            Self::DuplicatedPositions(_) => "duplicated-positions",
            Self::GantryTilt { .. } => "gantry-tilt",
            Self::ShiftedSlices(_) => "shifted-slices",
            Self::VariableSpacing { .. } => "variable-spacing",
            Self::MissingSlices { .. } => "missing-slices",
            Self::TooFewSlices { .. } => "too-few-slices",
            Self::TooLarge { .. } => "too-large",
            Self::Undecodable { .. } => "undecodable",
        }
    }

    /// The share of slices that are missing, 0 to 1, where it is what the series is refused for.
    #[must_use]
    pub const fn missing_share(&self) -> Option<f64> {
        match self {
            Self::MissingSlices { share, .. } => Some(*share),
            _ => None,
        }
    }
}

/// Why there is no volume.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The series is none: a result.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A file could not be read: ours to mend, and worth another try.
    #[error(transparent)]
    Read(InstanceError),
}

impl From<InstanceError> for AssembleError {
    /// Only what the system would not read is an error; what was read and is broken is a refusal.
    fn from(error: InstanceError) -> Self {
        match error {
            InstanceError::Read { .. } => Self::Read(error),
            InstanceError::Part10(_)
            | InstanceError::Parse(_)
            | InstanceError::HeaderTooLong
            | InstanceError::TooManyFrames(_)
            | InstanceError::Uid { .. } => Self::Refused(Refusal::UnreadableInstance(error.to_string())),
        }
    }
}
