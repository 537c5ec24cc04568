//! Results are what the model said, on the source's own grid, under the patient's own name, and other people's programs
//! read them the same way.

mod asked;
mod attention;
mod between;
mod findings;
mod radiographs;
mod words;

use overread::dicom::data_set::DataSet;
use overread::dicom::uid::{SeriesInstanceUid, SopClassUid, SopInstanceUid, StudyInstanceUid};
use overread::dicom::{VR, tags};
use overread::inference::prediction::{LabelMap, Prediction, Segment, Verdict};
use overread::results::{DocumentReference, Outcome, ResultError, ResultKind};
use overread::volume::LossyCompression;

use crate::testkit::source_series::{Layout3d, Series, series};
use asked::{Asked, evaluations, identified, judged_by_others, lungs, object, prediction};

#[test]
fn other_programs_read_the_same_mask_and_the_same_numbers_in_every_orientation() {
    // 9 x 13 pixels: no frame but every eighth begins at a byte.
    let shape = [7, 9, 13];
    let axial = Layout3d::axial(shape);
    for layout in [
        axial,
        axial.reversed(),
        axial.sagittal(),
        axial.oblique(),
        axial.multi_frame(),
        axial.oblique().reversed().multi_frame(),
    ] {
        let series = series(layout, identified);
        let prediction = prediction(Some(lungs(shape)));
        let results = Asked::of(&series, Outcome::Predicted(&prediction)).encode().unwrap();
        assert_eq!(results.objects.len(), 2, "{layout:?}");
        judged_by_others(&series, &results, &prediction);
    }
}

#[test]
fn only_slices_with_voxels_have_frames_unless_all_are_wanted() {
    let shape = [7, 8, 8];
    let series = series(Layout3d::axial(shape), identified);
    let prediction = prediction(Some(lungs(shape)));
    let mut asked = Asked::of(&series, Outcome::Predicted(&prediction));
    let frames = |asked: &Asked<'_>| {
        let results = asked.encode().unwrap();
        object(&results, ResultKind::Segmentation).unwrap().integer(tags::NUMBER_OF_FRAMES).unwrap()
    };
    // The right lung begins in slice 1, the left one ends before the last two.
    assert_eq!(frames(&asked), 6 + 5);
    asked.options.keep_empty_frames = true;
    assert_eq!(frames(&asked), 14);
    judged_by_others(&series, &asked.encode().unwrap(), &prediction);
}

#[test]
fn a_slice_that_the_source_lacks_has_no_frame_and_the_report_says_so() {
    let shape = [7, 9, 13];
    let mut series = series(Layout3d::axial(shape), identified);
    let missing = series.stack.slices[3].take().unwrap();
    series.stack.source.instances.retain(|(_, uid)| *uid != missing.sop_instance_uid);
    series.instances.remove(3);
    let prediction = prediction(Some(lungs(shape)));
    let results = Asked::of(&series, Outcome::Predicted(&prediction)).encode().unwrap();
    let segmentation = object(&results, ResultKind::Segmentation).unwrap();
    assert_eq!(segmentation.integer(tags::NUMBER_OF_FRAMES), Some(5 + 4));
    let (_, comments) = evaluations(&object(&results, ResultKind::Report).unwrap());
    assert!(comments.iter().any(|c| c.contains("1 of 7 slices are missing in the source (14.3 %)")), "{comments:?}");
    judged_by_others(&series, &results, &prediction);
}

#[test]
fn an_empty_lung_has_no_segment_and_of_its_numbers_the_report_says_that_they_are_not_defined() {
    let shape = [7, 9, 13];
    let series = series(Layout3d::axial(shape), identified);
    let mut prediction = prediction(Some(lungs(shape)));
    prediction.label_map.as_mut().unwrap().labels.iter_mut().filter(|l| **l == 1).for_each(|l| *l = 0);
    prediction.measurement_groups[0].measurements.iter_mut().for_each(|m| m.value = None);
    prediction.measurement_groups[0].measurements[1].value = Some(f64::NAN);
    let results = Asked::of(&series, Outcome::Predicted(&prediction)).encode().unwrap();
    let segmentation = object(&results, ResultKind::Segmentation).unwrap();
    let segments = segmentation.items(tags::SEGMENT_SEQUENCE);
    assert_eq!(segments.len(), 1);
    assert_eq!(segments[0].integer(tags::SEGMENT_NUMBER), Some(1));
    assert_eq!(segments[0].text(tags::SEGMENT_LABEL).as_deref(), Some("Left lung"));
    judged_by_others(&series, &results, &prediction);
    // One number of a lung that is there.
    let mut prediction = self::prediction(Some(lungs(shape)));
    prediction.measurement_groups[1].measurements[2].value = None;
    let results = Asked::of(&series, Outcome::Predicted(&prediction)).encode().unwrap();
    judged_by_others(&series, &results, &prediction);
}

