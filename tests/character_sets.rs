//! Text in every character set of PS3.3 C.12.1.1.2 reads as other toolkits read it, and is written so that it reads back.

#![expect(clippy::unwrap_used, reason = "a sample that is missing fails the test")]

use bytes::Bytes;
use overread::dicom::charset::{CharacterSet, TextKind};
use overread::dicom::data_set::DataSet;
use overread::dicom::transfer_syntax::Encoding;
use overread::dicom::{VR, parse, tags};

/// Patient names as pydicom 3 decodes them.
const NAMES: [(&str, &str); 15] = [
    ("chrArab", "قباني^لنزار"),
    ("chrFren", "Buc^Jérôme"),
    ("chrFrenMulti", "Buc^Jérôme"),
    ("chrGerm", "Äneas^Rüdiger"),
    ("chrGreek", "Διονυσιος"),
    ("chrH31", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("chrH32", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    ("chrHbrw", "שרון^דבורה"),
    ("chrI2", "Hong^Gildong=洪^吉洞=홍^길동"),
    ("chrJapMulti", "やまだ^たろう"),
    ("chrJapMultiExplicitIR6", "やまだ^たろう"),
    ("chrKoreanMulti", "김희중"),
    ("chrRuss", "Люкceмбypг"),
    ("chrX1", "Wang^XiaoDong=王^小東"),
    ("chrX2", "Wang^XiaoDong=王^小东"),
];

/// Terms, text and its bytes as Python's codecs write them.
const SINGLE_BYTE: [(&str, &str, &[u8]); 11] = [
    ("ISO_IR 100", "Jérôme", b"J\xE9r\xF4me"),
    ("ISO_IR 101", "Łódź Příliš", b"\xA3\xF3d\xBC P\xF8\xEDli\xB9"),
    ("ISO_IR 109", "Ħal Għaxaq ĉŝ", b"\xA1al G\xB1axaq \xE6\xFE"),
    ("ISO_IR 110", "ģēķ Ąž", b"\xBB\xBA\xF3 \xA1\xBE"),
    ("ISO_IR 144", "Щербаков", b"\xC9\xD5\xE0\xD1\xD0\xDA\xDE\xD2"),
    ("ISO_IR 127", "قباني", b"\xE2\xC8\xC7\xE6\xEA"),
    ("ISO_IR 126", "Διονυσιος", b"\xC4\xE9\xEF\xED\xF5\xF3\xE9\xEF\xF2"),
    ("ISO_IR 138", "שרון", b"\xF9\xF8\xE5\xEF"),
    ("ISO_IR 148", "İğüş Ş", b"\xDD\xF0\xFC\xFE \xDE"),
    ("ISO_IR 203", "cœur €Ž", b"c\xBDur \xA4\xB4"),
    ("ISO_IR 166", "สมชาย ใจดี", b"\xCA\xC1\xAA\xD2\xC2 \xE3\xA8\xB4\xD5"),
];

fn sample(name: &str) -> DataSet {
    let path = format!("{}/tests/fixtures/charset/{name}.dcm", env!("CARGO_MANIFEST_DIR"));
    let file = Bytes::from(std::fs::read(path).unwrap());
    parse::parse(&file.slice(132..), Encoding::ExplicitLe).unwrap()
}

fn declared(terms: &str) -> CharacterSet {
    CharacterSet::from_value(terms.as_bytes())
}

#[test]
fn names_of_the_samples_read_as_pydicom_reads_them() {
    for (file, name) in NAMES {
        let read = sample(file).text(tags::PATIENT_NAME).unwrap();
        // pydicom leaves out the empty last component group of chrX1.
        assert_eq!(read.trim_end_matches('='), name, "{file}");
    }
    assert_eq!(sample("chrKoreanMulti").text(tags::ADDITIONAL_PATIENT_HISTORY).as_deref(), Some("김희중"));
    assert_eq!(sample("chrJapMulti").text(tags::ADDITIONAL_PATIENT_HISTORY).as_deref(), Some("たろう"));
}

#[test]
fn items_of_sequences_have_their_own_character_set() {
    for file in ["chrSQEncoding", "chrSQEncoding1"] {
        let data_set = sample(file);
        let item = &data_set.items(tags::REQUESTED_PROCEDURE_CODE_SEQUENCE)[0];
        let name = item.text(tags::PATIENT_NAME);
        assert_eq!(name.as_deref(), Some("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"), "{file}");
    }
}

#[test]
fn what_was_read_is_written_to_the_same_bytes() {
    for (file, name) in NAMES {
        let data_set = sample(file);
        let set = data_set.character_set();
        assert!(set.can_encode(name), "{file}");
        let again = set.encode_as(name, TextKind::PersonName);
        assert_eq!(set.decode_as(&again, TextKind::PersonName), name, "{file}");
        // Two samples end in what carries no character: an empty component group, a switch to what is active.
        let sent = data_set.bytes(tags::PATIENT_NAME).unwrap().trim_ascii_end();
        let bare = |bytes: &[u8]| bytes.strip_suffix(b"\x1B(B".as_slice()).unwrap_or(bytes).to_vec();
        assert_eq!(bare(&again), bare(sent.strip_suffix(b"=").unwrap_or(sent)), "{file}");
    }
}

#[test]
fn single_byte_sets_are_right_both_ways() {
    for (terms, text, bytes) in SINGLE_BYTE {
        assert_eq!(declared(terms).decode(bytes), text, "{terms}");
        assert_eq!(declared(terms).encode(text), bytes, "{terms}");
    }
}

#[test]
fn escape_sequences_switch_until_a_delimiter() {
    let set = declared("\\ISO 2022 IR 144\\ISO 2022 IR 101");
    let bytes = b"Ivanov=\x1B-L\xB8\xD2\xD0\xDD\xDE\xD2^\x1B-B\xA3\xF3d\xBC";
    assert_eq!(set.decode_as(bytes, TextKind::PersonName), "Ivanov=Иванов^Łódź");
    assert_eq!(set.encode_as("Ivanov=Иванов^Łódź", TextKind::PersonName), bytes);
    // In other text ^ and = are letters like any, and only the value separator and line ends reset.
    assert_eq!(set.decode(b"\x1B-L\xB8^\xB8\\\xE9\r\n\x1B-L\xB8"), "И^И\\é\r\nИ");
    let chinese = declared("\\ISO 2022 IR 58");
    assert_eq!(chinese.decode(b"Wang=\x1B$)A\xCD\xF5\xD0\xA1\xB6\xAB"), "Wang=王小东");
    assert_eq!(chinese.encode("王小东"), b"\x1B$)A\xCD\xF5\xD0\xA1\xB6\xAB");
    let kanji = declared("\\ISO 2022 IR 87\\ISO 2022 IR 159");
    assert_eq!(kanji.decode(b"\x1B$(D0!0~\x1B(B x"), "丂侄 x");
    assert_eq!(kanji.encode("丂侄 x"), b"\x1B$(D0!0~\x1B(B x");
}

#[test]
fn a_name_that_takes_two_repertoires_is_put_and_read_back() {
    let mut data_set = DataSet::new();
    data_set.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO 2022 IR 100\\ISO 2022 IR 126\\ISO 2022 IR 149");
    data_set.put_text(tags::PATIENT_NAME, VR::PN, "Müller^Διο=홍^길동");
    data_set.put_text(tags::STUDY_DESCRIPTION, VR::LO, "Über=Διο^é\\홍");
    assert_eq!(data_set.text(tags::PATIENT_NAME).as_deref(), Some("Müller^Διο=홍^길동"));
    assert_eq!(data_set.texts(tags::STUDY_DESCRIPTION), ["Über=Διο^é", "홍"]);
}

#[test]
fn no_bytes_are_too_strange_to_decode() {
    let sets = ["", "ISO_IR 13", "ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 159", "\\ISO 2022 IR 149", "ISO_IR 192"];
    let sets = sets.into_iter().chain(["GB18030", "GBK", "ISO_IR 127", "\\ISO 2022 IR 58", "ISO 2022 IR 87"]);
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for terms in sets {
        let set = declared(terms);
        for length in 0..400 {
            let mut bytes = Vec::new();
            while bytes.len() < length {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let pick = usize::try_from(state % 7).unwrap();
                bytes.extend_from_slice([&b"\x1B$B"[..], b"\x1B$)C", b"\x1B(J", b"\x1B", b"^", b"\xB8", b"!"][pick]);
                bytes.extend_from_slice(&state.to_le_bytes()[..2]);
            }
            let text = set.decode_as(&bytes, TextKind::PersonName);
            assert!(text.chars().count() <= bytes.len());
            let _ = set.encode(&text);
        }
    }
}
