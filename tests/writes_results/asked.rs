//! Requests for result objects, and what other people's programs make of the answers.

use std::path::Path;

use overread::clock::Timestamp;
use overread::dicom::code::CodedConcept;
use overread::dicom::data_set::DataSet;
use overread::dicom::parse::parse;
use overread::dicom::transfer_syntax::Encoding;
use overread::dicom::{VR, tags};
use overread::inference::prediction::{
    AlgorithmIdentity, LabelMap, Measurement, MeasurementGroup, Prediction, Segment, Verdict,
};
use overread::results::{
    DocumentReference, EncodingOptions, Equipment, Outcome, ResultError, ResultKind, ResultRequest, ResultSet,
    SourceGrid, StackGrid, encode,
};
use overread::volume::SourceSeries;
use serde_json::json;

use crate::testkit::peers::{errors, judge, python};
use crate::testkit::source_series::{Series, write};

pub(super) const LUNG: CodedConcept = CodedConcept::new("39607008", "SCT", "Lung");
pub(super) const RIGHT: CodedConcept = CodedConcept::new("24028007", "SCT", "Right");
pub(super) const LEFT: CodedConcept = CodedConcept::new("7771000", "SCT", "Left");
pub(super) const STRUCTURE: CodedConcept = CodedConcept::new("123037004", "SCT", "Anatomical Structure");

// ---- what is asked for

pub(super) fn identified(ds: &mut DataSet) {
    for (tag, vr, text) in [
        (tags::PATIENT_NAME, VR::PN, "Doe^Jane"),
        (tags::PATIENT_ID, VR::LO, "4711"),
        (tags::ISSUER_OF_PATIENT_ID, VR::LO, "HOSPITAL"),
        (tags::PATIENT_BIRTH_DATE, VR::DA, "19600229"),
        (tags::PATIENT_SEX, VR::CS, "F"),
        (tags::PATIENT_AGE, VR::AS, "064Y"),
        (tags::STUDY_DATE, VR::DA, "20240229"),
        (tags::STUDY_TIME, VR::TM, "101010"),
        (tags::ACCESSION_NUMBER, VR::SH, "A1"),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN, "Who^Dr"),
        (tags::STUDY_ID, VR::SH, "S1"),
        (tags::STUDY_DESCRIPTION, VR::LO, "CT thorax"),
        (tags::TIMEZONE_OFFSET_FROM_UTC, VR::SH, "+0530"),
    ] {
        ds.put_text(tag, vr, text);
    }
    let mut request = DataSet::new();
    request.put_text(tags::REQUESTED_PROCEDURE_ID, VR::SH, "RP7");
    request.put_text(tags::SCHEDULED_PROCEDURE_STEP_ID, VR::SH, "SPS7");
    ds.put_items(tags::REQUEST_ATTRIBUTES_SEQUENCE, vec![request]);
}

/// Two shapes that no flip and no turn brings onto themselves or onto each other; the right one is a staircase.
pub(super) fn lungs(shape: [usize; 3]) -> LabelMap {
    let [slices, rows, columns] = shape;
    let mut labels = vec![0; slices * rows * columns];
    for slice in 0..slices {
        for row in 0..rows {
            for column in 0..columns {
                let right = slice >= 1 && row >= 2 && row < 4 + slice && (1..3 + slice / 2).contains(&column);
                let left =
                    slice + 2 < slices && row >= 1 && column + 1 < columns && column >= columns / 2 + 2 && row % 3 != 1;
                let label = if right { 1 } else { u8::from(left) * 2 };
                labels[(slice * rows + row) * columns + column] = label;
            }
        }
    }
    LabelMap { shape, labels }
}

pub(super) fn segment(label: &str, side: CodedConcept, colour: [u8; 3]) -> Segment {
    Segment {
        label: label.into(),
        category: STRUCTURE,
        property_type: LUNG,
        laterality: Some(side),
        region: Some(LUNG),
        colour,
    }
}

