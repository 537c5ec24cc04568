//! What a model says of one finding, as TID 1501: the finding and whether it is there (CID 240), how likely, above what.

use super::super::algorithm;
use super::super::codes;
use super::super::content::{Relationship, code, number, with_children};
use super::super::identifiers::Identifiers;
use super::super::plans::Plans;
use super::super::request::ResultRequest;
use super::group_context::{algorithm_identification, finding_site, group, tracking};
use super::measurement_group::segmentation_source;
use crate::dicom::code::CodedConcept;
use crate::dicom::data_set::DataSet;
use crate::inference::prediction::{Decision, Finding};

pub(super) fn finding_group(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    plans: &Plans<'_>,
    finding: &Finding,
) -> DataSet {
    let mut items = tracking(&finding.label, &identifiers.tracking_of("finding", &finding.label));
    items.push(evaluated(finding, finding.decision));
    items.extend(finding.site.as_ref().map(|site| finding_site(site, None)));
    items.extend(algorithm_identification(request, &band(request, finding)));
    let is_of_finding = |property: &CodedConcept| codes::same(property, &finding.concept);
    let of_finding = plans.segments().iter().filter(|segment| is_of_finding(&segment.description.property_type));
    let numbers: Vec<u16> = of_finding.map(|segment| segment.number).collect();
    items.extend(segmentation_source(identifiers, &numbers));
    items.push(probability(finding, finding.probability, Relationship::Contains, Vec::new()));
    items.push(answer(finding));
    group("1501", items)
}

/// Question and answer (TID 1501, TID 1500 row 13): the finding = whether it is there, and where.
pub(super) fn answer(finding: &Finding) -> DataSet {
    let site = finding.site.iter().map(|site| finding_site(site, None)).collect();
    with_children(code(Relationship::Contains, &finding.concept, &codes::presence(finding.decision)), site)
}

/// Finding (121071, DCM) with whether it is there: nobody takes what was looked for as what was found.
pub(super) fn evaluated(finding: &Finding, decision: Decision) -> DataSet {
    let presence = code(Relationship::HasConceptMod, &codes::PRESENCE, &codes::presence(decision));
    with_children(code(Relationship::Contains, &codes::FINDING, &finding.concept), vec![presence])
}

/// Probability in percent, with the threshold that decides.
pub(super) fn probability(
    finding: &Finding,
    probability: f64,
    relationship: Relationship,
    evidence: Vec<DataSet>,
) -> DataSet {
    let percent = |share: f64| share * 100.0;
    let property = Relationship::HasProperties;
    let mut children =
        vec![number(property, &codes::THRESHOLD, percent(finding.threshold), &codes::PERCENT, Vec::new())];
    children.extend(evidence);
    number(relationship, &codes::PROBABILITY, percent(probability), &codes::PERCENT, children)
}

/// The probabilities of neither yes nor no, as a parameter of the algorithm.
pub(super) fn band(request: &ResultRequest<'_>, finding: &Finding) -> Vec<String> {
    let band = finding.uncertain.iter().map(|[least, largest]| format!("undetermined={least}..{largest}"));
    algorithm::marked(request, band.collect())
}
