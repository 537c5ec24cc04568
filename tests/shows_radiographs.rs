//! A radiograph has the grey levels that a viewer would show, the image of a series is well chosen, and what cannot be
//! shown is refused by name.
#![expect(clippy::panic, clippy::unwrap_used, reason = "test code outside of test functions")]

use std::fs::File;
use std::path::{Path, PathBuf};

use dicom_dictionary_std::uids;
use overread::dicom::data_set::DataSet;
use overread::dicom::part10::Part10;
use overread::dicom::{Tag, VR, tags};
use overread::inference::npz::{self, Values};
use overread::volume::radiograph::Voi;
use overread::volume::{AssembleError, InstanceSource, Radiograph, RadiographOptions, Refusal, Series};

use crate::testkit::phantom::{part10, words};

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder)
}

fn read(sources: Vec<InstanceSource>) -> Result<Radiograph, AssembleError> {
    Series::read(sources).unwrap().radiograph(&RadiographOptions::default())
}

fn refusal(sources: Vec<InstanceSource>) -> Refusal {
    match read(sources) {
        Err(AssembleError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// A digital radiograph of 4 × 3 pixels of 12 bits: 0, 100, … 1100.
fn image(id: usize) -> DataSet {
    let mut ds = DataSet::new();
    ds.put_uid(tags::SOP_CLASS_UID, uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION);
    ds.put_uid(tags::SOP_INSTANCE_UID, &format!("1.2.3.4.{id}"));
    ds.put_uid(tags::STUDY_INSTANCE_UID, "1.2.3.1");
    ds.put_uid(tags::SERIES_INSTANCE_UID, "1.2.3.2");
    ds.put_text(tags::PATIENT_ID, VR::LO, "PH-1");
    ds.put_text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, 4),
        (tags::COLUMNS, 3),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 12),
        (tags::HIGH_BIT, 11),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        ds.put_us(tag, &[value]);
    }
    let values: Vec<u16> = (0..12).map(|index| index * 100).collect();
    ds.put_bytes(tags::PIXEL_DATA, VR::OW, words(&values));
    ds
}

fn with(id: usize, edit: impl FnOnce(&mut DataSet)) -> InstanceSource {
    let mut ds = image(id);
    edit(&mut ds);
    part10(&ds, uids::EXPLICIT_VR_LITTLE_ENDIAN).into()
}

fn windowed(ds: &mut DataSet, centre: &str, width: &str) {
    ds.put_text(tags::WINDOW_CENTER, VR::DS, centre);
    ds.put_text(tags::WINDOW_WIDTH, VR::DS, width);
}

fn close(found: &[f32], expected: &[f32]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6)
}

fn warned(radiograph: &Radiograph, words: &str) -> bool {
    radiograph.warnings.iter().any(|warning| warning.contains(words))
}

#[test]
fn grey_levels_are_pydicoms() {
    let folder = fixtures("radiographs");
    let expected = npz::read(File::open(folder.join("expected.npz")).unwrap()).unwrap();
    assert_eq!(expected.len(), 15);
    for (name, array) in expected {
        let Values::F32(values) = array.values else { panic!("{name}") };
        let radiograph = read(vec![InstanceSource::File(folder.join(format!("{name}.dcm")))]).unwrap();
        assert_eq!([radiograph.rows, radiograph.columns], array.shape[..], "{name}");
        let worst = radiograph.values.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6 && radiograph.values.len() == values.len(), "{name}: {worst}");
        assert_eq!(radiograph.padding.is_some(), name.starts_with("padding"), "{name}");
        let padding = radiograph.padding.unwrap_or_default();
        assert!(padding.iter().zip(&radiograph.values).all(|(padding, value)| !padding || *value == 0.0), "{name}");
        let columns_0_to_2 = padding.chunks(radiograph.columns).all(|row| row[..3] == [true; 3]);
        assert!(columns_0_to_2, "{name}");
    }
}

#[test]
fn bits_around_the_sample_are_not_looked_at() {
    let plain = read(vec![with(1, |_| ())]).unwrap();
    let high = read(vec![with(1, |ds| {
        let values: Vec<u16> = (0..12).map(|index| (index * 100) << 4 | 0xF).collect();
        ds.put_bytes(tags::PIXEL_DATA, VR::OW, words(&values));
        ds.put_us(tags::HIGH_BIT, &[15]);
    })]);
    assert_eq!(high.unwrap().values, plain.values);
    assert!(close(&plain.values[..3], &[0.0, 1.0 / 11.0, 2.0 / 11.0]));
}

