//! Matches as identifiers of pending responses (PS3.4 section C.4.1.1.3.2).

use super::identifier::{Content, Key, Question};
use crate::dicom::VR;
use crate::dicom::charset::CharacterSet;
use crate::dicom::data_set::{DataSet, kind_of, takes_character_set};
use crate::dicom::encode::{Layout, encode, write_value};
use crate::store::{Level, Match};

/// Turns matches into bytes.
#[derive(Debug)]
pub struct Answer {
    keys: Vec<Key>,
    level: &'static str,
    asked_in: CharacterSet,
    unicode: CharacterSet,
    layout: Layout,
}

impl Answer {
    /// For the answers to one question, in the layout of its presentation context. `asked_in` is the character set of
    /// the request; answers whose text it does not hold are in `ISO_IR 192`.
    #[must_use]
    pub fn new(question: &Question, asked_in: &CharacterSet, layout: Layout) -> Self {
        let level = match question.query.level {
            Level::Patient => "PATIENT",
            Level::Study => "STUDY",
            Level::Series => "SERIES",
            Level::Image => "IMAGE",
        };
        Self { keys: question.keys.clone(), level, asked_in: asked_in.clone(), unicode: CharacterSet::utf8(), layout }
    }

    /// Appends the identifier of one match.
    pub fn write(&self, found: &Match<'_>, out: &mut Vec<u8>) {
        let set = self.character_set(found);
        for key in &self.keys {
            match &key.content {
                Content::Item(keys) => self.write_item(key, keys, found, set, out),
                Content::CharacterSet if set.terms().is_empty() => {}
                content => write_value(out, key.tag, key.vr, &self.bytes(key.vr, content, found, set), self.layout),
            }
        }
    }

    fn character_set(&self, found: &Match<'_>) -> &CharacterSet {
        if found.is_ascii() || self.keys.iter().all(|key| self.can_hold(key, found)) {
            &self.asked_in
        } else {
            &self.unicode
        }
    }

    fn can_hold(&self, key: &Key, found: &Match<'_>) -> bool {
        match &key.content {
            Content::Value(index) => !takes_character_set(key.vr) || self.asked_in.can_encode(found.value(*index)),
            Content::Item(keys) => keys.iter().all(|key| self.can_hold(key, found)),
            _ => true,
        }
    }

    fn bytes<'a>(
        &'a self,
        vr: VR,
        content: &Content,
        found: &'a Match<'_>,
        set: &CharacterSet,
    ) -> std::borrow::Cow<'a, [u8]> {
        match content {
            Content::Empty | Content::Item(_) => [].as_slice().into(),
            Content::CharacterSet => set.terms().join("\\").into_bytes().into(),
            Content::Level => self.level.as_bytes().into(),
            Content::Availability => b"UNAVAILABLE".as_slice().into(),
            Content::Value(index) => match (vr, found.value(*index)) {
                (VR::US, text) => text.parse::<u16>().map(|n| n.to_le_bytes().to_vec()).unwrap_or_default().into(),
                (_, text) if text.is_ascii() => text.as_bytes().into(),
                (_, text) if takes_character_set(vr) => set.encode_as(text, kind_of(vr)).into(),
                (_, text) => CharacterSet::default().encode(text).into(),
            },
        }
    }

    fn write_item(&self, key: &Key, keys: &[Key], found: &Match<'_>, set: &CharacterSet, out: &mut Vec<u8>) {
        let mut item = DataSet::new();
        let mut is_empty = true;
        for inner in keys {
            let bytes = self.bytes(inner.vr, &inner.content, found, set).into_owned();
            is_empty &= bytes.is_empty();
            item.put_bytes(inner.tag, inner.vr, bytes);
        }
        let mut around = DataSet::new();
        around.put_items(key.tag, if is_empty { Vec::new() } else { vec![item] });
        out.extend(encode(&around, self.layout));
    }
}
