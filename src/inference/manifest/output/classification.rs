//! `output.classification`: probabilities of findings.

use super::super::sections::{at_most, within};
use super::super::toml_table::Table;
use super::{Tensors, unique};
use crate::dicom::code::CodedConcept;

/// Probabilities of findings from one tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassificationOutput {
    /// Name of the tensor: `float[1, labels]` or `[labels]`, with `reduce` `[B, labels]`.
    pub tensor: String,
    /// What makes a probability of a number.
    pub activation: Activation,
    /// What makes one row of several.
    pub reduce: Reduce,
    /// One for each column.
    pub labels: Vec<ClassLabel>,
}

/// What makes a probability of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Each column by itself.
    Sigmoid,
    /// All columns of a row together.
    Softmax,
    /// They are probabilities already.
    None,
}

/// What makes one row of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduce {
    /// There is one row.
    None,
    /// The mean before the activation.
    MeanLogits,
    /// The mean after it.
    MeanProbabilities,
}

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassLabel {
    /// Readable, unique within the package.
    pub label: String,
    /// What it is.
    pub concept: CodedConcept,
    /// Where it is.
    pub site: Option<CodedConcept>,
    /// From this probability on it is present.
    pub threshold: f64,
    /// Least and largest probability of neither yes nor no.
    pub uncertain: Option<[f64; 2]>,
    /// Whether it says that anything is wrong at all.
    pub pathology: bool,
    /// Whether it is left out of the result: the «normal» column of two.
    pub skip: bool,
}

/// All tables `[[output.classification]]`.
pub(super) fn read(output: &Table<'_>, tensors: &mut Tensors<'_>) -> Option<Vec<ClassificationOutput>> {
    let tables = output.optional_tables("classification");
    let count = tables.len();
    let found: Vec<_> = tables.into_iter().filter_map(|table| one(table, tensors)).collect();
    let labels = || found.iter().flat_map(|output| &output.labels);
    unique(output, "classification", labels().map(|label| label.label.as_str()));
    if labels().filter(|label| label.pathology && !label.skip).count() > 1 {
        output.fault("classification", "more than one label has pathology = true");
    }
    (found.len() == count).then_some(found)
}

fn one(table: Table<'_>, tensors: &mut Tensors<'_>) -> Option<ClassificationOutput> {
    let tensor = tensors.own(&table);
    let words = [("sigmoid", Activation::Sigmoid), ("softmax", Activation::Softmax), ("none", Activation::None)];
    let activation = table.required_word("activation", &words);
    let words = [
        ("none", Reduce::None),
        ("mean-logits", Reduce::MeanLogits),
        ("mean-probabilities", Reduce::MeanProbabilities),
    ];
    let reduce = table.word("reduce", &words);
    let rows = table.tables("labels");
    let count = rows.len();
    let labels: Vec<_> = rows.into_iter().filter_map(label).collect();
    if labels.len() == count && !labels.is_empty() && labels.iter().all(|label| label.skip) {
        table.fault("labels", "all of them are skipped");
    }
    if activation == Some(Activation::Softmax) && count == 1 {
        table.fault("activation", "softmax of one column is always 1");
    }
    table.finish();
    (labels.len() == count).then_some(())?;
    Some(ClassificationOutput {
        tensor: tensor?,
        activation: activation?,
        reduce: reduce.unwrap_or(Reduce::None),
        labels,
    })
}

fn label(table: Table<'_>) -> Option<ClassLabel> {
    // It stands in reports word for word, beside names in whatever repertoire the source has.
    let label = table.required_checked("label", |text: &String| {
        at_most(text, 64)?;
        let plain = text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'\\') && text.trim() == text;
        if plain {
            Ok(())
        } else {
            Err("must be printable ASCII without backslashes and blanks at its ends".to_owned())
        }
    });
    let skip: Option<bool> = table.optional("skip");
    let skip = skip.unwrap_or(false);
    let concept: Option<CodedConcept> = table.required("concept");
    let site = table.optional("site");
    let share = |share: &f64| within(*share, 0.0, 1.0);
    let threshold =
        if skip { table.optional_checked("threshold", share) } else { table.required_checked("threshold", share) };
    let uncertain = table.optional_checked("uncertain", |[least, largest]: &[f64; 2]| {
        share(least)?;
        share(largest)?;
        if least <= largest { Ok(()) } else { Err("must be [least, largest]".to_owned()) }
    });
    if let (Some([least, largest]), Some(threshold)) = (uncertain, threshold)
        && !(least..=largest).contains(&threshold)
    {
        table.fault("uncertain", format!("must hold the threshold, {threshold}"));
    }
    let pathology: Option<bool> = table.optional("pathology");
    let pathology = pathology.unwrap_or(false);
    if pathology && skip {
        table.fault("pathology", "is skipped, and cannot be the answer");
    }
    table.finish();
    let threshold = if skip { threshold.unwrap_or(0.5) } else { threshold? };
    Some(ClassLabel { label: label?, concept: concept?, site, threshold, uncertain, pathology, skip })
}
