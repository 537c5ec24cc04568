//! The graphic character sets that text may be written in (PS3.3 tables C.12-2 to C.12-4).

use std::collections::HashMap;
use std::sync::OnceLock;

use encoding_rs::{
    EUC_JP, EUC_KR, Encoding, GBK, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6, ISO_8859_7, ISO_8859_8,
    ISO_8859_15, WINDOWS_874, WINDOWS_1254,
};

/// A set that an escape sequence designates, or that is there from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GraphicSet {
    /// ISO-IR 6.
    Ascii,
    /// ISO-IR 14, the left half of JIS X 0201. Its yen sign is read as the backslash that separates values.
    JisRoman,
    /// ISO-IR 13, half-width katakana, the right half of JIS X 0201.
    Katakana,
    /// ISO-IR 100.
    Latin1,
    /// ISO-IR 101.
    Latin2,
    /// ISO-IR 109.
    Latin3,
    /// ISO-IR 110.
    Latin4,
    /// ISO-IR 148.
    Latin5,
    /// ISO-IR 203.
    Latin9,
    /// ISO-IR 144.
    Cyrillic,
    /// ISO-IR 127.
    Arabic,
    /// ISO-IR 126.
    Greek,
    /// ISO-IR 138.
    Hebrew,
    /// ISO-IR 166.
    Thai,
    /// ISO-IR 87, kanji.
    Jis0208,
    /// ISO-IR 159, supplementary kanji.
    Jis0212,
    /// ISO-IR 149, hangul and hanja.
    Ksx1001,
    /// ISO-IR 58, simplified Chinese.
    Gb2312,
}

/// Which half of the code table a set is invoked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    /// G0: bytes 21H to 7EH.
    Left,
    /// G1: bytes A0H to FFH.
    Right,
}

/// Every set with the escape sequence that designates it (without ESC).
const ESCAPES: [(GraphicSet, &[u8]); 18] = [
    (GraphicSet::Ascii, b"(B"),
    (GraphicSet::JisRoman, b"(J"),
    (GraphicSet::Katakana, b")I"),
    (GraphicSet::Latin1, b"-A"),
    (GraphicSet::Latin2, b"-B"),
    (GraphicSet::Latin3, b"-C"),
    (GraphicSet::Latin4, b"-D"),
    (GraphicSet::Latin5, b"-M"),
    (GraphicSet::Latin9, b"-b"),
    (GraphicSet::Cyrillic, b"-L"),
    (GraphicSet::Arabic, b"-G"),
    (GraphicSet::Greek, b"-F"),
    (GraphicSet::Hebrew, b"-H"),
    (GraphicSet::Thai, b"-T"),
    (GraphicSet::Jis0208, b"$B"),
    (GraphicSet::Jis0212, b"$(D"),
    (GraphicSet::Ksx1001, b"$)C"),
    (GraphicSet::Gb2312, b"$)A"),
];

impl GraphicSet {
    /// The set that the bytes after an ESC designate, and how many bytes that takes.
    pub(super) fn designated(after_escape: &[u8]) -> Option<(Self, usize)> {
        let (set, sequence) = ESCAPES.iter().find(|(_, sequence)| after_escape.starts_with(sequence))?;
        Some((*set, sequence.len()))
    }

