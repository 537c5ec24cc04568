//! Text in the form in which it is compared: PS3.4 section C.2.2.2.1 lets names match without regard to case.

/// Lower case by Unicode.
#[must_use]
pub fn fold_text(text: &str) -> String {
    text.to_lowercase()
}

/// A person name for comparing: lower case, without the empty components at the end of each group (`^`) and without
/// empty groups at the end (`=`).
#[must_use]
pub fn fold_person_name(name: &str) -> String {
    let groups: Vec<String> =
        name.split('=').map(|group| fold_text(group.trim_matches(' ').trim_end_matches(['^', ' ']))).collect();
    groups.join("=").trim_end_matches('=').to_owned()
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
}
