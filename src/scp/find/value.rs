//! What the value of a key asks for (PS3.4 section C.2.2.2).

use crate::dicom::data_set::DataSet;
use crate::dicom::uid::OtherUid;
use crate::dicom::{Tag, VR};
use crate::store::{Attribute, Matching, fold_person_name};

/// The longest value that is matched, in bytes of UTF-8; the longest text of a key's VR is a name of 3 × 64 characters.
const MAX_VALUE: usize = 1024;
/// The most UIDs in a list.
const MAX_UIDS: usize = 20_000;
/// The most values of any other key, and the most patterns that they make.
const MAX_VALUES: usize = 200;
/// The most components of a name after the first (PS3.5 section 6.2).
const MORE_COMPONENTS: usize = 4;

/// Why a value is not one of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not what PS3.5 table 6.2-1 says of DA, nor a range of two.
    #[error("neither a date nor a range of dates")]
    Date,
    /// Not what PS3.5 table 6.2-1 says of TM, nor a range of two.
    #[error("neither a time nor a range of times")]
    Time,
    /// The range could hold nothing.
    #[error("the range ends before it begins")]
    Reversed,
    /// Letters where digits should be.
    #[error("not a whole number")]
    Number,
    /// Wildcards are not for UIDs.
    #[error("not a UID")]
    Uid,
    /// More than `MAX_VALUE` bytes.
    #[error("a value of more than 1024 bytes")]
    TooLong,
    /// More values than are looked for at once.
    #[error("too many values")]
    TooMany,
}

/// What the key with this tag asks of `attribute`; nothing when it is universal: absent, empty or all asterisks.
///
/// Several values of a key other than a UID ask for any of them, as PS3.4 section C.2.2.2.7 has it.
///
/// # Errors
/// [`ValueError`] says what is wrong with the value.
pub(super) fn matchings(attribute: &Attribute, identifier: &DataSet, tag: Tag) -> Result<Vec<Matching>, ValueError> {
    if attribute.vr == VR::US {
        let numbers = identifier.numbers(tag);
        return if numbers.len() > MAX_VALUES {
            Err(ValueError::TooMany)
        } else {
            numbers.into_iter().map(whole_number).collect()
        };
    }
    let values: Vec<String> = identifier.texts(tag).into_iter().filter(|v| !v.is_empty()).collect();
    if values.len() > if attribute.vr == VR::UI { MAX_UIDS } else { MAX_VALUES } {
        return Err(ValueError::TooMany);
    }
    let mut any_of = Vec::with_capacity(values.len());
    for value in values {
        if value.len() > MAX_VALUE {
            return Err(ValueError::TooLong);
        }
        if value.bytes().all(|b| b == b'*') {
            return Ok(Vec::new());
        }
        match attribute.vr {
            VR::UI => any_of.push(OtherUid::parse(&value).map(|u| equal(u.as_str())).map_err(|_| ValueError::Uid)?),
            VR::DA => any_of.push(date_matching(&value)?),
            VR::TM => any_of.push(time_matching(&value)?),
            VR::IS => any_of.push(value.parse().map(Matching::Number).map_err(|_| ValueError::Number)?),
            VR::PN => match name_matchings(&value) {
                Some(names) => any_of.extend(names),
                None => return Ok(Vec::new()),
            },
            _ if value.contains(['*', '?']) => any_of.push(Matching::Wildcard(value)),
            _ => any_of.push(Matching::Equal(value)),
        }
    }
    // One value of a name may ask for several.
    if attribute.vr != VR::UI && any_of.len() > MAX_VALUES {
        return Err(ValueError::TooMany);
    }
    Ok(any_of)
}

fn equal(text: &str) -> Matching {
    Matching::Equal(text.to_owned())
}

fn whole_number(number: f64) -> Result<Matching, ValueError> {
    #[expect(clippy::cast_possible_truncation, reason = "an unsigned 16-bit number")]
    Ok(Matching::Number(number as i64))
}

/// A name pattern, folded; nothing when it fits every name.
///
/// Empty components at the end of a name may be left out (PS3.5 section 6.2), so `SMITH^*` fits `SMITH` as well.
fn name_matchings(value: &str) -> Option<Vec<Matching>> {
    let folded = fold_person_name(value);
    let groups: Vec<String> = folded.split('=').map(str::to_owned).collect();
    if groups.iter().all(|g| g.bytes().all(|b| b == b'*')) {
        return None;
    }
    let [group] = groups.as_slice() else { return Some(vec![Matching::Name(groups)]) };
    let mut names = vec![Matching::Name(vec![group.clone()])];
    let mut shorter = group.as_str();
    while let Some(rest) = shorter.strip_suffix("^*") {
        if names.len() > MORE_COMPONENTS {
            break;
        }
        if rest.bytes().all(|b| b == b'*') {
            return None;
        }
        names.push(Matching::Name(vec![rest.trim_end_matches('^').to_owned()]));
        shorter = rest;
    }
    Some(names)
}

