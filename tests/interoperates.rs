//! The program among other people's programs, as sender, querier and receiver. One that is not installed fails its test
//! with the name of the Debian package.

mod dcmtk;

mod gdcm;

mod hostile_files;

mod orthanc;

mod pynetdicom;

mod results_everywhere;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use overread::dicom::data_set::DataSet;
use overread::dicom::encode::{Layout, encode, part10_header};
use overread::dicom::parse::parse;
use overread::dicom::part10::Part10;
use overread::dicom::tags;
use overread::dicom::uid::SopInstanceUid;

use crate::testkit::peers::{Judgement, python, root};

/// Patient IDs and names of samples in `tests/fixtures/charset`, as pydicom reads them.
const NAMES: [(&str, &str, &str); 7] = [
    ("chrRuss", "SCSRUSS", "Люкceмбypг"),
    ("chrGreek", "SCSGREEK", "Διονυσιος"),
    ("chrH31", "H31EXAMPLE", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("chrH32", "H32EXAMPLE", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    ("chrI2", "I2EXAMPLE", "Hong^Gildong=洪^吉洞=홍^길동"),
    ("chrKoreanMulti", "2008-3", "김희중"),
    ("chrX2", "X2EXAMPLE", "Wang^XiaoDong=王^小东"),
];

/// The files of [`NAMES`].
fn named_samples() -> Vec<PathBuf> {
    NAMES.iter().map(|(name, _, _)| fixture(&format!("charset/{name}.dcm"))).collect()
}

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

/// The data set of a DICOM file.
fn data_set(path: &Path) -> DataSet {
    let part10 = Part10::split(&Bytes::from(std::fs::read(path).unwrap())).unwrap();
    parse(&part10.data_set, part10.encoding).unwrap()
}

/// A copy of a file under another SOP Instance UID, in `folder`: many fixtures are one image in several syntaxes.
fn under_another_uid(path: &Path, uid: &str, folder: &Path) -> PathBuf {
    let part10 = Part10::split(&Bytes::from(std::fs::read(path).unwrap())).unwrap();
    let mut data_set = data_set(path);
    data_set.put_uid(tags::SOP_INSTANCE_UID, uid);
    let sop_instance = SopInstanceUid::parse(uid).unwrap();
    let mut file = part10_header(&part10.sop_class().unwrap(), &sop_instance, &part10.transfer_syntax().unwrap(), None);
    file.extend(encode(&data_set, Layout::ExplicitLe));
    let copy = folder.join(format!("{uid}.dcm"));
    std::fs::write(&copy, file).unwrap();
    copy
}

/// Each pair of files must hold the same elements with the same values, as pydicom reads them.
fn must_be_the_same(pairs: &[(PathBuf, PathBuf)]) {
    let paths: Vec<&PathBuf> = pairs.iter().flat_map(|(one, other)| [one, other]).collect();
    must_succeed(&python("same_data_set.py", &paths));
}

fn must_succeed(judgement: &Judgement) {
    assert!(judgement.success, "{}", judgement.text);
}
