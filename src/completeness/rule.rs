//! When a series is complete: a function of what is known of it and of the time.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::Completeness;

/// What is known of a series that is still receiving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reception {
    /// Modality (0008,0060), empty where unknown.
    pub modality: String,
    /// Who sent its last instance.
    pub calling_ae: String,
    /// When its last instance came.
    pub last_received_at: Timestamp,
    /// How many instances there are.
    pub instances: u32,
    /// Number of Series Related Instances (0020,1209), where the sender put it into the instances.
    pub announced: Option<u32>,
    /// When the association that sent its last instance was released, if it was and no other is still sending.
    pub released_at: Option<Timestamp>,
    /// What a peer answered when it was asked for the number, and when it was asked.
    pub counted: Option<(u32, Timestamp)>,
}

/// Why a series is complete. Its text stands in the database, the log and `overread why`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Nothing came for so long.
    Quiet(Duration),
    /// The association that sent it was released.
    Release,
    /// As many instances as the sender announced in (0020,1209).
    Announced(u32),
    /// As many instances as a peer says there are.
    Counted(u32),
    /// The peer says that there are more, but they did not come in time.
    CountNotReached {
        /// What the peer says.
        expected: u32,
        /// What came.
        received: u32,
    },
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Quiet(time) => write!(f, "quiet for {} s", time.as_secs()),
            Self::Release => f.write_str("association released"),
            Self::Announced(n) => write!(f, "{n} instances, as announced in (0020,1209)"),
            Self::Counted(n) => write!(f, "{n} instances, as the peer counts"),
            Self::CountNotReached { expected, received } => {
                write!(f, "{received} of {expected} instances that the peer counts, no more came in time")
            }
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is complete.
    Complete(Signal),
    /// A peer should be asked how many instances there are.
    AskCount,
    /// Look again at this time, or when something comes.
    Wait(Timestamp),
}

/// Applies the rule.
#[must_use]
pub fn decide(series: &Reception, rule: &Completeness, now: Timestamp) -> Decision {
    if let Some(announced) = series.announced.filter(|&n| n > 0 && series.instances >= n) {
        return Decision::Complete(Signal::Announced(announced));
    }
    if rule.on_release && series.released_at.is_some_and(|at| at >= series.last_received_at) {
        return Decision::Complete(Signal::Release);
    }
    let quiet = quiet_time(series, rule);
    let quiet_at = series.last_received_at.plus(quiet);
    if rule.ask_count.is_none() {
        return if now >= quiet_at { Decision::Complete(Signal::Quiet(quiet)) } else { Decision::Wait(quiet_at) };
    }
    decide_by_count(series, rule, quiet, now)
}

/// What to do now where several rules hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecisionForAll {
    /// It is complete by all of them: their signals, in words.
    Complete(String),
    /// As [`Decision::AskCount`].
    AskCount,
    /// As [`Decision::Wait`].
    Wait(Timestamp),
}

/// Applies the rules of all routes that a series may take. It is complete once, with the jobs of all of them, so it waits for
/// the most patient one: no job begins before its own route's signal.
#[must_use]
pub fn decide_for_all(series: &Reception, rules: &[Completeness], now: Timestamp) -> DecisionForAll {
    let mut signals: Vec<String> = Vec::new();
    let mut wait = None;
    for rule in rules {
        match decide(series, rule, now) {
            Decision::Complete(signal) => signals.push(signal.to_string()),
            Decision::AskCount => return DecisionForAll::AskCount,
            Decision::Wait(at) => wait = Some(wait.map_or(at, |earlier: Timestamp| earlier.min(at))),
        }
    }
    if let Some(at) = wait {
        return DecisionForAll::Wait(at);
    }
    signals.dedup();
    DecisionForAll::Complete(signals.join(", "))
}

