//! `inference.json`: components with a `_target_`, and references such as `@preprocessing` or `%roi`; expressions (`$…`) are
//! Python and are not read.

use serde_json::{Map, Value};

use super::text::comment;

/// References that lead on to references end here.
const LONGEST_CHAIN: usize = 16;

/// The whole file.
pub(super) struct Config<'b>(pub(super) &'b Value);

/// One component, such as a transform.
pub(super) struct Component<'b> {
    /// The last part of `_target_`: `Spacingd`.
    pub(super) target: &'b str,
    config: &'b Config<'b>,
    parameters: &'b Map<String, Value>,
}

/// Keys that change nothing of what a component computes for the image.
const WITHOUT_MEANING: [&str; 5] = ["_target_", "_desc_", "keys", "allow_missing_keys", "dtype"];

impl<'b> Config<'b> {
    /// What a reference leads to; any other value is itself.
    pub(super) fn resolved(&'b self, value: &'b Value) -> Option<&'b Value> {
        let mut value = value;
        for _ in 0..LONGEST_CHAIN {
            let Some(text) = value.as_str() else { return Some(value) };
            if text.starts_with('$') {
                return None;
            }
            let Some(path) = text.strip_prefix('@').or_else(|| text.strip_prefix('%')) else { return Some(value) };
            value = self.at(path)?;
        }
        None
    }

    fn at(&self, path: &str) -> Option<&'b Value> {
        let path = path.replace("::", "#");
        path.split('#').try_fold(self.0, |value, part| match value {
            Value::Array(list) => list.get(part.parse::<usize>().ok()?),
            value => value.get(part),
        })
    }

    /// The component under a key of the file.
    pub(super) fn component(&'b self, key: &str) -> Option<Component<'b>> {
        self.of(self.0.get(key)?)
    }

    fn of(&'b self, value: &'b Value) -> Option<Component<'b>> {
        let parameters = self.resolved(value)?.as_object()?;
        let target = parameters.get("_target_")?.as_str()?;
        Some(Component { target: target.rsplit('.').next().unwrap_or(target), config: self, parameters })
    }

    /// The transforms of a `Compose` under a key, without those that are switched off. `Err`: there is something, and it is no
    /// such list.
    pub(super) fn transforms(&'b self, key: &str) -> Result<Vec<Component<'b>>, String> {
        let Some(value) = self.0.get(key) else { return Ok(Vec::new()) };
        let wrong = || comment(&format!("{key}: {value}"));
        let compose = self.of(value).filter(|component| component.target == "Compose").ok_or_else(wrong)?;
        let list = compose.get("transforms").and_then(Value::as_array).ok_or_else(wrong)?;
        let all: Vec<_> = list.iter().map(|value| self.of(value).ok_or_else(wrong)).collect::<Result<_, _>>()?;
        Ok(all.into_iter().filter(|component| component.get("_disabled_") != Some(&Value::Bool(true))).collect())
    }
}

impl<'b> Component<'b> {
    /// A parameter, references resolved. `null` is as good as absent.
    pub(super) fn get(&self, key: &str) -> Option<&'b Value> {
        self.config.resolved(self.parameters.get(key)?).filter(|value| !value.is_null())
    }

    /// A number.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_f64()
    }

    /// A switch that is off where it is absent.
    pub(super) fn is_on(&self, key: &str) -> bool {
        matches!(self.scalar(key), Some(Value::Bool(true)))
    }

    /// A parameter that may be given once for all keys or as a list, one for each: that of the first key.
    pub(super) fn scalar(&self, key: &str) -> Option<&'b Value> {
        match self.get(key)? {
            Value::Array(list) => list.first(),
            value => Some(value),
        }
    }

    /// A word, as [`Self::scalar`].
    pub(super) fn word(&self, key: &str) -> Option<&'b str> {
        self.scalar(key)?.as_str()
    }

    /// Whether every parameter that is given is one of these, and none is an expression.
    pub(super) fn has_only(&self, known: &[&str]) -> bool {
        self.parameters.iter().all(|(key, value)| {
            let ignored = WITHOUT_MEANING.contains(&key.as_str()) || value.is_null() || key == "_disabled_";
            ignored || (known.contains(&key.as_str()) && self.config.resolved(value).is_some())
        })
    }

    /// For a comment.
    pub(super) fn shown(&self) -> String {
        let parameters = self.parameters.iter().filter(|(key, _)| *key != "_target_" && *key != "keys");
        let parameters: Vec<_> = parameters.map(|(key, value)| format!("{key}={value}")).collect();
        comment(&format!("{}({})", self.target, parameters.join(", ")))
    }
}