#[test]
fn one_is_bright_whatever_the_polarity() {
    let shown = |photometric: &str, shape: &str| {
        read(vec![with(1, |ds| {
            ds.put_text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, photometric);
            ds.put_text(tags::PRESENTATION_LUT_SHAPE, VR::CS, shape);
        })])
        .unwrap()
    };
    for (photometric, shape, inverted, odd) in [
        ("MONOCHROME2", "", false, false),
        ("MONOCHROME2", "IDENTITY", false, false),
        ("MONOCHROME1", "", true, false),
        ("MONOCHROME1", "INVERSE", true, false),
        ("MONOCHROME1", "IDENTITY", true, true),
        ("MONOCHROME2", "INVERSE", true, true),
        ("", "", false, true),
    ] {
        let radiograph = shown(photometric, shape);
        let first = if inverted { 1.0 } else { 0.0 };
        assert_eq!(radiograph.values[0], first, "{photometric} {shape}");
        assert_eq!(radiograph.warnings.len(), 1 + usize::from(odd), "{photometric} {shape}: {:?}", radiograph.warnings);
    }
}

#[test]
fn without_a_window_or_by_choice_the_whole_range_is_shown() {
    let source = || vec![with(1, |ds| windowed(ds, "300", "201"))];
    let narrow = read(source()).unwrap();
    assert!(close(&narrow.values[..6], &[0.0, 0.0, 0.0025, 0.5025, 1.0, 1.0]), "{:?}", narrow.values);
    assert!(narrow.warnings.is_empty(), "{:?}", narrow.warnings);
    let whole = RadiographOptions { voi: Voi::Whole, ..RadiographOptions::default() };
    let whole = Series::read(source()).unwrap().radiograph(&whole).unwrap();
    assert!(whole.values.iter().enumerate().all(|(at, value)| (value - at as f32 / 11.0).abs() < 1e-6));
}

#[test]
fn a_window_that_shows_nothing_is_not_used() {
    let plain = read(vec![with(1, |_| ())]).unwrap();
    for (centre, width) in [("30000", "200"), ("-5000", "10"), ("0", "0"), ("NaN", "3")] {
        let radiograph = read(vec![with(1, |ds| windowed(ds, centre, width))]).unwrap();
        assert_eq!(radiograph.values, plain.values, "{centre} {width}");
        assert!(warned(&radiograph, "window"), "{:?}", radiograph.warnings);
    }
}

#[test]
fn it_says_where_it_comes_from() {
    let radiograph = read(vec![with(7, |ds| {
        ds.put_text(tags::IMAGER_PIXEL_SPACING, VR::DS, "0.2\\0.1");
        ds.put_text(tags::NUMBER_OF_FRAMES, VR::IS, "1");
    })]);
    let radiograph = radiograph.unwrap();
    assert_eq!(radiograph.pixel_spacing, Some([0.2, 0.1]));
    assert_eq!(radiograph.image.sop_instance_uid.as_str(), "1.2.3.4.7");
    assert_eq!(radiograph.image.frame_number, None, "its class has no frames, whatever it declares");
    let word = uids::MULTI_FRAME_GRAYSCALE_WORD_SECONDARY_CAPTURE_IMAGE_STORAGE;
    let capture = read(vec![with(8, |ds| ds.put_uid(tags::SOP_CLASS_UID, word))]).unwrap();
    assert_eq!(capture.image.frame_number, Some(1));
    assert_eq!(radiograph.source.instances.len(), 1);
    assert!(!radiograph.source.header.contains(tags::PIXEL_DATA));
    let spaced = read(vec![with(1, |ds| {
        ds.put_text(tags::IMAGER_PIXEL_SPACING, VR::DS, "0.2\\0.2");
        ds.put_text(tags::PIXEL_SPACING, VR::DS, "0.15\\0.15");
    })]);
    let spaced = spaced.unwrap();
    assert_eq!((spaced.pixel_spacing, spaced.image.frame_number), (Some([0.15, 0.15]), None));
    assert_eq!(read(vec![with(1, |_| ())]).unwrap().pixel_spacing, None);
}

