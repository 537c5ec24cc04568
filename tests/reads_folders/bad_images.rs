//! Images of every kind that no model reads, and models of every kind that give no answer: a row and one clear line for each,
//! and the good series beside them is read.

use std::io::{Seek, SeekFrom, Write};

use dicom_dictionary_std::uids;
use overread::dicom::data_set::DataSet;
use overread::dicom::{VR, tags};

use super::{Desk, PARTLY, Run, tiny, words};
use crate::testkit::chest::Series;
use crate::testkit::peers::root;
use crate::testkit::phantom::{part10, words as pixels};

/// What is wrong with an image, and what a row says of it: a refusal's code and a part of its sentence.
struct Bad {
    name: &'static str,
    edit: fn(&mut DataSet),
    /// Of a slice of a CT.
    ct: [&'static str; 2],
    /// Of a radiograph.
    radiograph: [&'static str; 2],
}

/// Rows and columns of images that are too large.
const HUGE: u16 = 30_000;

const ALL: [Bad; 5] = [
    Bad {
        name: "colour",
        edit: |ds| {
            ds.put_us(tags::SAMPLES_PER_PIXEL, &[3]);
            ds.put_text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB");
        },
        ct: ["colour", "The images are in colour."],
        radiograph: ["colour", "The images are in colour."],
    },
    Bad {
        name: "1 bit",
        edit: |ds| bits(ds, 1),
        ct: ["pixel-format", "1 bits"],
        radiograph: ["pixel-format", "1 bits"],
    },
    Bad {
        name: "32 bit",
        edit: |ds| bits(ds, 32),
        ct: ["pixel-format", "32 bits"],
        radiograph: ["pixel-format", "32 bits"],
    },
    Bad {
        name: "no pixel data",
        edit: |ds| drop(ds.remove(tags::PIXEL_DATA)),
        ct: ["no-pixel-data", "An image of the series has no pixel data."],
        radiograph: ["no-pixel-data", "An image of the series has no pixel data."],
    },
    Bad {
        name: "huge",
        edit: |ds| {
            ds.put_us(tags::ROWS, &[HUGE]);
            ds.put_us(tags::COLUMNS, &[HUGE]);
        },
        ct: ["too-large", "MB of memory"],
        radiograph: ["image-too-large", "The image has 30000 × 30000 pixels, at most 64 million are read."],
    },
];

fn bits(ds: &mut DataSet, count: u16) {
    ds.put_us(tags::BITS_ALLOCATED, &[count]);
    ds.put_us(tags::BITS_STORED, &[count]);
    ds.put_us(tags::HIGH_BIT, &[count - 1]);
}

/// A radiograph of 40 x 50 pixels under the UIDs of a series.
fn radiograph(series: &Series, edit: impl Fn(&mut DataSet)) -> Vec<u8> {
    let mut ds = DataSet::new();
    ds.put_uid(tags::SOP_CLASS_UID, uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION);
    ds.put_uid(tags::SOP_INSTANCE_UID, &series.instance(0));
    ds.put_uid(tags::STUDY_INSTANCE_UID, &series.study);
    ds.put_uid(tags::SERIES_INSTANCE_UID, &series.series);
    ds.put_text(tags::MODALITY, VR::CS, "DX");
    ds.put_text(tags::PATIENT_ID, VR::LO, "PH-17");
    ds.put_text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    ds.put_us(tags::SAMPLES_PER_PIXEL, &[1]);
    ds.put_us(tags::ROWS, &[40]);
    ds.put_us(tags::COLUMNS, &[50]);
    ds.put_us(tags::PIXEL_REPRESENTATION, &[0]);
    bits(&mut ds, 16);
    ds.put_bytes(tags::PIXEL_DATA, VR::OW, pixels(&(0..2000).map(|at| at * 31 % 1999).collect::<Vec<u16>>()));
    edit(&mut ds);
    part10(&ds, uids::EXPLICIT_VR_LITTLE_ENDIAN).to_vec()
}

/// Puts a file whose pixel data are as long as its rows and columns say, and take no room on the disk.
fn put_whole(desk: &Desk, name: &str, mut file: Vec<u8>) {
    let start = file.windows(6).position(|window| window == [0xE0, 0x7F, 0x10, 0, b'O', b'W']).unwrap() + 12;
    let length = 2 * u32::from(HUGE) * u32::from(HUGE);
    file.truncate(start);
    file[start - 4..].copy_from_slice(&length.to_le_bytes());
    let path = desk.put(name, &file);
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(start as u64 + u64::from(length) - 1)).unwrap();
    file.write_all(&[0]).unwrap();
}

fn check(run: &Run, series: &Series, what: &str, [code, sentence]: [&str; 2]) {
    let row = run.row(series);
    let (status, pathology) = (&*row["processing_status"], &*row["pathology"]);
    // What is in colour can be read, and is not for these models; the rest cannot.
    let (expected, told) = if code == "colour" {
        (("Success", "not suitable"), &row["warnings"])
    } else {
        (("Failure", ""), &row["error"])
    };
    assert_eq!((status, pathology), expected, "{what}: {row:?}");
    assert!(told.contains(code) && told.contains(sentence), "{what}: {row:?}");
    let lines: Vec<&str> = run.said.lines().filter(|line| line.contains(&series.series)).collect();
    let [line] = lines[..] else { panic!("{what}: one line, not {lines:#?}") };
    assert!(line.contains(code) && line.contains(sentence), "{what}: {line}");
}

#[test]
fn images_that_are_not_read_have_a_row_and_a_line_each_and_the_good_ones_beside_them_are_read() {
    let desk = Desk::new();
    let named = |kind: &str, bad: &Bad| Series::chest(&format!("{kind} {}", bad.name));
    for bad in &ALL {
        let (ct, dx) = (named("ct", bad), named("dx", bad));
        for (number, file) in ct.files_with(bad.edit).iter().enumerate() {
            let name = format!("ct {}/{number}", bad.name);
            // One whole file shows that its pixels are not read: all of them would be 25 GB.
            if bad.name == "huge" && number == 0 {
                put_whole(&desk, &name, file.to_vec())
            } else {
                drop(desk.put(&name, file))
            }
        }
        let (name, file) = (format!("dx {}/1", bad.name), radiograph(&dx, bad.edit));
        if bad.name == "huge" { put_whole(&desk, &name, file) } else { drop(desk.put(&name, &file)) }
    }
    let (chest, plain) = (Series::chest("a good chest"), Series::chest("a good radiograph"));
    desk.put_series("good", &chest);
    desk.put("good radiograph/1", &radiograph(&plain, |_| ()));
    let both = [tiny("cxr-vit-tiny"), words(&["--model", "lung-densitometry"])].concat();
    let run = desk.read_with(&[&both], &[&desk.path("in")]);
    assert_eq!((run.code, run.rows.len()), (PARTLY, 12), "{}", run.said);
    for bad in &ALL {
        check(&run, &named("ct", bad), &format!("ct {}", bad.name), bad.ct);
        check(&run, &named("dx", bad), &format!("dx {}", bad.name), bad.radiograph);
    }
    let (chest, plain) = (run.row(&chest), run.row(&plain));
    assert_eq!((&*chest["processing_status"], &*chest["error"]), ("Success", ""), "{chest:?}");
    assert!(chest["Both lungs, Volume (cm3)"].parse::<f64>().is_ok_and(|volume| volume > 400.0), "{chest:?}");
    assert_eq!((&*plain["processing_status"], &*plain["error"]), ("Success", ""), "{plain:?}");
    assert!(plain["Any finding"].parse::<f64>().is_ok() && !plain["pathology"].is_empty(), "{plain:?}");
}

/// Packages whose modules give no answer that the manifest promises, below `tests/fixtures`, and what the row says.
const FAULTY: [(&str, &str); 14] = [
    ("models/extra-key", "returned something else than its manifest says"),
    ("models/label-too-large", "the manifest has segments 1 to 2"),
    ("models/missing-key", "is missing"),
    ("models/nan", "Volume"),
    ("models/raises", "the model does not want to"),
    ("models/verdict-unknown", "returned something else than its manifest says"),
    ("models/wrong-dtype", "«mask» must be"),
    ("models/wrong-shape", "«mask» must be"),
    ("modules/head-of-nan", "«logits» holds NaN or infinity"),
    ("modules/head-of-three", "«logits» must be Float[1, 2] or Float[2], it is Float[1, 3]"),
    ("modules/head-raises", "the head does not want to"),
    ("modules/no-numbers", "holds NaN or infinity"),
    ("modules/other-name", "module «backbone»: «patches» is missing"),
    ("modules/scores-of-infinity", "«scores» holds NaN or infinity"),
];

#[test]
fn modules_of_wrong_shapes_names_and_numbers_are_errors_of_their_own_and_the_good_model_answers() {
    let desk = Desk::new();
    let (one, other) = (Series::chest("one"), Series::chest("other"));
    desk.put_series("1", &one);
    desk.put_series("2", &other);
    let mut options = words(&["--allow-untrained", "--models"]);
    options.push(root().join("models").display().to_string());
    for package in FAULTY.map(|(package, _)| package).into_iter().chain(["models/good"]) {
        options.push("--model".to_owned());
        options.push(root().join("tests/fixtures").join(package).display().to_string());
    }
    let run = desk.read_with(&[&options], &[&desk.path("in")]);
    assert_eq!((run.code, run.rows.len()), (PARTLY, 2), "{}", run.said);
    for series in [&one, &other] {
        let row = run.row(series);
        assert_eq!(row["processing_status"], "Failure", "{row:?}");
        for (package, words) in FAULTY {
            let name = package.split_once('/').unwrap().1;
            let error = row["error"].split(&format!("{name}: model «{name}» ")).nth(1);
            let error = error.unwrap_or_else(|| panic!("nothing of {name}: {}", row["error"]));
            let own = error.split(": model «").next().unwrap();
            assert!(own.contains(words), "{name}: {own}");
        }
        let volume = row.iter().find(|(column, _)| column.starts_with("good: ") && column.contains("Dense, Volume"));
        assert!(volume.is_some_and(|(_, volume)| volume.parse::<f64>().is_ok()), "{row:?}");
        let lines = run.said.lines().filter(|line| line.contains(&series.series)).count();
        assert_eq!(lines, 1, "{}", run.said);
    }
}