pub(super) fn measurement(
    label: &str,
    concept: CodedConcept,
    derivation: Option<CodedConcept>,
    unit: [&'static str; 2],
    value: Option<f64>,
) -> Measurement {
    let unit = CodedConcept::new(unit[0], "UCUM", unit[1]);
    Measurement { label: label.into(), concept, derivation, unit, value }
}

pub(super) fn group(label: &str, numbers: &[u16], side: Option<CodedConcept>, scale: f64) -> MeasurementGroup {
    let hounsfield = ["[hnsf'U]", "Hounsfield unit"];
    let perc15 = CodedConcept::new("PERC15", "99OVERREAD", "15th percentile");
    let laa = CodedConcept::new("LAA950", "99OVERREAD", "Lung volume below -950 HU as percent of lung volume");
    MeasurementGroup {
        label: label.into(),
        segment_numbers: numbers.to_vec(),
        finding: LUNG,
        finding_site: Some(LUNG),
        laterality: side,
        measurements: vec![
            measurement(
                "Volume",
                CodedConcept::new("118565006", "SCT", "Volume"),
                None,
                ["cm3", "cubic centimeter"],
                Some(2_401.123_456_789_012_3 * scale),
            ),
            measurement(
                "Mean density",
                CodedConcept::new("112181", "DCM", "Mean Attenuation Coefficient"),
                None,
                hounsfield,
                Some(-850.0 - scale / 3.0),
            ),
            measurement("LAA-950", laa, None, ["%", "percent"], Some(0.1 * scale)),
            measurement(
                "Perc15",
                CodedConcept::new("112031", "DCM", "Attenuation Coefficient"),
                Some(perc15),
                hounsfield,
                Some(-909.0),
            ),
        ],
    }
}

pub(super) fn prediction(label_map: Option<LabelMap>) -> Prediction {
    Prediction {
        label_map,
        segments: vec![segment("Right lung", RIGHT, [220, 80, 60]), segment("Left lung", LEFT, [60, 120, 220])],
        measurement_groups: vec![
            group("Right lung", &[1], Some(RIGHT), 1.0),
            group("Left lung", &[2], Some(LEFT), 0.8),
            group("Both lungs", &[1, 2], None, 1.8),
        ],
        warnings: vec!["Kernel \u{ab}LUNG\u{bb} sharpens: LAA-950 may be too high".into()],
        ..Prediction::of(Verdict::Suitable)
    }
}

pub(super) fn algorithm() -> AlgorithmIdentity {
    AlgorithmIdentity {
        name: "lung-densitometry".into(),
        version: "1.0.0".into(),
        title: "Lung densitometry".into(),
        manufacturer: "overread project".into(),
        family: CodedConcept::new("123104", "DCM", "Morphological Operations"),
        weights_sha256: "00".repeat(32),
        parameters: vec!["threshold_hu=-500".into(), "closing_mm=5".into()],
        untrained: false,
    }
}

pub(super) fn equipment() -> Equipment {
    Equipment {
        manufacturer: "overread project".into(),
        model_name: "overread".into(),
        serial_number: "node-1".into(),
        software_version: "0.1.0".into(),
    }
}

pub(super) struct Asked<'a> {
    pub(super) source: &'a SourceSeries,
    pub(super) grid: Option<SourceGrid<'a>>,
    pub(super) outcome: Outcome<'a>,
    pub(super) algorithm: AlgorithmIdentity,
    pub(super) options: EncodingOptions,
    pub(super) predecessor: Option<DocumentReference>,
}

impl<'a> Asked<'a> {
    pub(super) fn of(series: &'a Series, outcome: Outcome<'a>) -> Self {
        Self::on(&series.stack.source, SourceGrid::from(&series.stack), outcome)
    }

    pub(super) fn on(source: &'a SourceSeries, grid: SourceGrid<'a>, outcome: Outcome<'a>) -> Self {
        let (algorithm, options) = (algorithm(), EncodingOptions::default());
        Self { source, grid: Some(grid), outcome, algorithm, options, predecessor: None }
    }

    pub(super) fn encode(&self) -> Result<ResultSet, ResultError> {
        encode(&ResultRequest {
            source: self.source,
            grid: self.grid,
            outcome: self.outcome,
            algorithm: &self.algorithm,
            configuration_hash: "c0ffee",
            equipment: &equipment(),
            predecessor: self.predecessor.as_ref(),
            now: Timestamp(1_709_202_600_250),
            options: &self.options,
        })
    }
}

// ---- what came of it

pub(super) fn object(results: &ResultSet, kind: ResultKind) -> Option<DataSet> {
    let object = results.objects.iter().find(|o| o.kind == kind)?;
    let meta = usize::try_from(u32::from_le_bytes(object.bytes[140..144].try_into().unwrap())).unwrap();
    Some(parse(&object.bytes.slice(144 + meta..), Encoding::ExplicitLe).unwrap())
}

fn save(results: &ResultSet, folder: &Path) {
    for object in &results.objects {
        let name = match object.kind {
            ResultKind::Segmentation => "seg.dcm",
            ResultKind::ParametricMap => "pm.dcm",
            ResultKind::Report | ResultKind::FailureReport => "sr.dcm",
        };
        std::fs::write(folder.join(name), &object.bytes).unwrap();
    }
}

/// `(concept, value)` of every CODE directly below Qualitative Evaluations, and the TEXT there.
pub(super) fn evaluations(report: &DataSet) -> (Vec<(String, String)>, Vec<String>) {
    let name = |item: &DataSet, tag| item.items(tag)[0].text(tags::CODE_VALUE).unwrap();
    let root = report.items(tags::CONTENT_SEQUENCE);
    let container = root.iter().find(|i| name(i, tags::CONCEPT_NAME_CODE_SEQUENCE) == "C0034375").unwrap();
    let items = container.items(tags::CONTENT_SEQUENCE);
    let codes = items.iter().filter(|i| i.contains(tags::CONCEPT_CODE_SEQUENCE));
    let codes = codes.map(|i| (name(i, tags::CONCEPT_NAME_CODE_SEQUENCE), name(i, tags::CONCEPT_CODE_SEQUENCE)));
    (codes.collect(), items.iter().filter_map(|i| i.text(tags::TEXT_VALUE)).collect())
}