#[test]
fn a_padding_value_that_no_pixel_can_have_is_that_of_none() {
    // 65535 in twelve bits would be 4095, and 63536 would be 2096.
    for (padding, stored) in [(65_535, 4095), (63_536, 2096)] {
        let radiograph = read(vec![with(1, |ds| {
            ds.put_us(tags::PIXEL_PADDING_VALUE, &[padding]);
            let mut values: Vec<u16> = (0..12).map(|index| index * 100).collect();
            values[11] = stored;
            ds.put_bytes(tags::PIXEL_DATA, VR::OW, words(&values));
        })]);
        let radiograph = radiograph.unwrap();
        assert_eq!((radiograph.values[11], radiograph.padding), (1.0, None), "{padding}");
    }
}

/// The image that is read of several, each with a view.
fn chosen(views: &[&str]) -> Radiograph {
    let put = |(id, view): (usize, &&str)| with(id, |ds| ds.put_text(tags::VIEW_POSITION, VR::CS, view));
    read(views.iter().enumerate().map(put).collect()).unwrap()
}

#[test]
fn a_frontal_view_is_read_before_a_lateral_one() {
    for (views, index) in [
        (&["LL", "PA"][..], 1),
        (&["LL", "AP", "PA"], 2),
        (&["RLO", "", "LL"], 1),
        (&["LATERAL", "LLD"], 1),
        (&["PA", "PA"], 0),
    ] {
        let radiograph = chosen(views);
        assert_eq!(radiograph.image.sop_instance_uid.as_str(), format!("1.2.3.4.{index}"), "{views:?}");
        assert!(warned(&radiograph, &format!("holds {} images", views.len())), "{:?}", radiograph.warnings);
    }
    let lateral = chosen(&["LL"]);
    assert!(warned(&lateral, "a lateral view, not a frontal one"), "{:?}", lateral.warnings);
}

#[test]
fn what_is_made_to_be_looked_at_is_read_before_what_is_raw_or_derived() {
    let raw = |ds: &mut DataSet| ds.put_text(tags::PRESENTATION_INTENT_TYPE, VR::CS, "FOR PROCESSING");
    let derived = |ds: &mut DataSet| ds.put_text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\PRIMARY");
    let later = |ds: &mut DataSet| ds.put_text(tags::INSTANCE_NUMBER, VR::IS, "9");
    let earlier = |ds: &mut DataSet| ds.put_text(tags::INSTANCE_NUMBER, VR::IS, "2");
    for (first, second, expected) in [
        (with(1, raw), with(2, derived), 2),
        (with(1, derived), with(2, later), 2),
        (with(1, later), with(2, earlier), 2),
        (with(1, earlier), with(2, later), 1),
    ] {
        let found = read(vec![first, second]).unwrap().image.sop_instance_uid;
        assert_eq!(found.as_str(), format!("1.2.3.4.{expected}"));
    }
    assert!(warned(&read(vec![with(1, raw)]).unwrap(), "raw"));
}

#[test]
fn a_lateral_view_never_stands_in_for_a_frontal_one_that_cannot_be_read() {
    let view = |ds: &mut DataSet, view: &str| ds.put_text(tags::VIEW_POSITION, VR::CS, view);
    let broken = |id: usize, position: &str| {
        with(id, |ds| {
            view(ds, position);
            ds.put_bytes(tags::PIXEL_DATA, VR::OW, vec![0; 10]);
        })
    };
    let whole = |id: usize, position: &str| with(id, |ds| view(ds, position));
    assert_eq!(refusal(vec![broken(1, "PA"), whole(2, "LL")]).code(), "undecodable");
    let other = read(vec![broken(1, "PA"), whole(2, "LL"), whole(3, "AP")]).unwrap();
    assert_eq!(other.image.sop_instance_uid.as_str(), "1.2.3.4.3");
    assert!(warned(&other, "1 image that would have come first cannot be read"), "{:?}", other.warnings);
}

