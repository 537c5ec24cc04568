//! Which of several series of a study a model reads rather than the others: an order of their facts. Pure.

use std::cmp::Ordering;

use crate::dicom::wildcard::wildcard_matches;
use crate::volume::SeriesFacts;
use crate::volume::facts::StackFacts;

/// One of the words of `accepts.prefer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preference {
    /// `thin-slices`: the smaller of what is larger in each series, the distance between its slices or Slice Thickness
    /// (0018,0050), to a hundredth of a millimetre. A projection of 10 mm every 2 mm is thick.
    ThinSlices,
    /// `many-slices`: more slices that are there.
    ManySlices,
    /// `original`: Image Types (0008,0008) that all begin with ORIGINAL.
    Original,
    /// `kernel:…`: Convolution Kernels (0018,1210) that all fit one of these patterns.
    Kernel(Vec<String>),
    /// `description:…`: a Series Description (0008,103E) that fits one of these patterns.
    Description(Vec<String>),
}

/// What stacks of slices are preferred by where the manifest does not say.
pub(super) static OF_STACKS: [Preference; 2] = [Preference::ThinSlices, Preference::ManySlices];

impl Preference {
    /// As written in a manifest.
    ///
    /// # Errors
    /// The words that are known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let patterns = |text: &str| -> Result<Vec<String>, String> {
            let patterns: Vec<String> = text.split('|').map(|pattern| pattern.trim().to_owned()).collect();
            if patterns.iter().any(String::is_empty) {
                return Err(format!("«{text}» holds an empty pattern"));
            }
            Ok(patterns)
        };
        match text.split_once(':') {
            Some(("kernel", of)) => patterns(of).map(Self::Kernel),
            Some(("description", of)) => patterns(of).map(Self::Description),
            _ => match text {
                "thin-slices" => Ok(Self::ThinSlices),
                "many-slices" => Ok(Self::ManySlices),
                "original" => Ok(Self::Original),
                other => Err(format!(
                    "«{other}» is not one of thin-slices, many-slices, original, kernel:PATTERN|PATTERN, \
                     description:PATTERN|PATTERN"
                )),
            },
        }
    }

    /// Whether it speaks of a stack of slices, which a radiograph is not.
    #[must_use]
    pub const fn is_of_stacks(&self) -> bool {
        matches!(self, Self::ThinSlices | Self::ManySlices | Self::Kernel(_))
    }

    /// `Less` where the first series is preferred by this, `Greater` where the second is.
    fn compare(&self, one: &SeriesFacts, other: &SeriesFacts) -> Ordering {
        match self {
            Self::ThinSlices => thickness(one).0.cmp(&thickness(other).0),
            Self::ManySlices => slices(other).cmp(&slices(one)),
            Self::Original | Self::Kernel(_) | Self::Description(_) => self.is_met(other).cmp(&self.is_met(one)),
        }
    }

    /// Whether a series is what is asked for, where that is yes or no.
    fn is_met(&self, facts: &SeriesFacts) -> bool {
        let fits = |patterns: &[String], value: &str| patterns.iter().any(|pattern| wildcard_matches(pattern, value));
        match self {
            Self::ThinSlices | Self::ManySlices => false,
            Self::Original => {
                let original = |types: &String| types.split('\\').next() == Some("ORIGINAL");
                !facts.image_types.is_empty() && facts.image_types.iter().all(original)
            }
            Self::Kernel(patterns) => {
                // Some makers give more than the name: «Br40d\3».
                let named = |kernel: &String| kernel.split('\\').any(|value| fits(patterns, value.trim()));
                !facts.kernels.is_empty() && facts.kernels.iter().all(named)
            }
            Self::Description(patterns) => fits(patterns, facts.series_description.as_deref().unwrap_or_default()),
        }
    }

    /// By what `preferred` goes first, in words. `other` is what the second series is called: this one, that one.
    fn told(&self, preferred: &SeriesFacts, second: &SeriesFacts, other: &str) -> String {
        match self {
            Self::ThinSlices => match (thickness(preferred), thickness(second)) {
                (Thickness(one, Measure::Distance), Thickness(two, Measure::Distance)) => {
                    format!("its slices lie {} apart, {other}'s {}", mm(one), mm(two))
                }
                (one, two) => format!("its slices {one}, {other}'s {two}"),
            },
            Self::ManySlices => format!("it has {} slices, {other} {}", slices(preferred), slices(second)),
            Self::Original => format!("its images are original, {other}'s are derived"),
            Self::Kernel(_) => {
                let (one, two) = (named(kernels(preferred)), named(kernels(second)));
                format!("its convolution kernel is one of those that are preferred ({one}), {other}'s is not ({two})")
            }
            Self::Description(_) => {
                let description = |facts: &SeriesFacts| named(facts.series_description.clone().unwrap_or_default());
                let (one, two) = (description(preferred), description(second));
                format!("its description is one of those that are preferred ({one}), {other}'s is not ({two})")
            }
        }
    }
}

