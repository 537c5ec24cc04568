//! Of several series of a study, the one that a route's model reads: a function of values.

use std::cmp::Ordering;

use crate::dicom::uid::SeriesInstanceUid;
use crate::inference::accept::NotAccepted;
use crate::inference::prefer::{Preference, compare, difference};
use crate::volume::SeriesFacts;

/// What a model says of a series by its headers.
#[derive(Debug, Clone)]
pub struct Judged {
    /// What the headers say; nothing where they cannot be read.
    pub facts: Option<SeriesFacts>,
    /// Whether model and gate accept it, if not, why.
    pub accepted: Result<(), NotAccepted>,
}

/// A series that may be chosen.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its Series Instance UID.
    pub uid: &'a SeriesInstanceUid,
    /// What the model says of it.
    pub judged: &'a Judged,
    /// Whether the model has read it, or has a job to.
    pub is_read: bool,
}

/// Whether a series is read: why it rather than others, where there are others; else why not.
pub type Choice = Result<Option<String>, String>;

/// Decides between `own` and the other series of its study, by the first word of `order` that tells the best ones apart, then
/// by Series Instance UID. What the model does not accept goes behind all that it does. Where it accepts none, one is read all
/// the same, so that a report says why: one that was before, else the first in the same order.
///
/// # Errors
/// Which other series is read rather than this one, and why, one sentence.
pub fn choose<'o>(order: &[Preference], own: &Candidate<'_>, others: &'o [Candidate<'o>]) -> Choice {
    let Some(best) = first(order, others.iter()) else { return Ok(None) };
    if rank(order, own, best) == Ordering::Greater {
        return Err(refused(order, own, best));
    }
    if own.judged.accepted.is_err() {
        return Ok(Some("no series of this study is suitable, the report is on this one".to_owned()));
    }
    // What was read before is what a reader of the results knows.
    let second = first(order, others.iter().filter(|other| other.is_read)).unwrap_or(best);
    let before = if second.is_read { ", which was read before" } else { "" };
    let why = why(order, own, second, "that one");
    Ok(Some(format!("the series fits and is preferred to series {} of this study{before}: {why}", second.uid)))
}

fn first<'o>(order: &[Preference], among: impl Iterator<Item = &'o Candidate<'o>>) -> Option<&'o Candidate<'o>> {
    among.min_by(|one, other| rank(order, one, other))
}

fn refused(order: &[Preference], own: &Candidate<'_>, best: &Candidate<'_>) -> String {
    match (&best.judged.accepted, &own.judged.accepted) {
        (Err(_), Err(refusal)) => {
            format!(
                "no series of this study is suitable, the report is on series {}; {}",
                best.uid,
                unsuitable(refusal)
            )
        }
        _ => format!("series {} of this study is preferred: {}", best.uid, why(order, best, own, "this one")),
    }
}

/// Why `preferred` goes before `second`, which is called `name`.
fn why(order: &[Preference], preferred: &Candidate<'_>, second: &Candidate<'_>, name: &str) -> String {
    if let Err(refusal) = &second.judged.accepted {
        return format!("{name} is {}", unsuitable(refusal));
    }
    let facts = (&preferred.judged.facts, &second.judged.facts);
    let (Some(one), Some(other)) = facts else { return format!("the headers of {name} cannot be read") };
    difference(order, one, other, name)
        .unwrap_or_else(|| "nothing else tells them apart, its UID comes first".to_owned())
}

fn unsuitable(refusal: &NotAccepted) -> String {
    format!("not suitable ({}): {}", refusal.code, refusal.reason)
}

