//! How far two predictions for the same series lie apart: two devices, two versions, two machines.

use super::prediction::{Embedding, LabelMap, Measurement, MeasurementGroup, Prediction};

/// What differs between two predictions of one model for one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Whether both say the same of the series' suitability.
    pub same_verdict: bool,
    /// Voxels whose label differs; `None` where only one has a label map, or their grids differ.
    pub differing_voxels: Option<usize>,
    /// For each segment the Dice coefficient, 1 where both are empty.
    pub dice: Vec<(String, f64)>,
    /// For each measurement its name and both values.
    pub measurements: Vec<(String, Option<f64>, Option<f64>)>,
    /// What else there is, and how far it is off: logits of findings and of slices by |a − b| / max(1, |a|), vectors by the length of
    /// their difference, maps by the largest difference of a voxel; infinite where only one has it.
    pub distances: Vec<(String, f64)>,
    /// Whether both wrote the same, token for token; true where neither writes.
    pub same_text: bool,
}

impl Difference {
    /// Of `one` and `other`. Pure.
    #[must_use]
    pub fn between(one: &Prediction, other: &Prediction) -> Self {
        let maps = match (&one.label_map, &other.label_map) {
            (Some(one), Some(other)) if one.shape == other.shape => Some((one, other)),
            _ => None,
        };
        let both_absent = one.label_map.is_none() && other.label_map.is_none();
        let differing_voxels = match maps {
            Some((one, other)) => Some(one.labels.iter().zip(&other.labels).filter(|(a, b)| a != b).count()),
            None => both_absent.then_some(0),
        };
        let dice = maps.map(|(a, b)| {
            let segments = one.segments.iter().enumerate();
            segments.map(|(index, segment)| (segment.label.clone(), dice(a, b, index + 1))).collect()
        });
        let (left, right) = (named(&one.measurement_groups), named(&other.measurement_groups));
        let mut measurements: Vec<_> = left
            .iter()
            .map(|(name, value)| {
                let found = right.iter().find(|(other, _)| other == name);
                (name.clone(), *value, found.and_then(|(_, value)| *value))
            })
            .collect();
        let lacking = right.into_iter().filter(|(name, _)| !left.iter().any(|(other, _)| other == name));
        measurements.extend(lacking.map(|(name, value)| (name, None, value)));
        Self {
            same_verdict: one.verdict == other.verdict,
            differing_voxels,
            dice: dice.unwrap_or_default(),
            measurements,
            distances: distances(one, other),
            same_text: one.text.as_ref().map(|text| &text.tokens) == other.text.as_ref().map(|text| &text.tokens),
        }
    }

    /// The largest distance, of measurements |a − b| / max(1, |a|); infinite where only one has a value.
    #[must_use]
    pub fn largest_relative(&self) -> f64 {
        let apart = |(_, one, other): &(String, Option<f64>, Option<f64>)| match (one, other) {
            (Some(one), Some(other)) => distance(*one, *other),
            (None, None) => 0.0,
            _ => f64::INFINITY,
        };
        let others = self.distances.iter().map(|(_, distance)| *distance);
        self.measurements.iter().map(apart).chain(others).fold(0.0, f64::max)
    }

    /// Whether the predictions agree: the same verdict, every Dice at least `least_dice`, every number within `tolerance`. Text is not
    /// looked at: [`Self::same_text`] says what to think of it.
    #[must_use]
    pub fn within(&self, least_dice: f64, tolerance: f64) -> bool {
        self.same_verdict
            && self.differing_voxels.is_some()
            && self.dice.iter().all(|(_, dice)| *dice >= least_dice)
            && self.largest_relative() <= tolerance
    }
}

/// In the order of the one, then what only the other has.
fn distances(one: &Prediction, other: &Prediction) -> Vec<(String, f64)> {
    let mut distances = Vec::new();
    let (left, right) = (logits(one), logits(other));
    for (name, value) in &left {
        let found = right.iter().find(|(other, _)| other == name);
        distances.push((name.clone(), found.map_or(f64::INFINITY, |(_, found)| distance(*value, *found))));
    }
    let lacking = right.into_iter().filter(|(name, _)| !left.iter().any(|(other, _)| other == name));
    distances.extend(lacking.map(|(name, _)| (name, f64::INFINITY)));
    for embedding in &one.embeddings {
        let found =
            other.embeddings.iter().find(|other| other.name == embedding.name && other.shape == embedding.shape);
        let apart = found.map_or(f64::INFINITY, |found| lengths(embedding, found));
        distances.push((format!("embedding {}", embedding.name), apart));
    }
    let lacking = other.embeddings.iter().filter(|found| !one.embeddings.iter().any(|one| one.name == found.name));
    distances.extend(lacking.map(|embedding| (format!("embedding {}", embedding.name), f64::INFINITY)));
    match (&one.attention, &other.attention) {
        (None, None) => {}
        (Some(one), Some(other)) if one.shape == other.shape => {
            let apart = one.values.iter().zip(&other.values).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
            distances.push(("attention".to_owned(), apart));
        }
        _ => distances.push(("attention".to_owned(), f64::INFINITY)),
    }
    distances
}

