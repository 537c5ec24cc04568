//! P-DATA-TF both ways (PS3.8 section 9.3.5 and annex E): messages out of fragments, and fragments out of messages.
//!
//! Nothing here waits and nothing is collected but command sets: fragments of data sets are passed on as they come, so the
//! memory of an association does not grow with what its peer declares.

use super::error::Violation;
use crate::dicom::command::MAX_COMMAND_LENGTH;

/// Length and type before the variable field of a PDU.
pub(super) const PDU_HEADER: usize = 6;
/// Item length, context id and message control header before a fragment.
pub(super) const PDV_HEADER: usize = 6;
/// P-DATA-TF.
pub(super) const P_DATA: u8 = 0x04;

const COMMAND: u8 = 0x01;
const LAST: u8 = 0x02;

/// What stands before a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PdvHeader {
    pub(super) context_id: u8,
    pub(super) is_command: bool,
    pub(super) is_last: bool,
    /// How many bytes of the fragment follow.
    pub(super) length: u32,
}

impl PdvHeader {
    /// Reads the six bytes; `left` is what remains of the PDU, they included.
    pub(super) fn read(bytes: [u8; PDV_HEADER], left: u32) -> Result<Self, Violation> {
        let [a, b, c, d, context_id, control] = bytes;
        let item_length = u32::from_be_bytes([a, b, c, d]);
        if item_length < 2 || item_length > left.saturating_sub(4) {
            return Err(Violation::PresentationDataValue);
        }
        Ok(Self {
            context_id,
            is_command: control & COMMAND != 0,
            is_last: control & LAST != 0,
            length: item_length - 2,
        })
    }
}

/// Where in a message the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between messages.
    Idle,
    /// Some of a command set is there.
    Command { context_id: u8 },
    /// The command set is there and announced a data set.
    DataSet { context_id: u8 },
}

/// Puts messages together.
#[derive(Debug)]
pub(super) struct Reassembly {
    phase: Phase,
    command: Vec<u8>,
}

/// What a fragment led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet.
    More,
    /// The command set is whole.
    CommandComplete,
    /// Bytes of a data set.
    Data,
    /// The last bytes of a data set.
    DataComplete,
}

impl Reassembly {
    pub(super) fn new() -> Self {
        Self { phase: Phase::Idle, command: Vec::new() }
    }

