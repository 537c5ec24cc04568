//! Text in single-byte sets and in sets switched by escape sequences (PS3.5 section 6.1.2.5, ISO/IEC 2022).

use encoding_rs::SHIFT_JIS;

use super::TextKind;
use super::graphic::{GraphicSet, Half};

const ESC: u8 = 0x1B;

/// The sets of the declared terms: those of the first are active at the start and after each delimiter.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CodeExtension {
    terms: Vec<&'static [GraphicSet]>,
}

/// What is active in both halves of the code table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Active {
    left: GraphicSet,
    right: Option<GraphicSet>,
}

impl Active {
    fn designate(&mut self, set: GraphicSet) {
        match set.half() {
            Half::Left => self.left = set,
            Half::Right => self.right = Some(set),
        }
    }

    fn holds(self, set: GraphicSet) -> bool {
        self.left == set || self.right == Some(set)
    }
}

impl CodeExtension {
    pub(super) fn new(terms: Vec<&'static [GraphicSet]>) -> Self {
        Self { terms }
    }

    /// What the first term makes active. Kanji in G0 never are at the start: delimiters could not be told from them.
    fn initial(&self) -> Active {
        let mut active = Active { left: GraphicSet::Ascii, right: None };
        for &set in self.terms.first().copied().unwrap_or_default() {
            if set.half() == Half::Right || !set.is_double_byte() {
                active.designate(set);
            }
        }
        active
    }

    pub(super) fn decode(&self, bytes: &[u8], kind: TextKind) -> String {
        let initial = self.initial();
        let mut text = String::with_capacity(bytes.len() * 2);
        let mut active = initial;
        let mut rest = bytes;
        while let [first, tail @ ..] = rest {
            if *first == ESC
                && let Some((set, length)) = GraphicSet::designated(tail)
            {
                active.designate(set);
                rest = tail.get(length..).unwrap_or_default();
                continue;
            }
            let (character, taken) = next_character(active, rest);
            if taken == 1 && is_delimiter(*first, kind) {
                active = initial;
            }
            text.push(character);
            rest = rest.get(taken..).unwrap_or_default();
        }
        text
    }

    /// The bytes, and whether no character was lost.
    pub(super) fn encode(&self, text: &str, kind: TextKind) -> (Vec<u8>, bool) {
        let initial = self.initial();
        let mut active = initial;
        let mut out = Vec::with_capacity(text.len());
        let mut whole = true;
        for character in text.chars() {
            if u8::try_from(character).is_ok_and(|byte| is_delimiter(byte, kind)) {
                restore(&mut active, initial, &mut out);
                active = initial;
            }
            let Some((set, code)) = self.code(active, character) else {
                whole = false;
                restore_left(&mut active, initial, &mut out);
                out.push(b'?');
                continue;
            };
            switch_to(&mut active, set, &mut out);
            out.extend(code);
        }
        restore(&mut active, initial, &mut out);
        (out, whole)
    }

    /// The first set that holds the character: an active one, else one of the declared.
    fn code(&self, active: Active, character: char) -> Option<(GraphicSet, Vec<u8>)> {
        let initial = self.initial();
        if character.is_ascii() {
            let single = if active.left.is_double_byte() { initial.left } else { active.left };
            return single.code(character).map(|code| (single, code));
        }
        let declared = self.terms.iter().flat_map(|sets| sets.iter().copied());
        std::iter::once(active.left)
            .chain(active.right)
            .chain(declared)
            .find_map(|set| set.code(character).map(|code| (set, code)))
    }
}

/// The character at the start of `rest`, which is not empty, and how many bytes it takes.
fn next_character(active: Active, rest: &[u8]) -> (char, usize) {
    let first = rest.first().copied().unwrap_or_default();
    let pair = rest.get(..2);
    match (first, pair) {
        (0x21..=0x7E, Some(pair)) if active.left.is_double_byte() && pair.iter().all(u8::is_ascii_graphic) => {
            (active.left.character(pair).unwrap_or(char::REPLACEMENT_CHARACTER), 2)
        }
        (..0x80, _) => (char::from(first), 1),
        (_, pair) => match active.right {
            None => (char::from(first), 1),
            Some(GraphicSet::Katakana) => katakana(first, pair),
            Some(set) if set.is_double_byte() => match pair.and_then(|pair| set.character(pair)) {
                Some(character) => (character, 2),
                None => (char::REPLACEMENT_CHARACTER, 1),
            },
            Some(set) => (set.character(&[first]).unwrap_or(char::REPLACEMENT_CHARACTER), 1),
        },
    }
}

/// Half-width katakana; other bytes above 7FH are Shift-JIS, which some senders write under `ISO_IR 13`.
fn katakana(first: u8, pair: Option<&[u8]>) -> (char, usize) {
    if let Some(character) = GraphicSet::Katakana.character(&[first]) {
        return (character, 1);
    }
    let kanji = pair.and_then(|pair| SHIFT_JIS.decode_without_bom_handling_and_without_replacement(pair));
    match kanji.and_then(|text| text.chars().next().filter(|c| c.len_utf8() == text.len())) {
        Some(character) => (character, 2),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}

/// Where the sets of the first term become active again (PS3.5 section 6.1.2.5.3).
fn is_delimiter(byte: u8, kind: TextKind) -> bool {
    match byte {
        b'\\' | b'\t' | b'\n' | 0x0C | b'\r' => true,
        b'^' | b'=' => kind == TextKind::PersonName,
        _ => false,
    }
}

fn switch_to(active: &mut Active, set: GraphicSet, out: &mut Vec<u8>) {
    if !active.holds(set) {
        out.push(ESC);
        out.extend_from_slice(set.escape());
        active.designate(set);
    }
}

fn restore_left(active: &mut Active, initial: Active, out: &mut Vec<u8>) {
    if active.left.is_double_byte() {
        switch_to(active, initial.left, out);
    }
}

/// Writes what it takes to have the first term's sets active; an empty G1 needs nothing, no byte above 7FH follows.
fn restore(active: &mut Active, initial: Active, out: &mut Vec<u8>) {
    switch_to(active, initial.left, out);
    if let Some(right) = initial.right {
        switch_to(active, right, out);
    }
}
