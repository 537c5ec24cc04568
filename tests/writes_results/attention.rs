//! Where a model looked is a Parametric Map on the source frames, and its key slices are in the report.

use overread::dicom::data_set::{DataSet, decimal_string};
use overread::dicom::{VR, tags};
use overread::inference::prediction::{AttentionMap, Prediction, Verdict};
use overread::results::{Outcome, ResultError, ResultKind, ResultSet};

use super::asked::{Asked, identified, judged_by_others, lungs, object, prediction};
use super::findings::{PATHOLOGY, finding};
use crate::testkit::source_series::{Layout3d, series};

/// No two voxels are alike; nothing on the first slice and next to nothing on the last.
pub(super) fn attention(shape: [usize; 3]) -> AttentionMap {
    let [slices, rows, columns] = shape;
    let count = slices * rows * columns;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let value = |at: usize| match at / (rows * columns) {
        0 if slices > 1 => 0.0,
        last if slices > 1 && last == slices - 1 => 0.000_007,
        _ => (at * 7919 % count) as f32 / count as f32,
    };
    AttentionMap {
        label: "Attention of the report".into(),
        shape,
        values: (0..count).map(value).collect(),
        key_slices: vec![slices / 2, slices - 1],
    }
}

fn looking(shape: [usize; 3]) -> Prediction {
    Prediction {
        attention: Some(attention(shape)),
        findings: vec![finding("Pathology", PATHOLOGY, 0.9)],
        ..Prediction::of(Verdict::Suitable)
    }
}

fn kinds(results: &ResultSet) -> Vec<ResultKind> {
    results.objects.iter().map(|object| object.kind).collect()
}

fn map(results: &ResultSet) -> DataSet {
    object(results, ResultKind::ParametricMap).unwrap()
}

#[test]
fn other_programs_read_the_same_map_in_every_orientation() {
    let shape = [7, 9, 13];
    let axial = Layout3d::axial(shape);
    for layout in [axial, axial.reversed(), axial.sagittal(), axial.oblique(), axial.oblique().reversed().multi_frame()]
    {
        let series = series(layout, identified);
        let said = looking(shape);
        let results = Asked::of(&series, Outcome::Predicted(&said)).encode().unwrap();
        assert_eq!(kinds(&results), [ResultKind::ParametricMap, ResultKind::Report], "{layout:?}");
        // Less than half a step is nothing: neither the first slice nor the last has a frame.
        assert_eq!(map(&results).integer(tags::NUMBER_OF_FRAMES), Some(5));
        judged_by_others(&series, &results, &said);
    }
}

#[test]
fn a_segmentation_a_map_and_a_report_stand_together() {
    let shape = [7, 9, 13];
    let mut series = series(Layout3d::axial(shape), identified);
    let missing = series.stack.slices[3].take().unwrap();
    series.stack.source.instances.retain(|(_, uid)| *uid != missing.sop_instance_uid);
    series.instances.remove(3);
    let said = Prediction { attention: Some(attention(shape)), ..prediction(Some(lungs(shape))) };
    let mut asked = Asked::of(&series, Outcome::Predicted(&said));
    asked.algorithm.untrained = true;
    let results = asked.encode().unwrap();
    assert_eq!(kinds(&results), [ResultKind::Segmentation, ResultKind::ParametricMap, ResultKind::Report]);
    assert_eq!(map(&results).integer(tags::NUMBER_OF_FRAMES), Some(4));
    let description = map(&results).text(tags::SERIES_DESCRIPTION).unwrap();
    assert!(description.starts_with("UNTRAINED MODEL"), "{description}");
    let series_uids: std::collections::BTreeSet<_> =
        results.objects.iter().map(|object| object.series_instance_uid.as_str().to_owned()).collect();
    assert_eq!(series_uids.len(), 3);
    let dump = judged_by_others(&series, &results, &said);
    assert!(dump.contains("key slices, the most important first, 4, 7 of 7"), "{dump}");
}

#[test]
fn slices_at_unequal_distances_keep_their_own_places() {
    let shape = [7, 9, 13];
    // Almost a tenth of the distance between slices, which is more than half of that between thick slices' pixels.
    let thick = Layout3d { spacing: [5.0, 0.703_125, 0.8], ..Layout3d::axial(shape) };
    for (layout, step) in
        [(Layout3d::axial(shape), 0.3), (Layout3d::axial(shape).oblique().reversed(), 0.3), (thick, 0.45)]
    {
        let mut series = series(layout, identified);
        // A little along the normal, and another thickness: still the slice that it was.
        let normal = series.stack.geometry.slice_direction;
        let third = series.stack.slices[3].as_mut().unwrap();
        let place: Vec<f64> = third.image_position_patient.split('\\').map(|n| n.parse().unwrap()).collect();
        let moved: Vec<String> = place.iter().zip(normal).map(|(p, n)| decimal_string(p + n * step)).collect();
        third.image_position_patient = moved.join("\\");
        third.slice_thickness = Some("2.5".into());
        let place = third.image_position_patient.clone();
        series.instances[3].put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, &place);
        let said = Prediction { attention: Some(attention(shape)), ..prediction(Some(lungs(shape))) };
        let results = Asked::of(&series, Outcome::Predicted(&said)).encode().unwrap();
        for kind in [ResultKind::Segmentation, ResultKind::ParametricMap] {
            let written = object(&results, kind).unwrap();
            let frames = written.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
            let of = |frame: &DataSet, group, tag| frame.items(group).first().and_then(|item| item.text(tag));
            let there = |frame: &&DataSet| {
                of(frame, tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT).as_ref() == Some(&place)
                    && of(frame, tags::PIXEL_MEASURES_SEQUENCE, tags::SLICE_THICKNESS).as_deref() == Some("2.5")
            };
            assert!(frames.iter().any(|frame| there(&frame)), "{kind:?}");
        }
        judged_by_others(&series, &results, &said);
    }
}

#[test]
fn a_map_of_nothing_is_no_object() {
    let shape = [4, 8, 8];
    let series = series(Layout3d::axial(shape), identified);
    let mut said = looking(shape);
    said.attention.as_mut().unwrap().values.fill(0.0);
    let results = Asked::of(&series, Outcome::Predicted(&said)).encode().unwrap();
    assert_eq!(kinds(&results), [ResultKind::Report]);
}

#[test]
fn a_map_that_does_not_fit_its_source_does_not_leave() {
    let shape = [4, 8, 8];
    let series = series(Layout3d::axial(shape), identified);
    let wrong: [fn(&mut AttentionMap); 5] = [
        |map| map.values[9] = f32::NAN,
        |map| map.values[9] = 1.5,
        |map| map.shape = [4, 8, 9],
        |map| map.key_slices = vec![4],
        |map| map.label.clear(),
    ];
    for spoil in wrong {
        let mut said = looking(shape);
        spoil(said.attention.as_mut().unwrap());
        let error = Asked::of(&series, Outcome::Predicted(&said)).encode().unwrap_err();
        assert!(matches!(error, ResultError::Prediction(_)), "{error}");
    }
}
