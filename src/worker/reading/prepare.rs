//! The first stage of a reading: headers, acceptance, pixels.

use std::path::PathBuf;
use std::sync::Arc;

use super::ReadingError;
use crate::inference::accept::NotAccepted;
use crate::inference::engine::Engine;
use crate::inference::manifest::{InputKind, Manifest};
use crate::inference::subject::Subject;
use crate::volume::radiograph::RadiographOptions;
use crate::volume::select::check_identity;
use crate::volume::source::is_image_storage;
use crate::volume::{AssembleError, AssembleOptions, InstanceSource, Refusal, Series, SourceSeries, Stack, Voxels};

/// A series made ready for one model.
#[derive(Debug, Clone)]
pub enum Prepared {
    /// The model reads it.
    Subject {
        /// What it is run on.
        subject: Subject,
        /// What its headers leave to its pixels, in sentences for the reader of the result.
        remarks: Vec<String>,
    },
    /// The model does not read it: a result and no failure.
    NotSuitable {
        /// What a report can say of the series.
        source: Box<SourceSeries>,
        /// A short stable word, such as `gantry-tilt`.
        code: &'static str,
        /// One sentence for the radiologist.
        reason: String,
        /// Missing slices as a share of all that the series should have, 0 to 1, where it is known.
        missing_share: Option<f64>,
    },
}

/// The instances of one series. What was decoded for one model serves the next one.
#[derive(Debug, Clone)]
pub struct SeriesInstances {
    sources: Vec<InstanceSource>,
    /// With what it was assembled by.
    volume: Option<(AssembleOptions, Arc<Stack>, Arc<Voxels>)>,
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

    /// Reads the headers, holds the series against what the model and its gate accept, and decodes the pixels only then.
    /// Blocks.
    ///
    /// # Errors
    /// [`ReadingError::File`], [`ReadingError::Unreadable`] and [`ReadingError::Mixed`]. A series that the model does not read is no error.
    pub fn prepare(&mut self, manifest: &Manifest, engine: &Engine) -> Result<Prepared, ReadingError> {
        let gate = manifest.accepts.gate.as_ref().and_then(|gate| engine.manifest(gate));
        match self.accepted(manifest, gate) {
            Ok((subject, remarks)) => Ok(Prepared::Subject { subject, remarks }),
            Err(NoVolume::File(cause)) => Err(ReadingError::File(cause)),
            Err(NoVolume::NotSuitable { code, reason, missing_share }) => {
                let source = Box::new(self.source()?);
                Ok(Prepared::NotSuitable { source, code, reason, missing_share })
            }
        }
    }

    /// What a report can say of a series that is no volume: its readable images, in the order in which they came; where it
    /// holds none, whatever else it holds.
    ///
    /// # Errors
    /// [`ReadingError::Unreadable`] where not one instance can be read, [`ReadingError::Mixed`] where they belong to several
    /// patients, studies or series.
    pub fn source(&self) -> Result<SourceSeries, ReadingError> {
        let mut headers: Vec<_> = self.sources.iter().filter_map(|source| source.header().ok()).collect();
        match check_identity(&headers.iter().collect::<Vec<_>>()) {
            Err(Refusal::Empty) => return Err(ReadingError::Unreadable),
            identity => identity.map_err(ReadingError::Mixed)?,
        }
        if headers.iter().any(|header| is_image_storage(&header.sop_class_uid)) {
            headers.retain(|header| is_image_storage(&header.sop_class_uid));
        }
        let first = headers.first().ok_or(ReadingError::Unreadable)?;
        Ok(SourceSeries::of(first, &headers))
    }

    /// What the model is run on, and what its headers leave to its pixels.
    fn accepted(&mut self, manifest: &Manifest, gate: Option<&Manifest>) -> Result<(Subject, Vec<String>), NoVolume> {
        let series = Series::read(self.sources.clone())?;
        let mut remarks = Vec::new();
        for asked in [Some(manifest), gate].into_iter().flatten() {
            let facts = series.facts(&asked.assemble_options_for(manifest));
            let accepted = asked.accepts(&facts);
            let remark = accepted.map_err(|NotAccepted { code, reason }| NoVolume::NotSuitable {
                code,
                reason,
                missing_share: facts.missing_share(),
            })?;
            remarks.extend(remark.filter(|remark| !remarks.contains(remark)));
        }
        Ok((self.subject(manifest, series)?, remarks))
    }

    fn subject(&mut self, manifest: &Manifest, series: Series) -> Result<Subject, NoVolume> {
        let options = manifest.assemble_options();
        if let InputKind::Image { voi } = manifest.input.kind {
            let options = RadiographOptions { voi, ..RadiographOptions::default() };
            return Ok(series.radiograph(&options)?.into());
        }
        if let Some((by, stack, voxels)) = &self.volume
            && suffices(stack, by, &options)
        {
            return Ok(Subject::Volume(Arc::clone(stack), Arc::clone(voxels)));
        }
        let (stack, voxels) = series.assemble(&options)?.apart();
        let (_, stack, voxels) = self.volume.insert((options, Arc::new(stack), Arc::new(voxels)));
        Ok(Subject::Volume(Arc::clone(stack), Arc::clone(voxels)))
    }
}

enum NoVolume {
    NotSuitable { code: &'static str, reason: String, missing_share: Option<f64> },
    File(String),
}

impl From<AssembleError> for NoVolume {
    fn from(error: AssembleError) -> Self {
        match error {
            AssembleError::Refused(refusal) => Self::NotSuitable {
                code: refusal.code(),
                reason: refusal.to_string(),
                missing_share: refusal.missing_share(),
            },
            AssembleError::Read(cause) => Self::File(cause.to_string()),
        }
    }
}

/// Whether a volume that was assembled for another model, by its options, would be the same under these.
fn suffices(stack: &Stack, by: &AssembleOptions, options: &AssembleOptions) -> bool {
    let present = stack.slices.iter().flatten().count();
    let says_the_same = by.uneven_slices == options.uneven_slices || present == stack.slices.len();
    says_the_same && present >= options.min_slices && stack.missing_share <= options.max_missing_share
}
