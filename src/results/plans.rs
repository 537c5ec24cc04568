//! The objects that stand beside a report: what each will hold is decided before any is written.

use super::ResultError;
use super::identifiers::Identifiers;
use super::request::ResultRequest;
use super::{parametric_map, segmentation};
use crate::inference::prediction::Segment;

/// What is sent besides the report, which refers to it.
#[derive(Debug, Clone)]
pub(super) struct Plans<'a> {
    pub(super) segmentation: Option<segmentation::Plan<'a>>,
    pub(super) parametric_map: Option<parametric_map::Plan>,
    /// Segments that have voxels, but none on a slice of which the source has a frame.
    pub(super) unseen: Vec<&'a Segment>,
}

impl<'a> Plans<'a> {
    pub(super) fn of(request: &ResultRequest<'a>, identifiers: &Identifiers) -> Result<Self, ResultError> {
        let (segmentation, unseen) = segmentation::plan(request, identifiers)?;
        Ok(Self { segmentation, parametric_map: parametric_map::plan(request), unseen })
    }

    /// The segments that have voxels.
    pub(super) fn segments(&self) -> &[segmentation::PlannedSegment<'a>] {
        self.segmentation.as_ref().map_or(&[], |plan| &plan.segments)
    }
}