    /// What follows ESC to designate this set.
    pub(super) fn escape(self) -> &'static [u8] {
        ESCAPES.iter().find(|(set, _)| *set == self).map_or(b"(B", |(_, sequence)| sequence)
    }

    /// The half that this set is designated to.
    pub(super) fn half(self) -> Half {
        match self {
            Self::Ascii | Self::JisRoman | Self::Jis0208 | Self::Jis0212 => Half::Left,
            _ => Half::Right,
        }
    }

    /// Whether each character takes two bytes.
    pub(super) fn is_double_byte(self) -> bool {
        matches!(self, Self::Jis0208 | Self::Jis0212 | Self::Ksx1001 | Self::Gb2312)
    }

    /// The character of a code as it stands in the text: one byte, or two of a double-byte set.
    pub(super) fn character(self, code: &[u8]) -> Option<char> {
        match (self, code) {
            (Self::Ascii | Self::JisRoman, &[byte]) => byte.is_ascii().then_some(char::from(byte)),
            (Self::Latin1, &[byte]) => Some(char::from(byte)),
            (Self::Katakana, &[byte @ 0xA1..=0xDF]) => char::from_u32(0xFF61 + u32::from(byte - 0xA1)),
            (Self::Jis0208, &[a, b]) => sole(EUC_JP, &[a | 0x80, b | 0x80]),
            (Self::Jis0212, &[a, b]) => sole(EUC_JP, &[0x8F, a | 0x80, b | 0x80]),
            (Self::Ksx1001, &[0xA1..=0xFE, 0xA1..=0xFE]) => sole(EUC_KR, code),
            (Self::Gb2312, &[0xA1..=0xFE, 0xA1..=0xFE]) => sole(GBK, code),
            (_, &[byte @ 0xA0..=0xFF]) => sole(self.single_byte()?, &[byte]),
            _ => None,
        }
    }

    /// The code of a character; one or two bytes in the half this set is designated to.
    pub(super) fn code(self, character: char) -> Option<Vec<u8>> {
        let mut buffer = [0; 4];
        let text: &str = character.encode_utf8(&mut buffer);
        match self {
            Self::Ascii => u8::try_from(character).ok().filter(u8::is_ascii).map(|b| vec![b]),
            // The places of the yen sign and of the overline.
            Self::JisRoman => match character {
                '¥' => Some(vec![0x5C]),
                '‾' => Some(vec![0x7E]),
                other => u8::try_from(other).ok().filter(u8::is_ascii).map(|b| vec![b]),
            },
            Self::Katakana => match u32::from(character) {
                point @ 0xFF61..=0xFF9F => u8::try_from(point - 0xFF61 + 0xA1).ok().map(|b| vec![b]),
                _ => None,
            },
            Self::Latin1 => u8::try_from(character).ok().filter(|b| *b >= 0xA0).map(|b| vec![b]),
            Self::Jis0208 => {
                double(EUC_JP, japanese(character).encode_utf8(&mut buffer)).map(|[a, b]| vec![a & 0x7F, b & 0x7F])
            }
            Self::Jis0212 => supplementary_kanji().get(&character).map(|code| code.to_vec()),
            Self::Ksx1001 => double(EUC_KR, text).map(|code| code.to_vec()),
            Self::Gb2312 => double(GBK, text).map(|code| code.to_vec()),
            _ => match *self.single_byte()?.encode(text).0 {
                [byte @ 0xA0..=0xFF] if self.character(&[byte]) == Some(character) => Some(vec![byte]),
                _ => None,
            },
        }
    }

    fn single_byte(self) -> Option<&'static Encoding> {
        Some(match self {
            Self::Latin2 => ISO_8859_2,
            Self::Latin3 => ISO_8859_3,
            Self::Latin4 => ISO_8859_4,
            Self::Latin5 => WINDOWS_1254,
            Self::Latin9 => ISO_8859_15,
            Self::Cyrillic => ISO_8859_5,
            Self::Arabic => ISO_8859_6,
            Self::Greek => ISO_8859_7,
            Self::Hebrew => ISO_8859_8,
            Self::Thai => WINDOWS_874,
            _ => return None,
        })
    }
}

/// Characters that JIS X 0208 tables disagree on, brought to the ones that the table at hand knows.
fn japanese(character: char) -> char {
    match character {
        '\u{301C}' => '\u{FF5E}',
        '\u{2016}' => '\u{2225}',
        '\u{2212}' => '\u{FF0D}',
        '\u{00A2}' => '\u{FFE0}',
        '\u{00A3}' => '\u{FFE1}',
        '\u{00AC}' => '\u{FFE2}',
        other => other,
    }
}

/// The one character that these bytes encode.
fn sole(encoding: &'static Encoding, bytes: &[u8]) -> Option<char> {
    let text = encoding.decode_without_bom_handling_and_without_replacement(bytes)?;
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none())
}

/// The two bytes, both above A0H, that a character takes.
fn double(encoding: &'static Encoding, text: &str) -> Option<[u8; 2]> {
    match encoding.encode(text) {
        (bytes, _, false) => match *bytes {
            [a @ 0xA1..=0xFE, b @ 0xA1..=0xFE] => Some([a, b]),
            _ => None,
        },
        _ => None,
    }
}

/// JIS X 0212 by character: EUC-JP libraries read it, but none writes it.
fn supplementary_kanji() -> &'static HashMap<char, [u8; 2]> {
    static TABLE: OnceLock<HashMap<char, [u8; 2]>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let codes = (0x21..=0x7E).flat_map(|a| (0x21..=0x7E).map(move |b| [a, b]));
        codes.filter_map(|code| Some((GraphicSet::Jis0212.character(&code)?, code))).collect()
    })
}