/// The peer is asked once the association is over or the quiet time has passed, and again after each quiet time in which
/// its number was not reached. One that takes the call and never answers is not waited for longer than one whose number
/// is not reached.
fn decide_by_count(series: &Reception, rule: &Completeness, quiet: Duration, now: Timestamp) -> Decision {
    let quiet_at = series.last_received_at.plus(quiet);
    let patience = rule.count_patience.max(quiet);
    let give_up_at = series.last_received_at.plus(patience);
    match series.counted {
        Some((expected, asked_at)) if asked_at > series.last_received_at => {
            let ask_again_at = asked_at.plus(quiet.max(Duration::from_secs(1)));
            if expected > 0 && series.instances >= expected {
                Decision::Complete(Signal::Counted(expected))
            } else if expected == 0 && now >= quiet_at {
                Decision::Complete(Signal::Quiet(quiet))
            } else if now >= give_up_at {
                Decision::Complete(Signal::CountNotReached { expected, received: series.instances })
            } else if expected > 0 && now >= ask_again_at {
                Decision::AskCount
            } else {
                Decision::Wait(if expected == 0 { quiet_at } else { ask_again_at.min(give_up_at) })
            }
        }
        _ if now >= give_up_at => Decision::Complete(Signal::Quiet(patience)),
        _ => {
            let over = series.released_at.is_some_and(|at| at >= series.last_received_at);
            if over || now >= quiet_at { Decision::AskCount } else { Decision::Wait(quiet_at) }
        }
    }
}

