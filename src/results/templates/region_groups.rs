//! Where something was found on a radiograph, as TID 1410: a rectangle around each patch of its segment.

use super::super::algorithm;
use super::super::codes;
use super::super::content::{Relationship, code, frame_reference, image, rectangle};
use super::super::identifiers::Identifiers;
use super::super::plans::Plans;
use super::super::regions::{self, Region};
use super::super::request::ResultRequest;
use super::super::segmentation::PlannedSegment;
use super::group_context::{algorithm_identification, finding_site, group, tracking};
use crate::dicom::data_set::DataSet;

/// No group in stacks, and none around anatomical structures: their place is no news.
pub(super) fn region_groups(request: &ResultRequest<'_>, identifiers: &Identifiers, plans: &Plans<'_>) -> Vec<DataSet> {
    let mut groups = Vec::new();
    for (segment, regions) in marked(request, plans) {
        let numbered = regions.iter().take(regions::MOST).zip(1..);
        groups.extend(numbered.map(|(region, number)| region_group(request, identifiers, segment, region, number)));
    }
    groups
}

/// What is left without a rectangle, in words.
pub(super) fn unmarked(request: &ResultRequest<'_>, plans: &Plans<'_>) -> Vec<String> {
    let too_many = marked(request, plans).into_iter().filter(|(_, regions)| regions.len() > regions::MOST);
    too_many
        .map(|(segment, regions)| {
            let rest = regions.len() - regions::MOST;
            format!("{}: {rest} smaller regions are marked in the segmentation only", segment.description.label)
        })
        .collect()
}

/// The segments that are marked, with their regions.
fn marked<'p, 'a>(request: &ResultRequest<'_>, plans: &'p Plans<'a>) -> Vec<(&'p PlannedSegment<'a>, Vec<Region>)> {
    let radiograph = request.labelled_grid().filter(|(grid, ..)| grid.stack().is_none());
    let Some((_, map, prediction)) = radiograph else { return Vec::new() };
    let is_found = |segment: &&PlannedSegment<'_>| {
        let description = segment.description;
        !codes::same(&description.category, &codes::ANATOMICAL_STRUCTURE)
            || prediction.findings.iter().any(|finding| codes::same(&finding.concept, &description.property_type))
    };
    plans.segments().iter().filter(is_found).map(|s| (s, regions::regions(map, s.label))).collect()
}

fn region_group(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    segment: &PlannedSegment<'_>,
    region: &Region,
    number: usize,
) -> DataSet {
    let description = segment.description;
    let label = format!("{}, region {number}", description.label);
    let contains = Relationship::Contains;
    let unique = format!("{}/{number}", segment.label);
    let mut items = tracking(&label, &identifiers.tracking_of("region", &unique));
    items.push(code(contains, &codes::FINDING_CATEGORY, &description.category));
    items.push(code(contains, &codes::FINDING, &description.property_type));
    let laterality = description.laterality.as_ref();
    items.extend(description.region.as_ref().map(|site| finding_site(site, laterality)));
    items.extend(algorithm_identification(request, &algorithm::marked(request, Vec::new())));
    let source = request.grid.and_then(|grid| grid.reference(0)).map(frame_reference);
    let source = source.map(|r| image(Relationship::SelectedFrom, &codes::SOURCE_IMAGE_OF_REGION, r));
    items.push(rectangle(contains, &codes::IMAGE_REGION, region, source.into_iter().collect()));
    group("1410", items)
}
