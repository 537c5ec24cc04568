//! What a model is run on.

use std::sync::Arc;

use super::prediction::LabelMap;
use crate::volume::radiograph::Radiograph;
use crate::volume::{SourceSeries, Volume};

/// What a model is run on.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A stack of slices.
    Volume(Arc<Volume>),
    /// One radiograph.
    Image(Arc<Radiograph>),
}

impl Subject {
    /// What the result objects copy and reference.
    #[must_use]
    pub fn source(&self) -> &SourceSeries {
        match self {
            Self::Volume(volume) => &volume.source,
            Self::Image(image) => &image.source,
        }
    }

    /// What a reader should know of the source.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Volume(volume) => &volume.warnings,
            Self::Image(image) => &image.warnings,
        }
    }

    /// The stack of slices, where it is one.
    #[must_use]
    pub fn volume(&self) -> Option<&Volume> {
        match self {
            Self::Volume(volume) => Some(volume),
            Self::Image(_) => None,
        }
    }
}

impl From<Volume> for Subject {
    fn from(volume: Volume) -> Self {
        Self::Volume(Arc::new(volume))
    }
}

impl From<&Arc<Volume>> for Subject {
    fn from(volume: &Arc<Volume>) -> Self {
        Self::Volume(Arc::clone(volume))
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
    /// The label map of the package that the manifest names as its gate, on the grid of the subject.
    pub gate: Option<Arc<LabelMap>>,
    /// Whether each slice is scored by itself too, where the package can.
    pub per_slice: bool,
}
