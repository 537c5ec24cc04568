//! Words of a bundle as TOML.

use serde_json::Value;

/// A TOML string.
pub(super) fn string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Words that can stand in a comment of one line.
pub(super) fn comment(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let cut: String = plain.chars().take(160).collect();
    if cut.len() < plain.len() { cut + "…" } else { cut }
}

/// Numbers as TOML has them.
pub(super) fn numbers(values: &[f64]) -> String {
    let values: Vec<_> = values.iter().map(f64::to_string).collect();
    format!("[{}]", values.join(", "))
}

/// The numbers of an array of exactly `count`.
pub(super) fn as_numbers(value: &Value, count: usize) -> Option<Vec<f64>> {
    let values: Vec<f64> = value.as_array()?.iter().map(Value::as_f64).collect::<Option<_>>()?;
    (values.len() == count).then_some(values)
}
