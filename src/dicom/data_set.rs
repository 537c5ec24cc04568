//! A data set in memory (PS3.5 section 7): elements by tag, values as little-endian bytes just as they came.
//!
//! Text stays in the bytes and the character set it was sent in, so that what is copied from a source into a result is
//! the same to the byte. It is decoded when it is read, by the character set of the data set that holds it.

use bytes::Bytes;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::charset::{CharacterSet, TextKind};
use super::uid::UidError;

/// Elements in ascending order of their tags.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DataSet {
    elements: Vec<Element>,
    /// Of this data set or item, or of the one around it where it names none itself.
    character_set: CharacterSet,
}

/// One data element.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// Group and element.
    pub tag: Tag,
    /// Value representation; from the dictionary where the transfer syntax is implicit.
    pub vr: VR,
    /// The value field.
    pub value: Value,
}

/// A value field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Anything but sequences: little-endian, padding included as it came.
    Bytes(Bytes),
    /// A sequence of items.
    Items(Vec<DataSet>),
    /// Encapsulated pixel data: basic offset table first, then the fragments (PS3.5 section A.4).
    Fragments(Vec<Bytes>),
}

impl DataSet {
    /// An empty data set in the default repertoire.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All elements, ascending.
    #[must_use]
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// How text in this data set is encoded.
    #[must_use]
    pub fn character_set(&self) -> &CharacterSet {
        &self.character_set
    }

    /// Sets how text is encoded, without touching (0008,0005): for a reader that knows it from around.
    pub fn inherit_character_set(&mut self, character_set: CharacterSet) {
        self.character_set = character_set;
    }

    /// The element with this tag.
    #[must_use]
    pub fn element(&self, tag: Tag) -> Option<&Element> {
        self.elements.binary_search_by_key(&tag, |e| e.tag).ok().map(|at| &self.elements[at])
    }

    /// Whether there is an element with this tag, even an empty one.
    #[must_use]
    pub fn contains(&self, tag: Tag) -> bool {
        self.element(tag).is_some()
    }

    /// The value as it came, padding included; nothing for sequences.
    #[must_use]
    pub fn bytes(&self, tag: Tag) -> Option<&Bytes> {
        match &self.element(tag)?.value {
            Value::Bytes(bytes) => Some(bytes),
            Value::Items(_) | Value::Fragments(_) => None,
        }
    }

    /// The items of a sequence; none where it is absent or no sequence.
    #[must_use]
    pub fn items(&self, tag: Tag) -> &[DataSet] {
        match self.element(tag).map(|e| &e.value) {
            Some(Value::Items(items)) => items,
            _ => &[],
        }
    }

