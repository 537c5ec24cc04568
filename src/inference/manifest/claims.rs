//! What a manifest says of its name and of the files beside it, read from its text alone: faults elsewhere hide none of it.

use toml::de::{DeArray, DeTable, DeValue};

use super::sections::{path_inside, sha256_hex, stable_word};

/// A file that a manifest names, and what it says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::inference) struct FileClaim {
    /// Within the package's folder.
    pub(in crate::inference) name: String,
    /// SHA-256 that it should have, lower-case hex.
    pub(in crate::inference) sha256: String,
    /// The key of that, and its line from 1.
    pub(in crate::inference) key: (String, usize),
}

/// What can be held against the folder. What is missing in the manifest, or malformed, is missing here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::inference) struct Claims {
    /// The package's name, and its line.
    pub(in crate::inference) name: Option<(String, usize)>,
    /// Weights and tokenizer.
    pub(in crate::inference) files: Vec<FileClaim>,
    /// The golden case, and its line.
    pub(in crate::inference) golden: Option<(String, usize)>,
}

impl Claims {
    /// Nothing of a text that is no TOML.
    pub(in crate::inference) fn of(text: &str) -> Self {
        let (document, syntax) = DeTable::parse_recoverable(text);
        if !syntax.is_empty() {
            return Self::default();
        }
        let (reader, top) = (Reader { text }, document.get_ref());
        let files = match entry(top, "modules") {
            Some((_, DeValue::Array(modules))) => reader.modules(modules),
            Some(_) => Vec::new(),
            None => reader.file(top, "weights", Some("model.pt"), "sha256", "").into_iter().collect(),
        };
        let text_output = table(top, "output").and_then(|output| table(output, "text"));
        let tokenizer =
            text_output.and_then(|output| reader.file(output, "tokenizer", None, "tokenizer_sha256", "output.text."));
        Self {
            name: reader.text(top, "name", stable_word),
            files: files.into_iter().chain(tokenizer).collect(),
            golden: table(top, "golden").and_then(|golden| reader.text(golden, "case", path_inside)),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }

    /// A text in which `check` finds no fault, and its line.
    fn text(&self, table: &DeTable<'_>, key: &str, check: fn(&str) -> Result<(), String>) -> Option<(String, usize)> {
        let (at, value) = entry(table, key)?;
        let text = value.as_str().filter(|text| check(text).is_ok())?;
        Some((text.to_owned(), self.line(at)))
    }

    /// A file by the keys of its name and of its hash; `otherwise`: its name where none is given.
    fn file(
        &self,
        table: &DeTable<'_>,
        name: &str,
        otherwise: Option<&str>,
        sha256: &str,
        above: &str,
    ) -> Option<FileClaim> {
        let given = self.text(table, name, path_inside).map(|(name, _)| name);
        let absent = entry(table, name).is_none();
        let name = given.or_else(|| otherwise.filter(|_| absent).map(str::to_owned))?;
        let (hash, line) = self.text(table, sha256, sha256_hex)?;
        Some(FileClaim { name, sha256: hash, key: (format!("{above}{sha256}"), line) })
    }

    fn modules(&self, modules: &DeArray<'_>) -> Vec<FileClaim> {
        let file = |(index, module): (usize, &toml::Spanned<DeValue<'_>>)| match module.get_ref() {
            DeValue::Table(module) => self.file(module, "weights", None, "sha256", &format!("modules[{index}].")),
            _ => None,
        };
        modules.iter().enumerate().filter_map(file).collect()
    }
}

/// The place of a key, and its value.
fn entry<'a>(table: &'a DeTable<'a>, name: &str) -> Option<(usize, &'a DeValue<'a>)> {
    let found = table.iter().find(|(key, _)| &**key.get_ref() == name);
    found.map(|(key, value)| (key.span().start, value.get_ref()))
}

fn table<'a>(above: &'a DeTable<'a>, name: &str) -> Option<&'a DeTable<'a>> {
    match entry(above, name) {
        Some((_, DeValue::Table(table))) => Some(table),
        _ => None,
    }
}
