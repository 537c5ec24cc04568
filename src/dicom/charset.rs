//! Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 section 6.1 and annexes H to K).

/// The character repertoires that a data set declares in (0008,0005), in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CharacterSet {
    terms: Vec<String>,
}

impl CharacterSet {
    /// From the value of (0008,0005), padding included. Unknown terms are kept; text in them is read as Latin-1.
    #[must_use]
    pub fn from_value(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let terms: Vec<String> = text.split('\\').map(|t| t.trim_matches([' ', '\0']).to_owned()).collect();
        Self { terms: if terms.iter().all(String::is_empty) { Vec::new() } else { terms } }
    }

    /// The defined terms; empty for the default repertoire.
    #[must_use]
    pub fn terms(&self) -> &[String] {
        &self.terms
    }

    /// Decodes text. Never fails: what cannot be decoded becomes U+FFFD.
    #[must_use]
    pub fn decode(&self, bytes: &[u8]) -> String {
        match self.terms.first().map(String::as_str) {
            Some("ISO_IR 192") => String::from_utf8_lossy(bytes).into_owned(),
            _ => bytes.iter().map(|&b| char::from(b)).collect(),
        }
    }

    /// Encodes text; what the repertoire does not hold becomes `?`.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u8> {
        match self.terms.first().map(String::as_str) {
            Some("ISO_IR 192") => text.as_bytes().to_vec(),
            _ => text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect(),
        }
    }
}
