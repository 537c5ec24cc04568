//! What an attempt to deliver means for the next one: a table, decided purely.

use std::time::Duration;

use crate::clock::{Timestamp, backoff, milliseconds};

/// What came of offering one instance to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The peer answered with a DIMSE status, and perhaps an Error Comment (0000,0902).
    Answered {
        /// Status (0000,0900).
        status: u16,
        /// What the peer said with it.
        comment: Option<String>,
    },
    /// The peer took none of the presentation contexts for this SOP class.
    NoContext,
    /// No association came about: refused connection, rejection, time-out. This says nothing about the instance.
    NoAssociation {
        /// In words.
        cause: String,
        /// How many calls to this destination have come to this since one did not, this one included.
        in_a_row: u32,
    },
    /// The association ended under this instance: abort, reset, time-out. The instance may be why.
    Broken {
        /// In words.
        cause: String,
    },
    /// Our own file cannot be read: the disk, or the operator's doing.
    Unreadable {
        /// In words.
        cause: String,
    },
    /// The configuration names no peer with the destination's title.
    Unknown,
    /// It was not offered: its model is untrained, and the configuration does not allow that to leave.
    Untrained,
}

/// What becomes of a delivery after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The peer has it.
    Delivered {
        /// 0000H or a warning (Bxxx).
        status: u16,
    },
    /// It may pass: once more, not before this time.
    Retry {
        /// When.
        at: Timestamp,
    },
    /// It will not pass by itself. Visible, and sent again when a person asks for it.
    Dead {
        /// Why, in words.
        reason: String,
    },
}

/// How long to go on, and how patiently.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Before the second attempt.
    pub retry: Duration,
    /// The longest wait between two attempts.
    pub longest_retry: Duration,
    /// From the creation of the delivery until it is given up.
    pub give_up: Duration,
}

/// Decides by the statuses of PS3.4 table B.2-1 and PS3.7 annex C.
///
/// `attempts` counts this one as well; `created_at` is when the delivery was put into the outbox.
#[must_use]
pub fn outcome(attempt: &Attempt, attempts: u32, created_at: Timestamp, now: Timestamp, patience: Patience) -> Outcome {
    match attempt {
        Attempt::Answered { status, .. } if is_stored(*status) => Outcome::Delivered { status: *status },
        Attempt::Answered { status, .. } if !may_pass(*status) => {
            Outcome::Dead { reason: format!("the peer refuses it for good: status {status:04X}H") }
        }
        Attempt::NoContext => Outcome::Dead {
            reason: "the peer accepts neither Explicit nor Implicit VR Little Endian for this SOP class".into(),
        },
        Attempt::Unknown => Outcome::Dead { reason: "no [[peer]] of the configuration has this AE title".into() },
        Attempt::Untrained => {
            Outcome::Dead { reason: "its model is untrained, and results.allow_untrained is false".into() }
        }
        Attempt::Answered { .. }
        | Attempt::NoAssociation { .. }
        | Attempt::Broken { .. }
        | Attempt::Unreadable { .. } => {
            if now.since(created_at) >= milliseconds(patience.give_up) {
                return Outcome::Dead { reason: format!("given up after {attempts} attempts") };
            }
            // Where there was no association, it is the lane that rests: the instance is due when the lane is.
            let wait = match attempt {
                Attempt::NoAssociation { .. } => Duration::ZERO,
                _ => backoff(attempts, patience.retry, patience.longest_retry),
            };
            Outcome::Retry { at: now.plus(wait) }
        }
    }
}

/// How long a destination is left alone after an attempt, whatever else waits for it; nothing where it was there. One that
/// cannot be called is called less and less often; one that is there and broke an association gets time to recover.
#[must_use]
pub fn rest(attempt: &Attempt, patience: Patience) -> Option<Duration> {
    match attempt {
        Attempt::NoAssociation { in_a_row, .. } => Some(backoff(*in_a_row, patience.retry, patience.longest_retry)),
        Attempt::Broken { .. } => Some(patience.retry),
        Attempt::Answered { .. }
        | Attempt::NoContext
        | Attempt::Unreadable { .. }
        | Attempt::Unknown
        | Attempt::Untrained => None,
    }
}

/// Up to when what else waits for the destination was put into the outbox that is given up with this attempt; nothing where
/// somebody was there. Each of those would find out the same, by a call of its own.
#[must_use]
pub fn overdue(attempt: &Attempt, now: Timestamp, patience: Patience) -> Option<Timestamp> {
    matches!(attempt, Attempt::NoAssociation { .. }).then(|| now.plus_ms(-milliseconds(patience.give_up)))
}

/// Success, or a warning with which the instance was stored: coercion (B000H), elements discarded (B006H), data set does
/// not match (B007H), attribute list or value warnings (0107H, 0116H). 0111H says that the peer has this instance already.
pub(super) const fn is_stored(status: u16) -> bool {
    matches!(status, 0x0000 | 0x0001 | 0x0107 | 0x0111 | 0x0116 | 0xB000..=0xBFFF)
}

/// Refused for lack of resources (A7xx), processing failure (0110H), resource limitation (0213H), cancelled or pending by
/// mistake (FExx, FFxx): the same object may be taken later. Everything else is about the object or the right to send it.
const fn may_pass(status: u16) -> bool {
    matches!(status, 0x0110 | 0x0213 | 0xA700..=0xA7FF | 0xFE00 | 0xFF00..=0xFFFF)
}

