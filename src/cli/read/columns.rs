//! Which columns the table has: fixed ones, and between them what the models give.

use std::collections::HashMap;

use crate::inference::manifest::Manifest;

/// In front of what the models give.
const FIRST: [&str; 7] = [
    "path_to_study",
    "study_uid",
    "series_uid",
    "probability_of_pathology",
    "pathology",
    "processing_status",
    "time_of_processing",
];
/// Behind it.
const LAST: [&str; 3] = ["missing_slices_percent", "warnings", "error"];

/// What stands above text that a model wrote.
const TEXT: &str = "report (generated, unverified)";

/// The columns of the table of slices.
pub(super) const SLICES: [&str; 9] = [
    "path_to_study",
    "study_uid",
    "series_uid",
    "model",
    "finding",
    "slice",
    "sop_instance_uid",
    "probability",
    "peak",
];

/// What of a model stands in a column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Given {
    /// The probability of a finding, by its label.
    Finding(String),
    /// A number, by the labels of its group and its column.
    Measurement(String, String),
    /// The report that it wrote.
    Text,
}

/// The columns of the table of series.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// Their names, in order.
    pub(super) names: Vec<String>,
    /// What the models give, by the model's place in the list.
    given: HashMap<(usize, Given), usize>,
}

impl Columns {
    /// For these models: the findings of all of them, then their measurements and texts, in the order of the manifests.
    pub(super) fn of(models: &[&Manifest]) -> Self {
        let mut wanted: Vec<(usize, Given, String)> = Vec::new();
        for (index, model) in models.iter().enumerate() {
            wanted.extend(findings(model).into_iter().map(|label| (index, Given::Finding(label.clone()), label)));
        }
        for (index, model) in models.iter().enumerate() {
            wanted.extend(measurements(model).into_iter().map(|(given, name)| (index, given, name)));
            if model.output.text.is_some() {
                wanted.push((index, Given::Text, TEXT.to_owned()));
            }
        }
        let mut uses: HashMap<String, usize> = HashMap::new();
        for name in FIRST.iter().chain(&LAST).map(|name| (*name).to_owned()).chain(wanted.iter().map(|w| w.2.clone())) {
            *uses.entry(name).or_default() += 1;
        }
        let mut names: Vec<String> = FIRST.iter().map(|name| (*name).to_owned()).collect();
        let mut given = HashMap::new();
        for (index, what, name) in wanted {
            given.insert((index, what), names.len());
            let unique = uses.get(&name) == Some(&1);
            names.push(if unique { name } else { format!("{}: {name}", models[index].name) });
        }
        names.extend(LAST.iter().map(|name| (*name).to_owned()));
        Self { names, given }
    }

    /// Where it stands.
    pub(super) fn place(&self, model: usize, given: Given) -> Option<usize> {
        self.given.get(&(model, given)).copied()
    }
}

/// The labels of a model's findings.
fn findings(model: &Manifest) -> Vec<String> {
    let labels = model.output.classifications.iter().flat_map(|output| &output.labels);
    labels.filter(|label| !label.skip).map(|label| label.label.clone()).collect()
}

/// A model's numbers, with their units.
fn measurements(model: &Manifest) -> Vec<(Given, String)> {
    let Some(table) = &model.output.measurement else { return Vec::new() };
    let cell = |group: &str, column: &crate::inference::manifest::MeasurementColumn| {
        let name = format!("{group}, {} ({})", column.label, unit(&column.unit.value));
        (Given::Measurement(group.to_owned(), column.label.clone()), name)
    };
    table.groups.iter().flat_map(|group| table.columns.iter().map(|column| cell(&group.label, column))).collect()
}

/// UCUM as people write it.
fn unit(ucum: &str) -> &str {
    match ucum {
        "[hnsf'U]" => "HU",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> Manifest {
        let mut model = Manifest::parse(include_str!("../../../models/lung-densitometry/model.toml")).unwrap();
        name.clone_into(&mut model.name);
        model
    }

    #[test]
    fn the_columns_stand_in_the_order_that_is_promised() {
        let one = model("one");
        let columns = Columns::of(&[&one]);
        assert_eq!(columns.names[..7], FIRST);
        assert_eq!(columns.names[7], "Right lung, Volume (cm3)");
        assert_eq!(columns.names[8], "Right lung, Mean density (HU)");
        assert_eq!(columns.names[columns.names.len() - 3..], LAST);
        let both = Given::Measurement("Both lungs".to_owned(), "Perc15".to_owned());
        assert_eq!(columns.place(0, both), Some(7 + 11));
        assert_eq!(columns.place(0, Given::Finding("none".to_owned())), None);
    }

    #[test]
    fn findings_stand_before_numbers_and_what_is_skipped_has_no_column() {
        let several = Manifest::parse(include_str!("../../inference/manifest/example-modules.toml")).unwrap();
        let columns = Columns::of(&[&model("one"), &several]);
        let findings = findings(&several);
        assert!(!findings.is_empty());
        assert_eq!(columns.names[7..7 + findings.len()], findings);
        assert_eq!(columns.place(1, Given::Finding(findings[0].clone())), Some(7));
        let skipped = several.output.classifications.iter().flat_map(|output| &output.labels).filter(|l| l.skip);
        assert!(skipped.clone().all(|label| !columns.names.contains(&label.label)));
        assert_eq!(columns.names.contains(&TEXT.to_owned()), several.output.text.is_some());
    }

    #[test]
    fn names_that_two_models_share_say_whose_they_are() {
        let (one, other) = (model("one"), model("other"));
        let columns = Columns::of(&[&one, &other]);
        assert_eq!(columns.names[7], "one: Right lung, Volume (cm3)");
        assert_eq!(columns.names[7 + 12], "other: Right lung, Volume (cm3)");
    }
}