/// Which of two series goes first by the first word of `order` that tells them apart: `Less` for the first, `Equal` where
/// none does.
#[must_use]
pub fn compare(order: &[Preference], one: &SeriesFacts, other: &SeriesFacts) -> Ordering {
    order.iter().map(|preference| preference.compare(one, other)).find(|found| found.is_ne()).unwrap_or(Ordering::Equal)
}

/// By what `preferred` goes before `second`, in words; `other` is what the second series is called: this one, that one.
/// Nothing where no word of `order` tells them apart.
#[must_use]
pub fn difference(order: &[Preference], preferred: &SeriesFacts, second: &SeriesFacts, other: &str) -> Option<String> {
    let first = order.iter().find(|preference| preference.compare(preferred, second).is_ne())?;
    Some(first.told(preferred, second, other))
}

/// How thick slices are, in hundredths of a millimetre, and by what. What is not known is thicker than all.
#[derive(Debug, Clone, Copy)]
struct Thickness(u32, Measure);

#[derive(Debug, Clone, Copy)]
enum Measure {
    Distance,
    Thickness,
}

impl std::fmt::Display for Thickness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.1 {
            Measure::Distance => write!(f, "lie {} apart", mm(self.0)),
            Measure::Thickness => write!(f, "are {} thick", mm(self.0)),
        }
    }
}

fn thickness(facts: &SeriesFacts) -> Thickness {
    let hundredths = |mm: f64| if mm.is_finite() { (mm * 100.0).round() as u32 } else { u32::MAX };
    let distance = facts.stack.as_ref().map_or(u32::MAX, |stack| hundredths(stack.spacing[0]));
    let thickness = facts.slice_thickness.map_or(0, hundredths);
    if thickness > distance { Thickness(thickness, Measure::Thickness) } else { Thickness(distance, Measure::Distance) }
}

fn mm(hundredths: u32) -> String {
    if hundredths == u32::MAX {
        return "an unknown distance".to_owned();
    }
    format!("{} mm", f64::from(hundredths) / 100.0)
}

fn slices(facts: &SeriesFacts) -> usize {
    facts.stack.as_ref().map_or(0, StackFacts::present)
}

