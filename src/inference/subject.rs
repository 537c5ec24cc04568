//! What a model is run on.

use std::sync::Arc;

use super::prediction::Touched;
use crate::volume::radiograph::Radiograph;
use crate::volume::{SourceSeries, Stack, Volume, Voxels};

/// What a model is run on: what it is, and its values, which are many. Who gives it away keeps what it
/// [was](Self::described) and not the values, which go as soon as the last one who holds the subject needs them no more.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A stack of slices.
    Volume(Arc<Stack>, Arc<Voxels>),
    /// One radiograph.
    Image(Arc<Radiograph>),
}

/// What a model was run on, without the values of a volume: all that results say of it.
#[derive(Debug, Clone)]
pub enum Described {
    /// A stack of slices.
    Volume(Arc<Stack>),
    /// One radiograph.
    Image(Arc<Radiograph>),
}

impl Subject {
    /// What results say of it.
    #[must_use]
    pub fn described(&self) -> Described {
        match self {
            Self::Volume(stack, _) => Described::Volume(Arc::clone(stack)),
            Self::Image(image) => Described::Image(Arc::clone(image)),
        }
    }
}

impl Described {
    /// What the result objects copy and reference.
    #[must_use]
    pub fn source(&self) -> &SourceSeries {
        match self {
            Self::Volume(stack) => &stack.source,
            Self::Image(image) => &image.source,
        }
    }

    /// What a reader should know of the source.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Volume(stack) => &stack.warnings,
            Self::Image(image) => &image.warnings,
        }
    }

    /// The stack of slices, where it is one.
    #[must_use]
    pub fn stack(&self) -> Option<&Stack> {
        match self {
            Self::Volume(stack) => Some(stack),
            Self::Image(_) => None,
        }
    }

    /// Slices, rows, columns; one slice for an image.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        match self {
            Self::Volume(stack) => stack.geometry.shape,
            Self::Image(image) => [1, image.rows, image.columns],
        }
    }
}

impl From<Volume> for Subject {
    fn from(volume: Volume) -> Self {
        let (stack, voxels) = volume.apart();
        Self::Volume(Arc::new(stack), Arc::new(voxels))
    }
}

impl From<Radiograph> for Subject {
    fn from(image: Radiograph) -> Self {
        Self::Image(Arc::new(image))
    }
}

/// What else a run depends on.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Where the package that the manifest names as its gate found something, on the grid of the subject.
    pub gate: Option<Touched>,
    /// Whether each slice is scored by itself too, where the package can.
    pub per_slice: bool,
}
