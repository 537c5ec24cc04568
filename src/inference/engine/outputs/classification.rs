//! Findings from logits or probabilities.

use tch::{Kind, Tensor};

use super::super::fault::Fault;
use super::to_vec;
use crate::inference::manifest::{Activation, ClassLabel, ClassificationOutput, Reduce};
use crate::inference::prediction::{Decision, Finding};

/// What a tensor that was checked says of each label that is not skipped; `answer` is the label that says whether anything
/// is wrong at all.
pub(super) fn findings(
    output: &ClassificationOutput,
    answer: Option<&ClassLabel>,
    tensor: &Tensor,
) -> Result<Vec<Finding>, Fault> {
    let rows = rows_of(output, tensor)?;
    let row = probabilities(output, &rows)?;
    let reported = output.labels.iter().zip(row).filter(|(label, _)| !label.skip);
    let is_answer = |label: &ClassLabel| answer.is_some_and(|answer| std::ptr::eq(answer, label));
    Ok(reported.map(|(label, probability)| finding(label, probability, is_answer(label))).collect())
}

fn finding(label: &ClassLabel, probability: f64, is_pathology: bool) -> Finding {
    Finding {
        label: label.label.clone(),
        concept: label.concept.clone(),
        site: label.site.clone(),
        probability,
        threshold: label.threshold,
        uncertain: label.uncertain,
        decision: Decision::of(probability, label.threshold, label.uncertain),
        is_pathology,
    }
}

/// The rows of a tensor, one number a label.
fn rows_of(output: &ClassificationOutput, tensor: &Tensor) -> Result<Vec<Vec<f64>>, Fault> {
    let values: Vec<f64> = to_vec(&tensor.f_to_kind(Kind::Double)?)?;
    Ok(values.chunks(output.labels.len().max(1)).map(<[f64]>::to_vec).collect())
}

/// The probability of one column for each row of a tensor that was checked, or of all rows where they are averaged.
pub(in super::super) fn probabilities_of(
    output: &ClassificationOutput,
    column: usize,
    tensor: &Tensor,
) -> Result<Vec<f64>, Fault> {
    let rows = rows_of(output, tensor)?;
    let rows = if output.reduce == Reduce::None { rows.chunks(1).collect() } else { vec![&rows[..]] };
    rows.into_iter().map(|rows| probabilities(output, rows).map(|row| row[column])).collect()
}

/// One probability a label.
fn probabilities(output: &ClassificationOutput, rows: &[Vec<f64>]) -> Result<Vec<f64>, Fault> {
    let row = match output.reduce {
        Reduce::None => activated(output.activation, rows.first().map_or(&[], Vec::as_slice)),
        Reduce::MeanLogits => activated(output.activation, &mean(rows)),
        Reduce::MeanProbabilities => {
            mean(&rows.iter().map(|row| activated(output.activation, row)).collect::<Vec<_>>())
        }
    };
    match row.iter().find(|value| !(-1e-6..=1.0 + 1e-6).contains(*value)) {
        Some(value) => Err(Fault::Wrong(format!("«{}» holds {value}, a probability is 0 to 1", output.tensor))),
        None => Ok(row.into_iter().map(|value| value.clamp(0.0, 1.0)).collect()),
    }
}

fn mean(rows: &[Vec<f64>]) -> Vec<f64> {
    let columns = rows.first().map_or(0, Vec::len);
    (0..columns).map(|column| rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64).collect()
}

fn activated(activation: Activation, row: &[f64]) -> Vec<f64> {
    match activation {
        Activation::None => row.to_vec(),
        Activation::Sigmoid => row.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
        Activation::Softmax => {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<f64> = row.iter().map(|logit| (logit - largest).exp()).collect();
            let sum: f64 = powers.iter().sum();
            powers.into_iter().map(|power| power / sum).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::code::CodedConcept;

    fn label(name: &str, skip: bool) -> ClassLabel {
        ClassLabel {
            label: name.to_owned(),
            concept: CodedConcept::new("263654008", "SCT", "Abnormal"),
            site: None,
            threshold: 0.5,
            uncertain: Some([0.45, 0.55]),
            pathology: false,
            skip,
        }
    }

    fn output(activation: Activation, reduce: Reduce, labels: Vec<ClassLabel>) -> ClassificationOutput {
        ClassificationOutput { tensor: "logits".to_owned(), activation, reduce, labels }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn each_activation_makes_probabilities() {
        let two = || vec![label("normal", true), label("abnormal", false)];
        let logits = Tensor::from_slice(&[1.0f32, 3.0]);
        let found = findings(&output(Activation::Softmax, Reduce::None, two()), None, &logits).unwrap();
        assert_eq!((found.len(), found[0].label.as_str()), (1, "abnormal"));
        assert!(near(found[0].probability, 0.880_797_07), "{}", found[0].probability);
        let found = findings(&output(Activation::Sigmoid, Reduce::None, two()), None, &logits).unwrap();
        assert!(near(found[0].probability, 0.952_574_12), "{}", found[0].probability);
        let error = findings(&output(Activation::None, Reduce::None, two()), None, &logits).unwrap_err();
        assert!(matches!(error, Fault::Wrong(message) if message == "«logits» holds 3, a probability is 0 to 1"));
    }

    #[test]
    fn rows_are_averaged_before_or_after_the_activation() {
        let logits = Tensor::from_slice(&[-1.0f32, 5.0]).view([2, 1]);
        let of = |reduce| {
            findings(&output(Activation::Sigmoid, reduce, vec![label("a", false)]), None, &logits).unwrap()[0].clone()
        };
        assert!(near(of(Reduce::MeanLogits).probability, 0.880_797_07));
        assert!(near(of(Reduce::MeanProbabilities).probability, 0.631_124_28));
        assert_eq!(of(Reduce::MeanLogits).decision, Decision::Present);
    }

    #[test]
    fn between_the_two_limits_nothing_is_decided() {
        let logits = Tensor::from_slice(&[0.1f32]);
        let found =
            findings(&output(Activation::Sigmoid, Reduce::None, vec![label("a", false)]), None, &logits).unwrap();
        assert_eq!(found[0].decision, Decision::Uncertain);
    }
}