fn kernels(facts: &SeriesFacts) -> String {
    facts.kernels.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn named(value: String) -> String {
    if value.is_empty() { "not named".to_owned() } else { value }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::volume::Refusal;
    use crate::volume::facts::Orientation;

    fn facts() -> SeriesFacts {
        SeriesFacts {
            modality: Some("CT".to_owned()),
            sop_class_uids: std::collections::BTreeSet::new(),
            instances: 100,
            image_types: ["ORIGINAL\\PRIMARY\\AXIAL".to_owned()].into(),
            body_part_examined: None,
            study_description: None,
            series_description: Some("Thorax 5.0".to_owned()),
            protocol_name: None,
            patient_position: None,
            kernels: ["B30f".to_owned()].into(),
            slice_thickness: Some(5.0),
            contrast_agent: None,
            kvp: None,
            manufacturer: None,
            manufacturer_model_name: None,
            lossy: false,
            pixel_padding: false,
            stack: Ok(stack(5.0, 60)),
        }
    }

    fn stack(spacing: f64, slices: usize) -> StackFacts {
        StackFacts {
            orientation: Orientation::Axial,
            spacing: [spacing, 0.7, 0.7],
            size: [512, 512],
            slices,
            missing_share: 0.0,
            extent: 300.0,
        }
    }

    /// A CT whose slices lie so far apart, are so thick, and are so many.
    pub(crate) fn slices_of(spacing: f64, thickness: f64, slices: usize) -> SeriesFacts {
        SeriesFacts { slice_thickness: Some(thickness), stack: Ok(stack(spacing, slices)), ..facts() }
    }

    fn order(words: &[&str]) -> Vec<Preference> {
        words.iter().map(|word| Preference::parse(word).unwrap()).collect()
    }

    /// The first goes before the second, the second after the first, for this reason.
    fn assert_first(words: &[&str], first: &SeriesFacts, second: &SeriesFacts, reason: &str) {
        let order = order(words);
        assert_eq!(compare(&order, first, second), Ordering::Less);
        assert_eq!(compare(&order, second, first), Ordering::Greater);
        assert_eq!(compare(&order, first, first), Ordering::Equal);
        assert_eq!(difference(&order, first, second, "this one").as_deref(), Some(reason));
    }

    #[test]
    fn thin_slices_go_by_distance_and_thickness_whichever_is_larger() {
        let (thin, thick) = (slices_of(1.0, 1.0, 300), slices_of(5.0, 5.0, 60));
        assert_first(&["thin-slices"], &thin, &thick, "its slices lie 1 mm apart, this one's 5 mm");
        let projection = slices_of(0.5, 10.0, 600);
        assert_first(&["thin-slices"], &thin, &projection, "its slices lie 1 mm apart, this one's are 10 mm thick");
        let overlapping = slices_of(0.7, 0.75, 400);
        assert_first(&["thin-slices"], &overlapping, &thin, "its slices are 0.75 mm thick, this one's lie 1 mm apart");
        let sparse = slices_of(10.0, 1.0, 30);
        assert_first(&["thin-slices"], &thick, &sparse, "its slices lie 5 mm apart, this one's 10 mm");
        // Positions that were rounded when they were written are no difference.
        let (one, other) = (slices_of(1.000_004, 1.0, 300), slices_of(0.999_998, 1.0, 300));
        assert_eq!(compare(&OF_STACKS, &one, &other), Ordering::Equal);
        let unknown = SeriesFacts { slice_thickness: None, stack: Err(Refusal::NoGeometry), ..facts() };
        assert_eq!(compare(&OF_STACKS, &sparse, &unknown), Ordering::Less);
    }

    #[test]
    fn many_slices_are_those_that_are_there() {
        let (many, few) = (slices_of(1.0, 1.0, 300), slices_of(1.0, 1.0, 290));
        assert_first(&["thin-slices", "many-slices"], &many, &few, "it has 300 slices, this one 290");
        let gaps = StackFacts { missing_share: 0.04, ..stack(1.0, 300) };
        let gaps = SeriesFacts { stack: Ok(gaps), slice_thickness: Some(1.0), ..facts() };
        assert_first(&["many-slices"], &few, &gaps, "it has 290 slices, this one 288");
    }

    #[test]
    fn original_images_go_before_series_in_which_one_is_derived() {
        let mut derived = facts();
        derived.image_types.insert("DERIVED\\PRIMARY\\AXIAL".to_owned());
        assert_first(&["original"], &facts(), &derived, "its images are original, this one's are derived");
        let silent = SeriesFacts { image_types: std::collections::BTreeSet::new(), ..facts() };
        assert_eq!(compare(&order(&["original"]), &facts(), &silent), Ordering::Less);
    }

    #[test]
    fn kernels_and_descriptions_go_by_patterns_without_regard_to_case() {
        let sharp = SeriesFacts { kernels: ["B70f".to_owned()].into(), ..facts() };
        let soft = "kernel:STANDARD|b3*";
        let reason = "its convolution kernel is one of those that are preferred (B30f), this one's is not (B70f)";
        assert_first(&[soft], &facts(), &sharp, reason);
        let both = SeriesFacts { kernels: ["B30f".to_owned(), "B70f".to_owned()].into(), ..facts() };
        assert_eq!(compare(&order(&[soft]), &facts(), &both), Ordering::Less);
        let of_two_values = SeriesFacts { kernels: ["Br36d\\3".to_owned()].into(), ..facts() };
        assert_eq!(compare(&order(&["kernel:Br36d"]), &of_two_values, &sharp), Ordering::Less);
        let unnamed = SeriesFacts { kernels: std::collections::BTreeSet::new(), ..facts() };
        assert!(difference(&order(&[soft]), &facts(), &unnamed, "that one").unwrap().ends_with("(not named)"));
        let lung = SeriesFacts { series_description: Some("LUNG 1.0".to_owned()), ..facts() };
        let reason = "its description is one of those that are preferred (LUNG 1.0), this one's is not (Thorax 5.0)";
        assert_first(&["description:*lung*"], &lung, &facts(), reason);
    }

    #[test]
    fn the_first_word_that_tells_them_apart_decides() {
        let sharp_thin = SeriesFacts { kernels: ["B70f".to_owned()].into(), ..slices_of(1.0, 1.0, 300) };
        let soft_thick = slices_of(5.0, 5.0, 60);
        assert_eq!(compare(&order(&["kernel:B3*", "thin-slices"]), &soft_thick, &sharp_thin), Ordering::Less);
        assert_eq!(compare(&order(&["thin-slices", "kernel:B3*"]), &soft_thick, &sharp_thin), Ordering::Greater);
        assert_eq!(compare(&order(&["original", "thin-slices"]), &soft_thick, &sharp_thin), Ordering::Greater);
        assert_eq!(difference(&order(&["original"]), &soft_thick, &sharp_thin, "this one"), None);
    }

    #[test]
    fn words_that_are_not_known_are_told_with_those_that_are() {
        let wrong = Preference::parse("thin").unwrap_err();
        assert!(wrong.starts_with("«thin» is not one of thin-slices, "), "{wrong}");
        for empty in ["kernel:", "description:a||b", "kernel: "] {
            assert!(Preference::parse(empty).unwrap_err().contains("empty pattern"), "{empty}");
        }
        assert_eq!(
            Preference::parse("kernel: B30f | STANDARD").unwrap(),
            Preference::Kernel(vec!["B30f".to_owned(), "STANDARD".to_owned()])
        );
    }
}
