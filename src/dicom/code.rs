//! Coded concepts (PS3.3 section 8, Code Sequence Macro).

use std::borrow::Cow;

use serde::Deserialize;

/// A concept by its code: value, coding scheme designator and meaning.
///
/// In a manifest it is written as `"39607008, SCT, Lung"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CodedConcept {
    /// Code Value (0008,0100), at most 16 characters.
    pub value: Cow<'static, str>,
    /// Coding Scheme Designator (0008,0102), at most 16 characters; private ones begin with `99`.
    pub scheme: Cow<'static, str>,
    /// Code Meaning (0008,0104), at most 64 characters.
    pub meaning: Cow<'static, str>,
}

impl CodedConcept {
    /// A concept known at compile time.
    #[must_use]
    pub const fn new(value: &'static str, scheme: &'static str, meaning: &'static str) -> Self {
        Self { value: Cow::Borrowed(value), scheme: Cow::Borrowed(scheme), meaning: Cow::Borrowed(meaning) }
    }

    /// A private scheme must be declared in the Coding Scheme Identification Sequence.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.scheme.starts_with("99")
    }
}

impl TryFrom<String> for CodedConcept {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = text.splitn(3, ',').map(|part| part.trim().to_owned());
        let (Some(value), Some(scheme), Some(meaning)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!("«{text}» is not a code: write \"value, scheme, meaning\""));
        };
        let fits = |part: &str, most: usize| {
            !part.is_empty() && part.chars().count() <= most && part.is_ascii() && !part.contains('\\')
        };
        if !fits(&value, 16) || !fits(&scheme, 16) || !fits(&meaning, 64) {
            return Err(format!(
                "«{text}» is not a code: value and scheme have 1 to 16 ASCII characters, the meaning 1 to 64, none a backslash"
            ));
        }
        Ok(Self { value: value.into(), scheme: scheme.into(), meaning: meaning.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meaning_may_hold_commas() {
        let code = CodedConcept::try_from("cm3, UCUM, cubic centimeter, exactly".to_owned()).unwrap();
        assert_eq!((&*code.value, &*code.meaning), ("cm3", "cubic centimeter, exactly"));
    }

    #[test]
    fn a_code_value_of_seventeen_characters_is_refused() {
        assert!(CodedConcept::try_from(format!("{}, SCT, x", "1".repeat(17))).is_err());
        assert!(CodedConcept::try_from("only one part".to_owned()).is_err());
    }
}