fn date_matching(value: &str) -> Result<Matching, ValueError> {
    let Some((from, to)) = value.split_once('-') else { return date(value).map(Matching::Equal) };
    range(from, to, date, date, ValueError::Date)
}

/// A time that leaves out minutes or seconds stands for all that it may mean: a range even where it is one value.
fn time_matching(value: &str) -> Result<Matching, ValueError> {
    let (from, to) = value.split_once('-').unwrap_or((value, value));
    range(from, to, earliest, latest, ValueError::Time)
}

fn range(
    from: &str,
    to: &str,
    first: fn(&str) -> Result<String, ValueError>,
    last: fn(&str) -> Result<String, ValueError>,
    empty: ValueError,
) -> Result<Matching, ValueError> {
    let bound = |text: &str, read: fn(&str) -> Result<String, ValueError>| match text.trim() {
        "" => Ok(None),
        text => read(text).map(Some),
    };
    match (bound(from, first)?, bound(to, last)?) {
        (None, None) => Err(empty),
        (Some(from), Some(to)) if from > to => Err(ValueError::Reversed),
        (from, to) => Ok(Matching::Range { from, to }),
    }
}

/// YYYYMMDD, also from the YYYY.MM.DD of ACR-NEMA. The 31st is a day of every month: ranges are often written so.
fn date(text: &str) -> Result<String, ValueError> {
    let digits = match text.as_bytes() {
        [_, _, _, _, b'.', _, _, b'.', _, _] => text.replace('.', ""),
        _ => text.to_owned(),
    };
    let valid = digits.len() == 8
        && digits.bytes().all(|b| b.is_ascii_digit())
        && ("01"..="12").contains(&&digits[4..6])
        && ("01"..="31").contains(&&digits[6..8]);
    valid.then_some(digits).ok_or(ValueError::Date)
}

/// The digits up to seconds, and those of the fraction.
fn time_digits(text: &str) -> Result<(String, &str), ValueError> {
    let (whole, fraction) = text.split_once('.').map_or((text, ""), |(whole, fraction)| (whole, fraction));
    let digits = match whole.as_bytes() {
        [_, _, b':', _, _] | [_, _, b':', _, _, b':', _, _] => whole.replace(':', ""),
        _ => whole.to_owned(),
    };
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let valid = matches!(digits.len(), 2 | 4 | 6)
        && is_number(&digits)
        && fraction.len() <= 6
        && is_number(fraction)
        && (!text.contains('.') || digits.len() == 6 && !fraction.is_empty())
        && ("00"..="23").contains(&&digits[..2])
        && digits.get(2..4).is_none_or(|minutes| minutes < "60")
        && digits.get(4..6).is_none_or(|seconds| seconds <= "60");
    valid.then_some((digits, fraction)).ok_or(ValueError::Time)
}

/// The first moment of what may be meant, comparable as text with what is stored.
fn earliest(text: &str) -> Result<String, ValueError> {
    let (digits, fraction) = time_digits(text)?;
    Ok(format!("{digits:0<6}.{fraction}").trim_end_matches('0').trim_end_matches('.').to_owned())
        .map(|t| format!("{t:0<6}"))
}

