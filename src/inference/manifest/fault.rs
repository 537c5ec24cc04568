//! What is wrong with a manifest, and where.

use std::fmt;
use std::path::PathBuf;

/// One fault of a package. The model's author (or whoever installed it) must act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    /// The file at fault.
    pub file: PathBuf,
    /// Dotted path of the key, such as `output.segmentation.segments[1].type`; empty for the file as a whole.
    pub key: String,
    /// Line from 1; 0 where the fault is not in the text (a missing file).
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ManifestError {}
