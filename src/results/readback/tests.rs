//! What must be found: an object that is not what was predicted does not leave.

use bytes::Bytes;
use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::super::grid::{SourceGrid, StackGrid};
use super::super::identifiers::Identifiers;
use super::super::plans::Plans;
use super::super::request::{EncodingOptions, Equipment, Outcome, ResultRequest};
use super::super::{ResultError, parametric_map, segmentation as writer};
use crate::clock::Timestamp;
use crate::dicom::code::CodedConcept;
use crate::dicom::data_set::DataSet;
use crate::dicom::uid::{FrameOfReferenceUid, SeriesInstanceUid, SopClassUid, SopInstanceUid, StudyInstanceUid};
use crate::inference::prediction::{
    AlgorithmIdentity, AttentionMap, Decision, Finding, GeneratedText, LabelMap, Measurement, MeasurementGroup,
    Prediction, Segment, SliceScores, Verdict,
};
use crate::volume::{Geometry, SourceFrame, SourceSeries};

const LUNG: CodedConcept = CodedConcept::new("39607008", "SCT", "Lung");
const UNIT: CodedConcept = CodedConcept::new("1", "UCUM", "no units");

fn geometry() -> Geometry {
    Geometry {
        shape: [3, 5, 7],
        origin: [10.5, 20.25, 30.0],
        slice_direction: [0.0, 0.0, 1.0],
        row_direction: [0.0, 1.0, 0.0],
        column_direction: [1.0, 0.0, 0.0],
        spacing: [2.0, 1.0, 1.0],
    }
}

fn frames() -> Vec<Option<SourceFrame>> {
    let frame = |slice: u8| SourceFrame {
        sop_class_uid: SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap(),
        sop_instance_uid: SopInstanceUid::parse(&format!("1.2.3.{slice}")).unwrap(),
        frame_number: None,
        image_position_patient: format!("10.5\\20.25\\{}", 30 + 2 * slice),
        image_orientation_patient: "1\\0\\0\\0\\1\\0".into(),
        pixel_spacing: "1\\1".into(),
        slice_thickness: None,
    };
    (0..3).map(|slice| Some(frame(slice))).collect()
}

fn source() -> SourceSeries {
    let mut header = DataSet::new();
    header.put_text(tags::PATIENT_NAME, VR::PN, "Unmistakable^Name");
    let instances = frames().into_iter().flatten().map(|f| (f.sop_class_uid, f.sop_instance_uid)).collect();
    SourceSeries {
        study_instance_uid: StudyInstanceUid::parse("1.2.4").unwrap(),
        series_instance_uid: SeriesInstanceUid::parse("1.2.5").unwrap(),
        frame_of_reference_uid: FrameOfReferenceUid::parse("1.2.6").ok(),
        header,
        instances,
        lossy: None,
    }
}

fn prediction() -> Prediction {
    let mut labels = vec![0; 105];
    labels[36..40].fill(1);
    labels[75..90].fill(1);
    Prediction {
        label_map: Some(LabelMap { shape: [3, 5, 7], labels }),
        segments: vec![Segment {
            label: "Lung".into(),
            category: LUNG,
            property_type: LUNG,
            laterality: None,
            region: None,
            colour: [1, 2, 3],
        }],
        measurement_groups: vec![MeasurementGroup {
            label: "Lung".into(),
            segment_numbers: vec![1],
            finding: LUNG,
            finding_site: None,
            laterality: None,
            measurements: vec![Measurement {
                label: "Share".into(),
                concept: LUNG,
                derivation: None,
                unit: UNIT,
                value: Some(123.456_789_012),
            }],
        }],
        findings: vec![finding("Nodule", 0.9), finding("Hernia", 0.125)],
        slice_scores: Some(SliceScores {
            label: "Nodule".into(),
            scores: vec![(0, 0.2), (1, 0.75), (2, 0.6)],
            peak: 1,
        }),
        text: Some(GeneratedText { text: "Clear lungs.\nUnremarkable.".into(), tokens: vec![] }),
        attention: Some(AttentionMap {
            label: "Attention".into(),
            shape: [3, 5, 7],
            values: (0..105_u8).map(|n| f32::from(n) / 104.0).collect(),
            key_slices: vec![2],
        }),
        ..Prediction::of(Verdict::Suitable)
    }
}