#[test]
fn nothing_found_not_suitable_and_failed_are_different_reports_without_a_segmentation() {
    let shape = [4, 8, 8];
    let series = series(Layout3d::axial(shape), identified);
    let mut negative = prediction(Some(LabelMap { shape, labels: vec![0; 256] }));
    negative.measurement_groups.clear();
    let mut unsuitable = prediction(None);
    unsuitable.measurement_groups.clear();
    unsuitable.verdict = Verdict::NotSuitable {
        code: "not-a-chest-ct".into(),
        reason: "No lungs were found: this is not a chest CT".into(),
    };
    let refused = Outcome::NotSuitable { code: "gantry-tilt", reason: "The gantry is tilted by 18.5\u{b0}" };
    let failed = Outcome::Failed { code: "time-limit", cause: "The model did not finish within 600 s" };
    let cases = [
        (
            Outcome::Predicted(&negative),
            ResultKind::Report,
            vec![("111065", "111222"), ("111017", "111241"), ("39607008", "272519000")],
            None,
        ),
        (
            Outcome::Predicted(&unsuitable),
            ResultKind::Report,
            vec![("111065", "111225"), ("111017", "111245")],
            Some("[not-a-chest-ct]"),
        ),
        (
            refused,
            ResultKind::Report,
            vec![("111065", "111225"), ("111017", "111245")],
            Some("tilted by 18.5deg [gantry-tilt]"),
        ),
        (failed, ResultKind::FailureReport, vec![("111065", "111224"), ("111017", "111245")], Some("[time-limit]")),
    ];
    let mut uids = Vec::new();
    for (outcome, kind, expected, reason) in cases {
        let mut asked = Asked::of(&series, outcome);
        if matches!(outcome, Outcome::NotSuitable { .. }) {
            asked.grid = None;
        }
        let results = asked.encode().unwrap();
        assert_eq!(results.objects.len(), 1);
        assert_eq!(results.objects[0].kind, kind);
        uids.push(results.objects[0].sop_instance_uid.clone());
        let (codes, comments) = evaluations(&object(&results, kind).unwrap());
        let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(codes, expected);
        if let Some(reason) = reason {
            assert!(comments.iter().any(|c| c.ends_with(reason)), "{comments:?}");
        }
        judged_by_others(&series, &results, &negative);
    }
    let different: std::collections::BTreeSet<_> = uids.iter().map(|uid| uid.as_str()).collect();
    assert_eq!(different.len(), 4, "each outcome is a document of its own: {uids:?}");
    let again = Outcome::Failed { code: "out-of-memory", cause: "There was not enough memory" };
    let again = Asked::of(&series, again).encode().unwrap();
    assert_ne!(uids[3], again.objects[0].sop_instance_uid, "nor a failure of another cause that of the first one");
}

#[test]
fn a_report_does_not_replace_itself() {
    let series = series(Layout3d::axial([4, 8, 8]), identified);
    let prediction = prediction(None);
    let mut asked = Asked::of(&series, Outcome::Predicted(&prediction));
    let own = asked.encode().unwrap().objects.pop().unwrap();
    asked.predecessor = Some(DocumentReference {
        study_instance_uid: series.stack.source.study_instance_uid.clone(),
        series_instance_uid: own.series_instance_uid,
        sop_class_uid: own.sop_class_uid,
        sop_instance_uid: own.sop_instance_uid,
    });
    let report = object(&asked.encode().unwrap(), ResultKind::Report).unwrap();
    assert!(report.items(tags::PREDECESSOR_DOCUMENTS_SEQUENCE).is_empty());
}

