//! Results on a radiograph: masks and regions lie on its pixels, without a place in the patient.

use overread::dicom::code::CodedConcept;
use overread::dicom::data_set::DataSet;
use overread::dicom::encode::{Layout, encode, part10_header};
use overread::dicom::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid};
use overread::dicom::{VR, tags};
use overread::inference::prediction::{LabelMap, Prediction, Segment, Verdict};
use overread::results::{Outcome, ResultError, ResultKind, SourceGrid};
use overread::volume::radiograph::{Radiograph, RadiographOptions};
use overread::volume::{InstanceSource, Series};

use super::asked::{Asked, evaluations, identified, judged_on, object, prediction};
use super::attention::attention;
use super::findings::{EFFUSION, PATHOLOGY, finding};

const CR: &str = "1.2.840.10008.5.1.4.1.1.1";
const DX: &str = "1.2.840.10008.5.1.4.1.1.1.1";
const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";
const ROWS: usize = 30;
const COLUMNS: usize = 41;
const ABNORMAL: CodedConcept = CodedConcept::new("49755003", "SCT", "Morphologically Altered Structure");

fn image(class: &str) -> DataSet {
    let mut ds = DataSet::new();
    identified(&mut ds);
    ds.put_uid(tags::SOP_CLASS_UID, class);
    ds.put_uid(tags::SOP_INSTANCE_UID, "1.2.826.0.1.3680043.8.498.2.1");
    ds.put_uid(tags::STUDY_INSTANCE_UID, "1.2.826.0.1.3680043.8.498.2.2");
    ds.put_uid(tags::SERIES_INSTANCE_UID, "1.2.826.0.1.3680043.8.498.2.3");
    for (tag, vr, text) in [
        (tags::MODALITY, VR::CS, if class == DX { "DX" } else { "CR" }),
        (tags::SERIES_NUMBER, VR::IS, "1"),
        (tags::INSTANCE_NUMBER, VR::IS, "1"),
        (tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY"),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME1"),
        (tags::PRESENTATION_INTENT_TYPE, VR::CS, "FOR PRESENTATION"),
        (tags::VIEW_POSITION, VR::CS, "PA"),
        (tags::BODY_PART_EXAMINED, VR::CS, "CHEST"),
        (tags::IMAGER_PIXEL_SPACING, VR::DS, "0.143\\0.15"),
        (tags::MANUFACTURER, VR::LO, "ACME"),
        (tags::KVP, VR::DS, "125"),
    ] {
        ds.put_text(tag, vr, text);
    }
    ds.put_us(tags::SAMPLES_PER_PIXEL, &[1]);
    ds.put_us(tags::ROWS, &[u16::try_from(ROWS).unwrap()]);
    ds.put_us(tags::COLUMNS, &[u16::try_from(COLUMNS).unwrap()]);
    ds.put_us(tags::BITS_ALLOCATED, &[16]);
    ds.put_us(tags::BITS_STORED, &[12]);
    ds.put_us(tags::HIGH_BIT, &[11]);
    ds.put_us(tags::PIXEL_REPRESENTATION, &[0]);
    let pixels: Vec<u8> = (0..ROWS * COLUMNS).flat_map(|n| u16::try_from(n % 4096).unwrap().to_le_bytes()).collect();
    ds.put_bytes(tags::PIXEL_DATA, VR::OW, pixels);
    ds
}

fn radiograph(image: &DataSet) -> Radiograph {
    let class = image.uid(tags::SOP_CLASS_UID, SopClassUid::parse).unwrap();
    let instance = image.uid(tags::SOP_INSTANCE_UID, SopInstanceUid::parse).unwrap();
    let mut bytes = part10_header(&class, &instance, &TransferSyntaxUid::explicit_le(), None);
    bytes.extend(encode(image, Layout::ExplicitLe));
    let series = Series::read(vec![InstanceSource::Memory(bytes.into())]).unwrap();
    series.radiograph(&RadiographOptions::default()).unwrap()
}

fn segment(label: &str, category: CodedConcept, property_type: CodedConcept) -> Segment {
    Segment { label: label.into(), category, property_type, laterality: None, region: None, colour: [200, 60, 60] }
}

/// Two patches of an effusion, one of them ragged, and an organ.
fn said() -> Prediction {
    let mut labels = vec![0; ROWS * COLUMNS];
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let ragged = (20..28).contains(&row) && (3..12).contains(&column) && (row + column) % 5 != 0;
            let small = (0..3).contains(&row) && column >= 38;
            let organ = (8..16).contains(&row) && (14..29).contains(&column);
            labels[row * COLUMNS + column] = if ragged || small { 2 } else { u8::from(organ) };
        }
    }
    let mut pathology = finding("Pathology", PATHOLOGY, 0.97);
    pathology.is_pathology = true;
    Prediction {
        label_map: Some(LabelMap { shape: [1, ROWS, COLUMNS], labels }),
        segments: vec![
            segment("Heart", CodedConcept::new("123037004", "SCT", "Anatomical Structure"), HEART),
            segment("Effusion", ABNORMAL, EFFUSION),
        ],
        findings: vec![finding("Pleural effusion", EFFUSION, 0.97), pathology],
        ..Prediction::of(Verdict::Suitable)
    }
}

