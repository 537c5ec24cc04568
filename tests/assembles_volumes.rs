//! A series becomes a volume in which every voxel is where the scanner put it, or is refused by name.
#![expect(clippy::panic, clippy::unwrap_used, reason = "test code outside of test functions")]

use std::sync::Arc;

use dicom_dictionary_std::uids;
use overread::dicom::data_set::DataSet;
use overread::dicom::{Tag, VR, tags};
use overread::volume::facts::Orientation;
use overread::volume::frame_header::cross;
use overread::volume::options::SeveralAcquisitions;
use overread::volume::{
    AssembleError, AssembleOptions, InstanceSource, Refusal, Series, Volume, Voxels, assemble, decode_instance,
};

use crate::testkit::phantom::{CtSeries, INTERCEPT, decimals, marker_index, part10, words};

mod uneven;

fn volume_of(files: Vec<InstanceSource>) -> Volume {
    assemble(files, &AssembleOptions::default()).unwrap()
}

fn refusal_of(files: Vec<InstanceSource>, options: &AssembleOptions) -> Refusal {
    match assemble(files, options) {
        Err(AssembleError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn code_of(files: Vec<InstanceSource>) -> &'static str {
    let refusal = refusal_of(files, &AssembleOptions::default());
    assert!(refusal.to_string().ends_with('.'), "a sentence: {refusal}");
    refusal.code()
}

fn warned(volume: &Volume, words: &str) -> bool {
    volume.warnings.iter().any(|warning| warning.contains(words))
}

/// The marker must come out at the very place that its slice gives it, whatever became of order and indices.
fn assert_marker(series: &CtSeries, marker: [usize; 3], volume: &Volume) {
    let index = marker_index(volume);
    let place = volume.geometry.position(index.map(|i| i as f64));
    let truth = series.place(marker);
    for axis in 0..3 {
        assert!((place[axis] - truth[axis]).abs() < 1e-6, "{place:?} instead of {truth:?}");
    }
    let source = volume.slices[index[0]].as_ref().unwrap();
    assert_eq!(source.image_position_patient, decimals(&series.slices[marker[0]].position));
    assert_eq!(source.sop_instance_uid.as_str(), format!("1.2.3.4.{}", series.slices[marker[0]].id));
}

/// Four decimals of a 30 degree turn about the patient's long axis, then a step along the exact normal.
const OBLIQUE: [f64; 6] = [0.866_025_4, 0.5, 0.0, 0.0, 0.0, -1.0];

#[test]
fn every_orientation_and_order_puts_the_marker_where_it_was() {
    let orientations: [(&str, [f64; 6], [f64; 3], Orientation); 6] = [
        ("axial", [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.25], Orientation::Axial),
        ("axial, feet last", [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [0.0, 0.0, -1.25], Orientation::Axial),
        ("prone", [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0], [0.0, 0.0, 1.25], Orientation::Axial),
        ("sagittal", [0.0, 1.0, 0.0, 0.0, 0.0, -1.0], [2.0, 0.0, 0.0], Orientation::Sagittal),
        ("coronal", [1.0, 0.0, 0.0, 0.0, 0.0, -1.0], [0.0, 3.0, 0.0], Orientation::Coronal),
        ("oblique", OBLIQUE, [-1.0, 1.732_050_8, 0.0], Orientation::Oblique),
    ];
    let marker = [2, 3, 7];
    for (name, orientation, step, expected) in orientations {
        let series = CtSeries::new(orientation, [-100.5, -80.25, 33.0], step, 9, marker);
        let mut shuffled = series.files();
        shuffled.rotate_left(4);
        shuffled.swap(0, 6);
        for files in [series.files(), series.files().into_iter().rev().collect(), shuffled] {
            let volume = volume_of(files);
            assert_marker(&series, marker, &volume);
            assert!(volume.warnings.is_empty(), "{name}: {:?}", volume.warnings);
            let normal = cross(volume.geometry.column_direction, volume.geometry.row_direction);
            assert!((0..3).all(|axis| (normal[axis] - volume.geometry.slice_direction[axis]).abs() < 1e-9), "{name}");
            assert_eq!(Orientation::of(volume.geometry.slice_direction), expected, "{name}");
            let length = step.iter().map(|c| c * c).sum::<f64>().sqrt();
            assert!((volume.geometry.spacing[0] - length).abs() < 1e-6, "{name}");
            assert_eq!(volume.geometry.spacing[1..], [0.75, 0.5]);
        }
    }
}

#[test]
fn all_values_and_source_texts_are_kept() {
    let series = CtSeries::axial(5);
    let files = series.files_with(|_, ds| ds.put_text(tags::PIXEL_SPACING, VR::DS, "0.7500\\+.5"));
    let volume = volume_of(files);
    let Voxels::I16(voxels) = &volume.voxels else { panic!() };
    let expected: Vec<i16> =
        series.slices.iter().flat_map(|s| s.pixels.iter().map(|&p| i16::try_from(p).unwrap() + INTERCEPT)).collect();
    assert_eq!(voxels, &expected);
    let frame = volume.slices[4].as_ref().unwrap();
    assert_eq!((frame.pixel_spacing.as_str(), frame.slice_thickness.as_deref()), ("0.7500\\+.5", Some("1.250")));
    assert_eq!(frame.frame_number, None);
    assert_eq!(volume.source.instances.len(), 5);
    assert_eq!(volume.source.header.text(tags::PATIENT_NAME).as_deref(), Some("Phantom^Péter"));
    assert!(!volume.source.header.contains(tags::PIXEL_DATA));
    assert_eq!(volume.missing_share, 0.0);
}

#[test]
fn enhanced_and_legacy_converted_instances_are_volumes_too() {
    for sop_class in [uids::ENHANCED_CT_IMAGE_STORAGE, uids::LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE] {
        let mut series = CtSeries::axial(7);
        series.slices.reverse();
        let ds = series.enhanced(sop_class);
        let volume = volume_of(vec![part10(&ds, uids::EXPLICIT_VR_LITTLE_ENDIAN).into()]);
        let index = marker_index(&volume);
        assert_eq!(index, [2, 3, 7]);
        let place = volume.geometry.position(index.map(|i| i as f64));
        assert_eq!(place, series.place([4, 3, 7]));
        assert_eq!(volume.slices[2].as_ref().unwrap().frame_number, Some(5));
        assert_eq!(volume.source.instances.len(), 1);
    }
}

#[test]
fn frames_that_are_declared_but_not_described_are_not_placed() {
    let mut ds = CtSeries::axial(5).data_set(0);
    ds.put_text(tags::NUMBER_OF_FRAMES, VR::IS, "2147483647");
    assert_eq!(code_of(vec![part10(&ds, uids::EXPLICIT_VR_LITTLE_ENDIAN).into()]), "no-geometry");
    let mut ds = CtSeries::axial(5).enhanced(uids::ENHANCED_CT_IMAGE_STORAGE);
    ds.put_text(tags::NUMBER_OF_FRAMES, VR::IS, "2147483647");
    assert_eq!(code_of(vec![part10(&ds, uids::EXPLICIT_VR_LITTLE_ENDIAN).into()]), "undescribed-frames");
    // Two at an end: no gap would be seen, and the volume would be shorter.
    let whole = CtSeries::axial(9);
    let mut ds = whole.enhanced(uids::ENHANCED_CT_IMAGE_STORAGE);
    let described = ds.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)[..7].to_vec();
    ds.put_items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, described);
    let refusal = refusal_of(vec![part10(&ds, uids::EXPLICIT_VR_LITTLE_ENDIAN).into()], &AssembleOptions::default());
    assert_eq!(refusal, Refusal::UndescribedFrames { declared: 9, described: 7 });
}

#[test]
fn a_gap_is_filled_with_a_warning_and_a_larger_one_refused() {
    let series = CtSeries::axial(40);
    let mut files = series.files();
    files.remove(11);
    let volume = volume_of(files);
    assert_marker(&series, [2, 3, 7], &volume);
    assert_eq!(volume.geometry.shape[0], 40);
    assert!(volume.slices[11].is_none() && volume.slices.iter().flatten().count() == 39);
    assert!((volume.missing_share - 1.0 / 40.0).abs() < 1e-12);
    assert!(warned(&volume, "1 of 40 slices are missing (2.5 %)"), "{:?}", volume.warnings);
    let Voxels::I16(voxels) = &volume.voxels else { panic!() };
    let between = (i32::from(voxels[10 * 120 + 5]) + i32::from(voxels[12 * 120 + 5])) / 2;
    assert_eq!(i32::from(voxels[11 * 120 + 5]), between);

    let mut files = series.files();
    files.drain(10..14);
    let refusal = refusal_of(files, &AssembleOptions::default());
    assert_eq!(refusal.code(), "missing-slices");
    assert!(refusal.to_string().contains("4 of 40"), "{refusal}");
}

#[test]
fn tilt_shift_and_uneven_spacing_have_their_names() {
    let tilted = CtSeries::new([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [0.0; 3], [0.0, 0.4, 1.25], 9, [2, 3, 7]);
    let refusal = refusal_of(tilted.files(), &AssembleOptions::default());
    assert_eq!(refusal.code(), "gantry-tilt");
    assert!(refusal.to_string().contains("17.7 degrees"), "{refusal}");

    let mut shifted = CtSeries::axial(9);
    shifted.slices[4].position[0] += 12.0;
    assert_eq!(code_of(shifted.files()), "shifted-slices");

    let mut uneven = CtSeries::axial(9);
    for (index, slice) in uneven.slices.iter_mut().enumerate().skip(5) {
        slice.position[2] += 0.6 * (index - 4) as f64;
    }
    assert_eq!(code_of(uneven.files()), "variable-spacing");
}

/// The same places twice: the second time 100 brighter, with the marker elsewhere.
fn two_phases() -> (CtSeries, CtSeries) {
    let first = CtSeries::axial(8);
    let mut second = first.clone();
    for slice in &mut second.slices {
        slice.id += 100;
        for pixel in &mut slice.pixels {
            *pixel += 100;
        }
    }
    (first, second)
}

#[test]
fn two_phases_are_told_apart_by_number_kernel_or_time() {
    type Edit = fn(usize, usize, &mut DataSet);
    let edits: [(&str, Edit); 4] = [
        ("Acquisition Number", |phase, _, ds| {
            ds.put_text(tags::ACQUISITION_NUMBER, VR::IS, ["9", "10"][phase]);
        }),
        ("Convolution Kernel", |phase, _, ds| ds.put_text(tags::CONVOLUTION_KERNEL, VR::SH, ["B30f", "B70f"][phase])),
        ("Acquisition Time", |phase, slice, ds| {
            ds.put_text(tags::ACQUISITION_TIME, VR::TM, &format!("10{:02}{slice:02}", phase * 2));
        }),
        ("Temporal Position", |phase, _, ds| {
            ds.put_text(tags::TEMPORAL_POSITION_IDENTIFIER, VR::IS, ["1", "2"][phase]);
        }),
    ];
    for (key, edit) in edits {
        let (first, second) = two_phases();
        let mut files = second.files_with(|slice, ds| edit(1, slice, ds));
        files.extend(first.files_with(|slice, ds| edit(0, slice, ds)));
        let volume = volume_of(files.clone());
        assert_eq!(volume.geometry.shape[0], 8);
        assert_marker(&first, [2, 3, 7], &volume);
        assert!(
            warned(&volume, &format!("2 acquisitions of one region, told apart by {key}")),
            "{:?}",
            volume.warnings
        );
        let strict =
            AssembleOptions { several_acquisitions: SeveralAcquisitions::Refuse, ..AssembleOptions::default() };
        assert_eq!(refusal_of(files, &strict).code(), "several-acquisitions");
    }
}

#[test]
fn phases_that_nothing_tells_apart_are_refused() {
    let (first, second) = two_phases();
    let files = [first.files(), second.files()].concat();
    assert_eq!(refusal_of(files, &AssembleOptions::default()), Refusal::DuplicatedPositions(8));
}

#[test]
fn acquisitions_of_different_regions_are_not_chosen_from() {
    let (first, mut second) = two_phases();
    for slice in &mut second.slices {
        slice.position[2] += 1.25 * 6.0;
    }
    let number = |n: &'static str| move |_: usize, ds: &mut DataSet| ds.put_text(tags::ACQUISITION_NUMBER, VR::IS, n);
    let files = [first.files_with(number("1")), second.files_with(number("2"))].concat();
    assert_eq!(code_of(files), "several-acquisitions");
}

#[test]
fn the_same_image_twice_is_read_once() {
    let series = CtSeries::axial(6);
    let mut again = series.clone();
    for slice in &mut again.slices {
        slice.id += 50;
    }
    let files = [series.files(), again.files().split_off(3)].concat();
    let volume = volume_of(files);
    assert_marker(&series, [2, 3, 7], &volume);
    assert_eq!(volume.geometry.shape[0], 6);
    assert!(warned(&volume, "3 repeated images were left out"), "{:?}", volume.warnings);
}

#[test]
fn what_is_no_slice_is_left_out_and_alone_it_is_refused() {
    type Edit = fn(&mut DataSet);
    let edits: [(&str, Edit); 5] = [
        ("localizer", |ds| ds.put_text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\LOCALIZER")),
        ("derived", |ds| ds.put_text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\SECONDARY\\REFORMATTED\\AVERAGE")),
        ("no-geometry", |ds| drop(ds.remove(tags::IMAGE_POSITION_PATIENT))),
        ("no-cross-sections", |ds| ds.put_uid(tags::SOP_CLASS_UID, uids::SECONDARY_CAPTURE_IMAGE_STORAGE)),
        ("no-cross-sections", |ds| ds.put_uid(tags::SOP_CLASS_UID, uids::COMPREHENSIVE_SR_STORAGE)),
    ];
    let series = CtSeries::axial(7);
    for (code, edit) in edits {
        assert_eq!(code_of(series.files_with(|_, ds| edit(ds))), code);
        let one = series.files_with(|index, ds| {
            if index == 6 {
                edit(ds)
            }
        });
        let volume = volume_of(one);
        assert_eq!(volume.geometry.shape[0], 6, "{code}");
        assert!(warned(&volume, "left out"), "{code}: {:?}", volume.warnings);
        assert_marker(&series, [2, 3, 7], &volume);
    }
    let lossy = series.files_with(|_, ds| ds.put_text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\PRIMARY\\AXIAL"));
    assert_marker(&series, [2, 3, 7], &volume_of(lossy));
    let reformat = series.files_with(|_, ds| ds.put_text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\SECONDARY\\MPR"));
    let lenient = AssembleOptions { accept_derived: true, ..AssembleOptions::default() };
    assert_marker(&series, [2, 3, 7], &assemble(reformat, &lenient).unwrap());
}

#[test]
fn what_does_not_belong_together_is_refused() {
    type Edit = fn(&mut DataSet);
    let edits: [(&str, Edit); 12] = [
        ("several-patients", |ds| ds.put_text(tags::PATIENT_ID, VR::LO, "PH-2")),
        ("several-patients", |ds| ds.put_text(tags::PATIENT_NAME, VR::PN, "Phantom^Pétra")),
        ("several-studies", |ds| ds.put_uid(tags::STUDY_INSTANCE_UID, "1.2.9")),
        ("several-series", |ds| ds.put_uid(tags::SERIES_INSTANCE_UID, "1.2.9")),
        ("mixed-orientations", |ds| {
            ds.put_text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\0\\-1");
        }),
        ("mixed-pixel-spacings", |ds| ds.put_text(tags::PIXEL_SPACING, VR::DS, "0.75\\0.6")),
        ("mixed-sizes", |ds| {
            ds.put_us(tags::ROWS, &[10]);
            ds.put_us(tags::COLUMNS, &[12]);
        }),
        ("modality-lut", |ds| ds.put_items(tags::MODALITY_LUT_SEQUENCE, vec![DataSet::new()])),
        ("colour", |ds| ds.put_us(tags::SAMPLES_PER_PIXEL, &[3])),
        ("pixel-format", |ds| ds.put_us(tags::BITS_ALLOCATED, &[32])),
        ("rescale", |ds| ds.put_text(tags::RESCALE_SLOPE, VR::DS, "0")),
        ("no-pixel-data", |ds| drop(ds.remove(tags::PIXEL_DATA))),
    ];
    let series = CtSeries::axial(7);
    for (code, edit) in edits {
        let files = series.files_with(|index, ds| {
            if index == 3 {
                edit(ds)
            }
        });
        assert_eq!(code_of(files), code);
    }
    assert_eq!(code_of(Vec::new()), "empty-series");
    assert_eq!(code_of(CtSeries::axial(2).files()), "too-few-slices");
    assert_eq!(code_of(CtSeries::axial(1).files()), "too-few-slices");
    let video = part10(&series.data_set(0), "1.2.840.10008.1.2.4.102");
    assert_eq!(code_of(vec![video.into()]), "transfer-syntax");
    let broken = bytes::Bytes::from_static(b"no dicom at all");
    assert_eq!(code_of(vec![series.files()[0].clone(), broken.into()]), "unreadable-instance");
}

#[test]
fn a_volume_beyond_the_memory_limit_is_refused_before_it_is_reserved() {
    let mut series = CtSeries::axial(4);
    series.rows = 60_000;
    series.columns = 60_000;
    assert_eq!(code_of(series.files()), "too-large");
    let mut far = CtSeries::axial(4);
    far.slices[3].position[2] += 900_000.0;
    assert_eq!(code_of(far.files()), "missing-slices");
    let tight = AssembleOptions { max_volume_bytes: 1000, ..AssembleOptions::default() };
    assert_eq!(refusal_of(CtSeries::axial(5).files(), &tight).code(), "too-large");
    // An exact grid of 45 million slots, of which four are filled; their pixels alone would fit.
    let mut dots = CtSeries::axial(4);
    (dots.rows, dots.columns) = (1, 1);
    for (slice, z) in dots.slices.iter_mut().zip([0.0, 0.02, 0.04, 900_000.0]) {
        slice.position[2] = z;
        slice.pixels.truncate(1);
    }
    let any = AssembleOptions { max_missing_share: 1.0, max_volume_bytes: 512 << 20, ..AssembleOptions::default() };
    assert_eq!(refusal_of(dots.files(), &any).code(), "too-large");
}

#[test]
fn the_memory_limit_holds_for_the_form_that_a_volume_is_made_in() {
    let limit = AssembleOptions { max_volume_bytes: 5 * 120 * 3, ..AssembleOptions::default() };
    let mut series = CtSeries::axial(5);
    assert!(assemble(series.files(), &limit).is_ok());
    let half = series.files_with(|_, ds| ds.put_text(tags::RESCALE_SLOPE, VR::DS, "0.5"));
    assert_eq!(refusal_of(half, &limit).code(), "too-large");
    series.slices[3].pixels[0] = 60_000;
    assert_eq!(refusal_of(series.files(), &limit).code(), "too-large", "seen when it is decoded");
}

#[test]
fn a_thousand_images_of_one_place_are_each_read_once() {
    let mut series = CtSeries::axial(3);
    let slice = series.slices[1].clone();
    series.slices.extend((0..1500_u16).map(|number| {
        let mut other = slice.clone();
        other.id = 100 + usize::from(number);
        other.pixels[5] = 1000 + number;
        other
    }));
    let started = std::time::Instant::now();
    let options = AssembleOptions::default();
    let facts = Series::read(series.files()).unwrap().facts(&options);
    assert_eq!(facts.stack.unwrap_err(), Refusal::DuplicatedPositions(1));
    // A million pairs take minutes.
    assert!(started.elapsed().as_secs() < 40, "{:?}", started.elapsed());
}

#[test]
fn phases_that_their_headers_tell_apart_are_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = two_phases();
    let number = |n: &'static str| move |_: usize, ds: &mut DataSet| ds.put_text(tags::ACQUISITION_NUMBER, VR::IS, n);
    let files = [first.files_with(number("1")), second.files_with(number("2"))].concat();
    let mut paths = Vec::new();
    for (index, file) in files.into_iter().enumerate() {
        let InstanceSource::Memory(bytes) = file else { panic!() };
        let path = folder.path().join(format!("{index}.dcm"));
        std::fs::write(&path, bytes).unwrap();
        paths.push(path);
    }
    let series = Series::read(paths.iter().map(|path| InstanceSource::from(path.as_path())).collect()).unwrap();
    // The second phase's files now hold the first one's pixels: whoever opened them would find repeated images.
    let mut same = first.clone();
    for slice in &mut same.slices {
        slice.id += 100;
    }
    for (path, file) in paths[8..].iter().zip(same.files_with(number("2"))) {
        let InstanceSource::Memory(bytes) = file else { panic!() };
        std::fs::write(path, bytes).unwrap();
    }
    let volume = series.assemble(&AssembleOptions::default()).unwrap();
    assert_marker(&first, [2, 3, 7], &volume);
    assert!(warned(&volume, "2 acquisitions of one region"), "{:?}", volume.warnings);
    assert!(!warned(&volume, "repeated"), "{:?}", volume.warnings);
}

/// A Raw Data object of the series as a file with a private element of so many bytes, which take no place on the disk.
fn raw_data(folder: &std::path::Path, bytes: u32) -> InstanceSource {
    use std::io::{Seek, SeekFrom, Write};
    let mut ds = CtSeries::axial(1).data_set(0);
    ds.remove(tags::PIXEL_DATA);
    ds.put_uid(tags::SOP_CLASS_UID, uids::RAW_DATA_STORAGE);
    ds.put_text(tags::STUDY_ID, VR::SH, "S-1");
    ds.put_uid(tags::SOP_INSTANCE_UID, "1.2.3.4.9999");
    // Before the name of the patient, and longer than what is read at first.
    let reference = || {
        let mut item = DataSet::new();
        item.put_uid(tags::REFERENCED_SOP_INSTANCE_UID, "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.19");
        item
    };
    ds.put_items(tags::REFERENCED_SERIES_SEQUENCE, (0..3000).map(|_| reference()).collect());
    let mut file = part10(&ds, uids::EXPLICIT_VR_LITTLE_ENDIAN).to_vec();
    file.extend([0xE1, 0x7F, 0x10, 0x10, b'O', b'B', 0, 0]);
    file.extend(bytes.to_le_bytes());
    let path = folder.join("raw.dcm");
    let mut out = std::fs::File::create(&path).unwrap();
    out.write_all(&file).unwrap();
    out.seek(SeekFrom::Current(i64::from(bytes) - 1)).unwrap();
    out.write_all(&[0]).unwrap();
    InstanceSource::from(path.as_path())
}

#[test]
fn of_what_is_no_image_only_the_beginning_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let raw = raw_data(folder.path(), 1 << 30);
    let header = raw.header().unwrap();
    assert_eq!(header.sop_instance_uid.as_str(), "1.2.3.4.9999");
    assert_eq!(header.data_set.text(tags::PATIENT_ID).as_deref(), Some("PH-1"));
    assert!(!header.data_set.contains(tags::REFERENCED_SERIES_SEQUENCE), "too long to be kept");
    assert_eq!(header.data_set.text(tags::STUDY_ID).as_deref(), Some("S-1"));
    let series = CtSeries::axial(5);
    let volume = volume_of([series.files(), vec![raw.clone(), raw]].concat());
    assert_marker(&series, [2, 3, 7], &volume);
    assert!(warned(&volume, "2 instances were left out: Raw Data Storage."), "{:?}", volume.warnings);
}

#[test]
fn an_image_whose_header_does_not_end_is_refused_with_little_memory() {
    let series = CtSeries::axial(4);
    let long = series.files_with(|index, ds| {
        if index == 1 {
            ds.put_bytes(tags::ICC_PROFILE, VR::OB, vec![0; 5 << 20]);
        }
    });
    let refusal = refusal_of(long, &AssembleOptions::default());
    assert!(matches!(&refusal, Refusal::UnreadableInstance(why) if why.contains("too long")), "{refusal}");
    let private = series.files_with(|_, ds| ds.put_bytes(Tag(0x0029, 0x1010), VR::OB, vec![0; 5 << 20]));
    assert_marker(&series, [2, 3, 7], &volume_of(private));
}

#[test]
fn what_was_left_out_is_named_by_its_classes_and_kinds() {
    let series = CtSeries::axial(9);
    let files = series.files_with(|index, ds| match index {
        7 => ds.put_uid(tags::SOP_CLASS_UID, uids::SECONDARY_CAPTURE_IMAGE_STORAGE),
        8 => ds.put_uid(tags::SOP_CLASS_UID, uids::COMPREHENSIVE_SR_STORAGE),
        _ => {}
    });
    let volume = volume_of(files);
    let all = "2 instances were left out: 1 Comprehensive SR Storage, 1 Secondary Capture Image Storage.";
    assert!(warned(&volume, all), "{:?}", volume.warnings);
    let series = CtSeries::axial(29);
    let kinds = series.files_with(|index, ds| {
        if index >= 9 {
            ds.put_text(tags::IMAGE_TYPE, VR::CS, &format!("DERIVED\\SECONDARY\\MPR\\K{index}"));
        }
    });
    let volume = volume_of(kinds);
    assert_eq!(volume.warnings.len(), 6, "{:?}", volume.warnings);
    assert!(warned(&volume, "15 images of 15 other kinds were left out."), "{:?}", volume.warnings);
}

#[test]
fn frames_of_reference_that_differ_are_a_warning() {
    let series = CtSeries::axial(5);
    let files =
        series.files_with(|index, ds| ds.put_uid(tags::FRAME_OF_REFERENCE_UID, &format!("1.2.3.{}", 100 + index)));
    let volume = volume_of(files);
    assert_marker(&series, [2, 3, 7], &volume);
    assert!(warned(&volume, "5 different frames of reference"), "{:?}", volume.warnings);
    assert_eq!(volume.source.frame_of_reference_uid.unwrap().as_str(), "1.2.3.100");
}

#[test]
fn each_slice_is_rescaled_by_its_own_slope_and_intercept() {
    let series = CtSeries::axial(5);
    let files = series.files_with(|index, ds| {
        ds.put_text(tags::RESCALE_INTERCEPT, VR::DS, &format!("{}", 10 * index));
        ds.put_text(tags::RESCALE_SLOPE, VR::DS, if index == 1 { "2" } else { "1" });
    });
    let Voxels::I16(voxels) = volume_of(files).voxels else { panic!() };
    assert_eq!(voxels[4 * 120], 40 + 4 * 31);
    assert_eq!(voxels[120 + 1], 10 + 2 * (31 + 3));
}

#[test]
fn fractions_and_large_values_are_kept_in_single_precision() {
    let series = CtSeries::axial(5);
    let half = series.files_with(|index, ds| {
        ds.put_text(tags::RESCALE_SLOPE, VR::DS, if index == 2 { "0.5" } else { "1" });
    });
    let Voxels::F32(voxels) = volume_of(half).voxels else { panic!() };
    assert_eq!((voxels[0], voxels[2 * 120 + 1]), (-1024.0, 32.5 - 1024.0));

    let mut large = CtSeries::axial(5);
    large.slices[3].pixels[0] = 60_000;
    let Voxels::F32(voxels) = volume_of(large.files()).voxels else { panic!() };
    assert_eq!(voxels[3 * 120], 58_976.0);
    let padded = large.files_with(|_, ds| ds.put_us(tags::PIXEL_PADDING_VALUE, &[60_000]));
    let Voxels::I16(voxels) = volume_of(padded).voxels else { panic!() };
    assert_eq!(voxels[3 * 120], i16::MIN, "padding does not cost the volume its compact form");
}

#[test]
fn an_undecodable_slice_counts_as_missing() {
    let series = CtSeries::axial(30);
    let cut = |at: usize| {
        series.files_with(move |index, ds| {
            if index == at {
                ds.put_bytes(tags::PIXEL_DATA, VR::OW, vec![0; 100]);
            }
        })
    };
    let volume = volume_of(cut(12));
    assert!(volume.slices[12].is_none());
    assert!(warned(&volume, "1 of 30 images cannot be decoded"), "{:?}", volume.warnings);
    assert_marker(&series, [2, 3, 7], &volume);

    for end in [0, 29] {
        let volume = volume_of(cut(end));
        assert_eq!(volume.geometry.shape[0], 29, "an end is cut off and not made up");
        assert!(volume.slices.iter().all(Option::is_some));
        assert!((volume.missing_share - 1.0 / 30.0).abs() < 1e-12);
        assert_marker(&series, [2, 3, 7], &volume);
    }
    let all = series.files_with(|_, ds| ds.put_bytes(tags::PIXEL_DATA, VR::OW, vec![0; 2]));
    assert_eq!(code_of(all), "undecodable");
}

#[test]
fn slices_decoded_as_they_arrive_make_the_same_volume() {
    let series = CtSeries::axial(9);
    let late = volume_of(series.files());
    let decoded = |(index, file)| match index % 2 {
        0 => InstanceSource::Decoded(Arc::new(decode_instance(file, usize::MAX).unwrap().unwrap())),
        _ => file,
    };
    let early = volume_of(series.files().into_iter().enumerate().map(decoded).collect());
    assert_eq!(early.voxels, late.voxels);
    assert_eq!(early.slices, late.slices);
    assert_eq!(early.geometry, late.geometry);
}

#[test]
fn padding_is_the_same_whichever_slices_were_decoded_early_and_in_either_form() {
    let mut series = CtSeries::axial(6);
    for slice in &mut series.slices {
        slice.pixels[0] = 63_536;
    }
    // One slice has a fractional slope: the volume is of the larger form.
    let files = series.files_with(|index, ds| {
        ds.put_us(tags::PIXEL_PADDING_VALUE, &[63_536]);
        ds.put_text(tags::RESCALE_SLOPE, VR::DS, if index == 4 { "0.5" } else { "1" });
    });
    let late = volume_of(files.clone());
    let Voxels::F32(voxels) = &late.voxels else { panic!() };
    assert_eq!((voxels[0], voxels[4 * 120]), (-32_768.0, 30_744.0), "what fits is kept");
    for some in 0..2 {
        let decoded = |(index, file)| match index % 2 == some {
            true => InstanceSource::Decoded(Arc::new(decode_instance(file, usize::MAX).unwrap().unwrap())),
            false => file,
        };
        let early = volume_of(files.clone().into_iter().enumerate().map(decoded).collect());
        assert_eq!(early.voxels, late.voxels);
    }
}

#[test]
fn what_is_left_out_does_not_decide_the_form() {
    let series = CtSeries::axial(6);
    let files = series.files_with(|index, ds| {
        if index == 5 {
            ds.put_text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\LOCALIZER");
            ds.put_text(tags::RESCALE_SLOPE, VR::DS, "0.5");
        }
    });
    let decoded = |file| InstanceSource::Decoded(Arc::new(decode_instance(file, usize::MAX).unwrap().unwrap()));
    for volume in [volume_of(files.clone()), volume_of(files.into_iter().map(decoded).collect())] {
        assert!(matches!(volume.voxels, Voxels::I16(_)));
    }
}

#[test]
fn one_lossy_slice_makes_a_lossy_source() {
    let series = CtSeries::axial(6);
    assert_eq!(volume_of(series.files()).source.lossy, None);
    let mixed = series.files_with(|index, ds| {
        if index >= 3 {
            ds.put_text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01");
            ds.put_text(tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, &format!("1{index}"));
        }
    });
    assert_eq!(volume_of(mixed).source.lossy.unwrap().ratio, "13");
}

#[test]
fn files_are_read_from_disk_and_a_missing_one_is_our_failure() {
    let folder = tempfile::tempdir().unwrap();
    let series = CtSeries::axial(5);
    let mut sources = Vec::new();
    for (index, file) in series.files().into_iter().enumerate() {
        let InstanceSource::Memory(bytes) = file else { panic!() };
        let path = folder.path().join(format!("{index}.dcm"));
        std::fs::write(&path, bytes).unwrap();
        sources.push(InstanceSource::from(path.as_path()));
    }
    assert_marker(&series, [2, 3, 7], &volume_of(sources.clone()));
    let read = Series::read(sources.clone()).unwrap();
    std::fs::remove_file(folder.path().join("3.dcm")).unwrap();
    let result = read.assemble(&AssembleOptions::default());
    assert!(matches!(result, Err(AssembleError::Read(_))), "{result:?}");
    assert!(matches!(assemble(sources, &AssembleOptions::default()), Err(AssembleError::Read(_))));
}

#[test]
fn facts_need_no_pixels() {
    let series = CtSeries::axial(40);
    let files: Vec<InstanceSource> = series
        .files()
        .into_iter()
        .filter_map(|file| match file {
            InstanceSource::Memory(bytes) => Some(bytes.slice(..bytes.len() - 240).into()),
            _ => None,
        })
        .collect();
    let read = Series::read(files).unwrap();
    let facts = read.facts(&AssembleOptions::default());
    let stack = facts.stack.unwrap();
    assert_eq!(facts.modality.as_deref(), Some("CT"));
    assert_eq!(facts.body_part_examined.as_deref(), Some("CHEST"));
    assert_eq!(facts.kernels.iter().collect::<Vec<_>>(), ["B30f"]);
    assert_eq!((facts.instances, facts.slice_thickness), (40, Some(1.25)));
    assert_eq!((stack.orientation, stack.slices, stack.size), (Orientation::Axial, 40, [12, 10]));
    assert_eq!((stack.spacing, stack.extent), ([1.25, 0.75, 0.5], 48.75));
    let tilted = CtSeries::new([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [0.0; 3], [0.0, 0.4, 1.25], 9, [2, 3, 7]);
    let facts = Series::read(tilted.files()).unwrap().facts(&AssembleOptions::default());
    assert_eq!(facts.stack.unwrap_err().code(), "gantry-tilt");
    assert_eq!(facts.image_types.iter().collect::<Vec<_>>(), ["ORIGINAL\\PRIMARY\\AXIAL"]);
}

#[test]
fn signs_and_unused_bits_are_read_as_declared() {
    let series = CtSeries::axial(4);
    let files = series.files_with(|_, ds| {
        ds.put_us(tags::BITS_STORED, &[12]);
        ds.put_us(tags::HIGH_BIT, &[11]);
        ds.put_us(tags::PIXEL_REPRESENTATION, &[1]);
        let cells: Vec<u16> = (0..120).map(|i| if i == 0 { 0xF800 } else { 0x7FFF }).collect();
        ds.put_bytes(tags::PIXEL_DATA, VR::OW, words(&cells));
    });
    let Voxels::I16(voxels) = volume_of(files).voxels else { panic!() };
    assert_eq!((voxels[0], voxels[1]), (-2048 - 1024, -1 - 1024));
}