/// Of findings, and of one of them slice by slice.
fn logits(prediction: &Prediction) -> Vec<(String, f64)> {
    let logit = |probability: f64| {
        let probability = probability.clamp(1e-9, 1.0 - 1e-9);
        (probability / (1.0 - probability)).ln()
    };
    let findings = prediction.findings.iter().map(|finding| (finding.label.clone(), logit(finding.probability)));
    let slices = prediction.slice_scores.iter().flat_map(|slices| &slices.scores);
    findings.chain(slices.map(|(slice, probability)| (format!("slice {}", slice + 1), logit(*probability)))).collect()
}

fn distance(one: f64, other: f64) -> f64 {
    (one - other).abs() / one.abs().max(1.0)
}

/// The length of the difference by that of the one.
fn lengths(one: &Embedding, other: &Embedding) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let both = one.values.iter().zip(&other.values);
    let apart = length(&mut both.map(|(a, b)| f64::from(*a) - f64::from(*b)));
    apart / length(&mut one.values.iter().map(|value| f64::from(*value))).max(1e-12)
}

fn named(groups: &[MeasurementGroup]) -> Vec<(String, Option<f64>)> {
    let name = |group: &MeasurementGroup, measurement: &Measurement| format!("{}, {}", group.label, measurement.label);
    groups.iter().flat_map(|group| group.measurements.iter().map(|m| (name(group, m), m.value))).collect()
}

fn dice(one: &LabelMap, other: &LabelMap, label: usize) -> f64 {
    let is = |value: &u8| usize::from(*value) == label;
    let (mut common, mut sum) = (0usize, 0usize);
    for (a, b) in one.labels.iter().zip(&other.labels) {
        common += usize::from(is(a) && is(b));
        sum += usize::from(is(a)) + usize::from(is(b));
    }
    if sum == 0 { 1.0 } else { 2.0 * common as f64 / sum as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::code::CodedConcept;
    use crate::inference::prediction::{Decision, Finding, GeneratedText, Segment, Verdict};

    const LUNG: CodedConcept = CodedConcept::new("39607008", "SCT", "Lung");

    fn prediction(labels: [u8; 4], value: Option<f64>) -> Prediction {
        let segment = |label: &str| Segment {
            label: label.to_owned(),
            category: LUNG,
            property_type: LUNG,
            laterality: None,
            region: None,
            colour: [0; 3],
        };
        let measurement =
            Measurement { label: "Volume".to_owned(), concept: LUNG, derivation: None, unit: LUNG, value };
        Prediction {
            label_map: Some(LabelMap { shape: [1, 2, 2], labels: labels.to_vec() }),
            segments: vec![segment("right"), segment("left")],
            measurement_groups: vec![MeasurementGroup {
                label: "right".to_owned(),
                segment_numbers: vec![1],
                finding: LUNG,
                finding_site: None,
                laterality: None,
                measurements: vec![measurement],
            }],
            ..Prediction::of(Verdict::Suitable)
        }
    }

    #[test]
    fn equal_predictions_differ_in_nothing() {
        let one = prediction([0, 1, 1, 0], Some(5.0));
        let difference = Difference::between(&one, &one);
        assert_eq!(difference.differing_voxels, Some(0));
        assert_eq!(difference.dice, [("right".to_owned(), 1.0), ("left".to_owned(), 1.0)]);
        assert!(difference.within(1.0, 0.0));
    }

    #[test]
    fn each_kind_of_difference_counts() {
        let one = prediction([0, 1, 1, 0], Some(5.0));
        let moved = Difference::between(&one, &prediction([0, 1, 0, 0], Some(5.0)));
        assert_eq!((moved.differing_voxels, moved.dice[0].1), (Some(1), 2.0 / 3.0));
        assert!(!moved.within(0.99, 0.0) && moved.within(0.6, 0.0));
        let number = Difference::between(&one, &prediction([0, 1, 1, 0], Some(5.5)));
        assert!((number.largest_relative() - 0.1).abs() < 1e-12);
        let absent = Difference::between(&one, &prediction([0, 1, 1, 0], None));
        assert!(!absent.within(0.0, 1e9));
        let [scored, other] = [0.5, 0.6].map(|probability| {
            let finding = Finding {
                label: "Nodule".to_owned(),
                concept: LUNG,
                site: None,
                probability,
                threshold: 0.5,
                uncertain: None,
                decision: Decision::Present,
                is_pathology: false,
            };
            let values = vec![3.0, probability as f32];
            let embedding = Embedding { name: "latent".to_owned(), shape: vec![2], values };
            Prediction { findings: vec![finding], embeddings: vec![embedding], ..one.clone() }
        });
        let both = Difference::between(&scored, &other);
        let [(_, logit), (_, latent)] = &both.distances[..] else { panic!("{:?}", both.distances) };
        assert!((logit - 1.5f64.ln()).abs() < 1e-9 && (latent - 0.1 / 9.25f64.sqrt()).abs() < 1e-6, "{both:?}");
        for lacking in [Difference::between(&scored, &one), Difference::between(&one, &scored)] {
            assert!(!lacking.within(0.0, 1e9), "{lacking:?}");
        }
        let text = |token| Some(GeneratedText { text: String::new(), tokens: vec![token] });
        let [one_text, other_text] = [1, 2].map(|token| Prediction { text: text(token), ..one.clone() });
        assert!(both.same_text && !Difference::between(&one_text, &other_text).same_text);
        let unsuitable = Prediction { label_map: None, ..one.clone() };
        assert!(!Difference::between(&one, &unsuitable).within(0.0, 1e9));
    }
}