const HEART: CodedConcept = CodedConcept::new("80891009", "SCT", "Heart");

#[test]
fn masks_and_regions_lie_on_the_pixels_of_the_image() {
    for class in [CR, DX, SECONDARY_CAPTURE] {
        let image = image(class);
        let radiograph = radiograph(&image);
        let said = said();
        let grid = SourceGrid::from(&radiograph);
        let results = Asked::on(&radiograph.source, grid, Outcome::Predicted(&said)).encode().unwrap();
        let segmentation = object(&results, ResultKind::Segmentation).unwrap();
        assert_eq!(segmentation.integer(tags::NUMBER_OF_FRAMES), Some(2));
        assert!(!segmentation.contains(tags::FRAME_OF_REFERENCE_UID));
        let dump = judged_on(&[image], grid, &results, &said);
        // The larger patch first; the organ gets no rectangle.
        for rectangle in ["3/20", "38/0"] {
            assert!(dump.contains(rectangle), "{rectangle}: {dump}");
        }
        assert!(!dump.contains("14/8"), "{dump}");
        let (_, comments) = evaluations(&object(&results, ResultKind::Report).unwrap());
        let sentence =
            "Acquisition: body part CHEST, view PA, pixel spacing 0.143 mm, tube voltage 125 kV, scanner ACME.";
        assert!(comments.iter().any(|c| c == sentence), "{comments:?}");
    }
}

#[test]
fn numbers_refer_to_the_mask_and_an_attention_map_is_only_mentioned() {
    let image = image(DX);
    let radiograph = radiograph(&image);
    let grid = SourceGrid::from(&radiograph);
    let mut said = said();
    let mut group = prediction(None).measurement_groups.remove(0);
    group.label = "Heart".into();
    group.finding_site = Some(HEART);
    group.laterality = None;
    said.measurement_groups = vec![group];
    said.attention = Some(attention([1, ROWS, COLUMNS]));
    said.attention.as_mut().unwrap().key_slices = vec![0];
    let results = Asked::on(&radiograph.source, grid, Outcome::Predicted(&said)).encode().unwrap();
    let kinds: Vec<_> = results.objects.iter().map(|object| object.kind).collect();
    assert_eq!(kinds, [ResultKind::Segmentation, ResultKind::Report]);
    let (_, comments) = evaluations(&object(&results, ResultKind::Report).unwrap());
    assert!(comments.iter().any(|c| c.contains("attention map is not sent")), "{comments:?}");
    judged_on(&[image], grid, &results, &said);
}

#[test]
fn at_most_eight_patches_get_a_rectangle_and_the_report_says_so() {
    let image = image(CR);
    let radiograph = radiograph(&image);
    let grid = SourceGrid::from(&radiograph);
    let mut said = said();
    let labels = &mut said.label_map.as_mut().unwrap().labels;
    labels.fill(0);
    (0..11).for_each(|n| labels[(2 * (n / 4)) * COLUMNS + 9 * (n % 4)] = 2);
    let results = Asked::on(&radiograph.source, grid, Outcome::Predicted(&said)).encode().unwrap();
    let (_, comments) = evaluations(&object(&results, ResultKind::Report).unwrap());
    let note = "Note: Effusion: 3 smaller regions are marked in the segmentation only";
    assert!(comments.iter().any(|c| c == note), "{comments:?}");
    judged_on(&[image], grid, &results, &said);
}

#[test]
fn what_the_answer_denies_gets_no_rectangle() {
    let image = image(CR);
    let radiograph = radiograph(&image);
    let grid = SourceGrid::from(&radiograph);
    let mut said = said();
    said.findings = vec![finding("Pleural effusion", EFFUSION, 0.1), finding("Pathology", PATHOLOGY, 0.2)];
    let results = Asked::on(&radiograph.source, grid, Outcome::Predicted(&said)).encode().unwrap();
    let (codes, comments) = evaluations(&object(&results, ResultKind::Report).unwrap());
    assert_eq!(codes[1].1, "111241");
    assert!(comments[0].starts_with("Nothing found"), "{comments:?}");
    let note = "Note: Effusion: marked in the segmentation although the answer is absent";
    assert!(comments.iter().any(|c| c == note), "{comments:?}");
    let dump = judged_on(&[image], grid, &results, &said);
    assert!(!dump.contains("SCOORD"), "{dump}");
}

#[test]
fn a_mask_of_another_size_does_not_leave() {
    let radiograph = radiograph(&image(CR));
    let mut said = said();
    said.label_map.as_mut().unwrap().shape = [1, COLUMNS, ROWS];
    let asked = Asked::on(&radiograph.source, SourceGrid::from(&radiograph), Outcome::Predicted(&said));
    assert!(matches!(asked.encode().unwrap_err(), ResultError::Prediction(_)));
}
