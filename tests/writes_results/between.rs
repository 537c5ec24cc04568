//! A source whose slices lie at unequal distances: nothing is said of a slice that nobody has, and nothing is lost on one.

use overread::dicom::tags;
use overread::inference::prediction::{LabelMap, Prediction, Verdict};
use overread::results::{Outcome, ResultKind};

use super::asked::{Asked, evaluations, identified, judged_by_others, object, prediction};
use super::attention::attention;
use super::findings::{PATHOLOGY, finding};
use crate::testkit::source_series::{Layout3d, Series, series};

/// The fourth slice lies between two of the source.
fn uneven(shape: [usize; 3]) -> Series {
    let mut series = series(Layout3d::axial(shape), identified);
    let between = series.stack.slices[3].take().unwrap();
    series.stack.source.instances.retain(|(_, uid)| *uid != between.sop_instance_uid);
    series.instances.remove(3);
    series.stack.between = vec![3];
    series
}

#[test]
fn what_lies_on_such_a_slice_alone_is_told_and_is_not_absent() {
    let shape = [7, 9, 13];
    let series = uneven(shape);
    let slice = shape[1] * shape[2];
    let mut labels = vec![0; 7 * slice];
    labels[3 * slice + 20] = 1;
    let mut said = prediction(Some(LabelMap { shape, labels }));
    said.measurement_groups.clear();
    let results = Asked::of(&series, Outcome::Predicted(&said)).encode().unwrap();
    assert!(object(&results, ResultKind::Segmentation).is_none(), "no frame shows it");
    let (codes, comments) = evaluations(&object(&results, ResultKind::Report).unwrap());
    // With findings; and neither lung is absent, for both have one code.
    assert!(codes.contains(&("111017".to_owned(), "111242".to_owned())), "{codes:?}");
    assert!(codes.iter().all(|(_, value)| value != "272519000"), "{codes:?}");
    let told = "Right lung lies between slices of the source alone: no frame shows it";
    assert!(comments.iter().any(|comment| comment.contains(told)), "{comments:?}");
    assert!(comments.iter().all(|comment| !comment.contains("are missing")), "{comments:?}");
    judged_by_others(&series, &results, &said);
}

#[test]
fn slices_are_counted_as_the_source_has_them() {
    let shape = [7, 9, 13];
    let series = uneven(shape);
    let mut map = attention(shape);
    map.key_slices = vec![5, 2];
    let said = Prediction {
        attention: Some(map),
        findings: vec![finding("Pathology", PATHOLOGY, 0.9)],
        ..Prediction::of(Verdict::Suitable)
    };
    let results = Asked::of(&series, Outcome::Predicted(&said)).encode().unwrap();
    let (_, comments) = evaluations(&object(&results, ResultKind::Report).unwrap());
    assert!(comments.iter().any(|comment| comment.contains("most important first, 5, 3 of 6")), "{comments:?}");
    let map = object(&results, ResultKind::ParametricMap).unwrap();
    let frames = map.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    assert!(frames.len() < 7 && !frames.is_empty());
    judged_by_others(&series, &results, &said);
}
