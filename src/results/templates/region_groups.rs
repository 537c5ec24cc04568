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
use crate::inference::prediction::{Decision, Finding};

/// No group in stacks, none around what the model answers to be absent, and none around anatomical structures that it does
/// not answer for: their place is no news.
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
    let too_many = too_many.map(|(segment, regions)| {
        let rest = regions.len() - regions::MOST;
        format!("{}: {rest} smaller regions are marked in the segmentation only", segment.description.label)
    });
    let findings = request.findings();
    let denied = plans.segments().iter().filter(|segment| answered(&findings, segment) == Some(Decision::Absent));
    let denied = denied.map(|segment| {
        format!("{}: marked in the segmentation although the answer is absent", segment.description.label)
    });
    too_many.chain(denied).collect()
}

/// What the model answers of a segment's finding, where it answers for it; of several the one that is not absent.
pub(super) fn answered(findings: &[&Finding], segment: &PlannedSegment<'_>) -> Option<Decision> {
    let of_segment = findings.iter().filter(|f| codes::same(&f.concept, &segment.description.property_type));
    let decisions: Vec<Decision> = of_segment.map(|finding| finding.decision).collect();
    decisions.iter().copied().find(|decision| *decision != Decision::Absent).or(decisions.first().copied())
}

/// The segments that are marked, with their regions: not what the answer denies.
fn marked<'p, 'a>(request: &ResultRequest<'_>, plans: &'p Plans<'a>) -> Vec<(&'p PlannedSegment<'a>, Vec<Region>)> {
    let radiograph = request.labelled_grid().filter(|(grid, ..)| grid.stack().is_none());
    let Some((_, map, _)) = radiograph else { return Vec::new() };
    let findings = request.findings();
    let is_found = |segment: &&PlannedSegment<'_>| match answered(&findings, segment) {
        Some(decision) => decision != Decision::Absent,
        None => !codes::same(&segment.description.category, &codes::ANATOMICAL_STRUCTURE),
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
