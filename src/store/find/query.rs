//! What is asked of the index, free of both DICOM's and SQL's spelling.

use super::attribute::{Attribute, Level};

/// A question to the index.
#[derive(Debug, Clone, PartialEq)]
pub struct FindQuery {
    /// What is looked for: patients, studies, series or instances.
    pub level: Level,
    /// What must hold, all of it.
    pub conditions: Vec<Condition>,
    /// What is wanted of each match, in this order.
    pub returned: Vec<&'static Attribute>,
}

/// One key that is not universal.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// What is compared.
    pub attribute: &'static Attribute,
    /// With what; one that fits is enough.
    pub any_of: Vec<Matching>,
}

/// How a value is compared (PS3.4 section C.2.2.2). An absent or empty value fits none of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matching {
    /// The same text.
    Equal(String),
    /// The same number.
    Number(i64),
    /// Text of this shape: `*` stands for any characters, `?` for one.
    Wildcard(String),
    /// A date (YYYYMMDD) or time (HHMMSS.FFFFFF) between these, both included.
    Range {
        /// Not before.
        from: Option<String>,
        /// Not after.
        to: Option<String>,
    },
    /// A person name, folded, by component groups, each of which may have wildcards; an empty group fits every name.
    /// One group alone fits any group of the name.
    Name(Vec<String>),
}