fn finding(label: &str, probability: f64) -> Finding {
    Finding {
        label: label.into(),
        concept: CodedConcept::new(if label == "Nodule" { "nodule" } else { "hernia" }, "99T", "x"),
        site: None,
        probability,
        threshold: 0.5,
        uncertain: None,
        decision: Decision::of(probability, 0.5, None),
        is_pathology: false,
    }
}

fn algorithm() -> AlgorithmIdentity {
    AlgorithmIdentity {
        name: "lung".into(),
        version: "1".into(),
        title: "Lung".into(),
        manufacturer: "us".into(),
        family: LUNG,
        weights_sha256: "ab".into(),
        parameters: vec![],
        untrained: false,
    }
}

/// Which object is spoiled.
#[derive(Clone, Copy, PartialEq)]
enum Object {
    Segmentation,
    ParametricMap,
    Report,
}

/// Writes all objects, lets `spoil` change the bytes of one of them, and reads it back.
fn read_back(grid: &Geometry, object: Object, spoil: impl Fn(&mut Vec<u8>)) -> Result<(), ResultError> {
    let (source, frames, prediction, algorithm) = (source(), frames(), prediction(), algorithm());
    let equipment = Equipment {
        manufacturer: "us".into(),
        model_name: "node".into(),
        serial_number: "1".into(),
        software_version: "1".into(),
    };
    let options = EncodingOptions::default();
    let request = ResultRequest {
        source: &source,
        grid: Some(SourceGrid::Stack(StackGrid { geometry: grid, slices: &frames, between: &[], warnings: &[] })),
        outcome: Outcome::Predicted(&prediction),
        algorithm: &algorithm,
        configuration_hash: "c",
        equipment: &equipment,
        predecessor: None,
        now: Timestamp(0),
        options: &options,
    };
    let identifiers = Identifiers::of(&request);
    let plans = Plans::of(&request, &identifiers)?;
    let plan = plans.segmentation.as_ref().unwrap();
    let spoiled = |bytes: Bytes| {
        let mut bytes = bytes.to_vec();
        spoil(&mut bytes);
        Bytes::from(bytes)
    };
    match object {
        Object::Segmentation => {
            super::segmentation(&request, plan, &spoiled(writer::encode(&request, &identifiers, plan)?))
        }
        Object::ParametricMap => {
            let plan = plans.parametric_map.as_ref().unwrap();
            super::parametric_map(&request, &spoiled(parametric_map::encode(&request, &identifiers, plan)?))
        }
        Object::Report => {
            let bytes = spoiled(super::super::report::encode(&request, &identifiers, &plans)?);
            super::report(&request, &identifiers, &plans, &bytes)
        }
    }
}

/// Replaces the last (or the first) occurrence of a text by one of the same length.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8], last: bool) {
    assert_eq!(from.len(), to.len());
    let mut found = bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(at, _)| at);
    let at = if last { found.next_back() } else { found.next() }.unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
}

#[test]
fn what_was_written_is_found_right() {
    read_back(&geometry(), Object::Segmentation, |_| ()).unwrap();
    read_back(&geometry(), Object::ParametricMap, |_| ()).unwrap();
    read_back(&geometry(), Object::Report, |_| ()).unwrap();
}

#[test]
fn one_wrong_bit_anywhere_in_the_pixels_is_found() {
    // Two frames of 35 bits: 70 bits, nine bytes and one of padding.
    for bit in 0..70 {
        let flip = |bytes: &mut Vec<u8>| {
            let at = bytes.len() - 10 + bit / 8;
            bytes[at] ^= 1 << (bit % 8);
        };
        let error = read_back(&geometry(), Object::Segmentation, flip).unwrap_err();
        assert!(error.to_string().contains("differs"), "bit {bit}: {error}");
    }
}

#[test]
fn a_frame_at_another_place_is_found() {
    let error =
        read_back(&geometry(), Object::Segmentation, |b| replace(b, b"10.5\\20.25\\32", b"10.5\\20.25\\34", true))
            .unwrap_err();
    assert!(error.to_string().contains("source frame"), "{error}");
}

