//! How far two predictions for the same series lie apart: two devices, two versions, two machines.

use super::prediction::{LabelMap, Measurement, MeasurementGroup, Prediction};

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
        let same_verdict = one.verdict == other.verdict;
        Self { same_verdict, differing_voxels, dice: dice.unwrap_or_default(), measurements }
    }

    /// The largest |a − b| / max(1, |a|) of all measurements; infinite where only one has a value.
    #[must_use]
    pub fn largest_relative(&self) -> f64 {
        let distance = |(_, one, other): &(String, Option<f64>, Option<f64>)| match (one, other) {
            (Some(one), Some(other)) => (one - other).abs() / one.abs().max(1.0),
            (None, None) => 0.0,
            _ => f64::INFINITY,
        };
        self.measurements.iter().map(distance).fold(0.0, f64::max)
    }

    /// Whether the predictions agree: the same verdict, every Dice at least `least_dice`, every number within `tolerance`.
    #[must_use]
    pub fn within(&self, least_dice: f64, tolerance: f64) -> bool {
        self.same_verdict
            && self.differing_voxels.is_some()
            && self.dice.iter().all(|(_, dice)| *dice >= least_dice)
            && self.largest_relative() <= tolerance
    }
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
    use crate::inference::prediction::{Segment, Verdict};

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
        let unsuitable = Prediction { label_map: None, ..one.clone() };
        assert!(!Difference::between(&one, &unsuitable).within(0.0, 1e9));
    }
}
