//! What a model is run on.

use std::sync::Arc;

use super::prediction::LabelMap;
use crate::volume::Volume;

/// What a model is run on.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A stack of slices.
    Volume(Arc<Volume>),
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

/// What else a run depends on.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The label map of the package that the manifest names as its gate, on the grid of the subject.
    pub gate: Option<Arc<LabelMap>>,
    /// Whether each slice is scored by itself too, where the package can.
    pub per_slice: bool,
}