/// The last moment of what may be meant.
fn latest(text: &str) -> Result<String, ValueError> {
    let (digits, fraction) = time_digits(text)?;
    let rest = "235959".get(digits.len()..).unwrap_or_default();
    Ok(format!("{digits}{rest}.{fraction:9<6}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::tags;

    fn asked(tag: Tag, value: &str) -> Result<Vec<Matching>, ValueError> {
        let attribute = Attribute::of(tag).unwrap();
        let mut identifier = DataSet::new();
        identifier.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
        identifier.put_text(tag, attribute.vr, value);
        matchings(attribute, &identifier, tag)
    }

    fn between(from: &str, to: &str) -> Vec<Matching> {
        let bound = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        vec![Matching::Range { from: bound(from), to: bound(to) }]
    }

    #[test]
    fn dates_are_one_or_a_range_or_refused() {
        assert_eq!(asked(tags::STUDY_DATE, "20240229").unwrap(), [equal("20240229")]);
        assert_eq!(asked(tags::STUDY_DATE, "2024.02.29").unwrap(), [equal("20240229")]);
        assert_eq!(asked(tags::STUDY_DATE, "20240201-20240231").unwrap(), between("20240201", "20240231"));
        assert_eq!(asked(tags::STUDY_DATE, "20240201-").unwrap(), between("20240201", ""));
        assert_eq!(asked(tags::STUDY_DATE, "-20240201 ").unwrap(), between("", "20240201"));
        for wrong in ["-", "2024", "202402*", "20241301", "20240200", "20240201-20240202-20240203", "yesterday"] {
            assert_eq!(asked(tags::STUDY_DATE, wrong), Err(ValueError::Date), "{wrong}");
        }
        assert_eq!(asked(tags::STUDY_DATE, "20240202-20240201"), Err(ValueError::Reversed));
    }

    #[test]
    fn times_stand_for_all_that_their_precision_leaves_open() {
        assert_eq!(asked(tags::STUDY_TIME, "10").unwrap(), between("100000", "105959.999999"));
        assert_eq!(asked(tags::STUDY_TIME, "1030-11").unwrap(), between("103000", "115959.999999"));
        assert_eq!(asked(tags::STUDY_TIME, "10:30:15.250").unwrap(), between("103015.25", "103015.250999"));
        assert_eq!(asked(tags::STUDY_TIME, "-000000").unwrap(), between("", "000000.999999"));
        for wrong in ["-", "1", "24", "1060", "10:3", "1030.5", "103015.", "103015.1234567", "103*"] {
            assert_eq!(asked(tags::STUDY_TIME, wrong), Err(ValueError::Time), "{wrong}");
        }
        assert_eq!(asked(tags::STUDY_TIME, "11-10"), Err(ValueError::Reversed));
    }

    #[test]
    fn empty_and_asterisks_are_universal_whatever_the_key() {
        for tag in [tags::PATIENT_NAME, tags::PATIENT_ID, tags::STUDY_DATE, tags::STUDY_TIME, tags::STUDY_INSTANCE_UID]
        {
            for value in ["", " ", "*", "***"] {
                assert_eq!(asked(tag, value).unwrap(), [], "{tag} «{value}»");
            }
        }
        for value in ["*^*", "*=*", "=*"] {
            assert_eq!(asked(tags::PATIENT_NAME, value).unwrap(), [], "{value}");
        }
    }

    #[test]
    fn wildcards_are_for_text_and_not_for_uids_and_numbers() {
        assert_eq!(asked(tags::PATIENT_ID, "A?1*").unwrap(), [Matching::Wildcard("A?1*".to_owned())]);
        assert_eq!(asked(tags::STUDY_INSTANCE_UID, "1.2\\1.3").unwrap(), [equal("1.2"), equal("1.3")]);
        assert_eq!(asked(tags::STUDY_INSTANCE_UID, "1.2.*"), Err(ValueError::Uid));
        assert_eq!(asked(tags::SERIES_NUMBER, " 7").unwrap(), [Matching::Number(7)]);
        assert_eq!(asked(tags::SERIES_NUMBER, "7*"), Err(ValueError::Number));
        assert_eq!(asked(tags::MODALITIES_IN_STUDY, "CT\\MR").unwrap(), [equal("CT"), equal("MR")]);
    }

    #[test]
    fn names_are_folded_and_may_lack_empty_components() {
        let name = |groups: &[&str]| Matching::Name(groups.iter().map(|g| (*g).to_owned()).collect());
        assert_eq!(asked(tags::PATIENT_NAME, "SMITH^").unwrap(), [name(&["smith"])]);
        assert_eq!(asked(tags::PATIENT_NAME, "Smith^*").unwrap(), [name(&["smith^*"]), name(&["smith"])]);
        assert_eq!(asked(tags::PATIENT_NAME, "Yam*=山田*").unwrap(), [name(&["yam*", "山田*"])]);
    }

    #[test]
    fn a_name_with_many_empty_components_is_few_patterns_and_many_names_are_too_many() {
        let name = format!("a{}", "^*".repeat(500));
        assert!(asked(tags::PATIENT_NAME, &name).unwrap().len() <= 5);
        let names = vec!["a^*^*^*^*"; 150].join("\\");
        assert_eq!(asked(tags::PATIENT_NAME, &names), Err(ValueError::TooMany));
    }

    #[test]
    fn endless_values_are_refused() {
        assert_eq!(asked(tags::PATIENT_ID, &"*a".repeat(1000)), Err(ValueError::TooLong));
        assert_eq!(asked(tags::PATIENT_ID, &"a\\".repeat(1000)), Err(ValueError::TooMany));
    }
}
