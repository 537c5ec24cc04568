//! TID 1500, Measurement Report.

use super::super::codes;
use super::super::content::{Relationship, container};
use super::super::identifiers::Identifiers;
use super::super::request::ResultRequest;
use super::super::segmentation::Plan;
use super::{image_library, measurement_group, observation_context, qualitative_evaluations};
use crate::dicom::data_set::DataSet;

/// The content items below the root.
pub(in super::super) fn measurement_report(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    segmentation: Option<&Plan<'_>>,
) -> Vec<DataSet> {
    let mut items = observation_context::language();
    items.extend(observation_context::device_observer(request, identifiers));
    items.extend(observation_context::procedure_reported(request));
    items.push(image_library::image_library(request, identifiers));
    let groups: Vec<DataSet> = request
        .groups()
        .iter()
        .map(|group| measurement_group::measurement_group(request, identifiers, segmentation, group))
        .collect();
    if !groups.is_empty() {
        items.push(container(Relationship::Contains, &codes::IMAGING_MEASUREMENTS, None, groups));
    }
    items.push(qualitative_evaluations::qualitative_evaluations(request, segmentation));
    items
}
