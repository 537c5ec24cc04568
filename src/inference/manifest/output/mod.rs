//! The table `output`: what a package gives.

mod attention;
mod classification;
mod measurement;
mod segmentation;
mod text;
mod verdict;

use std::collections::BTreeSet;

pub use attention::{AttentionOutput, AttentionOver};
pub use classification::{Activation, ClassLabel, ClassificationOutput, Reduce};
pub use measurement::{GroupRow, MeasurementColumn, MeasurementOutput, NanPolicy};
pub use segmentation::{SegmentationEncoding, SegmentationGrid, SegmentationOutput};
pub use text::TextOutput;
pub use verdict::{Reason, VerdictOutput};

use super::sections::at_most;
use super::toml_table::Table;

/// What a package gives. At least one is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Label map.
    pub segmentation: Option<SegmentationOutput>,
    /// Table of numbers.
    pub measurement: Option<MeasurementOutput>,
    /// Whether the series is one that the model reads.
    pub verdict: Option<VerdictOutput>,
    /// Probabilities of findings.
    pub classifications: Vec<ClassificationOutput>,
    /// Names of the tensors that are kept as embeddings.
    pub embeddings: Vec<String>,
    /// A report.
    pub text: Option<TextOutput>,
    /// Where the model looked.
    pub attention: Option<AttentionOutput>,
}

impl Output {
    /// The names of the tensors that the modules must return, each once.
    #[must_use]
    pub fn tensors(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        names.extend(self.segmentation.as_ref().map(|output| output.tensor.as_str()));
        names.extend(self.measurement.as_ref().map(|output| output.tensor.as_str()));
        names.extend(self.verdict.as_ref().map(|output| output.tensor.as_str()));
        names.extend(self.classifications.iter().map(|output| output.tensor.as_str()));
        names.extend(self.text.as_ref().map(|output| output.tensor.as_str()));
        for name in self.attention.iter().map(|output| &output.tensor).chain(&self.embeddings) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// The label whose probability says whether anything is wrong at all: the one marked so, else the only one.
    #[must_use]
    pub fn pathology(&self) -> Option<&ClassLabel> {
        let reported = || self.classifications.iter().flat_map(|output| &output.labels).filter(|label| !label.skip);
        reported().find(|label| label.pathology).or_else(|| reported().next().filter(|_| reported().count() == 1))
    }

    /// The output that gives a label of this package, and which of its columns it is.
    #[must_use]
    pub fn column_of(&self, label: &ClassLabel) -> Option<(&ClassificationOutput, usize)> {
        self.classifications.iter().find_map(|output| {
            output.labels.iter().position(|other| std::ptr::eq(other, label)).map(|column| (output, column))
        })
    }
}

/// Names of tensors, as the outputs take them.
struct Tensors<'a> {
    /// What the modules give; `None` where the package has one module, which gives what the outputs name.
    known: Option<&'a BTreeSet<String>>,
    taken: BTreeSet<String>,
}

impl Tensors<'_> {
    /// The tensor of an output that no other output may take.
    fn own(&mut self, table: &Table<'_>) -> Option<String> {
        let name = self.shared(table)?;
        if self.taken.insert(name.clone()) {
            return Some(name);
        }
        table.fault("tensor", format!("«{name}» is the tensor of another output"));
        None
    }

    /// The tensor of an output that others may take too.
    fn shared(&self, table: &Table<'_>) -> Option<String> {
        table.required_checked("tensor", |name: &String| {
            at_most(name, 64)?;
            match self.known {
                Some(known) if !known.contains(name) => {
                    let known: Vec<_> = known.iter().map(String::as_str).collect();
                    Err(format!("«{name}» is no result of a module: {}", known.join(", ")))
                }
                _ => Ok(()),
            }
        })
    }
}

const KINDS: [&str; 7] = ["segmentation", "measurement", "verdict", "classification", "embedding", "text", "attention"];

/// `known`: the results of the modules, where `[[modules]]` names them.
pub(super) fn output(table: Table<'_>, known: Option<&BTreeSet<String>>) -> Option<Output> {
    if !KINDS.iter().any(|kind| table.has(kind)) {
        table.fault("", format!("names no output: at least one of {}", KINDS.join(", ")));
    }
    let mut tensors = Tensors { known, taken: BTreeSet::new() };
    let segmentation = table.table("segmentation");
    let segments = segmentation.as_ref().map_or(0, |table| table.count("segments"));
    let segmentation = segmentation.map(|table| segmentation::read(table, &mut tensors));
    let measurement = table.table("measurement").map(|table| measurement::read(table, &mut tensors, segments));
    let verdict = table.table("verdict").map(|table| verdict::read(table, &mut tensors));
    let classifications = classification::read(&table, &mut tensors);
    let text = table.table("text").map(|table| text::read(table, &mut tensors));
    let attention = table.table("attention").map(|table| attention::read(table, &tensors));
    let embeddings: Vec<_> =
        table.optional_tables("embedding").into_iter().map(|table| embedding(table, &tensors)).collect();
    table.finish();
    Some(Output {
        segmentation: whole(segmentation)?,
        measurement: whole(measurement)?,
        verdict: whole(verdict)?,
        classifications: classifications?,
        embeddings: embeddings.into_iter().collect::<Option<_>>()?,
        text: whole(text)?,
        attention: whole(attention)?,
    })
}

/// `None` where a table is there and could not be read.
fn whole<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

fn embedding(table: Table<'_>, tensors: &Tensors<'_>) -> Option<String> {
    let tensor = tensors.shared(&table);
    table.finish();
    tensor
}

fn unique<'a>(table: &Table<'_>, key: &str, labels: impl Iterator<Item = &'a str>) {
    let mut seen = BTreeSet::new();
    for label in labels {
        if !seen.insert(label) {
            table.fault(key, format!("«{label}» stands twice"));
        }
    }
}
