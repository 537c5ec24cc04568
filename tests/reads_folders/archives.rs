//! Archives of every kind of ill will: each ends in one clear line and a row, and what lies beside it is read.

use bytes::Bytes;

use super::{Desk, PARTLY};
use crate::testkit::chest::Series;
use crate::testkit::instance::zipped;

fn entries(series: &Series) -> Vec<(String, Bytes)> {
    series.files().into_iter().enumerate().map(|(number, file)| (format!("{number}.dcm"), file)).collect()
}

/// The same with the flag that says that entries are encrypted (APPNOTE 4.4.4, bit 0), locally and in the directory.
fn encrypted(mut archive: Vec<u8>) -> Vec<u8> {
    for (signature, flags) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
        let places: Vec<usize> = (0..archive.len() - 4).filter(|&at| &archive[at..at + 4] == signature).collect();
        for at in places {
            archive[at + flags] |= 1;
        }
    }
    archive
}

/// A file that begins as a CT image and goes on with `count` zeros.
fn hollow(series: &Series, count: usize) -> Bytes {
    let mut file = series.files()[0].to_vec();
    let at = file.windows(6).position(|window| window == [0xE0, 0x7F, 0x10, 0, b'O', b'W']).unwrap();
    file.truncate(at + 8);
    file.extend(u32::try_from(count).unwrap().to_le_bytes());
    file.resize(file.len() + count, 0);
    file.into()
}

#[test]
fn every_bad_archive_ends_in_a_row_and_what_lies_beside_it_is_read() {
    let desk = Desk::new();
    let (good, inner, behind) = (Series::chest("good"), Series::chest("inner"), Series::chest("behind"));
    desk.put("a-good.zip", &zipped(entries(&good)));
    let whole = zipped(entries(&inner));
    desk.put("cut.zip", &whole[..whole.len() / 2]);
    desk.put("encrypted.zip", &encrypted(whole.clone()));
    desk.put("text.zip", b"this was renamed");
    desk.put("empty.bin", b"");
    desk.put("nested.zip", &zipped([("again/studies.ZIP".to_owned(), Bytes::from(whole.clone()))]));
    desk.put("hidden.zip", &zipped([("again/STUDIES".to_owned(), Bytes::from(whole.clone()))]));
    let outside = [("../../../outside.dcm".to_owned(), inner.files()[0].clone())];
    desk.put("leads-out.zip", &zipped(outside));
    let mut damaged = whole;
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0x55);
    desk.put("damaged.zip", &damaged);
    let mut mixed = vec![("bomb.dcm".to_owned(), hollow(&Series::chest("bomb"), 80 << 20))];
    mixed.extend(entries(&behind));
    desk.put("z-bomb.zip", &zipped(mixed));

    let run = desk.read();
    assert_eq!(run.code, PARTLY, "{}", run.said);
    for series in [&good, &behind] {
        assert_eq!(run.row(series)["processing_status"], "Success", "{:?}", run.row(series));
    }
    for (place, why) in [
        ("cut.zip", "invalid Zip archive"),
        ("encrypted.zip", "14 files cannot be read, the first is 0.dcm: it is encrypted"),
        ("text.zip", "invalid Zip archive"),
        ("nested.zip", "again/studies.ZIP: an archive inside an archive is not read: unpack it first"),
        ("hidden.zip", "again/STUDIES: an archive inside an archive is not read: unpack it first"),
        ("leads-out.zip", "../../../outside.dcm: its name leads out of the archive"),
    ] {
        let row = run.place(place);
        assert!(row["processing_status"] == "Failure" && row["error"].contains(why), "{row:?}");
        assert_eq!(run.said.matches(&format!("{place}:")).count(), 1, "one line: {}", run.said);
    }
    let bomb = run.row(&Series::chest("bomb"));
    assert!(bomb["processing_status"] == "Failure" && bomb["error"].contains("inflate to more than"), "{bomb:?}");
    // Of the damaged archive one entry cannot be inflated: it is missing from its series.
    assert!(run.place("damaged.zip")["error"].contains("7.dcm"), "{}", run.said);
    let row = run.row(&inner);
    assert!(
        row["processing_status"] == "Success" && row["warnings"].contains("1 of 14 slices are missing (7.1 %)"),
        "{row:?}"
    );
    assert!(!desk.path("outside.dcm").exists() && !desk.path("in/outside.dcm").exists());
}
