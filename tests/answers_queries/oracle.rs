//! Random identifiers, and a plain search through all rows for what they must find. It shares no code with the search
//! that it checks but the folding of names.

use std::collections::BTreeMap;

use overread::dicom::data_set::DataSet;
use overread::dicom::{Tag, VR, tags};
use overread::scp::find::Model;
use overread::store::fold_person_name;

use super::archive::{Archive, Random, Row};

const LEVELS: [(&str, Tag); 4] = [
    ("PATIENT", tags::PATIENT_ID),
    ("STUDY", tags::STUDY_INSTANCE_UID),
    ("SERIES", tags::SERIES_INSTANCE_UID),
    ("IMAGE", tags::SOP_INSTANCE_UID),
];

/// Keys with the level from which on they can be asked for.
const KEYS: [(usize, Tag, VR); 18] = [
    (0, tags::PATIENT_ID, VR::LO),
    (0, tags::PATIENT_NAME, VR::PN),
    (0, tags::PATIENT_BIRTH_DATE, VR::DA),
    (0, tags::PATIENT_SEX, VR::CS),
    (1, tags::STUDY_DATE, VR::DA),
    (1, tags::STUDY_TIME, VR::TM),
    (1, tags::ACCESSION_NUMBER, VR::SH),
    (1, tags::STUDY_DESCRIPTION, VR::LO),
    (1, tags::REFERRING_PHYSICIAN_NAME, VR::PN),
    (1, tags::MODALITIES_IN_STUDY, VR::CS),
    (2, tags::MODALITY, VR::CS),
    (2, tags::SERIES_NUMBER, VR::IS),
    (2, tags::SERIES_DESCRIPTION, VR::LO),
    (2, tags::PERFORMING_PHYSICIAN_NAME, VR::PN),
    (2, tags::OPERATORS_NAME, VR::PN),
    (3, tags::SOP_CLASS_UID, VR::UI),
    (3, tags::INSTANCE_NUMBER, VR::IS),
    (3, tags::IMAGE_TYPE, VR::CS),
];

#[derive(Debug)]
pub struct Asked {
    pub model: Model,
    level: usize,
    keys: BTreeMap<Tag, (VR, String)>,
}

/// A question about something that is there, made vague in one to three keys.
pub fn question(archive: &Archive, random: &mut Random) -> Asked {
    let model = random.pick(&[Model::PatientRoot, Model::StudyRoot]);
    let top = usize::from(model == Model::StudyRoot);
    let level = top + random.below(4 - top);
    let about = random.pick(&archive.rows);
    let mut keys = BTreeMap::new();
    let allowed: Vec<_> = KEYS.iter().filter(|(from, ..)| *from <= level).collect();
    for _ in 0..1 + random.below(3) {
        let (_, tag, vr) = *random.pick(&allowed);
        let value = match tag {
            tags::MODALITIES_IN_STUDY => about.text(tags::MODALITY),
            tag => about.text(tag),
        };
        keys.insert(tag, (vr, vague(value, vr, random)));
    }
    keys.entry(LEVELS[level].1).or_insert((VR::UI, String::new()));
    for (_, unique) in &LEVELS[top..level] {
        keys.insert(*unique, (VR::UI, about.text(*unique).to_owned()));
    }
    if let Some((vr, _)) = keys.get_mut(&tags::PATIENT_ID) {
        *vr = VR::LO;
    }
    Asked { model, level, keys }
}

fn vague(value: &str, vr: VR, random: &mut Random) -> String {
    let values: Vec<&str> = value.split('\\').collect();
    let characters: Vec<char> = random.pick(&values).chars().collect();
    let text: String = characters.iter().collect();
    let cut = random.below(characters.len() + 1);
    let (begin, end): (String, String) = (characters[..cut].iter().collect(), characters[cut..].iter().collect());
    match vr {
        VR::DA | VR::TM => {
            let (a, b) = match vr {
                VR::DA => ("20240101", "20240215"),
                _ => ("1030", "103015.3"),
            };
            let choices = [text, String::new(), format!("{a}-"), format!("-{b}"), format!("{a}-{b}"), a.to_owned()];
            random.pick(&choices)
        }
        VR::UI | VR::IS => random.pick(&[text, String::new()]),
        _ => {
            let one_off: String =
                characters.iter().enumerate().map(|(at, c)| if at == cut { '?' } else { *c }).collect();
            let upper = if vr == VR::PN { text.to_uppercase() } else { text.clone() };
            let choices = [
                text,
                upper,
                format!("{begin}*"),
                format!("*{end}"),
                format!("*{}*", end.chars().take(2).collect::<String>()),
                format!("{begin}*{}", end.chars().skip(1).collect::<String>()),
                one_off,
                "*".to_owned(),
                format!("{begin}\\{end}"),
            ];
            random.pick(&choices)
        }
    }
}