/// dciodvfy, dcentvfy, dsrdump and highdicom on the objects beside their source. Gives what dsrdump shows.
pub(super) fn judged_by_others(series: &Series, results: &ResultSet, prediction: &Prediction) -> String {
    judged_on(&series.instances, SourceGrid::from(&series.stack), results, prediction)
}

/// The same on any source.
pub(super) fn judged_on(
    instances: &[DataSet],
    grid: SourceGrid<'_>,
    results: &ResultSet,
    prediction: &Prediction,
) -> String {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(instances, &at.join("source"));
    save(results, at);
    std::fs::write(at.join("expected.json"), expected(grid, prediction).to_string()).unwrap();
    let labels = prediction.label_map.as_ref().map_or(&[][..], |map| &map.labels);
    std::fs::write(at.join("labels.bin"), labels).unwrap();
    let attention = prediction.attention.as_ref().map_or(&[][..], |map| &map.values);
    let attention: Vec<u8> = attention.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(at.join("attention.bin"), attention).unwrap();

    let objects: Vec<_> =
        ["seg.dcm", "pm.dcm", "sr.dcm"].map(|name| at.join(name)).into_iter().filter(|file| file.exists()).collect();
    for file in &objects {
        let judgement = judge("dciodvfy", &[file]);
        assert_eq!(errors(&judgement), Vec::<&str>::new(), "{}", judgement.text);
    }
    let dump = judge("dsrdump", &["+Pl".as_ref(), at.join("sr.dcm").as_os_str()]);
    assert!(dump.success && errors(&dump).is_empty(), "{}", dump.text);
    let mut study = objects;
    study.extend(std::fs::read_dir(at.join("source")).unwrap().map(|entry| entry.unwrap().path()));
    let entities = judge("dcentvfy", &study);
    assert_eq!(errors(&entities), Vec::<&str>::new(), "{}", entities.text);
    let highdicom = python("check_results.py", &[at]);
    assert!(highdicom.success, "{}", highdicom.text);
    dump.text
}

/// What `check_results.py` must find.
fn expected(grid: SourceGrid<'_>, prediction: &Prediction) -> serde_json::Value {
    let slice = |slice| {
        grid.reference(slice).map(|f| json!({"instance": f.sop_instance_uid.as_str(), "frame": f.frame_number}))
    };
    let slices: Vec<_> = (0..grid.shape()[0]).map(slice).collect();
    let value = |m: &Measurement| json!({"label": m.label, "code": &*m.concept.value, "unit": &*m.unit.value, "value": m.value});
    let groups = prediction.measurement_groups.iter().map(|group| {
        let values: Vec<_> = group.measurements.iter().map(value).collect();
        json!({"label": group.label, "segments": group.segment_numbers, "values": values})
    });
    let findings = prediction.findings.iter().map(|f| {
        json!({
            "label": f.label, "code": &*f.concept.value, "scheme": &*f.concept.scheme, "site": f.site.as_ref().map(|s| s.value.to_string()),
            "probability": f.probability, "threshold": f.threshold, "uncertain": f.uncertain,
            "decision": format!("{:?}", f.decision), "is_pathology": f.is_pathology,
        })
    });
    let scores = prediction.slice_scores.as_ref();
    let attention = prediction.attention.as_ref();
    let geometry = match grid {
        SourceGrid::Stack(stack) => json!({
            "even": is_even(stack), "origin": stack.geometry.origin, "spacing": stack.geometry.spacing, "directions": [
                stack.geometry.slice_direction, stack.geometry.row_direction, stack.geometry.column_direction,
            ],
        }),
        SourceGrid::Image(_) => serde_json::Value::Null,
    };
    json!({
        "shape": grid.shape(), "slices": slices, "geometry": geometry,
        "groups": groups.collect::<Vec<_>>(), "findings": findings.collect::<Vec<_>>(),
        "slice_scores": scores.map(|s| json!({"label": s.label, "scores": s.scores, "peak": s.peak})),
        "text": prediction.text.as_ref().map(|text| &text.text),
        "attention": attention.map(|a| json!({"label": a.label, "key_slices": a.key_slices})),
    })
}

/// Whether the source frames lie just where the grid has its slices.
fn is_even(stack: StackGrid<'_>) -> bool {
    let place = |text: &str| text.split('\\').map(|n| n.trim().parse::<f64>().unwrap()).collect::<Vec<f64>>();
    stack.slices.iter().enumerate().filter_map(|(at, slice)| Some((at, slice.as_ref()?))).all(|(at, slice)| {
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let expected = stack.geometry.position([at as f64, 0.0, 0.0]);
        place(&slice.image_position_patient).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3)
    })
}
