//! Text that every character repertoire holds: what overread writes itself is ASCII, so that it can stand beside names in
//! the repertoire of the source (PS3.3 C.12.1.1.2).

/// `text` in printable ASCII without backslashes, at most `most` characters, cut with `...`.
///
/// Typographic signs get their usual spelling; any other sign outside ASCII becomes `?`; line breaks become spaces.
#[must_use]
pub fn plain(text: &str, most: usize) -> String {
    let mut plain = String::with_capacity(text.len());
    for sign in text.trim().chars() {
        match sign {
            '\\' => plain.push('/'),
            ' '..='~' => plain.push(sign),
            other => plain.push_str(spelling(other).unwrap_or("?")),
        }
    }
    if plain.len() > most {
        plain.truncate(most.saturating_sub(3));
        plain.truncate(plain.trim_end().len());
        plain.push_str("...");
    }
    plain
}

/// A person name component group: [`plain`] without the signs that divide names (PS3.5 section 6.2, VR PN).
#[must_use]
pub fn plain_name(text: &str) -> String {
    plain(text, 64).replace(['^', '='], " ")
}

/// How a typographic sign is spelled in ASCII, where it has a usual spelling.
pub(super) const fn spelling(sign: char) -> Option<&'static str> {
    Some(match sign {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => "-",
        '\u{2018}' | '\u{2019}' => "'",
        '\u{201c}' | '\u{201d}' | '\u{ab}' | '\u{bb}' => "\"",
        '\u{2026}' => "...",
        '\u{b1}' => "+/-",
        '\u{b2}' => "2",
        '\u{b3}' => "3",
        '\u{b5}' | '\u{3bc}' => "u",
        // Without a blank: a word stays one word.
        '\u{b0}' => "deg",
        '\u{d7}' => "x",
        '\u{2264}' => "<=",
        '\u{2265}' => ">=",
        '\t' | '\n' | '\r' | '\u{a0}' | '\u{202f}' => " ",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typographic_signs_are_spelled_and_the_rest_is_marked() {
        assert_eq!(plain("5\u{a0}cm³ – «лёгкое» C:\\x", 64), "5 cm3 - \"??????\" C:/x");
    }

    #[test]
    fn long_text_is_cut_to_the_length_allowed() {
        let cut = plain(&"four ".repeat(30), 64);
        assert!(cut.len() <= 64 && cut.ends_with("four f..."), "{cut}");
    }
}
