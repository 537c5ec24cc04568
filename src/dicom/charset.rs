//! Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 section 6.1 and annexes H to K).

mod graphic;
mod iso2022;

use std::sync::Arc;

use encoding_rs::{GB18030, GBK};

use graphic::GraphicSet;
use iso2022::CodeExtension;

/// The character repertoires that a data set declares in (0008,0005), in its order.
///
/// Cheap to copy: items of sequences carry the one around them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CharacterSet {
    declared: Option<Arc<Declared>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Declared {
    terms: Vec<String>,
    coding: Coding,
}

/// How bytes become characters.
#[derive(Debug, PartialEq, Eq)]
enum Coding {
    Utf8,
    Gb18030,
    Gbk,
    /// Single-byte sets, alone or switched by escape sequences.
    Switched(CodeExtension),
}

/// What a text is, which decides where escape sequences lose their effect (PS3.5 section 6.1.2.5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// A person name: the repertoire starts anew after `^` and `=`.
    PersonName,
    /// Any other text.
    Other,
}

impl CharacterSet {
    /// From the value of (0008,0005), padding included. Unknown terms are kept; text in them is read as Latin-1.
    #[must_use]
    pub fn from_value(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let terms: Vec<String> = text.split('\\').map(|t| t.trim_matches([' ', '\0']).to_owned()).collect();
        if terms.iter().all(String::is_empty) {
            return Self::default();
        }
        let coding = Coding::of(&terms);
        Self { declared: Some(Arc::new(Declared { terms, coding })) }
    }

    /// Unicode in UTF-8, `ISO_IR 192`: holds every text.
    #[must_use]
    pub fn utf8() -> Self {
        Self::from_value(b"ISO_IR 192")
    }

    /// The defined terms; empty for the default repertoire.
    #[must_use]
    pub fn terms(&self) -> &[String] {
        self.declared.as_ref().map_or(&[], |d| &d.terms)
    }

    /// Decodes text other than a person name. Never fails: what cannot be decoded becomes U+FFFD, and bytes above 7FH
    /// where nothing but the default repertoire is declared are read as Latin-1.
    #[must_use]
    pub fn decode(&self, bytes: &[u8]) -> String {
        self.decode_as(bytes, TextKind::Other)
    }

    /// Decodes a text of this kind; see [`decode`](Self::decode).
    #[must_use]
    pub fn decode_as(&self, bytes: &[u8], kind: TextKind) -> String {
        if bytes.iter().all(|b| b.is_ascii() && *b != 0x1B) {
            return bytes.iter().map(|&b| char::from(b)).collect();
        }
        match self.declared.as_ref().map(|d| &d.coding) {
            Some(Coding::Utf8) => String::from_utf8_lossy(bytes).into_owned(),
            Some(Coding::Gb18030) => GB18030.decode_without_bom_handling(bytes).0.into_owned(),
            Some(Coding::Gbk) => GBK.decode_without_bom_handling(bytes).0.into_owned(),
            Some(Coding::Switched(extension)) => extension.decode(bytes, kind),
            None => CodeExtension::default().decode(bytes, kind),
        }
    }

    /// Encodes text other than a person name; what the repertoires do not hold becomes `?`.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u8> {
        self.encode_as(text, TextKind::Other)
    }

    /// Encodes a text of this kind; what the repertoires do not hold becomes `?`.
    #[must_use]
    pub fn encode_as(&self, text: &str, kind: TextKind) -> Vec<u8> {
        self.encoded(text, kind).0
    }

    /// Whether the declared repertoires hold every character of `text`.
    #[must_use]
    pub fn can_encode(&self, text: &str) -> bool {
        text.is_ascii() || self.encoded(text, TextKind::Other).1
    }

    /// The bytes, and whether no character was lost.
    fn encoded(&self, text: &str, kind: TextKind) -> (Vec<u8>, bool) {
        match self.declared.as_ref().map(|d| &d.coding) {
            Some(Coding::Utf8) => (text.as_bytes().to_vec(), true),
            Some(Coding::Gb18030) => encoded_one_by_one(text, GB18030),
            Some(Coding::Gbk) => encoded_one_by_one(text, GBK),
            Some(Coding::Switched(extension)) => extension.encode(text, kind),
            None => CodeExtension::default().encode(text, kind),
        }
    }
}

impl Coding {
    fn of(terms: &[String]) -> Self {
        // Of the sets without code extensions only the first value counts; they may not stand with others.
        match terms.first().map(|t| identifier(t)).as_deref() {
            Some("192" | "UTF8") => return Self::Utf8,
            Some("GB18030") => return Self::Gb18030,
            Some("GBK") => return Self::Gbk,
            _ => {}
        }
        Self::Switched(CodeExtension::new(terms.iter().map(|t| sets_of(&identifier(t))).collect()))
    }
}

