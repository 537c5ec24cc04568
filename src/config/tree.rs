//! A configuration as a tree of values, each knowing the file and line or the environment variable that it came from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat, Value, ValueKind};

/// The start of the names of environment variables that set keys.
const PREFIX: &str = "OVERREAD__";

/// Something wrong with a configuration. The operator must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// File and line, or the environment variable.
    pub origin: String,
    /// The key, such as `node.ae_title` or `peer[0].port`; empty when the whole file is meant.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.origin, self.message)
        } else {
            write!(f, "{}: {}: {}", self.origin, self.key, self.message)
        }
    }
}

/// The merged values and where each stands.
#[derive(Debug)]
pub(super) struct Tree {
    root: Value,
    file: PathBuf,
    lines: BTreeMap<String, usize>,
    variables: BTreeMap<String, String>,
}

impl Tree {
    /// Merges a file with the environment variables that begin with `OVERREAD__`; those go first.
    pub(super) fn merge(
        file: &Path,
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Vec<ConfigError>> {
        let whole = |message: String, line: Option<usize>| {
            let origin = line.map_or_else(|| file.display().to_string(), |n| format!("{}:{n}", file.display()));
            ConfigError { origin, key: String::new(), message }
        };
        let (document, syntax) = toml::de::DeTable::parse_recoverable(text);
        if !syntax.is_empty() {
            let wrong = |e: &toml::de::Error| {
                let line = e.span().map(|span| line_of(text, span.start));
                whole(format!("not TOML: {}", e.message()), line)
            };
            return Err(syntax.iter().map(wrong).collect());
        }
        let mut lines = BTreeMap::new();
        note_lines(document.get_ref(), "", text, &mut lines);

        let mut builder = Config::builder().add_source(File::from_str(text, FileFormat::Toml));
        let mut variables = BTreeMap::new();
        for (name, value) in environment {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let key = key_of_variable(rest);
            builder = builder.set_override(&key, value).map_err(|e| {
                vec![ConfigError {
                    origin: format!("environment variable {name}"),
                    key: key.clone(),
                    message: e.to_string(),
                }]
            })?;
            variables.insert(key, name);
        }
        let root =
            builder.build().and_then(Config::try_deserialize::<Value>).map_err(|e| vec![whole(e.to_string(), None)])?;
        Ok(Self { root, file: file.to_owned(), lines, variables })
    }

    pub(super) fn root(&self) -> &Value {
        &self.root
    }

    /// Whether a variable set this key.
    pub(super) fn is_of_variable(&self, key: &str) -> bool {
        self.variables.contains_key(key)
    }

    /// File and line of a key, or the variable that set it; the line of what is around it where it has none itself.
    pub(super) fn origin(&self, key: &str) -> String {
        if let Some(variable) = self.variables.get(key) {
            return format!("environment variable {variable}");
        }
        let mut around = key;
        loop {
            if let Some(line) = self.lines.get(around) {
                return format!("{}:{line}", self.file.display());
            }
            match around.rfind(['.', '[']) {
                Some(at) => around = &around[..at],
                None => return self.file.display().to_string(),
            }
        }
    }
}

/// The variables that set keys, and what is wrong with those that hold no text.
pub(super) fn variables(
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> (Vec<(String, String)>, Vec<ConfigError>) {
    let (mut texts, mut wrong) = (Vec::new(), Vec::new());
    for (name, value) in environment.filter(|(name, _)| name.to_string_lossy().starts_with(PREFIX)) {
        let shown = name.to_string_lossy().into_owned();
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => texts.push((name, value)),
            _ => wrong.push(ConfigError {
                origin: format!("environment variable {shown}"),
                key: String::new(),
                message: "is not UTF-8".to_owned(),
            }),
        }
    }
    (texts, wrong)
}

/// `PEER__0__HOST` is `peer[0].host`.
fn key_of_variable(rest: &str) -> String {
    let mut key = String::new();
    for part in rest.split("__") {
        if !key.is_empty() && !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
            key.push_str(&format!("[{part}]"));
        } else {
            if !key.is_empty() {
                key.push('.');
            }
            key.push_str(&part.to_ascii_lowercase());
        }
    }
    key
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&b| b == b'\n').count()
}

fn note_lines(table: &toml::de::DeTable<'_>, above: &str, text: &str, lines: &mut BTreeMap<String, usize>) {
    for (name, value) in table {
        let key = if above.is_empty() { name.get_ref().to_string() } else { format!("{above}.{}", name.get_ref()) };
        lines.insert(key.clone(), line_of(text, name.span().start));
        note_lines_of_value(value, &key, text, lines);
    }
}

fn note_lines_of_value(
    value: &toml::Spanned<toml::de::DeValue<'_>>,
    key: &str,
    text: &str,
    lines: &mut BTreeMap<String, usize>,
) {
    match value.get_ref() {
        toml::de::DeValue::Table(table) => note_lines(table, key, text, lines),
        toml::de::DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let key = format!("{key}[{index}]");
                lines.insert(key.clone(), line_of(text, item.span().start));
                note_lines_of_value(item, &key, text, lines);
            }
        }
        _ => {}
    }
}

/// What a value is, in words for an error message.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value.kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => "a whole number",
        ValueKind::Float(_) => "a number",
        ValueKind::String(_) => "a text",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_name_keys_and_places_in_lists() {
        assert_eq!(key_of_variable("NODE__AE_TITLE"), "node.ae_title");
        assert_eq!(key_of_variable("PEER__0__HOST"), "peer[0].host");
        assert_eq!(key_of_variable("COMPLETENESS__QUIET_BY_MODALITY__CT"), "completeness.quiet_by_modality.ct");
    }

    #[test]
    fn a_variable_that_is_no_text_is_an_error_and_one_of_others_is_not() {
        use std::os::unix::ffi::OsStringExt;
        let latin = || OsString::from_vec(b"M\xfcller".to_vec());
        let name = |text: &str| OsString::from(text);
        let environment = [
            (name("OVERREAD__NODE__AE_TITLE"), latin()),
            (name("OVERREAD__NODE__DATA"), name("there")),
            (name("LESSOPEN"), latin()),
        ];
        let (texts, wrong) = variables(environment.into_iter());
        assert_eq!(texts, [("OVERREAD__NODE__DATA".to_owned(), "there".to_owned())]);
        let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        assert_eq!(wrong, ["environment variable OVERREAD__NODE__AE_TITLE: is not UTF-8"]);
    }
}