    /// Whether a message has begun.
    pub(super) fn is_within_message(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// Whether fragments of a data set are due.
    pub(super) fn expects_data_set(&self) -> bool {
        matches!(self.phase, Phase::DataSet { .. })
    }

    /// The command set that was completed last.
    pub(super) fn command(&self) -> &[u8] {
        &self.command
    }

    /// Says what the command set announced.
    pub(super) fn expect_data_set(&mut self, context_id: u8) {
        self.phase = Phase::DataSet { context_id };
    }

    /// Takes a fragment, or a piece of one; `is_last` only with the last piece of the last fragment.
    pub(super) fn take(
        &mut self,
        context_id: u8,
        is_command: bool,
        is_last: bool,
        bytes: &[u8],
    ) -> Result<Step, Violation> {
        match (self.phase, is_command) {
            (Phase::Idle, true) => self.command.clear(),
            (Phase::Command { context_id: begun }, true) if begun == context_id => {}
            (Phase::DataSet { context_id: begun }, false) if begun == context_id => {
                if is_last {
                    self.phase = Phase::Idle;
                    return Ok(Step::DataComplete);
                }
                return Ok(Step::Data);
            }
            _ => return Err(Violation::FragmentOrder),
        }
        if self.command.len() + bytes.len() > MAX_COMMAND_LENGTH {
            return Err(Violation::CommandTooLong);
        }
        self.command.extend_from_slice(bytes);
        self.phase = if is_last { Phase::Idle } else { Phase::Command { context_id } };
        Ok(if is_last { Step::CommandComplete } else { Step::More })
    }
}

/// How long the fragments may be that the peer takes: its maximum length (0 is unlimited), never more than `own`.
/// Nothing where it is too short for any fragment.
pub(super) fn fragment_length(peer_max_pdu: u32, own: u32) -> Option<usize> {
    let pdu = if peer_max_pdu == 0 { own } else { peer_max_pdu.min(own) };
    // Fragments have an even length (PS3.8 annex E.2).
    let fragment = (pdu as usize).checked_sub(PDV_HEADER)? & !1;
    (fragment > 0).then_some(fragment)
}

/// Appends one fragment in a PDU of its own; it must be no longer than [`fragment_length`].
pub(super) fn write_fragment(out: &mut Vec<u8>, context_id: u8, is_command: bool, is_last: bool, fragment: &[u8]) {
    let item = u32::try_from(fragment.len() + 2).unwrap_or(u32::MAX);
    out.extend([P_DATA, 0]);
    out.extend((item + 4).to_be_bytes());
    out.extend(item.to_be_bytes());
    let control = if is_command { COMMAND } else { 0 } | if is_last { LAST } else { 0 };
    out.extend([context_id, control]);
    out.extend_from_slice(fragment);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_in_three_fragments_comes_together_and_a_data_set_passes_through() {
        let mut reassembly = Reassembly::new();
        assert_eq!(reassembly.take(1, true, false, b"ab"), Ok(Step::More));
        assert_eq!(reassembly.take(1, true, false, b""), Ok(Step::More));
        assert_eq!(reassembly.take(1, true, true, b"c"), Ok(Step::CommandComplete));
        assert_eq!(reassembly.command(), b"abc");
        reassembly.expect_data_set(1);
        assert_eq!(reassembly.take(1, false, false, b"x"), Ok(Step::Data));
        assert_eq!(reassembly.take(1, false, true, b""), Ok(Step::DataComplete));
        assert!(!reassembly.is_within_message());
    }

    #[test]
    fn a_fragment_of_the_wrong_kind_or_context_is_refused() {
        let mut reassembly = Reassembly::new();
        assert_eq!(reassembly.take(1, false, true, b"x"), Err(Violation::FragmentOrder));
        assert_eq!(reassembly.take(1, true, false, b"x"), Ok(Step::More));
        assert_eq!(reassembly.take(3, true, true, b"x"), Err(Violation::FragmentOrder));
        reassembly.expect_data_set(1);
        assert_eq!(reassembly.take(1, true, true, b"x"), Err(Violation::FragmentOrder));
        assert_eq!(reassembly.take(3, false, true, b"x"), Err(Violation::FragmentOrder));
    }

    #[test]
    fn a_command_set_without_end_is_stopped() {
        let mut reassembly = Reassembly::new();
        assert_eq!(reassembly.take(1, true, false, &[0; MAX_COMMAND_LENGTH]), Ok(Step::More));
        assert_eq!(reassembly.take(1, true, false, &[0]), Err(Violation::CommandTooLong));
    }

    #[test]
    fn a_value_longer_than_its_pdu_or_without_control_header_is_refused() {
        assert_eq!(PdvHeader::read([0, 0, 0, 1, 1, 3], 6), Err(Violation::PresentationDataValue));
        assert_eq!(PdvHeader::read([0, 0, 0, 3, 1, 3], 6), Err(Violation::PresentationDataValue));
        assert_eq!(PdvHeader::read([0xFF, 0xFF, 0xFF, 0xFF, 1, 3], u32::MAX), Err(Violation::PresentationDataValue));
        let empty = PdvHeader { context_id: 1, is_command: true, is_last: true, length: 0 };
        assert_eq!(PdvHeader::read([0, 0, 0, 2, 1, 3], 6), Ok(empty));
    }

    #[test]
    fn fragments_fit_the_peers_maximum_and_are_even() {
        assert_eq!(fragment_length(0, 131_072), Some(131_066));
        assert_eq!(fragment_length(16_384, 131_072), Some(16_378));
        assert_eq!(fragment_length(17, 131_072), Some(10));
        assert_eq!(fragment_length(7, 131_072), None);
        assert_eq!(fragment_length(5, 131_072), None);
        let mut out = Vec::new();
        write_fragment(&mut out, 3, false, true, b"xy");
        assert_eq!(out, [4, 0, 0, 0, 0, 8, 0, 0, 0, 4, 3, 2, b'x', b'y']);
    }
}
