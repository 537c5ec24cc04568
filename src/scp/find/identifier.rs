//! What a C-FIND request asks for (PS3.4 sections C.4.1.1.3 and C.4.1.2): from its identifier alone.

use super::value::{ValueError, matchings};
use crate::dicom::data_set::{DataSet, Element, Value};
use crate::dicom::status::Status;
use crate::dicom::uid::SopClassUid;
use crate::dicom::{Tag, VR, tags};
use crate::store::{Attribute, Condition, FindQuery, Level, Matching};
use dicom_dictionary_std::uids;

/// A Query/Retrieve information model (PS3.4 section C.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Patient, study, series, image.
    PatientRoot,
    /// Study with the patient's attributes, series, image.
    StudyRoot,
    /// Patient, study; retired, still met.
    PatientStudyOnly,
}

impl Model {
    /// The model that a SOP class of C-FIND stands for.
    #[must_use]
    pub fn of(sop_class: &SopClassUid) -> Option<Self> {
        #[expect(deprecated, reason = "retired models are still asked for")]
        match sop_class.as_str() {
            uids::PATIENT_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND => Some(Self::PatientRoot),
            uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND => Some(Self::StudyRoot),
            uids::PATIENT_STUDY_ONLY_QUERY_RETRIEVE_INFORMATION_MODEL_FIND => Some(Self::PatientStudyOnly),
            _ => None,
        }
    }

    fn levels(self) -> &'static [Level] {
        match self {
            Self::PatientRoot => &[Level::Patient, Level::Study, Level::Series, Level::Image],
            Self::StudyRoot => &[Level::Study, Level::Series, Level::Image],
            Self::PatientStudyOnly => &[Level::Patient, Level::Study],
        }
    }
}

/// Why an identifier cannot be answered: the peer must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{comment}")]
pub struct Refusal {
    /// What the response says.
    pub status: Status,
    /// Offending Element (0000,0901).
    pub offending: Option<Tag>,
    /// Error Comment (0000,0902), at most 64 characters.
    pub comment: String,
}

/// A request that can be answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// What is asked of the index.
    pub query: FindQuery,
    /// What the answers hold, ascending by tag.
    pub keys: Vec<Key>,
    /// Whether all keys are ones that the index holds: `FF00H`, else `FF01H`.
    pub all_keys_supported: bool,
}

/// An element of the answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its tag.
    pub tag: Tag,
    /// Its value representation.
    pub vr: VR,
    /// What stands in it.
    pub content: Content,
}

/// What stands in an element of the answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing: the index does not hold the attribute, or there is nothing to say.
    Empty,
    /// Specific Character Set, by the answer's text.
    CharacterSet,
    /// Query/Retrieve Level.
    Level,
    /// Instance Availability: nothing can be retrieved from here.
    Availability,
    /// The value at this place of what the index returned.
    Value(usize),
    /// One item of these; none where all are empty.
    Item(Vec<Key>),
}

/// The most attributes that an identifier may have, those in the items of its sequences counted too. Each is repeated in every
/// answer, whether it is known or not; queries of real peers have some dozens.
const MOST_ATTRIBUTES: usize = 1024;

/// Reads an identifier.
///
/// # Errors
/// [`Refusal`] with the status, the element and the comment that the response must carry.
pub fn read(model: Model, identifier: &DataSet) -> Result<Question, Refusal> {
    if attributes(identifier) > MOST_ATTRIBUTES {
        return Err(refusal(None, &format!("the identifier has more than {MOST_ATTRIBUTES} attributes")));
    }
    let level = level_of(model, identifier)?;
    let mut reader = Reader {
        question: Question {
            query: FindQuery { level, conditions: Vec::new(), returned: Vec::new() },
            keys: Vec::new(),
            all_keys_supported: true,
        },
    };
    for element in identifier.elements() {
        let key = reader.key(element, identifier, None)?;
        reader.question.keys.extend(key);
    }
    let mut question = reader.question;
    for above in model.levels().iter().take_while(|above| **above < level) {
        require_unique_key(*above, &question)?;
    }
    for (tag, vr, content) in [
        (tags::SPECIFIC_CHARACTER_SET, VR::CS, Content::CharacterSet),
        (tags::QUERY_RETRIEVE_LEVEL, VR::CS, Content::Level),
        (tags::RETRIEVE_AE_TITLE, VR::AE, Content::Empty),
    ] {
        question.keys.push(Key { tag, vr, content });
    }
    question.keys.sort_by_key(|key| key.tag);
    Ok(question)
}

/// With those in items, however deep: the parser bounds that.
fn attributes(data_set: &DataSet) -> usize {
    let within = |element: &Element| match &element.value {
        Value::Items(items) => items.iter().map(attributes).sum(),
        _ => 0,
    };
    data_set.elements().iter().map(|element| 1 + within(element)).sum()
}

