//! Derived UIDs (PS3.5 section B.2): a job that runs twice makes the same objects, and a resend is no news to a PACS.

use super::request::{Outcome, Reason, ResultRequest};
use crate::dicom::uid::{FrameOfReferenceUid, OtherUid, SeriesInstanceUid, SopInstanceUid};

/// The UIDs of one request.
#[derive(Debug, Clone)]
pub(super) struct Identifiers {
    /// Of the algorithm: another one as soon as weights or version change.
    pub(super) device: OtherUid,
    pub(super) segmentation_series: SeriesInstanceUid,
    pub(super) segmentation: SopInstanceUid,
    pub(super) segmentation_dimensions: OtherUid,
    pub(super) parametric_map_series: SeriesInstanceUid,
    pub(super) parametric_map: SopInstanceUid,
    pub(super) parametric_map_dimensions: OtherUid,
    pub(super) report_series: SeriesInstanceUid,
    pub(super) report: SopInstanceUid,
    /// The source's; derived from its series where it names none, so that our own objects at least agree.
    pub(super) frame_of_reference: FrameOfReferenceUid,
    /// Stands for input instances in order, model, weights and configuration.
    seed: String,
}

impl Identifiers {
    pub(super) fn of(request: &ResultRequest<'_>) -> Self {
        let algorithm = request.algorithm;
        let mut parts =
            vec![algorithm.name.as_str(), &algorithm.version, &algorithm.weights_sha256, request.configuration_hash];
        parts.extend(request.source.instances.iter().map(|(_, uid)| uid.as_str()));
        let seed = OtherUid::derived(&parts).as_str().to_owned();
        // A failure and a later success of the same job are different documents, and so are two failures of different causes,
        // two reasons for which there is no reading, and a reading slice by slice.
        let by_slice = request.outcome.reading().is_some_and(|prediction| prediction.slice_scores.is_some());
        let report = &match (request.outcome, request.outcome.reason()) {
            (Outcome::Failed { code, cause }, _) => format!("failure report {code}: {cause}"),
            (_, Some(Reason { code, text })) => format!("report of no reading {code}: {text}"),
            _ if by_slice => "report by slice".to_owned(),
            _ => "report".to_owned(),
        };
        let series = request.source.series_instance_uid.as_str();
        Self {
            device: OtherUid::derived(&["device", &algorithm.name, &algorithm.version, &algorithm.weights_sha256]),
            segmentation_series: SeriesInstanceUid::derived(&[&seed, "segmentation", "series"]),
            segmentation: SopInstanceUid::derived(&[&seed, "segmentation", "instance"]),
            segmentation_dimensions: OtherUid::derived(&[&seed, "segmentation", "dimensions"]),
            parametric_map_series: SeriesInstanceUid::derived(&[&seed, "parametric map", "series"]),
            parametric_map: SopInstanceUid::derived(&[&seed, "parametric map", "instance"]),
            parametric_map_dimensions: OtherUid::derived(&[&seed, "parametric map", "dimensions"]),
            report_series: SeriesInstanceUid::derived(&[&seed, report, "series"]),
            report: SopInstanceUid::derived(&[&seed, report, "instance"]),
            frame_of_reference: request
                .source
                .frame_of_reference_uid
                .clone()
                .unwrap_or_else(|| FrameOfReferenceUid::derived(&["frame of reference", series])),
            seed,
        }
    }

    /// Tracking Unique Identifier of what a label names, the same in Segmentation and report.
    pub(super) fn tracking(&self, label: &str) -> OtherUid {
        OtherUid::derived(&[&self.seed, "tracking", label])
    }

    /// Tracking Unique Identifier of what is said beyond measurement groups: `kind` keeps labels apart that are alike.
    pub(super) fn tracking_of(&self, kind: &str, label: &str) -> OtherUid {
        OtherUid::derived(&[&self.seed, "tracking", kind, label])
    }
}
