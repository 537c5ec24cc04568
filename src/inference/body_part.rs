//! Body Part Examined (0018,0015) as it is written: by the defined terms of PS3.16 annex L, in the words of a department, or wrongly.

/// What a series says of its body part, for a model that names some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyPart {
    /// One that the model names, among others perhaps: `PORT CHEST` for `CHEST`.
    Named,
    /// The head or a limb, by its defined term: nobody who scans a chest calls it so.
    Elsewhere,
    /// Another one, or a word that is no defined term.
    Unclear,
}

impl BodyPart {
    /// Compares without regard to case, blanks and other separators; a term counts where it is one of the words too.
    pub(super) fn of(said: &str, named: &[String]) -> Self {
        let whole = compact(said);
        let names = |word: &str| named.iter().any(|name| compact(name) == word);
        let mut words = said.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        if names(&whole) || words.any(|word| names(&word.to_uppercase())) {
            return Self::Named;
        }
        if ELSEWHERE.contains(&whole.as_str()) { Self::Elsewhere } else { Self::Unclear }
    }
}

fn compact(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase).collect()
}

/// Defined terms of PS3.16 table L-1 for the head and the limbs. Neck, abdomen, pelvis, spine, heart and vessels are not among them:
/// a protocol is named after one region and scanned over its neighbours too.
const ELSEWHERE: [&str; 48] = [
    "ANKLE",
    "BRAIN",
    "CALCANEUS",
    "CALF",
    "CHEEK",
    "CIRCLEOFWILLIS",
    "EAR",
    "ELBOW",
    "EXTREMITY",
    "EYE",
    "EYELID",
    "FACE",
    "FEMUR",
    "FIBULA",
    "FINGER",
    "FOOT",
    "FOREARM",
    "HAND",
    "HEAD",
    "HUMERUS",
    "IAC",
    "INTRACRANIAL",
    "JAW",
    "KNEE",
    "LEG",
    "LOWERLEG",
    "LOWERLIMB",
    "MANDIBLE",
    "MASTOID",
    "MAXILLA",
    "MOUTH",
    "NOSE",
    "OPTICCANAL",
    "ORBIT",
    "PAROTID",
    "PATELLA",
    "RADIUS",
    "RADIUSULNA",
    "SELLA",
    "SKULL",
    "THIGH",
    "THUMB",
    "TIBIA",
    "TIBIAFIBULA",
    "TMJ",
    "TOE",
    "ULNA",
    "WRIST",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_part_is_found_among_other_words_and_the_head_and_limbs_are_elsewhere() {
        let named: Vec<String> =
            ["CHEST", "THORAX", "CHESTABDPELVIS", "\u{413}\u{420}\u{423}\u{414}\u{42c}"].map(str::to_owned).into();
        for (said, expected) in [
            ("CHEST", BodyPart::Named),
            ("Thorax ", BodyPart::Named),
            ("PORT CHEST", BodyPart::Named),
            ("CHEST_TO_PELVIS", BodyPart::Named),
            ("CHEST/ABD", BodyPart::Named),
            ("CHEST ABD PELVIS", BodyPart::Named),
            ("Chest, Abdomen and Pelvis", BodyPart::Named),
            ("\u{433}\u{440}\u{443}\u{434}\u{44c}", BodyPart::Named),
            ("HEAD", BodyPart::Elsewhere),
            ("skull", BodyPart::Elsewhere),
            ("LOWER LEG", BodyPart::Elsewhere),
            ("HEAD TO THIGH", BodyPart::Unclear),
            ("ABDOMEN", BodyPart::Unclear),
            ("NECK", BodyPart::Unclear),
            ("BRUSTKORB", BodyPart::Unclear),
            ("CAP", BodyPart::Unclear),
            ("ORCHESTRA", BodyPart::Unclear),
        ] {
            assert_eq!(BodyPart::of(said, &named), expected, "{said}");
        }
    }
}