/// What is left of a term without `ISO`, `2022`, `IR` and punctuation, which are often misspelt (`ISO-IR 100`).
fn identifier(term: &str) -> String {
    let letters: String = term.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let rest = letters.strip_prefix("ISO").unwrap_or(&letters);
    let rest = rest.strip_prefix("2022").unwrap_or(rest);
    rest.strip_prefix("IR").unwrap_or(rest).to_owned()
}

/// The graphic sets of a defined term (PS3.3 tables C.12-2 to C.12-4); none for the default and for unknown ones.
fn sets_of(identifier: &str) -> &'static [GraphicSet] {
    match identifier {
        "100" => &[GraphicSet::Latin1],
        "101" => &[GraphicSet::Latin2],
        "109" => &[GraphicSet::Latin3],
        "110" => &[GraphicSet::Latin4],
        "144" => &[GraphicSet::Cyrillic],
        "127" => &[GraphicSet::Arabic],
        "126" => &[GraphicSet::Greek],
        "138" => &[GraphicSet::Hebrew],
        "148" => &[GraphicSet::Latin5],
        "203" => &[GraphicSet::Latin9],
        "166" => &[GraphicSet::Thai],
        "13" => &[GraphicSet::JisRoman, GraphicSet::Katakana],
        "87" => &[GraphicSet::Jis0208],
        "159" => &[GraphicSet::Jis0212],
        "149" => &[GraphicSet::Ksx1001],
        "58" => &[GraphicSet::Gb2312],
        _ => &[],
    }
}

/// Encodes with `?` for what is not there, where the library would write a numeric reference.
fn encoded_one_by_one(text: &str, encoding: &'static encoding_rs::Encoding) -> (Vec<u8>, bool) {
    let (bytes, _, lost) = encoding.encode(text);
    if !lost {
        return (bytes.into_owned(), true);
    }
    let mut out = Vec::with_capacity(text.len());
    for character in text.chars() {
        let mut buffer = [0; 4];
        match encoding.encode(character.encode_utf8(&mut buffer)) {
            (bytes, _, false) => out.extend_from_slice(&bytes),
            _ => out.push(b'?'),
        }
    }
    (out, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(terms: &str) -> CharacterSet {
        CharacterSet::from_value(terms.as_bytes())
    }

    #[test]
    fn misspelt_terms_mean_what_they_meant() {
        for term in ["ISO_IR 144", "ISO-IR 144", "ISO IR 144 ", "ISO_IR_144", "ISO 2022 IR 144", "iso_ir 144"] {
            assert_eq!(declared(term).decode(b"\xB8\xD2\xD0\xDD\xDE\xD2"), "Иванов", "{term}");
        }
    }

    #[test]
    fn undeclared_bytes_are_latin_1_and_unknown_terms_too() {
        assert_eq!(CharacterSet::default().decode(b"J\xE9r\xF4me"), "Jérôme");
        assert_eq!(declared("KLINGON").decode(b"J\xE9r\xF4me"), "Jérôme");
        assert_eq!(declared("KLINGON").terms(), ["KLINGON"]);
    }

    #[test]
    fn what_a_set_cannot_hold_is_a_question_mark_and_can_be_asked_for() {
        let latin = declared("ISO_IR 100");
        assert_eq!(latin.encode("Jérôme Иван"), b"J\xE9r\xF4me ????");
        assert!(latin.can_encode("Jérôme") && !latin.can_encode("Иван"));
        assert!(!CharacterSet::default().can_encode("Jérôme"));
        assert_eq!(CharacterSet::default().encode("Jérôme"), b"J?r?me");
        assert_eq!(declared("GBK").encode("王한"), b"\xCD\xF5?");
        assert!(declared("GB18030").can_encode("王한😀") && CharacterSet::utf8().can_encode("😀"));
    }

    #[test]
    fn backslashes_inside_multi_byte_characters_do_not_separate_values() {
        // The second byte is 5CH in GB18030, in Shift-JIS and in JIS X 0208.
        assert_eq!(declared("GB18030").decode(b"\x81\x5C\\A"), "乗\\A");
        assert_eq!(declared("ISO_IR 13").decode(b"\x95\x5C\\A"), "表\\A");
        assert_eq!(declared("\\ISO 2022 IR 87").decode(b"\x1B$B\x21\x5C\x1B(B\\A"), "＋\\A");
    }
}
