//! Every compression that is read gives the pixels that pydicom gives, and nothing that arrives can do harm.
#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dicom_dictionary_std::uids;
use overread::dicom::data_set::DataSet;
use overread::dicom::uid::SopClassUid;
use overread::dicom::{VR, tags};
use overread::volume::decode::DecodeError;
use overread::volume::instance::{InstanceError, pixel_data, read_header};
use overread::volume::{AssembleError, AssembleOptions, InstanceSource, Series, Voxels, assemble};
use sha2::{Digest, Sha256};

use crate::testkit::phantom::{CtSeries, marker_index, part10 as part10_file, put_fragments, words};
use crate::testkit::running_node::files_below;
use crate::testkit::shared_data::{shared_data, unpacked};

/// A line of an expectation file.
struct Expected {
    path: String,
    exact: bool,
    frames: usize,
    rows: usize,
    columns: usize,
    least: i32,
    most: i32,
    mean: f64,
    sha256: String,
}

fn expectations(file: &str) -> Vec<Expected> {
    let text = std::fs::read_to_string(fixtures().join(file)).unwrap();
    let line = |line: &str| {
        let mut fields = line.split(';').map(str::to_owned);
        let mut next = || fields.next().unwrap();
        Expected {
            path: next(),
            exact: next() == "exact",
            frames: next().parse().unwrap(),
            rows: next().parse().unwrap(),
            columns: next().parse().unwrap(),
            least: next().parse().unwrap(),
            most: next().parse().unwrap(),
            mean: next().parse().unwrap(),
            sha256: next(),
        }
    };
    text.lines().map(line).collect()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pixels")
}

fn read(path: &Path) -> Bytes {
    std::fs::read(path).unwrap().into()
}

/// All stored values of all frames.
fn stored_values(file: &Bytes) -> Result<Vec<i32>, String> {
    let (file, header) = match read_header(file) {
        Err(InstanceError::Uid { .. }) => {
            let file = identified(file)?;
            let header = read_header(&file).map_err(|e| e.to_string())?;
            (file, header)
        }
        other => (file.clone(), other.map_err(|e| e.to_string())?),
    };
    let pixels = pixel_data(&file, &header).map_err(|e| e.to_string())?;
    let mut values = Vec::new();
    for frame in 0..header.declared_frames {
        values.extend(pixels.frame(frame).map_err(|e| e.to_string())?.stored_values());
    }
    Ok(values)
}

/// The same file with UIDs that identify it, which some samples lack; only its pixels are of interest here.
fn identified(file: &Bytes) -> Result<Bytes, String> {
    let part10 = overread::dicom::part10::Part10::split(file).map_err(|e| e.to_string())?;
    let (encoding, data_set) = part10.inflated().map_err(|e| e.to_string())?;
    let mut ds = overread::dicom::parse::parse(&data_set, encoding).map_err(|e| e.to_string())?;
    for tag in [tags::SOP_INSTANCE_UID, tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID] {
        ds.put_uid(tag, "1.2.3");
    }
    if ds.uid(tags::SOP_CLASS_UID, SopClassUid::parse).is_err() {
        ds.put_uid(tags::SOP_CLASS_UID, uids::CT_IMAGE_STORAGE);
    }
    let syntax = part10.transfer_syntax().map_err(|e| e.to_string())?;
    Ok(part10_file(&ds, syntax.as_str()))
}