#[test]
fn a_grid_that_lies_elsewhere_than_its_frames_is_found() {
    let mut flipped = geometry();
    flipped.column_direction = [-1.0, 0.0, 0.0];
    let error = read_back(&flipped, Object::Segmentation, |_| ()).unwrap_err();
    assert!(error.to_string().contains("mm from where it was predicted"), "{error}");
    let mut shifted = geometry();
    shifted.origin[2] += 1.0;
    assert!(read_back(&shifted, Object::Segmentation, |_| ()).is_err());
}

#[test]
fn another_name_another_number_and_another_reference_are_found() {
    for object in [Object::Segmentation, Object::ParametricMap, Object::Report] {
        let error = read_back(&geometry(), object, |b| replace(b, b"Unmistakable", b"unmistakable", false));
        assert!(error.unwrap_err().to_string().contains("(0010,0010)"));
        assert!(read_back(&geometry(), object, |b| replace(b, b"1.2.3.1\0", b"1.2.3.7\0", true)).is_err());
        assert!(read_back(&geometry(), object, |b| b.truncate(b.len() - 2)).is_err());
    }
    let exact = 123.456_789_012_f64;
    let next = f64::from_bits(exact.to_bits() + 1);
    for (from, to) in
        [(&exact.to_le_bytes()[..], &next.to_le_bytes()[..]), (b"123.457", b"124.457"), (b"no units", b"no Units")]
    {
        let result = read_back(&geometry(), Object::Report, |b| replace(b, from, to, true));
        // The meaning of a code is for people: only its value and scheme are compared.
        assert_eq!(result.is_err(), from != b"no units", "{result:?}");
    }
}

#[test]
fn one_value_of_the_map_a_step_too_high_is_found_and_so_is_another_scale() {
    for pixel in 0..105 {
        let raise = |bytes: &mut Vec<u8>| {
            let at = bytes.len() - 210 + 2 * pixel;
            let value = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            let changed = if value < 65_534 { value + 2 } else { value - 2 };
            bytes[at..at + 2].copy_from_slice(&changed.to_le_bytes());
        };
        let error = read_back(&geometry(), Object::ParametricMap, raise).unwrap_err();
        assert!(error.to_string().contains("differs"), "pixel {pixel}: {error}");
    }
    let (slope, other) = ((1.0 / 65_535.0_f64).to_le_bytes(), (1.0 / 65_536.0_f64).to_le_bytes());
    assert!(read_back(&geometry(), Object::ParametricMap, |b| replace(b, &slope, &other, true)).is_err());
    let place = |b: &mut Vec<u8>| replace(b, b"10.5\\20.25\\32", b"10.5\\20.25\\34", true);
    assert!(read_back(&geometry(), Object::ParametricMap, place).is_err());
    let mut shifted = geometry();
    shifted.origin[1] -= 0.6;
    let error = read_back(&shifted, Object::ParametricMap, |_| ()).unwrap_err();
    assert!(error.to_string().contains("mm from where it was predicted"), "{error}");
}

#[test]
fn another_answer_another_probability_another_slice_and_another_word_are_found() {
    let exact = |share: f64| (share * 100.0).to_le_bytes();
    let cases: [(&[u8], &[u8]); 9] = [
        (b"52101004", b"52101005"),
        (b"272519000 ", b"373068000 "),
        (&exact(0.9), &exact(0.900_000_000_000_1)),
        (&exact(0.125), &exact(0.25)),
        (&exact(0.5), &exact(0.4)),
        (&exact(0.75), &exact(0.6)),
        (b"peak slice 2 of 3", b"peak slice 1 of 3"),
        (b"Unremarkable.", b"Nunremarkable"),
        (b"GENERATED BY AN ALGORITHM, NOT VERIFIED", b"GENERATED BY AN ALGORITHM, AND VERIFIED"),
    ];
    for (from, to) in cases {
        let result = read_back(&geometry(), Object::Report, |b| replace(b, from, to, false));
        assert!(result.is_err(), "{}", String::from_utf8_lossy(from));
    }
    let key_slice = |b: &mut Vec<u8>| replace(b, &1.0_f64.to_le_bytes(), &0.5_f64.to_le_bytes(), true);
    assert!(read_back(&geometry(), Object::Report, key_slice).is_err());
}
