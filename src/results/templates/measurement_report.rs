//! TID 1500, Measurement Report.

use super::super::codes;
use super::super::content::{Relationship, container};
use super::super::identifiers::Identifiers;
use super::super::plans::Plans;
use super::super::request::ResultRequest;
use super::{
    attention, finding_group, image_library, measurement_group, observation_context, qualitative_evaluations,
    region_groups, slice_scores,
};
use crate::dicom::data_set::DataSet;

/// The content items below the root.
pub(in super::super) fn measurement_report(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    plans: &Plans<'_>,
) -> Vec<DataSet> {
    let mut items = observation_context::language();
    items.extend(observation_context::device_observer(request, identifiers));
    items.extend(observation_context::procedure_reported(request));
    items.extend(image_library::image_library(request, identifiers));
    let mut groups: Vec<DataSet> = Vec::new();
    let findings = request.findings();
    groups.extend(findings.iter().map(|finding| finding_group::finding_group(request, identifiers, plans, finding)));
    groups.extend(slice_scores::slice_scores(request, identifiers));
    groups.extend(region_groups::region_groups(request, identifiers, plans));
    let measured = request.groups().iter();
    groups.extend(measured.map(|group| measurement_group::measurement_group(request, identifiers, plans, group)));
    groups.extend(attention::attention(request, identifiers, plans));
    if !groups.is_empty() {
        items.push(container(Relationship::Contains, &codes::IMAGING_MEASUREMENTS, None, groups));
    }
    items.push(qualitative_evaluations::qualitative_evaluations(request, plans));
    items
}