#[test]
fn what_is_wrong_with_the_uids_of_the_source_is_copied_and_forbids_no_result() {
    let shape = [4, 8, 8];
    let series = series(Layout3d::axial(shape), |ds| {
        identified(ds);
        let mut study = DataSet::new();
        study.put_uid(tags::REFERENCED_SOP_CLASS_UID, "1.2.840.10008.3.1.2.3.1");
        study.put_uid(tags::REFERENCED_SOP_INSTANCE_UID, "1.2..3");
        ds.put_items(tags::REFERENCED_STUDY_SEQUENCE, vec![study]);
    });
    let prediction = prediction(Some(lungs(shape)));
    let results = Asked::of(&series, Outcome::Predicted(&prediction)).encode().unwrap();
    for kind in [ResultKind::Segmentation, ResultKind::Report] {
        let written = object(&results, kind).unwrap();
        let study = &written.items(tags::REFERENCED_STUDY_SEQUENCE)[0];
        assert_eq!(study.text(tags::REFERENCED_SOP_INSTANCE_UID).as_deref(), Some("1.2..3"));
    }
}

#[test]
fn one_lossy_slice_makes_a_lossy_segmentation() {
    let shape = [4, 8, 8];
    let mut series = series(Layout3d::axial(shape), identified);
    let prediction = prediction(Some(lungs(shape)));
    let lossy = |series: &Series| {
        let results = Asked::of(series, Outcome::Predicted(&prediction)).encode().unwrap();
        let written = object(&results, ResultKind::Segmentation).unwrap();
        [tags::LOSSY_IMAGE_COMPRESSION, tags::LOSSY_IMAGE_COMPRESSION_RATIO, tags::LOSSY_IMAGE_COMPRESSION_METHOD]
            .map(|tag| written.text(tag).unwrap_or_default())
    };
    assert_eq!(lossy(&series), ["00", "", ""]);
    series.stack.source.lossy = Some(LossyCompression { ratio: "12.5".into(), method: "ISO_14495_1".into() });
    assert_eq!(lossy(&series), ["01", "12.5", "ISO_14495_1"]);
}

#[test]
fn only_images_are_in_the_image_library() {
    let mut series = series(Layout3d::axial([4, 8, 8]), identified);
    let raw = SopInstanceUid::parse("1.2.3.99").unwrap();
    let class = |uid: &str| SopClassUid::parse(uid).unwrap();
    series.stack.source.instances.push((class("1.2.840.10008.5.1.4.1.1.66"), raw.clone()));
    let images = |series: &Series| {
        let mut asked =
            Asked::of(series, Outcome::NotSuitable { code: "unreadable-instance", reason: "One cannot be read." });
        asked.grid = None;
        let report = asked.encode().unwrap().objects.pop().unwrap().bytes;
        let referred = |uid: &str| report.windows(uid.len()).filter(|found| *found == uid.as_bytes()).count();
        (referred(series.stack.source.instances[0].1.as_str()), referred("1.2.3.99"))
    };
    // Once in the evidence, once in the library.
    assert_eq!(images(&series), (2, 1));
    series.stack.source.instances = vec![(class("1.2.840.10008.5.1.4.1.1.66"), raw)];
    assert_eq!(images(&series).1, 1);
}

#[test]
fn the_last_of_all_segments_that_a_label_map_can_have_is_written() {
    let shape = [4, 8, 8];
    let series = series(Layout3d::axial(shape), identified);
    let mut all = prediction(Some(lungs(shape)));
    let one = all.segments[0].clone();
    all.segments.extend((3..=255).map(|number| Segment { label: format!("Part {number}"), ..one.clone() }));
    all.label_map.as_mut().unwrap().labels[0] = 255;
    let results = Asked::of(&series, Outcome::Predicted(&all)).encode().unwrap();
    let written = object(&results, ResultKind::Segmentation).unwrap();
    let labels: Vec<_> =
        written.items(tags::SEGMENT_SEQUENCE).iter().filter_map(|s| s.text(tags::SEGMENT_LABEL)).collect();
    assert_eq!(labels, ["Right lung", "Left lung", "Part 255"]);
}

#[test]
fn the_same_job_makes_the_same_bytes_and_any_other_job_makes_other_objects() {
    let shape = [4, 8, 8];
    let series = series(Layout3d::axial(shape), identified);
    let prediction = prediction(Some(lungs(shape)));
    let asked = Asked::of(&series, Outcome::Predicted(&prediction));
    let (one, two) = (asked.encode().unwrap(), asked.encode().unwrap());
    for (one, two) in one.objects.iter().zip(&two.objects) {
        assert!(one.bytes == two.bytes && one.sop_instance_uid == two.sop_instance_uid);
    }
    let mut other = Asked::of(&series, Outcome::Predicted(&prediction));
    other.algorithm.weights_sha256 = "11".repeat(32);
    for (one, other) in one.objects.iter().zip(&other.encode().unwrap().objects) {
        assert_ne!(one.sop_instance_uid, other.sop_instance_uid);
        assert_ne!(one.series_instance_uid, other.series_instance_uid);
    }
}

