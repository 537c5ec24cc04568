//! A route's required set: which series the study must hold before one that takes the route is read. A function of values.

use crate::clock::Timestamp;
use crate::config::Route;
use crate::dicom::wildcard::wildcard_matches;

/// A series that came in the study, the one itself among them.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Series Description (0008,103E), empty where unknown.
    pub description: &'a str,
    /// Whether its own signal has not fired yet.
    pub is_arriving: bool,
}

/// What a required set says of a series whose own signal has fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequiredSet {
    /// It holds the series up no longer; what is to be said of it in the signal, nothing where the route requires none.
    Over(Option<String>),
    /// Something is missing. At this time it is given up.
    Wait(Timestamp),
}

/// Holds the study's series against what `route` requires. `last_received_at`: when the last instance of the series came.
#[must_use]
pub fn required(route: &Route, last_received_at: Timestamp, study: &[Member<'_>], now: Timestamp) -> RequiredSet {
    let count = route.required_series.len();
    let fits = |pattern: &str, member: &Member<'_>| wildcard_matches(pattern, member.description);
    let is_there = |pattern: &str| study.iter().any(|member| !member.is_arriving && fits(pattern, member));
    let missing: Vec<&str> =
        route.required_series.iter().map(String::as_str).filter(|pattern| !is_there(pattern)).collect();
    if missing.is_empty() {
        return RequiredSet::Over(match count {
            0 => None,
            1 => Some("with the required series".to_owned()),
            _ => Some(format!("with all {count} required series")),
        });
    }
    let give_up_at = last_received_at.plus(route.required_patience);
    if now < give_up_at {
        return RequiredSet::Wait(give_up_at);
    }
    let is_begun = |pattern: &&str| study.iter().any(|member| fits(pattern, member));
    let (begun, absent): (Vec<&str>, Vec<&str>) = missing.into_iter().partition(is_begun);
    let seconds = route.required_patience.as_secs();
    let mut words = Vec::new();
    if !absent.is_empty() {
        words.push(format!("without {}, which did not come in {seconds} s", named(&absent)));
    }
    if !begun.is_empty() {
        words.push(format!("without the whole of {}, which was still arriving after {seconds} s", named(&begun)));
    }
    RequiredSet::Over(Some(words.join(", ")))
}

fn named(patterns: &[&str]) -> String {
    patterns.iter().map(|pattern| format!("«{pattern}»")).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::completeness::tests::route;

    const LAST: Timestamp = Timestamp(1_000_000);

    fn requiring(patterns: &[&str]) -> Route {
        Route {
            required_series: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
            required_patience: Duration::from_secs(1800),
            ..route()
        }
    }

    fn there(description: &str) -> Member<'_> {
        Member { description, is_arriving: false }
    }

    fn over(words: &str) -> RequiredSet {
        RequiredSet::Over(Some(words.to_owned()))
    }

    #[test]
    fn a_route_that_requires_nothing_says_nothing() {
        assert_eq!(required(&route(), LAST, &[], LAST), RequiredSet::Over(None));
    }

    #[test]
    fn all_are_waited_for_until_they_are_there_and_the_series_itself_may_be_one() {
        let route = requiring(&["*scout*", "*dose*", "*thorax*"]);
        let own = there("Thorax 1.0");
        let give_up_at = LAST.plus(Duration::from_secs(1800));
        let waits = RequiredSet::Wait(give_up_at);
        assert_eq!(required(&route, LAST, &[own, there("Dose Report")], LAST), waits);
        let arriving = Member { description: "SCOUT", is_arriving: true };
        assert_eq!(required(&route, LAST, &[own, there("Dose Report"), arriving], LAST), waits);
        let all = [own, there("Dose Report"), there("SCOUT")];
        assert_eq!(required(&route, LAST, &all, LAST), over("with all 3 required series"));
        assert_eq!(required(&requiring(&["*dose*"]), LAST, &all, LAST), over("with the required series"));
        let one_of_two = [arriving, there("scout 2")];
        assert_eq!(required(&requiring(&["*scout*"]), LAST, &one_of_two, LAST), over("with the required series"));
    }

    #[test]
    fn when_the_patience_is_over_the_series_goes_on_and_says_without_what() {
        let route = requiring(&["*scout*", "*dose*"]);
        let give_up_at = LAST.plus(Duration::from_secs(1800));
        let study = [there("Thorax 1.0"), there("Scout")];
        assert_eq!(required(&route, LAST, &study, give_up_at.plus_ms(-1)), RequiredSet::Wait(give_up_at));
        let without = over("without «*dose*», which did not come in 1800 s");
        assert_eq!(required(&route, LAST, &study, give_up_at), without);
        let neither = over("without «*scout*» and «*dose*», which did not come in 1800 s");
        assert_eq!(required(&route, LAST, &study[..1], give_up_at), neither);
        let arriving = [Member { description: "Dose Report", is_arriving: true }];
        let half = "without «*scout*», which did not come in 1800 s, without the whole of «*dose*», which was still \
                    arriving after 1800 s";
        assert_eq!(required(&route, LAST, &arriving, give_up_at), over(half));
        let at_once = Route { required_patience: Duration::ZERO, ..route };
        assert_eq!(required(&at_once, LAST, &study, LAST), over("without «*dose*», which did not come in 0 s"));
    }
}
