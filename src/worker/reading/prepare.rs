//! The first stage of a reading: headers, acceptance, pixels.

use std::path::PathBuf;
use std::sync::Arc;

use super::ReadingError;
use crate::dicom::data_set::DataSet;
use crate::dicom::tags;
use crate::dicom::uid::FrameOfReferenceUid;
use crate::inference::manifest::Manifest;
use crate::volume::{AssembleError, AssembleOptions, InstanceSource, Series, SourceSeries, Volume};

/// A series made ready for one model.
#[derive(Debug, Clone)]
pub enum Prepared {
    /// The model reads it.
    Volume(Arc<Volume>),
    /// The model does not read it: a result and no failure.
    NotSuitable {
        /// What a report can say of the series.
        source: Box<SourceSeries>,
        /// A short stable word, such as `gantry-tilt`.
        code: &'static str,
        /// One sentence for the radiologist.
        reason: String,
    },
}

/// The instances of one series. What was decoded for one model serves the next one.
#[derive(Debug, Clone)]
pub struct SeriesInstances {
    sources: Vec<InstanceSource>,
    volume: Option<Arc<Volume>>,
}

impl From<&[PathBuf]> for SeriesInstances {
    fn from(files: &[PathBuf]) -> Self {
        Self { sources: files.iter().cloned().map(InstanceSource::File).collect(), volume: None }
    }
}

impl From<Vec<InstanceSource>> for SeriesInstances {
    fn from(sources: Vec<InstanceSource>) -> Self {
        Self { sources, volume: None }
    }
}

impl SeriesInstances {
    /// How many of them came with their pixels decoded.
    #[must_use]
    pub fn decoded_early(&self) -> usize {
        self.sources.iter().filter(|source| matches!(source, InstanceSource::Decoded(_))).count()
    }

    /// Reads the headers, holds the series against what the model accepts, and decodes the pixels only then. Blocks.
    ///
    /// # Errors
    /// [`ReadingError::File`] and [`ReadingError::Unreadable`]. A series that the model does not read is no error.
    pub fn prepare(&mut self, manifest: &Manifest) -> Result<Prepared, ReadingError> {
        match self.accepted(manifest) {
            Ok(volume) => Ok(Prepared::Volume(volume)),
            Err(NoVolume::File(cause)) => Err(ReadingError::File(cause)),
            Err(NoVolume::NotSuitable { code, reason }) => {
                let source = Box::new(self.source().ok_or(ReadingError::Unreadable)?);
                Ok(Prepared::NotSuitable { source, code, reason })
            }
        }
    }

    /// What a report can say of a series that is no volume: its readable instances, in the order in which they came.
    #[must_use]
    pub fn source(&self) -> Option<SourceSeries> {
        let headers: Vec<_> = self.sources.iter().filter_map(|source| source.header().ok()).collect();
        let first = headers.first()?;
        let header: DataSet = first.data_set.clone();
        Some(SourceSeries {
            study_instance_uid: first.study_instance_uid.clone(),
            series_instance_uid: first.series_instance_uid.clone(),
            frame_of_reference_uid: header.uid(tags::FRAME_OF_REFERENCE_UID, FrameOfReferenceUid::parse).ok(),
            instances: headers.iter().map(|h| (h.sop_class_uid.clone(), h.sop_instance_uid.clone())).collect(),
            header,
        })
    }

    fn accepted(&mut self, manifest: &Manifest) -> Result<Arc<Volume>, NoVolume> {
        let options = assemble_options(manifest);
        let series = Series::read(self.sources.clone())?;
        if let Err(refusal) = manifest.accepts(&series.facts(&options)) {
            return Err(NoVolume::NotSuitable { code: refusal.code, reason: refusal.reason });
        }
        if let Some(volume) = self.volume.as_ref().filter(|volume| suffices(volume, &options)) {
            return Ok(volume.clone());
        }
        let volume = Arc::new(series.assemble(&options)?);
        self.volume = Some(volume.clone());
        Ok(volume)
    }
}

enum NoVolume {
    NotSuitable { code: &'static str, reason: String },
    File(String),
}

impl From<AssembleError> for NoVolume {
    fn from(error: AssembleError) -> Self {
        match error {
            AssembleError::Refused(refusal) => Self::NotSuitable { code: refusal.code(), reason: refusal.to_string() },
            AssembleError::Read(cause) => Self::File(cause.to_string()),
        }
    }
}

fn assemble_options(manifest: &Manifest) -> AssembleOptions {
    AssembleOptions {
        min_slices: manifest.accepts.least_slices.max(1),
        max_missing_share: manifest.accepts.largest_missing_share,
        ..AssembleOptions::default()
    }
}

/// Whether a volume that was assembled for another model would be the same under these options.
fn suffices(volume: &Volume, options: &AssembleOptions) -> bool {
    let present = volume.slices.iter().flatten().count();
    present >= options.min_slices && volume.missing_share <= options.max_missing_share
}