#[test]
fn every_image_that_cannot_be_shown_is_refused_by_name() {
    let us = |tag: Tag, value: u16| move |ds: &mut DataSet| ds.put_us(tag, &[value]);
    let all_padding = |ds: &mut DataSet| {
        ds.put_us(tags::PIXEL_PADDING_VALUE, &[0]);
        ds.put_us(tags::PIXEL_PADDING_RANGE_LIMIT, &[1100]);
    };
    let cases: Vec<(&str, &str, InstanceSource)> = vec![
        ("pixel-format", "1 bits", with(1, us(tags::BITS_ALLOCATED, 1))),
        ("pixel-format", "32 bits", with(1, us(tags::BITS_ALLOCATED, 32))),
        ("pixel-format", "Rows", with(1, us(tags::ROWS, 0))),
        ("pixel-format", "High Bit", with(1, us(tags::HIGH_BIT, 3))),
        ("colour", "colour", with(1, us(tags::SAMPLES_PER_PIXEL, 3))),
        ("colour", "colour", with(1, |ds| ds.put_text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "PALETTE COLOR"))),
        ("several-frames", "3 frames", with(1, |ds| ds.put_text(tags::NUMBER_OF_FRAMES, VR::IS, "3"))),
        ("no-pixel-data", "no pixel data", with(1, |ds| drop(ds.remove(tags::PIXEL_DATA)))),
        ("undecodable", "22 bytes", with(1, |ds| ds.put_bytes(tags::PIXEL_DATA, VR::OW, vec![0; 22]))),
        ("rescale", "Slope", with(1, |ds| ds.put_text(tags::RESCALE_SLOPE, VR::DS, "0"))),
        ("modality-lut", "Modality LUT", with(1, |ds| ds.put_items(tags::MODALITY_LUT_SEQUENCE, vec![DataSet::new()]))),
        ("no-radiographs", "CT Image", with(1, |ds| ds.put_uid(tags::SOP_CLASS_UID, uids::CT_IMAGE_STORAGE))),
        ("blank", "one value", with(1, |ds| ds.put_bytes(tags::PIXEL_DATA, VR::OW, words(&[700; 12])))),
        ("blank", "one value", with(1, all_padding)),
        ("transfer-syntax", uids::MPEG2MPML, part10(&image(1), uids::MPEG2MPML).into()),
    ];
    for (code, words, source) in cases {
        let refusal = refusal(vec![source]);
        let sentence = refusal.to_string();
        assert_eq!(refusal.code(), code, "{sentence}");
        assert!(sentence.contains(words) && sentence.ends_with('.'), "{sentence}");
    }
    assert_eq!(refusal(Vec::new()).code(), "empty-series");
    let other_patient = with(2, |ds| ds.put_text(tags::PATIENT_ID, VR::LO, "PH-2"));
    assert_eq!(refusal(vec![with(1, |_| ()), other_patient]).code(), "several-patients");
}

#[test]
fn a_huge_image_is_refused_before_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.dcm");
    let mut ds = image(1);
    ds.put_us(tags::ROWS, &[30_000]);
    ds.put_us(tags::COLUMNS, &[30_000]);
    // A file that stands for 1.8 GB and takes no room.
    let mut bytes = part10(&ds, uids::EXPLICIT_VR_LITTLE_ENDIAN).to_vec();
    let (length, header) = (1_800_000_000_u32, bytes.len() - 24);
    bytes[header - 4..header].copy_from_slice(&length.to_le_bytes());
    std::fs::write(&path, &bytes[..header]).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(header as u64 + u64::from(length)).unwrap();
    let series = Series::read(vec![InstanceSource::File(path.clone())]).unwrap();
    std::fs::remove_file(&path).unwrap();
    match series.radiograph(&RadiographOptions::default()) {
        Err(AssembleError::Refused(refusal)) => {
            assert_eq!(refusal.code(), "image-too-large");
            assert_eq!(refusal.to_string(), "The image has 30000 × 30000 pixels, at most 64 million are read.");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_is_gone_is_no_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.dcm");
    std::fs::write(&path, part10(&image(1), uids::EXPLICIT_VR_LITTLE_ENDIAN)).unwrap();
    let series = Series::read(vec![InstanceSource::File(path.clone())]).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(series.radiograph(&RadiographOptions::default()), Err(AssembleError::Read(_))));
}

#[test]
fn compressed_images_show_what_uncompressed_ones_show() {
    let mut shown = Vec::new();
    for name in ["ct_jpeg_lossless_sv1", "ct_jpeg2000_lossless", "ct_jpegls_lossless"] {
        let file = std::fs::read(fixtures("pixels").join(format!("{name}.dcm"))).unwrap().into();
        let split = Part10::split(&file).unwrap();
        let (encoding, data_set) = split.inflated().unwrap();
        let mut ds = overread::dicom::parse::parse(&data_set, encoding).unwrap();
        ds.put_uid(tags::SOP_CLASS_UID, uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE);
        let radiograph = read(vec![part10(&ds, split.transfer_syntax().unwrap().as_str()).into()]).unwrap();
        assert!(radiograph.values.iter().any(|value| *value > 0.9), "{name}");
        shown.push(radiograph.values);
    }
    assert!(shown.iter().all(|values| *values == shown[0]));
}
