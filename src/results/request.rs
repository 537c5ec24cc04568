//! What the objects are made from.

use super::codes;
use super::grid::SourceGrid;
use crate::clock::{Timestamp, Zone};
use crate::dicom::code::CodedConcept;
use crate::dicom::uid::{SeriesInstanceUid, SopClassUid, SopInstanceUid, StudyInstanceUid};
use crate::inference::prediction::{
    AlgorithmIdentity, AttentionMap, Finding, LabelMap, MeasurementGroup, Prediction, Verdict,
};
use crate::volume::SourceSeries;

/// All that the objects of one job say.
#[derive(Debug, Clone, Copy)]
pub struct ResultRequest<'a> {
    /// The series that was looked at: its patient and study are copied, its instances referenced.
    pub source: &'a SourceSeries,
    /// Where its pixels lie; nothing for a series that was refused before it was assembled.
    pub grid: Option<SourceGrid<'a>>,
    /// What came of it.
    pub outcome: Outcome<'a>,
    /// Who made the prediction.
    pub algorithm: &'a AlgorithmIdentity,
    /// Of the configuration on which the result depends: part of the derived UIDs.
    pub configuration_hash: &'a str,
    /// This node.
    pub equipment: &'a Equipment,
    /// The report that this one replaces.
    pub predecessor: Option<&'a DocumentReference>,
    /// The content date of all objects. A stored time (when the series was complete), so that a second run of the same
    /// job makes the same bytes.
    pub now: Timestamp,
    /// How it is written.
    pub options: &'a EncodingOptions,
}

/// What came of a job.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// The model ran; its verdict may still be «not suitable».
    Predicted(&'a Prediction),
    /// The series was refused before the model ran, by its geometry or its metadata.
    NotSuitable {
        /// A short stable word, such as `gantry-tilt`.
        code: &'a str,
        /// One sentence for the radiologist.
        reason: &'a str,
    },
    /// The model could not be run to its end.
    Failed {
        /// A short stable word, such as `time-limit`.
        code: &'a str,
        /// One sentence, without internals.
        cause: &'a str,
    },
}

/// The equipment that writes the objects (PS3.3 C.7.5.2): this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equipment {
    /// Manufacturer (0008,0070).
    pub manufacturer: String,
    /// Manufacturer's Model Name (0008,1090).
    pub model_name: String,
    /// Device Serial Number (0018,1000).
    pub serial_number: String,
    /// Software Versions (0018,1020).
    pub software_version: String,
}

/// A document by its place in the hierarchy (PS3.3 C.17.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentReference {
    /// Of the document.
    pub study_instance_uid: StudyInstanceUid,
    /// Of the document.
    pub series_instance_uid: SeriesInstanceUid,
    /// Of the document.
    pub sop_class_uid: SopClassUid,
    /// Of the document.
    pub sop_instance_uid: SopInstanceUid,
}

/// Choices in writing; [`Default`] is what most archives want.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodingOptions {
    /// Series Number of the report; the segmentation has the next one, the parametric map the one after. Stable for a
    /// model, apart from those of others.
    pub series_number_base: u32,
    /// Purpose of Reference of the contributing equipment.
    pub equipment_purpose: CodedConcept,
    /// Writes a frame for every slice and segment, also where it has no voxel: for viewers that count frames.
    pub keep_empty_frames: bool,
    /// Writes the status codes of CID 6042 and CID 6047 into the report.
    pub status_codes: bool,
    /// The offset of our own dates where the source names none in (0008,0201).
    pub utc_offset: Zone,
}

impl Default for EncodingOptions {
    fn default() -> Self {
        Self {
            series_number_base: 8000,
            equipment_purpose: codes::PROCESSING_EQUIPMENT,
            keep_empty_frames: false,
            status_codes: true,
            utc_offset: Zone::Fixed(time::UtcOffset::UTC),
        }
    }
}

/// Why a series has no reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reason<'a> {
    pub(super) code: &'a str,
    pub(super) text: &'a str,
}

impl<'a> Outcome<'a> {
    /// The prediction, where the series was suitable.
    pub(super) fn reading(&self) -> Option<&'a Prediction> {
        match self {
            Self::Predicted(prediction) if prediction.verdict == Verdict::Suitable => Some(prediction),
            _ => None,
        }
    }

    /// Why there is no reading.
    pub(super) fn reason(&self) -> Option<Reason<'a>> {
        match self {
            Self::Predicted(prediction) => match &prediction.verdict {
                Verdict::Suitable => None,
                Verdict::NotSuitable { code, reason } => Some(Reason { code, text: reason }),
            },
            Self::NotSuitable { code, reason } => Some(Reason { code, text: reason }),
            Self::Failed { code, cause } => Some(Reason { code, text: cause }),
        }
    }

    pub(super) const fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// What the model warns of, read or not.
    pub(super) fn warnings(&self) -> &'a [String] {
        match self {
            Self::Predicted(prediction) => &prediction.warnings,
            Self::NotSuitable { .. } | Self::Failed { .. } => &[],
        }
    }
}

impl<'a> ResultRequest<'a> {
    /// The label map with its grid, where the series was read and the model segments.
    pub(super) fn labelled_grid(&self) -> Option<(SourceGrid<'a>, &'a LabelMap, &'a Prediction)> {
        let prediction = self.outcome.reading()?;
        Some((self.grid?, prediction.label_map.as_ref()?, prediction))
    }

    /// The measurement groups of a reading.
    pub(super) fn groups(&self) -> &'a [MeasurementGroup] {
        self.outcome.reading().map_or(&[], |prediction| &prediction.measurement_groups)
    }

    /// The attention map with its grid, where the series was read and the model gives one.
    pub(super) fn attention(&self) -> Option<(SourceGrid<'a>, &'a AttentionMap)> {
        Some((self.grid?, self.outcome.reading()?.attention.as_ref()?))
    }

    /// The findings of a reading: the answer to «is anything wrong at all» first, then in the order of the model.
    pub(super) fn findings(&self) -> Vec<&'a Finding> {
        let mut findings: Vec<&Finding> =
            self.outcome.reading().map_or(&[][..], |prediction| &prediction.findings).iter().collect();
        findings.sort_by_key(|finding| !finding.is_pathology);
        findings
    }
}
