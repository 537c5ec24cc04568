//! Reading TOML key by key, where every fault is kept with its place and reading goes on.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::ManifestError;

/// Faults found so far in one text.
pub(super) struct Faults<'t> {
    text: &'t str,
    found: RefCell<Vec<ManifestError>>,
}

impl<'t> Faults<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, found: RefCell::default() }
    }

    /// Keeps a fault at a byte of the text.
    pub(super) fn add(&self, at: usize, key: impl Into<String>, message: impl Into<String>) {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let fault = ManifestError { file: PathBuf::from("model.toml"), key: key.into(), line, message: message.into() };
        self.found.borrow_mut().push(fault);
    }

    /// All faults, in the order of their lines.
    pub(super) fn into_sorted(self) -> Vec<ManifestError> {
        let mut found = self.found.into_inner();
        found.sort_by(|a, b| (a.line, &a.key).cmp(&(b.line, &b.key)));
        found
    }
}

/// A table that is being read; what is not asked for is an unknown key.
pub(super) struct Table<'a> {
    faults: &'a Faults<'a>,
    path: String,
    span: Range<usize>,
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    key: &'a str,
    key_span: Range<usize>,
    value: &'a Spanned<DeValue<'a>>,
    asked: Cell<bool>,
}

/// What a TOML value can be read as.
pub(super) trait FromValue: Sized {
    /// The value, or what is wrong with it.
    fn from_value(value: &DeValue<'_>) -> Result<Self, String>;
}

impl<'a> Table<'a> {
    pub(super) fn new(faults: &'a Faults<'a>, path: String, span: Range<usize>, table: &'a DeTable<'a>) -> Self {
        let entries = table
            .iter()
            .map(|(key, value)| Entry { key: key.get_ref(), key_span: key.span(), value, asked: Cell::new(false) })
            .collect();
        Self { faults, path, span, entries }
    }

    /// The dotted path of `key` in the whole file.
    pub(super) fn path_of(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (_, true) => self.path.clone(),
            _ => format!("{}.{key}", self.path),
        }
    }

    /// Keeps a fault at the place of `key`, or of the table where the key is absent.
    pub(super) fn fault(&self, key: &str, message: impl Into<String>) {
        let at = self.entries.iter().find(|entry| entry.key == key).map_or(self.span.start, |e| e.key_span.start);
        self.faults.add(at, self.path_of(key), message);
    }

    fn entry(&self, key: &str) -> Option<&Entry<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        entry.asked.set(true);
        Some(entry)
    }

    /// The value of a key that may be absent. `None` also where it was wrong, which is then kept as a fault.
    pub(super) fn optional<T: FromValue>(&self, key: &str) -> Option<T> {
        let entry = self.entry(key)?;
        match T::from_value(entry.value.get_ref()) {
            Ok(value) => Some(value),
            Err(message) => {
                self.fault(key, message);
                None
            }
        }
    }

    /// The value of a key that must be there.
    pub(super) fn required<T: FromValue>(&self, key: &str) -> Option<T> {
        if self.entry(key).is_none() {
            self.fault(key, "is missing");
            return None;
        }
        self.optional(key)
    }

    /// As [`Self::optional`], kept only where `check` finds no fault in it.
    pub(super) fn optional_checked<T: FromValue>(
        &self,
        key: &str,
        check: impl Fn(&T) -> Result<(), String>,
    ) -> Option<T> {
        let value = self.optional(key)?;
        match check(&value) {
            Ok(()) => Some(value),
            Err(message) => {
                self.fault(key, message);
                None
            }
        }
    }

    /// As [`Self::required`], kept only where `check` finds no fault in it.
    pub(super) fn required_checked<T: FromValue>(
        &self,
        key: &str,
        check: impl Fn(&T) -> Result<(), String>,
    ) -> Option<T> {
        if self.entry(key).is_none() {
            self.fault(key, "is missing");
            return None;
        }
        self.optional_checked(key, check)
    }

    /// A key that holds one of a few words.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let word: String = self.optional(key)?;
        let found = words.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
            self.fault(key, format!("«{word}» is not one of {}", names.join(", ")));
        }
        found
    }

    /// As [`Self::word`] for a key that must be there.
    pub(super) fn required_word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        if self.entry(key).is_none() {
            self.fault(key, "is missing");
            return None;
        }
        self.word(key, words)
    }

    /// A table within this one.
    pub(super) fn table(&self, key: &str) -> Option<Table<'a>> {
        let entry = self.entry(key)?;
        let DeValue::Table(table) = entry.value.get_ref() else {
            self.fault(key, format!("must be a table, it is {}", entry.value.get_ref().type_str()));
            return None;
        };
        Some(Table::new(self.faults, self.path_of(key), entry.key_span.clone(), table))
    }

    /// As [`Self::table`] for one that must be there.
    pub(super) fn required_table(&self, key: &str) -> Option<Table<'a>> {
        if self.entry(key).is_none() {
            self.fault(key, "the table is missing");
            return None;
        }
        self.table(key)
    }

    /// The tables of an array `[[key]]` that must hold at least one.
    pub(super) fn tables(&self, key: &str) -> Vec<Table<'a>> {
        let Some(entry) = self.entry(key) else {
            self.fault(key, format!("is missing: write at least one [[{}]]", self.path_of(key)));
            return Vec::new();
        };
        let DeValue::Array(array) = entry.value.get_ref() else {
            self.fault(key, format!("must be an array of tables, it is {}", entry.value.get_ref().type_str()));
            return Vec::new();
        };
        if array.is_empty() {
            self.fault(key, "must hold at least one table");
        }
        self.members(key, array)
    }

    /// As [`Self::tables`] for an array that may be absent.
    pub(super) fn optional_tables(&self, key: &str) -> Vec<Table<'a>> {
        if self.has(key) { self.tables(key) } else { Vec::new() }
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Whether the value of a key is a table.
    pub(super) fn is_table(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key && matches!(entry.value.get_ref(), DeValue::Table(_)))
    }

    /// The text of a key before it is read, where it is one.
    pub(super) fn peek(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.key == key)?.value.get_ref().as_str()
    }

    /// How many members the array of a key has; 0 where there is none.
    pub(super) fn count(&self, key: &str) -> usize {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry.and_then(|entry| entry.value.get_ref().as_array()).map_or(0, |array| array.len())
    }

    fn members(&self, key: &str, array: &'a DeArray<'a>) -> Vec<Table<'a>> {
        let mut tables = Vec::new();
        for (index, member) in array.iter().enumerate() {
            let path = format!("{}[{index}]", self.path_of(key));
            match member.get_ref() {
                DeValue::Table(table) => tables.push(Table::new(self.faults, path, member.span(), table)),
                other => {
                    self.faults.add(member.span().start, path, format!("must be a table, it is {}", other.type_str()))
                }
            }
        }
        tables
    }

    /// Keeps a fault for every key that nothing asked for.
    pub(super) fn finish(self) {
        for entry in self.entries.iter().filter(|entry| !entry.asked.get()) {
            self.fault(entry.key, "unknown key");
        }
    }
}

