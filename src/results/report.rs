//! Comprehensive 3D SR (PS3.3 A.35.13) with TID 1500.

use bytes::Bytes;
use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::content::put_container;
use super::equipment::{ResultSeries, put_equipment, put_series};
use super::evidence::{self, instance_reference};
use super::identifiers::Identifiers;
use super::plans::Plans;
use super::request::{DocumentReference, ResultRequest};
use super::{ResultError, codes, coding_schemes, dates, file, generated_text, templates};
use crate::dicom::data_set::DataSet;

/// The report as a Part 10 file.
pub(super) fn encode(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    plans: &Plans<'_>,
) -> Result<Bytes, ResultError> {
    let class = file::comprehensive_3d_sr_storage()?;
    let time = dates::content_time(request);
    let mut object = evidence::begin(request);
    if let Some(wording) = generated_text::wording(request)
        && wording.character_set != *request.source.header.character_set()
    {
        object.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, &wording.character_set.terms().join("\\"));
    }
    evidence::put_instance(&mut object, &class, &identifiers.report, &time);
    let series = ResultSeries {
        modality: "SR",
        uid: identifiers.report_series.as_str(),
        number: request.options.series_number_base,
        noun: "report",
        code: &codes::IMAGING_MEASUREMENT_REPORT,
    };
    put_series(&mut object, request, &series);
    // Type 2: no procedure step of ours was scheduled or reported.
    object.put_items(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, Vec::new());
    put_equipment(&mut object, request, identifiers, &time);
    put_document(&mut object, request, identifiers, plans)?;

    object.put_text(tags::VALUE_TYPE, VR::CS, "CONTAINER");
    let title = vec![codes::item(&codes::IMAGING_MEASUREMENT_REPORT)];
    object.put_items(tags::CONCEPT_NAME_CODE_SEQUENCE, title);
    let content = templates::measurement_report(request, identifiers, plans);
    put_container(&mut object, Some("1500"), content);
    coding_schemes::declare(&mut object, request);
    Ok(file::begin(&object, &class, &identifiers.report, None)?.into())
}

/// SR Document General Module (PS3.3 C.17.2). Software never verifies.
fn put_document(
    object: &mut DataSet,
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    plans: &Plans<'_>,
) -> Result<(), ResultError> {
    let finished = request.outcome.reading().is_some() || !request.outcome.is_failure();
    object.put_text(tags::COMPLETION_FLAG, VR::CS, if finished { "COMPLETE" } else { "PARTIAL" });
    object.put_text(tags::VERIFICATION_FLAG, VR::CS, "UNVERIFIED");
    // No document replaces itself: the same images, read anew, make the same one.
    if let Some(predecessor) = request.predecessor.filter(|other| other.sop_instance_uid != identifiers.report) {
        object.put_items(tags::PREDECESSOR_DOCUMENTS_SEQUENCE, vec![reference(predecessor)]);
    }
    let study = request.source.study_instance_uid.as_str();
    let requests = evidence::request_references(&request.source.header, study);
    if !requests.is_empty() {
        object.put_items(tags::REFERENCED_REQUEST_SEQUENCE, requests);
    }
    object.put_items(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE, Vec::new());

    let mut series =
        vec![series_item(request.source.series_instance_uid.as_str(), evidence::source_references(request))];
    if plans.segmentation.is_some() {
        let instance = instance_reference(&file::segmentation_storage()?, &identifiers.segmentation);
        series.push(series_item(identifiers.segmentation_series.as_str(), vec![instance]));
    }
    if plans.parametric_map.is_some() {
        let instance = instance_reference(&file::parametric_map_storage()?, &identifiers.parametric_map);
        series.push(series_item(identifiers.parametric_map_series.as_str(), vec![instance]));
    }
    object.put_items(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, vec![study_item(study, series)]);
    Ok(())
}

/// Hierarchical SOP Instance Reference Macro (PS3.3 C.17.2.1).
fn reference(document: &DocumentReference) -> DataSet {
    let instance = instance_reference(&document.sop_class_uid, &document.sop_instance_uid);
    let series = series_item(document.series_instance_uid.as_str(), vec![instance]);
    study_item(document.study_instance_uid.as_str(), vec![series])
}

fn study_item(uid: &str, series: Vec<DataSet>) -> DataSet {
    let mut item = DataSet::new();
    item.put_uid(tags::STUDY_INSTANCE_UID, uid);
    item.put_items(tags::REFERENCED_SERIES_SEQUENCE, series);
    item
}

fn series_item(uid: &str, instances: Vec<DataSet>) -> DataSet {
    let mut item = DataSet::new();
    item.put_uid(tags::SERIES_INSTANCE_UID, uid);
    item.put_items(tags::REFERENCED_SOP_SEQUENCE, instances);
    item
}
