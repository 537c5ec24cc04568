//! A query as it is written on the command line, and answers as a table or JSON.

use std::str::FromStr;

use clap::ValueEnum;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use serde_json::{Map, Value as Json};

use crate::dicom::data_set::{DataSet, Value};

/// Query/Retrieve Level (0008,0052) of the Study Root model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Level {
    Study,
    Series,
    Image,
}

impl Level {
    fn value(self) -> &'static str {
        match self {
            Self::Study => "STUDY",
            Self::Series => "SERIES",
            Self::Image => "IMAGE",
        }
    }

    /// What is asked for where nothing else is named.
    fn usual(self) -> &'static [Tag] {
        match self {
            Self::Study => &[
                tags::STUDY_DATE,
                tags::STUDY_TIME,
                tags::ACCESSION_NUMBER,
                tags::PATIENT_ID,
                tags::PATIENT_NAME,
                tags::MODALITIES_IN_STUDY,
                tags::STUDY_DESCRIPTION,
                tags::NUMBER_OF_STUDY_RELATED_SERIES,
                tags::NUMBER_OF_STUDY_RELATED_INSTANCES,
                tags::STUDY_INSTANCE_UID,
            ],
            Self::Series => &[
                tags::MODALITY,
                tags::SERIES_NUMBER,
                tags::SERIES_DESCRIPTION,
                tags::NUMBER_OF_SERIES_RELATED_INSTANCES,
                tags::SERIES_INSTANCE_UID,
            ],
            Self::Image => &[tags::INSTANCE_NUMBER, tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID],
        }
    }
}

/// `PatientID=4711`, `StudyDate=20240101-20241231`, `00100010=DOE*`; `PatientName` or `PatientName=` only asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    tag: Tag,
    vr: VR,
    value: Wanted,
}

/// The value of a key as a data set has it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// Text; empty where it is only asked for.
    Text(String),
    /// Numbers in binary.
    Numbers(Vec<u8>),
}

impl Wanted {
    /// # Errors
    /// What cannot be asked for, in words.
    fn of(name: &str, vr: VR, text: &str) -> Result<Self, String> {
        let numbers = match vr {
            _ if text.is_empty() || is_text(vr) => return Ok(Self::Text(text.to_owned())),
            VR::US => binary(text, u16::to_le_bytes),
            VR::SS => binary(text, i16::to_le_bytes),
            VR::UL => binary(text, u32::to_le_bytes),
            VR::SL => binary(text, i32::to_le_bytes),
            VR::FL => binary(text, f32::to_le_bytes),
            VR::FD => binary(text, f64::to_le_bytes),
            VR::SQ => {
                return Err(format!(
                    "«{name}» is a sequence, and no value can be given to it; without one it is asked for"
                ));
            }
            _ => {
                return Err(format!(
                    "«{name}» holds no text ({vr}), and nothing to match; without a value it is asked for"
                ));
            }
        };
        numbers.map(Self::Numbers).ok_or_else(|| format!("«{name}» takes numbers ({vr}), not «{text}»"))
    }
}

/// Several values stand between backslashes.
fn binary<T: FromStr, const N: usize>(text: &str, bytes: fn(T) -> [u8; N]) -> Option<Vec<u8>> {
    let values = text.split('\\').map(|value| value.trim().parse().ok().map(bytes));
    Some(values.collect::<Option<Vec<_>>>()?.concat())
}

fn is_text(vr: VR) -> bool {
    matches!(
        vr,
        VR::AE
            | VR::AS
            | VR::CS
            | VR::DA
            | VR::DS
            | VR::DT
            | VR::IS
            | VR::LO
            | VR::LT
            | VR::PN
            | VR::SH
            | VR::ST
            | VR::TM
            | VR::UC
            | VR::UI
            | VR::UR
            | VR::UT
    )
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let entry = StandardDataDictionary
            .by_expr(name)
            .ok_or_else(|| format!("«{name}» is neither a keyword of the DICOM dictionary nor a tag like 00100020"))?;
        let vr = entry.vr().relaxed();
        Ok(Self { tag: entry.tag(), vr, value: Wanted::of(name, vr, value)? })
    }
}

/// The identifier of a C-FIND, in UTF-8 where a value needs it.
pub(super) fn identifier(level: Level, keys: &[Key]) -> DataSet {
    let mut identifier = DataSet::new();
    if keys.iter().any(|key| matches!(&key.value, Wanted::Text(text) if !text.is_ascii())) {
        identifier.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
    }
    identifier.put_text(tags::QUERY_RETRIEVE_LEVEL, VR::CS, level.value());
    for &tag in level.usual() {
        let vr = StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed());
        identifier.put_text(tag, vr, "");
    }
    for key in keys {
        match &key.value {
            Wanted::Text(text) => identifier.put_text(key.tag, key.vr, text),
            Wanted::Numbers(bytes) => identifier.put_bytes(key.tag, key.vr, bytes.clone()),
        }
    }
    identifier
}

