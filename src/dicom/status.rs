//! What a DIMSE response says (0000,0900): the codes we send and those that peers send (PS3.7 annex C, PS3.4 annexes B, C, GG).

use std::fmt;

/// A status code as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u16);

/// What a status means for the one who asked (PS3.7 section C.1 to C.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// Done.
    Success,
    /// Done, but not quite as asked.
    Warning,
    /// Not done.
    Failure,
    /// Ended because the requestor asked for it.
    Cancel,
    /// More responses follow.
    Pending,
}

impl Status {
    /// Done.
    pub const SUCCESS: Self = Self(0x0000);
    /// The operation was cancelled by C-CANCEL.
    pub const CANCEL: Self = Self(0xFE00);
    /// A match follows; all optional keys are supported.
    pub const PENDING: Self = Self(0xFF00);
    /// A match follows; some optional keys are not supported.
    pub const PENDING_KEYS_UNSUPPORTED: Self = Self(0xFF01);
    /// An element of the command has a value that it must not have.
    pub const INVALID_ATTRIBUTE_VALUE: Self = Self(0x0106);
    /// Something went wrong in here.
    pub const PROCESSING_FAILURE: Self = Self(0x0110);
    /// The SOP Instance UID breaks the rules for UIDs.
    pub const INVALID_SOP_INSTANCE: Self = Self(0x0117);
    /// An element that the command must have is missing.
    pub const MISSING_ATTRIBUTE: Self = Self(0x0120);
    /// The SOP class is not the one of the presentation context, or not one that we serve.
    pub const SOP_CLASS_NOT_SUPPORTED: Self = Self(0x0122);
    /// A command that we do not serve.
    pub const UNRECOGNIZED_OPERATION: Self = Self(0x0211);
    /// No room.
    pub const OUT_OF_RESOURCES: Self = Self(0xA700);
    /// C-STORE: the data set is not what its command says. C-FIND: the identifier is not what its SOP class says.
    pub const DATA_SET_DOES_NOT_MATCH: Self = Self(0xA900);
    /// C-STORE: the data set cannot be read, or lacks what storing needs. C-FIND: unable to process.
    pub const CANNOT_UNDERSTAND: Self = Self(0xC000);
    /// C-STORE, warning: the same SOP Instance UID is already stored with other content (`B000H`, coercion of data
    /// elements, is what PS3.4 offers for "stored, but look at it").
    pub const COERCION_OF_DATA_ELEMENTS: Self = Self(0xB000);

    /// What the code means (PS3.7 table C-1; PS3.4 tables B.2-1 and C.4-1).
    #[must_use]
    pub fn category(self) -> Category {
        match self.0 {
            0x0000 => Category::Success,
            0xFE00 => Category::Cancel,
            0xFF00 | 0xFF01 => Category::Pending,
            0x0001 | 0x0107 | 0x0116 | 0xB000..=0xBFFF => Category::Warning,
            _ => Category::Failure,
        }
    }

    /// The table's line for this code, where there is one.
    #[must_use]
    pub fn entry(self) -> Option<&'static Entry> {
        TABLE.iter().find(|entry| entry.codes.contains(&self.0))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry() {
            Some(entry) => write!(f, "{:04X}H {}", self.0, entry.text),
            None => write!(f, "{:04X}H", self.0),
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The codes, both ends included.
    pub codes: std::ops::RangeInclusive<u16>,
    /// What it says.
    pub text: &'static str,
    /// Where the standard defines it.
    pub reference: &'static str,
}

const fn one(code: u16, text: &'static str, reference: &'static str) -> Entry {
    Entry { codes: code..=code, text, reference }
}

const fn many(codes: std::ops::RangeInclusive<u16>, text: &'static str, reference: &'static str) -> Entry {
    Entry { codes, text, reference }
}

/// Every status that the services of this node know, by code.
pub const TABLE: &[Entry] = &[
    one(0x0000, "success", "PS3.7 C.1.1"),
    one(0x0001, "requested optional attributes are not supported", "PS3.7 C.4.1"),
    one(0x0105, "no such attribute", "PS3.7 C.5.1"),
    one(0x0106, "invalid attribute value", "PS3.7 C.5.2"),
    one(0x0107, "attribute list error", "PS3.7 C.4.2"),
    one(0x0110, "processing failure", "PS3.7 C.5.3"),
    one(0x0111, "duplicate SOP instance", "PS3.7 C.5.4"),
    one(0x0112, "no such SOP instance", "PS3.7 C.5.5"),
    one(0x0113, "no such event type", "PS3.7 C.5.6"),
    one(0x0114, "no such argument", "PS3.7 C.5.7"),
    one(0x0115, "invalid argument value", "PS3.7 C.5.8"),
    one(0x0116, "attribute value out of range", "PS3.7 C.4.3"),
    one(0x0117, "invalid SOP instance", "PS3.7 C.5.9"),
    one(0x0118, "no such SOP class", "PS3.7 C.5.10"),
    one(0x0119, "class-instance conflict", "PS3.7 C.5.11"),
    one(0x0120, "missing attribute", "PS3.7 C.5.12"),
    one(0x0121, "missing attribute value", "PS3.7 C.5.13"),
    one(0x0122, "SOP class not supported", "PS3.7 C.5.14"),
    one(0x0123, "no such action type", "PS3.7 C.5.15"),
    one(0x0124, "not authorized", "PS3.7 C.5.16"),
    one(0x0210, "duplicate invocation", "PS3.7 C.5.17"),
    one(0x0211, "unrecognized operation", "PS3.7 C.5.18"),
    one(0x0212, "mistyped argument", "PS3.7 C.5.19"),
    one(0x0213, "resource limitation", "PS3.7 C.5.20"),
    one(0xA701, "out of resources: unable to calculate number of matches", "PS3.4 C.4.2.1.5"),
    one(0xA702, "out of resources: unable to perform sub-operations", "PS3.4 C.4.2.1.5"),
    many(0xA700..=0xA7FF, "out of resources", "PS3.4 B.2.3"),
    one(0xA801, "move destination unknown", "PS3.4 C.4.2.1.5"),
    many(0xA900..=0xA9FF, "data set or identifier does not match SOP class", "PS3.4 B.2.3"),
    one(0xB000, "coercion of data elements, or sub-operations complete with failures", "PS3.4 B.2.3"),
    one(0xB006, "elements discarded", "PS3.4 B.2.3"),
    one(0xB007, "data set does not match SOP class", "PS3.4 B.2.3"),
    many(0xC000..=0xCFFF, "cannot understand, or unable to process", "PS3.4 B.2.3"),
    one(0xFE00, "cancelled", "PS3.7 C.3"),
    one(0xFF00, "pending", "PS3.7 C.2"),
    one(0xFF01, "pending, optional keys are not supported", "PS3.4 C.4.1.1.4"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_first_fitting_line() {
        assert_eq!(Status(0xA702).to_string(), "A702H out of resources: unable to perform sub-operations");
        assert_eq!(Status(0xC123).to_string(), "C123H cannot understand, or unable to process");
        assert_eq!(Status(0x9999).to_string(), "9999H");
    }

    #[test]
    fn categories_follow_the_first_digits() {
        assert_eq!(Status(0xB007).category(), Category::Warning);
        assert_eq!(Status(0xFF01).category(), Category::Pending);
        assert_eq!(Status(0xFE00).category(), Category::Cancel);
        assert_eq!(Status(0x9999).category(), Category::Failure);
    }
}