fn wrong_type(expected: &str, value: &DeValue<'_>) -> String {
    format!("must be {expected}, it is {}", value.type_str())
}

impl FromValue for String {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(|| wrong_type("a string", value))?;
        if text.trim().is_empty() {
            return Err("must not be empty".to_owned());
        }
        if text.contains(|c: char| c.is_control() || c == '\\') {
            return Err("must not hold control characters or backslashes".to_owned());
        }
        Ok(text.to_owned())
    }
}

impl FromValue for bool {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| wrong_type("true or false", value))
    }
}

impl FromValue for i64 {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let number = value.as_integer().ok_or_else(|| wrong_type("an integer", value))?;
        Self::from_str_radix(number.as_str(), number.radix()).map_err(|_| "the integer is too large".to_owned())
    }
}

impl FromValue for u64 {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        Self::try_from(i64::from_value(value)?).map_err(|_| "must not be negative".to_owned())
    }
}

impl FromValue for usize {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        Self::try_from(i64::from_value(value)?).map_err(|_| "must not be negative".to_owned())
    }
}

impl FromValue for f64 {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let number = match (value.as_float(), value.as_integer()) {
            (Some(float), _) => float.as_str().parse().map_err(|_| "is not a number".to_owned())?,
            (None, Some(_)) => i64::from_value(value)?.to_string().parse().map_err(|_| "is not a number".to_owned())?,
            (None, None) => return Err(wrong_type("a number", value)),
        };
        if Self::is_finite(number) { Ok(number) } else { Err("must be a finite number".to_owned()) }
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let array = value.as_array().ok_or_else(|| wrong_type("an array", value))?;
        let read = |(index, member): (usize, &Spanned<DeValue<'_>>)| {
            T::from_value(member.get_ref()).map_err(|message| format!("[{index}] {message}"))
        };
        array.iter().enumerate().map(read).collect()
    }
}

impl<T: FromValue, const N: usize> FromValue for [T; N] {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let values = Vec::<T>::from_value(value)?;
        let count = values.len();
        values.try_into().map_err(|_| format!("must hold {N} values, it holds {count}"))
    }
}

impl FromValue for crate::dicom::code::CodedConcept {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        Self::try_from(String::from_value(value)?)
    }
}

impl FromValue for crate::inference::prefer::Preference {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        Self::parse(&String::from_value(value)?)
    }
}

impl FromValue for crate::dicom::uid::SopClassUid {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        Self::parse(&String::from_value(value)?).map_err(|error| error.to_string())
    }
}