/// The peer does not understand the data set (A9xx, Cxxx) or does not serve the class in this encoding (0122H): it may be the
/// encoding that it does not read, for which Implicit VR Little Endian is left.
pub(super) const fn may_be_of_encoding(status: u16) -> bool {
    matches!(status, 0x0122 | 0xA900..=0xA9FF | 0xC000..=0xCFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        retry: Duration::from_secs(10),
        longest_retry: Duration::from_secs(3600),
        give_up: Duration::from_secs(7 * 86_400),
    };

    fn after(attempt: &Attempt, attempts: u32, age_ms: i64) -> Outcome {
        outcome(attempt, attempts, Timestamp(0), Timestamp(age_ms), PATIENCE)
    }

    fn answered(status: u16) -> Attempt {
        Attempt::Answered { status, comment: None }
    }

    #[test]
    fn success_and_warnings_are_delivered() {
        for status in [0x0000, 0xB000, 0xB006, 0xB007, 0x0111] {
            assert_eq!(after(&answered(status), 1, 0), Outcome::Delivered { status });
        }
    }

    #[test]
    fn lack_of_resources_waits_and_the_wait_doubles_up_to_an_hour() {
        assert_eq!(after(&answered(0xA700), 1, 0), Outcome::Retry { at: Timestamp(10_000) });
        assert_eq!(after(&answered(0xA700), 2, 0), Outcome::Retry { at: Timestamp(20_000) });
        assert_eq!(after(&answered(0xA700), 60, 0), Outcome::Retry { at: Timestamp(3_600_000) });
    }

    #[test]
    fn refusals_of_the_object_are_final_and_the_reason_does_not_repeat_the_peers_words() {
        for status in [0xA900, 0xC000, 0xC123, 0x0122, 0x0117, 0x0124] {
            assert!(matches!(after(&answered(status), 1, 0), Outcome::Dead { .. }), "{status:04X}");
        }
        let said = Attempt::Answered { status: 0xA900, comment: Some("Doe^Jane is locked".into()) };
        let Outcome::Dead { reason } = after(&said, 1, 0) else { panic!() };
        assert!(reason.contains("A900H") && !reason.contains("Doe"), "{reason}");
    }

    #[test]
    fn what_may_not_leave_is_dead_and_its_destination_does_not_rest() {
        let Outcome::Dead { reason } = after(&Attempt::Untrained, 1, 0) else { panic!() };
        assert!(reason.contains("results.allow_untrained"), "{reason}");
        assert_eq!(rest(&Attempt::Untrained, PATIENCE), None);
    }

    #[test]
    fn a_silent_peer_is_tried_for_a_week_and_then_given_up() {
        let silent = Attempt::NoAssociation { cause: "connection refused".into(), in_a_row: 7 };
        assert!(matches!(after(&silent, 100, 6 * 86_400_000), Outcome::Retry { .. }));
        assert!(matches!(after(&silent, 180, 7 * 86_400_000), Outcome::Dead { .. }));
    }

    #[test]
    fn what_waited_as_long_for_who_cannot_be_called_is_given_up_with_it() {
        let silent = Attempt::NoAssociation { cause: "connection refused".into(), in_a_row: 7 };
        let week = 7 * 86_400_000;
        assert_eq!(overdue(&silent, Timestamp(week + 5), PATIENCE), Some(Timestamp(5)));
        assert!(matches!(after(&silent, 1, week), Outcome::Dead { .. }), "as one that is tried");
        for there in [answered(0xA700), Attempt::Broken { cause: String::new() }, Attempt::NoContext] {
            assert_eq!(overdue(&there, Timestamp(week + 5), PATIENCE), None);
        }
    }

    #[test]
    fn what_a_peer_cannot_read_may_be_the_encoding_and_a_lack_of_room_or_right_is_not() {
        for status in [0x0122, 0xA900, 0xA9FF, 0xC000, 0xC123, 0xCFFF] {
            assert!(may_be_of_encoding(status), "{status:04X}");
        }
        for status in [0x0000, 0x0110, 0x0111, 0x0124, 0xA700, 0xA800, 0xAA00, 0xB000, 0xD000] {
            assert!(!may_be_of_encoding(status), "{status:04X}");
        }
    }

    #[test]
    fn who_cannot_be_called_rests_longer_each_time_and_who_broke_an_association_always_as_long() {
        let silent = |in_a_row| Attempt::NoAssociation { cause: String::new(), in_a_row };
        assert_eq!(rest(&silent(1), PATIENCE), Some(Duration::from_secs(10)));
        assert_eq!(rest(&silent(4), PATIENCE), Some(Duration::from_secs(80)));
        assert_eq!(rest(&silent(60), PATIENCE), Some(Duration::from_secs(3600)));
        assert_eq!(after(&silent(60), 60, 0), Outcome::Retry { at: Timestamp(0) }, "due as soon as the lane is");
        let broken = Attempt::Broken { cause: "aborted".into() };
        assert_eq!(rest(&broken, PATIENCE), Some(Duration::from_secs(10)));
        assert_eq!(after(&broken, 60, 0), Outcome::Retry { at: Timestamp(3_600_000) });
        assert_eq!(rest(&answered(0xA700), PATIENCE), None);
    }
}