impl Asked {
    pub fn unique_key(&self) -> Tag {
        LEVELS[self.level].1
    }

    pub fn identifier(&self) -> DataSet {
        let mut identifier = DataSet::new();
        identifier.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
        identifier.put_text(tags::QUERY_RETRIEVE_LEVEL, VR::CS, LEVELS[self.level].0);
        for (tag, (vr, value)) in &self.keys {
            identifier.put_text(*tag, *vr, value);
        }
        identifier
    }

    /// One row for each entity that must be found.
    pub fn expected<'a>(&self, archive: &'a Archive) -> Vec<&'a Row> {
        let mut found: BTreeMap<&str, &Row> = BTreeMap::new();
        for row in &archive.rows {
            let fits = self.keys.iter().all(|(tag, (vr, value))| match *tag {
                tags::MODALITIES_IN_STUDY => {
                    let study = row.text(tags::STUDY_INSTANCE_UID);
                    let siblings = archive.rows.iter().filter(|r| r.text(tags::STUDY_INSTANCE_UID) == study);
                    siblings.into_iter().any(|r| key_fits(*vr, value, r.text(tags::MODALITY)))
                }
                tag => key_fits(*vr, value, row.text(tag)),
            });
            if fits {
                found.entry(row.text(self.unique_key())).or_insert(row);
            }
        }
        found.into_values().collect()
    }

    /// Checks what a match returns.
    pub fn check(&self, row: &Row, response: &DataSet) {
        for (tag, (vr, _)) in self.keys.iter().filter(|(tag, _)| **tag != tags::MODALITIES_IN_STUDY) {
            let stored = row.text(*tag);
            let stored = if *vr == VR::DA { stored.replace('.', "") } else { stored.to_owned() };
            assert_eq!(response.text(*tag).unwrap_or_default(), stored, "{tag} of {self:?}");
        }
    }
}

fn key_fits(vr: VR, key: &str, stored: &str) -> bool {
    let values: Vec<&str> = key.split('\\').filter(|v| !v.is_empty()).collect();
    if values.is_empty() || values.iter().any(|v| v.chars().all(|c| c == '*')) {
        return true;
    }
    values.iter().any(|value| match vr {
        VR::PN => stored.split('\\').any(|one| name_fits(value, one)),
        VR::DA => {
            !stored.is_empty()
                && range_fits(&value.replace('.', ""), &stored.replace('.', ""), |d| (d.to_owned(), d.to_owned()))
        }
        VR::TM => {
            !stored.is_empty()
                && range_fits(value, &padded(stored, "000000", '0'), |t| {
                    (padded(t, "000000", '0'), padded(t, "235959", '9'))
                })
        }
        VR::UI | VR::IS => *value == stored,
        _ => stored.split('\\').any(|one| !one.is_empty() && shape_fits(value, one)),
    })
}

/// A time with all its digits: HHMMSS.FFFFFF.
fn padded(time: &str, rest: &str, fraction: char) -> String {
    let (whole, given) = time.split_once('.').unwrap_or((time, ""));
    let mut digits = whole.to_owned();
    digits.push_str(&rest[whole.len()..]);
    digits.push('.');
    digits.push_str(given);
    while digits.len() < 13 {
        digits.push(fraction);
    }
    digits
}

fn range_fits(key: &str, stored: &str, bounds: impl Fn(&str) -> (String, String)) -> bool {
    let (from, to) = key.split_once('-').unwrap_or((key, key));
    (from.is_empty() || *stored >= *bounds(from).0) && (to.is_empty() || *stored <= *bounds(to).1)
}

fn name_fits(key: &str, stored: &str) -> bool {
    let (key, stored) = (fold_person_name(key), fold_person_name(stored));
    if key.is_empty() || key.split('=').all(|g| g.chars().all(|c| c == '*')) {
        return true;
    }
    if stored.is_empty() {
        return false;
    }
    let groups: Vec<&str> = stored.split('=').collect();
    if key.contains('=') {
        return key
            .split('=')
            .enumerate()
            .all(|(at, wanted)| wanted.is_empty() || shape_fits(wanted, groups.get(at).copied().unwrap_or_default()));
    }
    let mut shapes = vec![key.as_str()];
    while let Some(shorter) = shapes.last().and_then(|shape| shape.strip_suffix("^*")) {
        shapes.push(shorter);
    }
    let groups = if key.is_ascii() { &groups[..1] } else { &groups[..] };
    shapes.iter().any(|shape| groups.iter().any(|group| shape_fits(shape, group)))
}

fn shape_fits(shape: &str, text: &str) -> bool {
    let mut characters = shape.chars();
    match characters.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = characters.as_str();
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| shape_fits(rest, &text[at..]))
        }
        Some(wanted) => {
            let mut left = text.chars();
            left.next().is_some_and(|c| wanted == '?' || wanted == c) && shape_fits(characters.as_str(), left.as_str())
        }
    }
}
