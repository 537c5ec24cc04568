//! Reading one table of a configuration: every value is asked for by name, every error is kept, what was not asked for
//! is unknown.

use std::cell::RefCell;
use std::collections::BTreeSet;

use config::{Value, ValueKind};

use super::tree::{ConfigError, Tree, kind_of};

/// Errors found so far, all of them.
#[derive(Debug, Default)]
pub(super) struct Errors(RefCell<Vec<ConfigError>>);

impl Errors {
    pub(super) fn add(&self, tree: &Tree, key: &str, message: impl Into<String>) {
        let error = ConfigError { origin: tree.origin(key), key: key.to_owned(), message: message.into() };
        self.0.borrow_mut().push(error);
    }

    pub(super) fn into_vec(self) -> Vec<ConfigError> {
        self.0.into_inner()
    }
}

/// One table and the keys that were asked of it.
pub(super) struct Section<'a> {
    tree: &'a Tree,
    errors: &'a Errors,
    path: String,
    table: Option<&'a config::Map<String, Value>>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    /// The table at `path`; an absent one has every default.
    pub(super) fn new(tree: &'a Tree, errors: &'a Errors, path: &str, value: Option<&'a Value>) -> Self {
        let table = match value.map(|v| &v.kind) {
            Some(ValueKind::Table(table)) => Some(table),
            Some(_) => {
                errors.add(tree, path, "should be a table");
                None
            }
            None => None,
        };
        Self { tree, errors, path: path.to_owned(), table, asked: RefCell::default() }
    }

    /// The key of this table, such as `peer[0]`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn value(&self, name: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(name);
        self.table?.get(name)
    }

    /// Whether the table has this key.
    pub(super) fn is_given(&self, name: &'static str) -> bool {
        self.value(name).is_some()
    }

    /// Notes that `name` is wrong.
    pub(super) fn wrong(&self, name: &str, message: impl Into<String>) {
        self.errors.add(self.tree, &self.key(name), message);
    }

    /// A table inside this one.
    pub(super) fn section(&self, name: &'static str) -> Section<'a> {
        Section::new(self.tree, self.errors, &self.key(name), self.value(name))
    }

    /// The tables of a list (`[[name]]`).
    pub(super) fn sections(&self, name: &'static str) -> Vec<Section<'a>> {
        let key = self.key(name);
        match self.value(name).map(|v| &v.kind) {
            None => Vec::new(),
            Some(ValueKind::Array(items)) => items
                .iter()
                .enumerate()
                .map(|(n, item)| Section::new(self.tree, self.errors, &format!("{key}[{n}]"), Some(item)))
                .collect(),
            Some(_) => {
                self.wrong(name, format!("should be a list of tables, [[{name}]]"));
                Vec::new()
            }
        }
    }

    /// A text, as `parse` understands it. A wrong one is noted, and the default stands for it; `None` where there is none.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &self,
        name: &'static str,
        default: Option<&str>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name, default)?;
        parse(&text).map_err(|e| self.wrong(name, e.to_string())).ok().or_else(|| parse(default?).ok())
    }

    /// A text.
    pub(super) fn text(&self, name: &'static str, default: Option<&str>) -> Option<String> {
        match self.value(name) {
            None => {
                if default.is_none() {
                    self.wrong(name, "is missing");
                }
                default.map(str::to_owned)
            }
            Some(Value { kind: ValueKind::String(text), .. }) => Some(text.clone()),
            Some(other) => {
                self.wrong(name, format!("should be a text, is {}", kind_of(other)));
                default.map(str::to_owned)
            }
        }
    }

    /// True or false.
    pub(super) fn flag(&self, name: &'static str, default: bool) -> bool {
        let Some(value) = self.value(name) else { return default };
        let understood = match &value.kind {
            ValueKind::Boolean(flag) => Some(*flag),
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        understood.unwrap_or_else(|| {
            self.wrong(name, format!("should be true or false, is {}", kind_of(value)));
            default
        })
    }

    /// A whole number from `least` to `most`.
    pub(super) fn whole(&self, name: &'static str, default: Option<u64>, least: u64, most: u64) -> Option<u64> {
        let Some(value) = self.value(name) else {
            if default.is_none() {
                self.wrong(name, "is missing");
            }
            return default;
        };
        let number = match &value.kind {
            ValueKind::I64(n) => u64::try_from(*n).ok(),
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        if number.is_none_or(|n| n < least || n > most) {
            self.wrong(name, format!("should be a whole number from {least} to {most}, is {}", shown(value)));
            return default;
        }
        number
    }

    /// A list of texts; in an environment variable, separated by commas.
    pub(super) fn texts(&self, name: &'static str, default: &[&str]) -> Vec<String> {
        let Some(value) = self.value(name) else { return default.iter().map(|&t| t.to_owned()).collect() };
        match &value.kind {
            ValueKind::String(text) => text.split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect(),
            ValueKind::Array(items) => items
                .iter()
                .filter_map(|item| match &item.kind {
                    ValueKind::String(text) => Some(text.clone()),
                    _ => {
                        self.wrong(name, format!("should be a list of texts, holds {}", kind_of(item)));
                        None
                    }
                })
                .collect(),
            _ => {
                self.wrong(name, format!("should be a list of texts, is {}", kind_of(value)));
                Vec::new()
            }
        }
    }

    /// A table from names to whole numbers: those that variables set come first, then by name. A variable cannot write a name
    /// in the file's letters, so both may be there.
    pub(super) fn numbers_by_name(&self, name: &'static str) -> Vec<(String, u64)> {
        let Some(value) = self.value(name) else { return Vec::new() };
        let ValueKind::Table(table) = &value.kind else {
            self.wrong(name, format!("should be a table, is {}", kind_of(value)));
            return Vec::new();
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| (!self.tree.is_of_variable(&format!("{}.{key}", self.key(name))), *key));
        entries
            .into_iter()
            .filter_map(|(key, value)| {
                let number = match &value.kind {
                    ValueKind::I64(n) => u64::try_from(*n).ok(),
                    ValueKind::String(text) => text.parse().ok(),
                    _ => None,
                };
                if number.is_none() {
                    self.wrong(&format!("{name}.{key}"), format!("should be a whole number, is {}", shown(value)));
                }
                number.map(|n| (key.clone(), n))
            })
            .collect()
    }

    /// Notes every key that was not asked for. To be called last.
    pub(super) fn note_unknown(&self) {
        let asked = self.asked.borrow();
        for name in self.table.into_iter().flat_map(|table| table.keys()) {
            if !asked.contains(name.as_str()) {
                let known: Vec<&str> = asked.iter().copied().collect();
                self.wrong(name, format!("is unknown; known here: {}", known.join(", ")));
            }
        }
    }
}

fn shown(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => format!("«{text}»"),
        ValueKind::I64(n) => n.to_string(),
        _ => kind_of(value).to_owned(),
    }
}