#[test]
fn names_come_out_as_they_went_in_whatever_their_script() {
    let shape = [4, 8, 8];
    let names: [(&str, &str, &[u8]); 9] = [
        ("Cyrillic", "ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1yp\xd3"),
        (
            "Cyrillic by code extension",
            "\\ISO 2022 IR 144",
            b"Ivanov^Ivan=\x1b\x2d\x4c\xb8\xd2\xd0\xdd\xde\xd2^\xb8\xd2\xd0\xdd",
        ),
        ("Greek", "ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2"),
        (
            "Japanese",
            "\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        ),
        (
            "Japanese half width",
            "ISO 2022 IR 13\\ISO 2022 IR 87",
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
        ),
        (
            "Korean",
            "\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        ),
        ("Arabic", "ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1"),
        ("GB18030", "GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab="),
        ("Unicode", "ISO_IR 192", "Wang^XiaoDong=王^小東=".as_bytes()),
    ];
    for (script, set, name) in names {
        let series = series(Layout3d::axial(shape), |ds| {
            ds.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, set);
            identified(ds);
            ds.put_bytes(tags::PATIENT_NAME, VR::PN, name);
            ds.put_bytes(tags::INSTITUTION_NAME, VR::LO, name);
        });
        let prediction = prediction(Some(lungs(shape)));
        let results = Asked::of(&series, Outcome::Predicted(&prediction)).encode().unwrap();
        for kind in [ResultKind::Segmentation, ResultKind::Report] {
            let written = object(&results, kind).unwrap();
            let bytes = written.bytes(tags::PATIENT_NAME).unwrap();
            assert_eq!(&bytes[..name.len()], name, "{script}");
            assert_eq!(written.text(tags::SPECIFIC_CHARACTER_SET).as_deref(), Some(set), "{script}");
        }
        judged_by_others(&series, &results, &prediction);
    }
}

#[test]
fn the_request_the_study_and_the_time_zone_of_the_source_are_kept() {
    let shape = [4, 8, 8];
    let series = series(Layout3d::axial(shape), identified);
    let prediction = prediction(Some(lungs(shape)));
    let results = Asked::of(&series, Outcome::Predicted(&prediction)).encode().unwrap();
    let report = object(&results, ResultKind::Report).unwrap();
    for tag in [tags::ISSUER_OF_PATIENT_ID, tags::ACCESSION_NUMBER, tags::PATIENT_AGE, tags::STUDY_DESCRIPTION] {
        let (written, source) = (report.text(tag), series.stack.source.header.text(tag));
        assert!(written.is_some() && written == source, "{tag}: {written:?}");
    }
    let requests = report.items(tags::REFERENCED_REQUEST_SEQUENCE);
    assert_eq!(requests[0].text(tags::REQUESTED_PROCEDURE_ID).as_deref(), Some("RP7"));
    assert_eq!(requests[0].text(tags::ACCESSION_NUMBER).as_deref(), Some("A1"));
    // 2024-02-29 10:30:00.250 UTC, at +05:30.
    assert_eq!(report.text(tags::CONTENT_DATE).as_deref(), Some("20240229"));
    assert_eq!(report.text(tags::CONTENT_TIME).as_deref(), Some("160000.250"));
}

#[test]
fn dates_in_the_old_form_do_not_become_content() {
    let shape = [4, 8, 8];
    let mut series = series(Layout3d::axial(shape), identified);
    series.stack.source.header.put_text(tags::ACQUISITION_DATE, VR::DA, "1993.02.24");
    series.stack.source.header.put_text(tags::ACQUISITION_TIME, VR::TM, "17:58:00");
    let prediction = prediction(Some(lungs(shape)));
    let results = Asked::of(&series, Outcome::Predicted(&prediction)).encode().unwrap();
    let dump = judged_by_others(&series, &results, &prediction);
    assert!(!dump.contains("Acquisition Date") && !dump.contains("Acquisition Time"), "{dump}");
    assert!(dump.contains("Content Date") && dump.contains("Content Time"), "{dump}");
}

#[test]
fn a_report_names_the_one_it_replaces() {
    let shape = [4, 8, 8];
    let series = series(Layout3d::axial(shape), identified);
    let prediction = prediction(Some(lungs(shape)));
    let mut asked = Asked::of(&series, Outcome::Predicted(&prediction));
    asked.predecessor = Some(DocumentReference {
        study_instance_uid: StudyInstanceUid::parse("1.2.3").unwrap(),
        series_instance_uid: SeriesInstanceUid::parse("1.2.4").unwrap(),
        sop_class_uid: SopClassUid::parse("1.2.840.10008.5.1.4.1.1.88.34").unwrap(),
        sop_instance_uid: SopInstanceUid::parse("1.2.5").unwrap(),
    });
    let results = asked.encode().unwrap();
    let report = object(&results, ResultKind::Report).unwrap();
    let study = &report.items(tags::PREDECESSOR_DOCUMENTS_SEQUENCE)[0];
    let of_series = &study.items(tags::REFERENCED_SERIES_SEQUENCE)[0];
    let instance = &of_series.items(tags::REFERENCED_SOP_SEQUENCE)[0];
    assert_eq!(instance.text(tags::REFERENCED_SOP_INSTANCE_UID).as_deref(), Some("1.2.5"));
    judged_by_others(&series, &results, &prediction);
}

#[test]
fn untrained_weights_are_named_in_every_object() {
    let shape = [4, 8, 8];
    let series = series(Layout3d::axial(shape), identified);
    let prediction = prediction(Some(lungs(shape)));
    let mut asked = Asked::of(&series, Outcome::Predicted(&prediction));
    asked.algorithm.untrained = true;
    let results = asked.encode().unwrap();
    for kind in [ResultKind::Segmentation, ResultKind::Report] {
        let description = object(&results, kind).unwrap().text(tags::SERIES_DESCRIPTION).unwrap();
        assert!(description.starts_with("UNTRAINED MODEL"), "{description}");
    }
    let (_, comments) = evaluations(&object(&results, ResultKind::Report).unwrap());
    assert!(comments[0].starts_with("UNTRAINED MODEL"), "{comments:?}");
    judged_by_others(&series, &results, &prediction);
}

#[test]
fn a_prediction_that_contradicts_itself_is_the_model_authors_fault() {
    let shape = [4, 8, 8];
    let series = series(Layout3d::axial(shape), identified);
    let good = prediction(Some(lungs(shape)));
    let wrong: [fn(&mut Prediction); 5] = [
        |p| p.label_map.as_mut().unwrap().labels[0] = 3,
        |p| p.label_map.as_mut().unwrap().shape = [4, 8, 9],
        |p| p.measurement_groups[0].segment_numbers = vec![3],
        |p| p.measurement_groups[1].label = "Right lung".into(),
        |p| p.segments[0].label = " ".into(),
    ];
    for spoil in wrong {
        let mut bad = good.clone();
        spoil(&mut bad);
        let error = Asked::of(&series, Outcome::Predicted(&bad)).encode().unwrap_err();
        assert!(matches!(error, ResultError::Prediction(_)), "{error}");
    }
}

/// The size of a chest CT of 1 mm: run with `--release -- --ignored`.
#[test]
#[ignore = "a measurement, meaningful only in a release build"]
fn three_hundred_slices_are_written_and_read_back_in_half_a_second() {
    let shape = [300, 512, 512];
    let axial = Layout3d::axial([300, 2, 2]);
    let mut series = series(axial, identified);
    series.stack.geometry.shape = shape;
    let [slices, rows, columns] = shape;
    let ball = |slice: usize, row: usize, column: usize, centre: usize| {
        let squared = |a: usize, b: usize| a.abs_diff(b) * a.abs_diff(b);
        2 * squared(slice, 150) + squared(row, 256) + 2 * squared(column, centre) < 180 * 180
    };
    let mut labels = Vec::with_capacity(slices * rows * columns);
    for slice in 0..slices {
        for row in 0..rows {
            labels.extend((0..columns).map(|column| {
                match (ball(slice, row, column, 130), ball(slice, row, column, 380)) {
                    (true, _) => 1,
                    (false, true) => 2,
                    (false, false) => 0,
                }
            }));
        }
    }
    let prediction = prediction(Some(LabelMap { shape, labels }));
    let asked = Asked::of(&series, Outcome::Predicted(&prediction));
    let begin = std::time::Instant::now();
    let results = asked.encode().unwrap();
    let seconds = begin.elapsed().as_secs_f64();
    let sizes: Vec<usize> = results.objects.iter().map(|o| o.bytes.len()).collect();
    println!("{seconds:.3} s, {sizes:?} bytes");
    assert!(seconds < 0.5, "{seconds} s");
}