fn differs(expected: &Expected, values: &[i32]) -> Option<String> {
    let samples = values.len() / (expected.frames * expected.rows * expected.columns).max(1);
    if values.len() != expected.frames * expected.rows * expected.columns * samples || values.is_empty() {
        return Some(format!("{} values", values.len()));
    }
    let sha256: String = Sha256::digest(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if sha256 == expected.sha256 {
        return None;
    }
    let (least, most) = (*values.iter().min().unwrap(), *values.iter().max().unwrap());
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
    let near =
        (least - expected.least).abs() <= 2 && (most - expected.most).abs() <= 2 && (mean - expected.mean).abs() < 0.05;
    (expected.exact || !near).then(|| {
        let Expected { least: a, most: b, mean: c, .. } = expected;
        format!("{least}…{most}, mean {mean:.4}, instead of {a}…{b}, mean {c:.4}")
    })
}

#[test]
fn every_compression_gives_the_reference_pixels() {
    for expected in expectations("expected.csv") {
        let result = stored_values(&read(&fixtures().join(&expected.path)));
        if expected.path == "ct_jpeg_extended_12_bit.dcm" {
            let error = result.unwrap_err();
            assert!(error.contains("cannot be decompressed"), "{error}");
            continue;
        }
        let values = result.unwrap_or_else(|error| panic!("{}: {error}", expected.path));
        assert_eq!(differs(&expected, &values), None, "{}", expected.path);
    }
}

#[test]
fn the_shared_collection_gives_the_reference_pixels() {
    let Some(folder) = shared_data("") else { return };
    let mut wrong = Vec::new();
    let mut checked = 0;
    for expected in expectations("expected_shared.csv") {
        let path = folder.join(&expected.path);
        if !path.exists() || NOT_READ.iter().any(|name| expected.path.contains(name)) {
            continue;
        }
        checked += 1;
        let difference = match stored_values(&read(&path)) {
            Ok(values) => differs(&expected, &values),
            Err(error) => Some(error),
        };
        wrong.extend(difference.map(|d| format!("{}: {d}", expected.path)));
    }
    println!("{checked} files give the pixels of pydicom");
    assert!(checked > 40, "{checked}");
    assert!(wrong.is_empty(), "{} of {checked}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Files that pydicom reads and we do not, each for the reason beside it.
const NOT_READ: [&str; 2] = [
    // JPEG Extended of 12 bits: the decoder knows 8.
    "CTImage.dcm_JPEGProcess2_4",
    "JPGExtended.dcm",
];

/// A single-frame phantom slice with other pixel data, in another transfer syntax.
fn slice_with(edit: impl Fn(&mut DataSet), transfer_syntax: &str) -> Bytes {
    let mut ds = CtSeries::axial(1).data_set(0);
    edit(&mut ds);
    part10_file(&ds, transfer_syntax)
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn frames_in_other_wrappings_make_the_same_volume() {
    let series = CtSeries::axial(5);
    let wrapped = |wrap: &dyn Fn(Vec<u8>) -> Vec<u8>, transfer_syntax: &str| -> Vec<InstanceSource> {
        (0..5)
            .map(|index| {
                let mut ds = series.data_set(index);
                put_fragments(&mut ds, [wrap(words(&series.slices[index].pixels))]);
                part10_file(&ds, transfer_syntax).into()
            })
            .collect()
    };
    let whole_deflated = || {
        (0..5).map(|index| {
            let ds = series.data_set(index);
            let mut file = part10_file(&ds, uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN).to_vec();
            let body = overread::dicom::encode::encode(&ds, overread::dicom::encode::Layout::ExplicitLe);
            file.truncate(file.len() - body.len());
            file.extend(deflated(&body));
            InstanceSource::Memory(file.into())
        })
    };
    let native = assemble(series.files(), &AssembleOptions::default()).unwrap();
    let implicit =
        (0..5).map(|index| part10_file(&series.data_set(index), uids::IMPLICIT_VR_LITTLE_ENDIAN).into()).collect();
    for files in [
        wrapped(&|frame| frame, uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN),
        wrapped(&|frame| deflated(&frame), uids::DEFLATED_IMAGE_FRAME_COMPRESSION),
        whole_deflated().collect(),
        implicit,
    ] {
        let volume = assemble(files, &AssembleOptions::default()).unwrap();
        assert_eq!(volume.voxels, native.voxels);
        assert_eq!(marker_index(&volume), [2, 3, 7]);
    }
}

#[test]
fn a_compressed_enhanced_instance_is_a_volume() {
    let series = CtSeries::axial(6);
    let mut ds = series.enhanced(uids::ENHANCED_CT_IMAGE_STORAGE);
    put_fragments(&mut ds, series.slices.iter().map(|s| deflated(&words(&s.pixels))));
    let file = part10_file(&ds, uids::DEFLATED_IMAGE_FRAME_COMPRESSION);
    let volume = assemble(vec![file.into()], &AssembleOptions::default()).unwrap();
    assert_eq!(marker_index(&volume), [2, 3, 7]);
}

fn decode_error(file: &Bytes) -> DecodeError {
    let header = read_header(file).unwrap();
    match pixel_data(file, &header) {
        Ok(pixels) => pixels.frame(0).unwrap_err(),
        Err(error) => error,
    }
}

#[test]
fn codestreams_that_ask_for_gigabytes_are_refused_by_their_heads() {
    let siz = |side: u32| {
        let mut stream = vec![0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0];
        for word in [side, side, 0, 0, side, side, 0, 0] {
            stream.extend(u32::to_be_bytes(word));
        }
        stream.extend([0, 1, 15, 1, 1]);
        stream
    };
    let sof = |marker: u8| vec![0xFF, 0xD8, 0xFF, marker, 0, 11, 16, 0xFF, 0xFF, 0xFF, 0xFF, 1, 1, 0x11, 0, 0xFF, 0xD9];
    for (stream, syntax) in [
        (siz(60_000), uids::JPEG2000_LOSSLESS),
        (siz(60_000), uids::HTJ2K),
        (sof(0xC3), uids::JPEG_LOSSLESS_SV1),
        (sof(0xC0), uids::JPEG_BASELINE8_BIT),
        (sof(0xF7), uids::JPEGLS_LOSSLESS),
    ] {
        let file = slice_with(|ds| put_fragments(ds, [stream.clone()]), syntax);
        assert!(matches!(decode_error(&file), DecodeError::Mismatch { .. }), "{syntax}: {}", decode_error(&file));
    }
    let bomb = deflated(&vec![0; 50_000_000]);
    let file = slice_with(|ds| put_fragments(ds, [bomb.clone()]), uids::DEFLATED_IMAGE_FRAME_COMPRESSION);
    let header = read_header(&file).unwrap();
    assert_eq!(pixel_data(&file, &header).unwrap().frame(0).unwrap().bytes.len(), 240);
    let huge = |ds: &mut DataSet| {
        ds.put_us(tags::ROWS, &[65535]);
        ds.put_us(tags::COLUMNS, &[65535]);
        put_fragments(ds, [vec![0; 64]]);
    };
    assert!(matches!(decode_error(&slice_with(huge, uids::RLE_LOSSLESS)), DecodeError::TooLarge(_)));
}

#[test]
fn pixel_data_that_is_not_laid_out_as_its_syntax_says_is_refused() {
    let native_as_jpeg = slice_with(|_| {}, uids::JPEG_LOSSLESS_SV1);
    assert_eq!(decode_error(&native_as_jpeg), DecodeError::Layout);
    let fragments_as_native = slice_with(|ds| put_fragments(ds, [vec![0; 240]]), uids::EXPLICIT_VR_LITTLE_ENDIAN);
    assert_eq!(decode_error(&fragments_as_native), DecodeError::Layout);
    let short = slice_with(|ds| ds.put_bytes(tags::PIXEL_DATA, VR::OW, vec![0; 238]), uids::EXPLICIT_VR_LITTLE_ENDIAN);
    assert_eq!(decode_error(&short), DecodeError::Short { found: 238, expected: 240 });
}

/// A small generator of repeatable numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

#[test]
fn damaged_codestreams_cost_a_frame_and_no_more() {
    let mut dice = Dice(7);
    let mut failed = 0;
    for expected in expectations("expected.csv") {
        let whole = read(&fixtures().join(&expected.path));
        let pixels = whole.len() - whole.len() / 2;
        for round in 0..12 {
            let mut damaged = whole.to_vec();
            if round % 3 == 0 {
                damaged.truncate(pixels + dice.below(whole.len() / 2));
            } else {
                for _ in 0..=round {
                    let at = damaged.len() - 1 - dice.below(pixels);
                    damaged[at] = u8::try_from(dice.below(256)).unwrap();
                }
            }
            let result = stored_values(&damaged.into());
            failed += usize::from(result.is_err());
            if let Ok(values) = result {
                let per_frame = expected.rows * expected.columns;
                assert_eq!(values.len() % per_frame, 0, "{}", expected.path);
            }
        }
    }
    assert!(failed > 30, "{failed} of 168 were noticed");
}

#[test]
fn truncated_codestreams_are_not_passed_off_as_images() {
    for name in ["ct_jpeg2000_lossless", "ct_jpegls_lossless", "ct_jpeg_lossless_sv1", "enhanced_ct_rle_with_table"] {
        let whole = read(&fixtures().join(format!("{name}.dcm")));
        let header = read_header(&whole).unwrap();
        let mut ds = header.data_set.clone();
        let frame = pixel_data(&whole, &header).unwrap().encoded_frame(0).unwrap();
        ds.remove(tags::NUMBER_OF_FRAMES);
        put_fragments(&mut ds, [frame[..frame.len() / 2].to_vec()]);
        let cut = part10_file(&ds, header.transfer_syntax_uid.as_ref().unwrap().as_str());
        assert!(stored_values(&cut).is_err(), "{name}");
    }
}

#[test]
fn the_shared_collection_of_malformed_files_is_survived() {
    let Some(folder) = shared_data("") else { return };
    let mut codes = BTreeSet::new();
    let mut checked = 0;
    for part in ["nasty", "fuzz", "pydicom-test-files", "codec", "charset", "seg-sr-reference", "ct-other", "cxr"] {
        for path in files_below(&folder.join(part)) {
            checked += 1;
            let options = AssembleOptions { min_slices: 1, ..AssembleOptions::default() };
            let file = read(&path);
            drop(stored_values(&file));
            drop(overread::volume::decode_instance(file.clone().into(), 1 << 30));
            if let Ok(series) = Series::read(vec![path.as_path().into()]) {
                drop(series.facts(&options));
            }
            match assemble(vec![file.into()], &options) {
                Ok(volume) => assert_eq!(volume.slices.len(), volume.geometry.shape[0]),
                Err(AssembleError::Refused(refusal)) => drop(codes.insert(refusal.code())),
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }
    println!("{checked} files pushed through, refused for {codes:?}");
    assert!(checked > 200 && codes.len() > 5, "{checked} {codes:?}");
    let code = |name: &str| {
        let sources = files_below(&folder.join(name)).iter().map(|p| p.as_path().into()).collect();
        match assemble(sources, &AssembleOptions::default()) {
            Err(AssembleError::Refused(refusal)) => refusal.code(),
            other => panic!("{name}: {other:?}"),
        }
    };
    assert_eq!(code("nasty/gantrytilt-4"), "gantry-tilt");
    assert_eq!(code("nasty/slicecount-2"), "too-few-slices");
    assert_eq!(code("nasty/sliceorientation-4"), "mixed-orientations");
}

#[test]
fn a_whole_chest_ct_has_the_hounsfield_units_of_pydicom() {
    let Some((_folder, files)) = unpacked("ct-chest/lidc-idri-0314-3mm.tar.xz") else { return };
    let sources = files.iter().map(|p| p.as_path().into()).collect();
    let volume = assemble(sources, &AssembleOptions::default()).unwrap();
    let Voxels::I16(voxels) = &volume.voxels else { panic!() };
    let sha256: String = Sha256::digest(voxels.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mean = voxels.iter().map(|&v| f64::from(v)).sum::<f64>() / voxels.len() as f64;
    println!("{} files: {:?}, mean {mean}, {:?}", files.len(), volume.geometry, volume.warnings);
    assert_eq!(volume.geometry.shape, [92, 512, 512]);
    assert_eq!((voxels.iter().min(), voxels.iter().max()), (Some(&-1000), Some(&1956)));
    assert!((mean - -619.936_161_994_934_1).abs() < 1e-6);
    assert_eq!(sha256, "45881840dfe2da39808224e64fbf9d2bf0fce75e0efd2da8898d77edcb3d95d6");
    assert!((volume.geometry.spacing[0] - 3.0).abs() < 1e-6);
    assert_eq!(volume.geometry.spacing[1..], [0.78125, 0.78125]);
    assert_eq!(volume.slices[0].as_ref().unwrap().image_position_patient, "-201\\-59\\-679.800049");
    assert!(volume.warnings.iter().any(|w| w.contains("92 different frames of reference")), "{:?}", volume.warnings);
}

#[test]
fn a_tilted_head_ct_is_refused_as_tilted() {
    let Some((_folder, files)) = unpacked("ct-other/head-ge-gantry-tilt.tar.xz") else { return };
    let sources = files.iter().map(|p| p.as_path().into()).collect();
    match assemble(sources, &AssembleOptions::default()) {
        Err(AssembleError::Refused(refusal)) => assert_eq!(refusal.code(), "gantry-tilt", "{refusal}"),
        other => panic!("{other:?}"),
    }
}