/// One line an answer, columns as wide as they need to be, in the order of the tags that were asked for.
pub(super) fn table(identifier: &DataSet, answers: &[DataSet]) -> String {
    let hidden = [tags::SPECIFIC_CHARACTER_SET, tags::QUERY_RETRIEVE_LEVEL];
    let columns: Vec<Tag> = identifier.elements().iter().map(|e| e.tag).filter(|tag| !hidden.contains(tag)).collect();
    let mut rows = vec![columns.iter().map(|&tag| keyword(tag)).collect::<Vec<String>>()];
    rows.extend(answers.iter().map(|answer| columns.iter().map(|&tag| shown(answer, tag)).collect()));
    aligned(&rows)
}

/// Columns aligned by spaces; nothing behind the last one.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// An answer by keywords; several values as a list, binary numbers as numbers, sequences as lists of objects.
pub(super) fn json(answer: &DataSet) -> Json {
    let mut object = Map::new();
    for element in answer.elements() {
        let value = match &element.value {
            Value::Items(items) => Json::Array(items.iter().map(json).collect()),
            _ if is_binary(element.vr) => {
                one_or_all(answer.numbers(element.tag).into_iter().map(|number| in_json(element.vr, number)).collect())
            }
            _ => one_or_all(answer.texts(element.tag).into_iter().map(Json::from).collect()),
        };
        object.insert(keyword(element.tag), value);
    }
    Json::Object(object)
}

fn one_or_all(mut values: Vec<Json>) -> Json {
    match values.len() {
        0 => Json::Null,
        1 => values.remove(0),
        _ => Json::Array(values),
    }
}

/// A whole number where the VR holds no other ones.
fn in_json(vr: VR, number: f64) -> Json {
    if matches!(vr, VR::FL | VR::FD) { Json::from(number) } else { Json::from(number as i64) }
}

fn shown(answer: &DataSet, tag: Tag) -> String {
    let text = match answer.element(tag) {
        Some(element) if is_binary(element.vr) => {
            answer.numbers(tag).iter().map(ToString::to_string).collect::<Vec<_>>().join("\\")
        }
        _ => answer.text(tag).unwrap_or_default(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn is_binary(vr: VR) -> bool {
    matches!(vr, VR::US | VR::SS | VR::UL | VR::SL | VR::FL | VR::FD)
}

fn keyword(tag: Tag) -> String {
    StandardDataDictionary.by_tag(tag).map_or_else(|| tag.to_string(), |entry| entry.alias().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_keywords_or_tags() {
        let key: Key = "PatientID=47=11".parse().unwrap();
        assert_eq!((key.tag, key.value), (tags::PATIENT_ID, Wanted::Text("47=11".to_owned())));
        assert_eq!("00100010".parse::<Key>().unwrap().tag, tags::PATIENT_NAME);
        assert!("NoSuchThing=1".parse::<Key>().is_err());
    }

    #[test]
    fn binary_numbers_are_asked_for_as_numbers_and_told_as_numbers() {
        let rows = |text: &str| text.parse::<Key>().map(|key| identifier(Level::Image, &[key]));
        let asked = rows("Rows=512").unwrap();
        assert_eq!(asked.element(tags::ROWS).unwrap().value, Value::Bytes(vec![0, 2].into()));
        assert_eq!(json(&asked)["Rows"], 512);
        assert!(json(&asked)["Rows"].is_i64() || json(&asked)["Rows"].is_u64(), "no 512.0");
        assert_eq!(json(&rows("Rows=0").unwrap())["Rows"], 0);
        assert_eq!(json(&rows("Rows").unwrap())["Rows"], Json::Null);
        assert_eq!(json(&rows("FrameIncrementPointer").unwrap())["FrameIncrementPointer"], Json::Null);
        for (wrong, says) in [
            ("Rows=many", "«Rows» takes numbers (US), not «many»"),
            ("Rows=70000", "«Rows» takes numbers (US), not «70000»"),
            ("RequestAttributesSequence=1", "is a sequence"),
            ("FrameIncrementPointer=00181063", "holds no text (AT)"),
            ("PixelData=0", "holds no text (OW)"),
        ] {
            let said = wrong.parse::<Key>().unwrap_err();
            assert!(said.contains(says), "{said}");
        }
    }

    #[test]
    fn a_name_outside_ascii_makes_the_identifier_utf8() {
        let identifier = identifier(Level::Study, &["PatientName=Ивано*".parse().unwrap()]);
        assert_eq!(identifier.text(tags::SPECIFIC_CHARACTER_SET).as_deref(), Some("ISO_IR 192"));
        assert_eq!(identifier.text(tags::PATIENT_NAME).as_deref(), Some("Ивано*"));
        assert!(identifier.contains(tags::STUDY_INSTANCE_UID));
    }

    #[test]
    fn tables_align_and_never_break_lines() {
        let mut answer = DataSet::new();
        answer.put_text(tags::PATIENT_ID, VR::LO, "4711\r\n");
        let mut asked = DataSet::new();
        asked.put_text(tags::PATIENT_ID, VR::LO, "");
        asked.put_text(tags::STUDY_ID, VR::SH, "");
        assert_eq!(table(&asked, &[answer]), "PatientID  StudyID\n4711\n");
    }
}