fn level_of(model: Model, identifier: &DataSet) -> Result<Level, Refusal> {
    let refused = |comment| Err(refusal(Some(tags::QUERY_RETRIEVE_LEVEL), comment));
    let level = match identifier.text(tags::QUERY_RETRIEVE_LEVEL).as_deref() {
        Some("PATIENT") => Level::Patient,
        Some("STUDY") => Level::Study,
        Some("SERIES") => Level::Series,
        Some("IMAGE") => Level::Image,
        Some(_) => return refused("Query/Retrieve Level is none of PATIENT, STUDY, SERIES, IMAGE"),
        None => return refused("Query/Retrieve Level is missing"),
    };
    if model.levels().contains(&level) { Ok(level) } else { refused("the information model has no such level") }
}

/// The name and the tag of the key that tells the entities of a level apart (PS3.4 section C.2.2.1.1).
fn unique_key(level: Level) -> (&'static str, Tag) {
    match level {
        Level::Patient => ("Patient ID", tags::PATIENT_ID),
        Level::Study => ("Study Instance UID", tags::STUDY_INSTANCE_UID),
        Level::Series => ("Series Instance UID", tags::SERIES_INSTANCE_UID),
        Level::Image => ("SOP Instance UID", tags::SOP_INSTANCE_UID),
    }
}

/// Without relational queries each level above is named by one value of its unique key (PS3.4 section C.4.1.2.1).
fn require_unique_key(above: Level, question: &Question) -> Result<(), Refusal> {
    let (name, tag) = unique_key(above);
    let condition = question.query.conditions.iter().find(|c| c.attribute.tag == tag && c.attribute.within.is_none());
    match condition.map(|c| c.any_of.as_slice()) {
        Some([Matching::Equal(_)]) => Ok(()),
        None => Err(refusal(Some(tag), &format!("{name} is required at this level"))),
        Some(_) => Err(refusal(Some(tag), &format!("{name} must be one value at this level"))),
    }
}

fn refusal(offending: Option<Tag>, comment: &str) -> Refusal {
    Refusal { status: Status::DATA_SET_DOES_NOT_MATCH, offending, comment: comment.chars().take(64).collect() }
}

struct Reader {
    question: Question,
}

impl Reader {
    /// Takes one element of the identifier, or of the item of a sequence; none where the answers do not repeat it.
    fn key(&mut self, element: &Element, around: &DataSet, within: Option<Tag>) -> Result<Option<Key>, Refusal> {
        let Element { tag, vr, value } = element;
        let key = |content| Ok(Some(Key { tag: *tag, vr: *vr, content }));
        match (*tag, within) {
            // Added by `read` to every answer, or without meaning for one.
            (
                tags::SPECIFIC_CHARACTER_SET
                | tags::TIMEZONE_OFFSET_FROM_UTC
                | tags::QUERY_RETRIEVE_LEVEL
                | tags::RETRIEVE_AE_TITLE,
                _,
            ) => return Ok(None),
            (tag, _) if tag.element() == 0 => return Ok(None),
            (tags::INSTANCE_AVAILABILITY, None) => return key(Content::Availability),
            _ => {}
        }
        let level = self.question.query.level;
        if let (Value::Items(items), None) = (value, within)
            && Attribute::all_in_items(*tag).any(|a| a.level <= level)
        {
            return key(Content::Item(self.item(*tag, items)?));
        }
        match Attribute::in_item(within, *tag).filter(|a| a.level <= level) {
            Some(attribute) => self.attribute(attribute, around).map(Some),
            None => {
                self.question.all_keys_supported = false;
                key(Content::Empty)
            }
        }
    }

    fn attribute(&mut self, attribute: &'static Attribute, around: &DataSet) -> Result<Key, Refusal> {
        let Attribute { tag, vr, .. } = *attribute;
        if attribute.can_match() {
            let any_of = matchings(attribute, around, tag).map_err(|e| wrong_value(tag, e))?;
            if !any_of.is_empty() {
                self.question.query.conditions.push(Condition { attribute, any_of });
            }
        }
        Ok(Key { tag, vr, content: Content::Value(self.returned(attribute)) })
    }

    /// Sequence matching: the keys of the one item; without any, all that the index holds (PS3.4 section C.2.2.2.6).
    fn item(&mut self, sequence: Tag, items: &[DataSet]) -> Result<Vec<Key>, Refusal> {
        let empty = DataSet::new();
        let item = match items {
            [] => &empty,
            [item] => item,
            _ => return Err(refusal(Some(sequence), "a sequence key must have one item")),
        };
        let mut keys = Vec::new();
        for element in item.elements() {
            keys.extend(self.key(element, item, Some(sequence))?);
        }
        if keys.is_empty() {
            for attribute in Attribute::all_in_items(sequence) {
                keys.push(self.attribute(attribute, item)?);
            }
            keys.sort_by_key(|key| key.tag);
        }
        Ok(keys)
    }

    fn returned(&mut self, attribute: &'static Attribute) -> usize {
        self.question.query.returned.push(attribute);
        self.question.query.returned.len() - 1
    }
}

fn wrong_value(tag: Tag, error: ValueError) -> Refusal {
    refusal(Some(tag), &format!("{tag}: {error}"))
}