/// By calling AE title, else by modality, else the general one.
fn quiet_time(series: &Reception, rule: &Completeness) -> Duration {
    let named = |table: &[(String, Duration)], name: &str| {
        table.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, time)| *time)
    };
    named(&rule.quiet_by_calling_ae, &series.calling_ae)
        .or_else(|| named(&rule.quiet_by_modality, &series.modality))
        .unwrap_or(rule.quiet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Destination, Late};

    fn rule() -> Completeness {
        Completeness {
            quiet: Duration::from_secs(20),
            quiet_by_modality: vec![("mr".into(), Duration::from_secs(60))],
            quiet_by_calling_ae: vec![("FAST".into(), Duration::from_secs(2))],
            on_release: false,
            ask_count: None,
            count_patience: Duration::from_secs(300),
            late: Late::Rerun,
        }
    }

    fn series() -> Reception {
        Reception {
            modality: "CT".into(),
            calling_ae: "CT1".into(),
            last_received_at: Timestamp(1_000_000),
            instances: 10,
            announced: None,
            released_at: None,
            counted: None,
        }
    }

    #[test]
    fn quiet_time_by_caller_goes_before_modality_before_the_general_one() {
        let at = |s: &Reception| match decide(s, &rule(), Timestamp(1_000_000)) {
            Decision::Wait(at) => at.0 - 1_000_000,
            other => panic!("{other:?}"),
        };
        assert_eq!(at(&series()), 20_000);
        assert_eq!(at(&Reception { modality: "MR".into(), ..series() }), 60_000);
        assert_eq!(at(&Reception { modality: "MR".into(), calling_ae: "FAST".into(), ..series() }), 2_000);
        let quiet = Signal::Quiet(Duration::from_secs(20));
        assert_eq!(decide(&series(), &rule(), Timestamp(1_020_000)), Decision::Complete(quiet));
    }

    #[test]
    fn a_release_counts_only_where_the_rule_says_so_and_after_the_last_instance() {
        let released = Reception { released_at: Some(Timestamp(1_000_001)), ..series() };
        assert!(matches!(decide(&released, &rule(), Timestamp(1_000_002)), Decision::Wait(_)));
        let rule = Completeness { on_release: true, ..rule() };
        assert_eq!(decide(&released, &rule, Timestamp(1_000_002)), Decision::Complete(Signal::Release));
        let earlier = Reception { released_at: Some(Timestamp(999_999)), ..series() };
        assert!(matches!(decide(&earlier, &rule, Timestamp(1_000_002)), Decision::Wait(_)));
    }

    #[test]
    fn the_announced_number_completes_at_once() {
        let announced = Reception { announced: Some(10), ..series() };
        assert_eq!(decide(&announced, &rule(), Timestamp(1_000_000)), Decision::Complete(Signal::Announced(10)));
        let more = Reception { announced: Some(11), ..series() };
        assert!(matches!(decide(&more, &rule(), Timestamp(1_000_000)), Decision::Wait(_)));
    }

    #[test]
    fn a_counting_peer_bridges_a_hole_of_minutes_but_not_for_ever() {
        let rule = Completeness { ask_count: Some(Destination::Sender), ..rule() };
        assert!(matches!(decide(&series(), &rule, Timestamp(1_019_999)), Decision::Wait(_)));
        assert_eq!(decide(&series(), &rule, Timestamp(1_020_000)), Decision::AskCount);
        let more = Reception { counted: Some((12, Timestamp(1_020_000))), ..series() };
        assert_eq!(decide(&more, &rule, Timestamp(1_020_001)), Decision::Wait(Timestamp(1_040_000)));
        assert_eq!(decide(&more, &rule, Timestamp(1_040_000)), Decision::AskCount);
        let not_reached = Signal::CountNotReached { expected: 12, received: 10 };
        assert_eq!(decide(&more, &rule, Timestamp(1_300_000)), Decision::Complete(not_reached));
        let all = Reception { counted: Some((10, Timestamp(1_020_000))), ..series() };
        assert_eq!(decide(&all, &rule, Timestamp(1_020_001)), Decision::Complete(Signal::Counted(10)));
    }

    #[test]
    fn a_count_from_before_the_last_instance_is_asked_again() {
        let rule = Completeness { ask_count: Some(Destination::Sender), ..rule() };
        for asked_at in [999_000, 1_000_000] {
            let stale = Reception { counted: Some((10, Timestamp(asked_at))), ..series() };
            assert_eq!(decide(&stale, &rule, Timestamp(1_020_000)), Decision::AskCount);
        }
    }

    #[test]
    fn a_peer_that_knows_nothing_leaves_the_quiet_time() {
        let rule = Completeness { ask_count: Some(Destination::Sender), ..rule() };
        let unknown = Reception { counted: Some((0, Timestamp(1_000_500))), ..series() };
        assert_eq!(decide(&unknown, &rule, Timestamp(1_001_000)), Decision::Wait(Timestamp(1_020_000)));
        let quiet = Signal::Quiet(Duration::from_secs(20));
        assert_eq!(decide(&unknown, &rule, Timestamp(1_020_000)), Decision::Complete(quiet));
    }

    #[test]
    fn a_peer_that_never_answers_holds_no_series_for_ever() {
        let rule = Completeness { ask_count: Some(Destination::Sender), ..rule() };
        assert_eq!(decide(&series(), &rule, Timestamp(1_299_999)), Decision::AskCount);
        let patience = Signal::Quiet(Duration::from_secs(300));
        assert_eq!(decide(&series(), &rule, Timestamp(1_300_000)), Decision::Complete(patience));
        let stale = Reception { counted: Some((12, Timestamp(999_999))), ..series() };
        assert_eq!(decide(&stale, &rule, Timestamp(1_300_000)), Decision::Complete(patience));
    }

    #[test]
    fn of_several_rules_the_most_patient_one_decides() {
        let released = Reception { released_at: Some(Timestamp(1_000_001)), ..series() };
        let at_once = Completeness { on_release: true, ..rule() };
        let patient = Completeness { quiet: Duration::from_secs(90), ..rule() };
        let decide = |rules: &[Completeness], now| decide_for_all(&released, rules, Timestamp(now));
        let complete = |words: &str| DecisionForAll::Complete(words.to_owned());
        assert_eq!(decide(std::slice::from_ref(&at_once), 1_000_002), complete("association released"));
        let all = [at_once, rule(), patient];
        assert_eq!(decide(&all, 1_000_002), DecisionForAll::Wait(Timestamp(1_020_000)));
        assert_eq!(decide(&all, 1_020_000), DecisionForAll::Wait(Timestamp(1_090_000)));
        assert_eq!(decide(&all, 1_090_000), complete("association released, quiet for 20 s, quiet for 90 s"));
    }
}
