//! The slices that the attention map points at, as TID 1501: for each the largest value on it, inferred from the source
//! image and from the frame of the Parametric Map.

use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::super::algorithm;
use super::super::codes;
use super::super::content::{Relationship, frame_reference, image, number, text};
use super::super::evidence::instance_reference;
use super::super::file;
use super::super::identifiers::Identifiers;
use super::super::plans::Plans;
use super::super::request::ResultRequest;
use super::group_context::{algorithm_identification, group, tracking};
use crate::dicom::data_set::DataSet;

/// No group where there is no map.
pub(super) fn attention(request: &ResultRequest<'_>, identifiers: &Identifiers, plans: &Plans<'_>) -> Option<DataSet> {
    let (grid, map) = request.attention()?;
    plans.parametric_map.as_ref()?;
    let slice_size = grid.slice_size();
    let mut items = tracking(&map.label, &identifiers.tracking_of("attention", &map.label));
    items.extend(algorithm_identification(request, &algorithm::marked(request, Vec::new())));
    items.extend(
        map_reference(identifiers, None).map(|r| image(Relationship::Contains, &codes::SOURCE_OF_MEASUREMENT, r)),
    );
    for slice in &map.key_slices {
        let Some(source) = grid.reference(*slice) else { continue };
        let values = &map.values[slice * slice_size..][..slice_size];
        let largest = values.iter().copied().fold(0.0, f32::max);
        let frame = plans.parametric_map.as_ref().and_then(|plan| plan.frame_of(*slice));
        let references = [Some(frame_reference(source)), frame.and_then(|f| map_reference(identifiers, Some(f)))];
        let evidence = references.into_iter().flatten();
        let evidence = evidence.map(|r| image(Relationship::InferredFrom, &codes::SOURCE_OF_MEASUREMENT, r)).collect();
        let value = f64::from(largest);
        items.push(number(Relationship::Contains, &codes::SALIENCY, value, &codes::NO_UNITS, evidence));
    }
    items.extend(sentence(request).map(|sentence| text(Relationship::Contains, &codes::COMMENT, &sentence)));
    Some(group("1501", items))
}

/// Which slices they are, in words: the source may number its images otherwise.
pub(super) fn sentence(request: &ResultRequest<'_>) -> Option<String> {
    let (grid, map) = request.attention()?;
    let stack = grid.stack()?;
    let numbers: Vec<String> = map.key_slices.iter().map(|slice| stack.number(*slice).0.to_string()).collect();
    let (_, slices) = stack.number(0);
    let which = format!("key slices, the most important first, {} of {slices}", numbers.join(", "));
    (!numbers.is_empty()).then(|| format!("{}: {which}, counted along the slice normal.", map.label))
}

/// Reference to the Parametric Map or to one of its frames.
fn map_reference(identifiers: &Identifiers, frame: Option<u32>) -> Option<DataSet> {
    let mut reference = instance_reference(&file::parametric_map_storage().ok()?, &identifiers.parametric_map);
    if let Some(frame) = frame {
        reference.put_text(tags::REFERENCED_FRAME_NUMBER, VR::IS, &frame.to_string());
    }
    Some(reference)
}