    /// The whole value as text, decoded, without outer padding; `None` where absent or empty.
    #[must_use]
    pub fn text(&self, tag: Tag) -> Option<String> {
        let element = self.element(tag)?;
        let Value::Bytes(bytes) = &element.value else { return None };
        let text = if takes_character_set(element.vr) {
            self.character_set.decode_as(bytes, kind_of(element.vr))
        } else {
            bytes.iter().map(|&b| char::from(b)).collect()
        };
        let text = text.trim_matches([' ', '\0']);
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The values of a multi-valued text, each without padding; empty where absent.
    #[must_use]
    pub fn texts(&self, tag: Tag) -> Vec<String> {
        self.text(tag)
            .map(|t| t.split('\\').map(|v| v.trim_matches([' ', '\0']).to_owned()).collect())
            .unwrap_or_default()
    }

    /// A UID of the wanted type, `parse` being that type's own.
    ///
    /// # Errors
    /// [`UidError::Empty`] where the element is absent, else what is wrong with its text.
    pub fn uid<T>(&self, tag: Tag, parse: fn(&str) -> Result<T, UidError>) -> Result<T, UidError> {
        parse(self.text(tag).as_deref().unwrap_or_default())
    }

    /// All numbers of a DS, IS, FD, FL, US, SS, UL or SL; empty where absent or where one value is no finite number.
    #[must_use]
    pub fn numbers(&self, tag: Tag) -> Vec<f64> {
        let Some(Element { vr, value: Value::Bytes(bytes), .. }) = self.element(tag) else { return Vec::new() };
        let numbers: Option<Vec<f64>> = match vr {
            VR::FD => read_all(bytes, f64::from_le_bytes),
            VR::FL => read_all(bytes, |b| f64::from(f32::from_le_bytes(b))),
            VR::US => read_all(bytes, |b| f64::from(u16::from_le_bytes(b))),
            VR::SS => read_all(bytes, |b| f64::from(i16::from_le_bytes(b))),
            VR::UL => read_all(bytes, |b| f64::from(u32::from_le_bytes(b))),
            VR::SL => read_all(bytes, |b| f64::from(i32::from_le_bytes(b))),
            _ => self.texts(tag).iter().map(|v| v.parse::<f64>().ok()).collect(),
        };
        numbers.filter(|all| all.iter().all(|n| n.is_finite())).unwrap_or_default()
    }

    /// The first number, where there is one.
    #[must_use]
    pub fn number(&self, tag: Tag) -> Option<f64> {
        self.numbers(tag).first().copied()
    }

    /// The first number, where it is a whole one.
    #[must_use]
    pub fn integer(&self, tag: Tag) -> Option<i64> {
        let number = self.number(tag)?;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and well inside the range")]
        (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
    }

    /// Puts an element last, wherever its tag belongs: for a reader, which calls [`Self::sort`] when it has read all.
    /// (0008,0005) sets the character set as well.
    pub(super) fn append(&mut self, tag: Tag, vr: VR, value: Value) {
        self.read_character_set(tag, &value);
        self.elements.push(Element { tag, vr, value });
    }

    /// Brings appended elements into order; of several with the same tag the last one stays.
    pub(super) fn sort(&mut self) {
        if self.elements.is_sorted_by(|a, b| a.tag < b.tag) {
            return;
        }
        self.elements.sort_by_key(|element| element.tag);
        // What is dropped is the later of two: the one to stay is put in the place of the first.
        self.elements.dedup_by(|later, first| {
            let same = later.tag == first.tag;
            if same {
                std::mem::swap(later, first);
            }
            same
        });
    }

    fn read_character_set(&mut self, tag: Tag, value: &Value) {
        if let (tags::SPECIFIC_CHARACTER_SET, Value::Bytes(bytes)) = (tag, value) {
            self.character_set = CharacterSet::from_value(bytes);
        }
    }

    /// Puts an element in its place, replacing one with the same tag. (0008,0005) sets the character set as well.
    pub fn put(&mut self, tag: Tag, vr: VR, value: Value) {
        self.read_character_set(tag, &value);
        let element = Element { tag, vr, value };
        match self.elements.last() {
            Some(last) if last.tag >= tag => match self.elements.binary_search_by_key(&tag, |e| e.tag) {
                Ok(at) => self.elements[at] = element,
                Err(at) => self.elements.insert(at, element),
            },
            _ => self.elements.push(element),
        }
    }

    /// Puts bytes as they are.
    pub fn put_bytes(&mut self, tag: Tag, vr: VR, bytes: impl Into<Bytes>) {
        self.put(tag, vr, Value::Bytes(bytes.into()));
    }

    /// Puts text in the character set of this data set; what it cannot hold becomes `?`. Several values: joined by `\`.
    pub fn put_text(&mut self, tag: Tag, vr: VR, text: &str) {
        let bytes = if takes_character_set(vr) {
            self.character_set.encode_as(text, kind_of(vr))
        } else {
            text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()
        };
        self.put(tag, vr, Value::Bytes(bytes.into()));
    }

    /// Puts a UID.
    pub fn put_uid(&mut self, tag: Tag, uid: &str) {
        self.put_text(tag, VR::UI, uid);
    }

    /// Puts a decimal string of at most 16 characters a value.
    pub fn put_decimals(&mut self, tag: Tag, values: &[f64]) {
        let text: Vec<String> = values.iter().map(|&v| decimal_string(v)).collect();
        self.put_text(tag, VR::DS, &text.join("\\"));
    }

    /// Puts unsigned 16-bit numbers.
    pub fn put_us(&mut self, tag: Tag, values: &[u16]) {
        self.put_bytes(tag, VR::US, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    }

    /// Puts unsigned 32-bit numbers.
    pub fn put_ul(&mut self, tag: Tag, values: &[u32]) {
        self.put_bytes(tag, VR::UL, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    }

    /// Puts 64-bit floating point numbers.
    pub fn put_fd(&mut self, tag: Tag, values: &[f64]) {
        self.put_bytes(tag, VR::FD, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    }

    /// Puts a sequence.
    pub fn put_items(&mut self, tag: Tag, items: Vec<DataSet>) {
        self.put(tag, VR::SQ, Value::Items(items));
    }

    /// Copies an element with all below it, to the byte; does nothing where `from` has none.
    ///
    /// Both sides should be in the same character set, or the text is read differently afterwards.
    pub fn copy(&mut self, from: &DataSet, tag: Tag) {
        if let Some(element) = from.element(tag) {
            self.put(tag, element.vr, element.value.clone());
        }
    }

    /// Takes an element out.
    pub fn remove(&mut self, tag: Tag) -> Option<Element> {
        self.elements.binary_search_by_key(&tag, |e| e.tag).ok().map(|at| self.elements.remove(at))
    }
}

/// Whether text of this VR is subject to the Specific Character Set (PS3.5 section 6.1.2.2).
#[must_use]
pub fn takes_character_set(vr: VR) -> bool {
    matches!(vr, VR::SH | VR::LO | VR::ST | VR::LT | VR::UC | VR::UT | VR::PN | VR::UN)
}

/// What the text of this VR is to a character set.
#[must_use]
pub fn kind_of(vr: VR) -> TextKind {
    if vr == VR::PN { TextKind::PersonName } else { TextKind::Other }
}

/// The shortest text of at most 16 characters (VR DS) that is nearest to `value`; not-a-number and infinities become empty.
#[must_use]
pub fn decimal_string(value: f64) -> String {
    if !value.is_finite() {
        return String::new();
    }
    let shortest = format!("{value}");
    if shortest.len() <= 16 {
        return shortest;
    }
    (0..=15)
        .rev()
        .flat_map(|digits| [format!("{value:.digits$}"), format!("{value:.digits$e}")])
        .filter(|text| text.len() <= 16)
        .min_by(|a, b| {
            let error = |t: &String| t.parse::<f64>().map_or(f64::INFINITY, |v| (v - value).abs());
            error(a).total_cmp(&error(b))
        })
        .unwrap_or_default()
}

/// Cuts `bytes` into whole values; `None` where something is left over.
fn read_all<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Option<Vec<f64>> {
    let (chunks, rest) = bytes.as_chunks::<N>();
    rest.is_empty().then(|| chunks.iter().map(|c| read(*c)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_stand_in_ascending_order_however_they_are_put() {
        let mut ds = DataSet::new();
        ds.put_us(tags::ROWS, &[512]);
        ds.put_text(tags::PATIENT_ID, VR::LO, "4711");
        ds.put_text(tags::PATIENT_ID, VR::LO, "4712");
        let found: Vec<Tag> = ds.elements().iter().map(|e| e.tag).collect();
        assert_eq!(found, [tags::PATIENT_ID, tags::ROWS]);
        assert_eq!(ds.text(tags::PATIENT_ID).as_deref(), Some("4712"));
        assert_eq!(ds.integer(tags::ROWS), Some(512));
    }

    #[test]
    fn decimal_strings_fit_sixteen_characters_and_stay_near() {
        for value in [0.0, 1.0, -0.703125, 1.0 / 3.0, -123_456.789_012_345_6, 1e-9 / 3.0, 123_456_789_012_345_680.0] {
            let text = decimal_string(value);
            assert!(text.len() <= 16, "{text}");
            assert!((text.parse::<f64>().unwrap() - value).abs() <= value.abs() * 1e-9, "{value} {text}");
        }
        assert_eq!(decimal_string(f64::NAN), "");
    }

    #[test]
    fn a_number_list_with_one_bad_value_is_no_number_list() {
        let mut ds = DataSet::new();
        ds.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, "1\\x\\3");
        assert!(ds.numbers(tags::IMAGE_POSITION_PATIENT).is_empty());
    }
}