/// `Less` where `one` is chosen before `other`.
fn rank(order: &[Preference], one: &Candidate<'_>, other: &Candidate<'_>) -> Ordering {
    let (of_one, of_other) = (one.judged.accepted.is_err(), other.judged.accepted.is_err());
    let reported = if of_one && of_other { other.is_read.cmp(&one.is_read) } else { Ordering::Equal };
    let by_facts = match (&one.judged.facts, &other.judged.facts) {
        (Some(one), Some(other)) => compare(order, one, other),
        (one, other) => one.is_none().cmp(&other.is_none()),
    };
    of_one.cmp(&of_other).then(reported).then(by_facts).then_with(|| one.uid.cmp(other.uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::prefer::tests::slices_of;

    fn order() -> Vec<Preference> {
        vec![Preference::ThinSlices, Preference::ManySlices]
    }

    fn uid(last: u32) -> SeriesInstanceUid {
        SeriesInstanceUid::parse(&format!("1.2.{last}")).unwrap()
    }

    /// Slices so far apart, which the model accepts.
    fn accepted(mm: f64) -> Judged {
        Judged { facts: Some(slices_of(mm, mm, 60)), accepted: Ok(()) }
    }

    fn refused(mm: f64) -> Judged {
        let refusal = NotAccepted { code: "too-few-slices", reason: "The series has 3 slices.".to_owned() };
        Judged { accepted: Err(refusal), ..accepted(mm) }
    }

    fn unreadable() -> Judged {
        Judged { facts: None, ..refused(1.0) }
    }

    /// What each of these series is told among the others, UIDs 1.2.0, 1.2.1 and so on.
    fn among(series: &[(Judged, bool)]) -> Vec<Choice> {
        let uids: Vec<_> = (0..).map(uid).take(series.len()).collect();
        let all: Vec<Candidate<'_>> = std::iter::zip(&uids, series)
            .map(|(uid, (judged, is_read))| Candidate { uid, judged, is_read: *is_read })
            .collect();
        let choice = |own: usize| {
            let others: Vec<_> = all.iter().filter(|other| other.uid != all[own].uid).copied().collect();
            choose(&order(), &all[own], &others)
        };
        (0..all.len()).map(choice).collect()
    }

    fn read(words: &str) -> Choice {
        Ok(Some(words.to_owned()))
    }

    fn not(words: &str) -> Choice {
        Err(words.to_owned())
    }

    #[test]
    fn a_series_that_is_alone_is_read_as_ever() {
        for alone in [accepted(5.0), refused(5.0), unreadable()] {
            assert_eq!(among(&[(alone, false)]), [Ok(None)]);
        }
    }

    #[test]
    fn of_those_that_are_accepted_one_is_read_and_the_others_say_which() {
        let said =
            among(&[(accepted(5.0), false), (accepted(1.0), false), (refused(0.5), false), (unreadable(), false)]);
        let too_few = "series 1.2.1 of this study is preferred: this one is not suitable (too-few-slices): The series has 3 \
                       slices.";
        let expected = [
            not("series 1.2.1 of this study is preferred: its slices lie 1 mm apart, this one's 5 mm"),
            read(
                "the series fits and is preferred to series 1.2.0 of this study: its slices lie 1 mm apart, that one's 5 mm",
            ),
            not(too_few),
            not(too_few),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn the_uid_decides_where_nothing_else_does() {
        let said = among(&[(accepted(1.0), false), (accepted(1.0), false)]);
        let why = "nothing else tells them apart, its UID comes first";
        assert_eq!(said[0], read(&format!("the series fits and is preferred to series 1.2.1 of this study: {why}")));
        assert_eq!(said[1], not(&format!("series 1.2.0 of this study is preferred: {why}")));
    }

    #[test]
    fn what_comes_later_is_read_where_it_is_better_than_what_was_read() {
        let said = among(&[(accepted(5.0), false), (accepted(2.0), true), (accepted(1.0), false)]);
        let worse = "series 1.2.2 of this study is preferred: its slices lie 1 mm apart, this one's ";
        assert_eq!((&said[0], &said[1]), (&not(&format!("{worse}5 mm")), &not(&format!("{worse}2 mm"))));
        let better = "the series fits and is preferred to series 1.2.1 of this study, which was read before: its slices lie \
                      1 mm apart, that one's 2 mm";
        assert_eq!(said[2], read(better));
        let said = among(&[(accepted(5.0), false), (accepted(2.0), true)]);
        assert!(said[0].is_err(), "worse than what was read: {said:?}");
    }

    #[test]
    fn where_none_is_accepted_one_is_reported_on_and_no_other_later() {
        let said = among(&[(refused(5.0), false), (refused(1.0), false), (unreadable(), false)]);
        let why = "not suitable (too-few-slices): The series has 3 slices.";
        let elsewhere =
            |uid: &str| not(&format!("no series of this study is suitable, the report is on series {uid}; {why}"));
        assert_eq!(said[0], elsewhere("1.2.1"));
        assert_eq!(said[1], read("no series of this study is suitable, the report is on this one"));
        assert_eq!(said[2], elsewhere("1.2.1"));
        let later = among(&[(refused(5.0), true), (refused(1.0), false)]);
        assert_eq!(later[1], elsewhere("1.2.0"), "that one was reported on");
        let fits = among(&[(refused(5.0), true), (accepted(1.0), false)]);
        let better =
            "the series fits and is preferred to series 1.2.0 of this study, which was read before: that one is ";
        assert_eq!(fits[1], read(&format!("{better}{why}")));
    }
}
