//! Application Entity titles (PS3.5 section 6.2, VR AE).

use std::fmt;

/// An Application Entity title: 1 to 16 printable characters, no backslash, outer spaces without meaning.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AeTitle(String);

/// Why a text is not an AE title.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("«{text}» is not an AE title: 1 to 16 printable ASCII characters, no backslash")]
pub struct AeTitleError {
    text: String,
}

impl AeTitle {
    /// Takes an AE title as configured or as it came in an association request (padded with spaces or NULs).
    ///
    /// # Errors
    /// When nothing is left after the padding, or a character or the length is not allowed.
    pub fn parse(text: &str) -> Result<Self, AeTitleError> {
        let title = text.trim_matches([' ', '\0']);
        let printable = title.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'\\');
        if title.is_empty() || title.len() > 16 || !printable {
            return Err(AeTitleError { text: title.chars().filter(|c| !c.is_control()).take(32).collect() });
        }
        Ok(Self(title.to_owned()))
    }

    /// The title without padding.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AeTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_spaces_have_no_meaning() {
        assert_eq!(AeTitle::parse("  PACS \0\0").unwrap().as_str(), "PACS");
    }

    #[test]
    fn seventeen_characters_controls_and_backslashes_are_refused() {
        assert!(AeTitle::parse("ABCDEFGHIJKLMNOPQ").is_err());
        assert!(AeTitle::parse("A\\B").is_err());
        assert!(AeTitle::parse("A\nB").is_err());
        assert!(AeTitle::parse("   ").is_err());
    }
}
