//! Text in the form in which it is compared: PS3.4 section C.2.2.2.1 lets names match without regard to case and accents.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{decompose_canonical, decompose_compatible};

/// A person name for comparing: lower case, without accents, without the empty components at the end of each group
/// (`^`) and without empty groups at the end (`=`).
///
/// Each character stays one, so that the wildcard `?` fits what it fitted before.
#[must_use]
pub fn fold_person_name(name: &str) -> String {
    let groups: Vec<String> =
        name.split('=').map(|group| fold_letters(group.trim_matches(' ').trim_end_matches(['^', ' ']))).collect();
    groups.join("=").trim_end_matches('=').to_owned()
}

/// Several names, joined by backslashes, each as [`fold_person_name`] has it.
pub(super) fn fold_person_names(names: &str) -> String {
    names.split('\\').map(fold_person_name).collect::<Vec<_>>().join("\\")
}

fn fold_letters(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut apart = String::with_capacity(text.len());
    for character in text.chars() {
        let keep = |part| {
            if !is_accent(part) {
                apart.push(part);
            }
        };
        // Half-width katakana and full-width letters and digits are other forms of the same; other compatibility
        // forms stay, lest a full-width asterisk become a wildcard.
        match character {
            '\u{FF66}'..='\u{FF9F}' | '０'..='９' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ' => {
                decompose_compatible(character, keep)
            }
            _ => decompose_canonical(character, keep),
        }
    }
    apart.nfc().collect::<String>().to_lowercase().chars().map(plain).collect()
}

/// The marks of European letters, of Hebrew points and of Arabic vowels. Those of Indian scripts, of Thai and of kana
/// make other letters.
fn is_accent(character: char) -> bool {
    matches!(character, '\u{300}'..='\u{36F}' | '\u{591}'..='\u{5C7}' | '\u{64B}'..='\u{65F}')
}

/// Letters that are not composed and yet read as the plain one.
fn plain(character: char) -> char {
    match character {
        'ø' => 'o',
        'ł' => 'l',
        'đ' | 'ð' => 'd',
        'ı' => 'i',
        'ς' => 'σ',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_only_in_case_and_empty_components_are_folded_alike() {
        assert_eq!(fold_person_name("ИВАНОВ^Пётр^^^"), fold_person_name("иванов^пётр"));
        assert_eq!(fold_person_name("Yamada^Tarou=山田^太郎=^^"), "yamada^tarou=山田^太郎");
        assert_ne!(fold_person_name("A^B"), fold_person_name("AB"));
    }

    #[test]
    fn accents_fall_and_letters_of_other_scripts_stay() {
        assert_eq!(fold_person_name("Łódź^JÉRÔME"), "lodz^jerome");
        assert_eq!(fold_person_name("Пётр"), "петр");
        assert_eq!(fold_person_name("ﾔﾏﾀﾞ^ﾀﾛｳ"), fold_person_name("ヤマダ^タロウ"));
        assert_eq!(fold_person_name("김희중"), "김희중");
        assert_ne!(fold_person_name("はは"), fold_person_name("ばば"));
        assert_eq!(fold_person_name("Ａｂ＊"), "ab＊");
        for name in ["Größe", "Æther", "İĞ", "ﾀﾛｳ", "Ivánóv"] {
            assert_eq!(fold_person_name(name).chars().count(), name.chars().count(), "{name}");
        }
    }
}
