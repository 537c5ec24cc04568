//! `output.measurement`: a table of numbers.

use super::super::sections::{at_most, within};
use super::super::toml_table::Table;
use super::{Tensors, unique};
use crate::dicom::code::CodedConcept;

/// A table of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasurementOutput {
    /// Name of the tensor.
    pub tensor: String,
    /// Rows.
    pub groups: Vec<GroupRow>,
    /// Columns.
    pub columns: Vec<MeasurementColumn>,
}

/// One row: what the numbers were measured on.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRow {
    /// Readable, unique.
    pub label: String,
    /// Segment numbers, from 1.
    pub segments: Vec<u16>,
    /// Finding (121071, DCM).
    pub finding: CodedConcept,
    /// Finding Site (363698007, SCT).
    pub finding_site: Option<CodedConcept>,
    /// Laterality of the site.
    pub laterality: Option<CodedConcept>,
}

/// One column: what was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasurementColumn {
    /// ASCII, for tables and logs.
    pub label: String,
    /// Concept name.
    pub concept: CodedConcept,
    /// Derivation (121401, DCM).
    pub derivation: Option<CodedConcept>,
    /// UCUM.
    pub unit: CodedConcept,
    /// What NaN means.
    pub nan: NanPolicy,
    /// Values outside are a fault of the model.
    pub range: Option<[f64; 2]>,
}

/// What NaN means in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NanPolicy {
    /// The number cannot be computed for this series.
    Absent,
    /// A fault of the model.
    Refuse,
}

/// UCUM units (<https://ucum.org>) that measurements on images are given in.
const UNITS: [&str; 33] = [
    "1", "%", "[ppth]", "mm", "cm", "m", "um", "mm2", "cm2", "m2", "mm3", "cm3", "dm3", "ml", "l", "[hnsf'U]", "g",
    "mg", "kg", "g/cm3", "mg/cm3", "g/ml", "s", "ms", "min", "deg", "rad", "mm/s", "/min", "Bq/ml", "{counts}",
    "{ratio}", "[arb'U]",
];

/// `segments`: how many the segmentation has.
pub(super) fn read(table: Table<'_>, tensors: &mut Tensors<'_>, segments: usize) -> Option<MeasurementOutput> {
    let tensor = tensors.own(&table);
    let (rows, columns) = (table.tables("groups"), table.tables("columns"));
    let counts = (rows.len(), columns.len());
    let groups: Vec<_> = rows.into_iter().filter_map(|row| group(row, segments)).collect();
    let columns: Vec<_> = columns.into_iter().filter_map(column).collect();
    unique(&table, "groups", groups.iter().map(|group| group.label.as_str()));
    unique(&table, "columns", columns.iter().map(|column| column.label.as_str()));
    table.finish();
    ((groups.len(), columns.len()) == counts).then_some(())?;
    Some(MeasurementOutput { tensor: tensor?, groups, columns })
}

fn group(table: Table<'_>, segments: usize) -> Option<GroupRow> {
    let label = table.required_checked("label", |text: &String| at_most(text, 64));
    let numbers = table.optional_checked("segments", |numbers: &Vec<u64>| {
        match numbers.iter().find(|number| **number < 1 || **number > segments as u64) {
            Some(number) if segments == 0 => Err(format!("{number} is not the number of a segment: there are none")),
            Some(number) => Err(format!("{number} is not the number of a segment, 1 to {segments} are")),
            None => Ok(()),
        }
    });
    let finding = table.required("finding");
    let finding_site = table.optional("finding_site");
    let laterality = table.optional("laterality");
    table.finish();
    let segments = numbers.unwrap_or_default().into_iter().filter_map(|number| u16::try_from(number).ok()).collect();
    Some(GroupRow { label: label?, segments, finding: finding?, finding_site, laterality })
}

fn column(table: Table<'_>) -> Option<MeasurementColumn> {
    let label = table.required_checked("label", |text: &String| {
        at_most(text, 64)?;
        if text.is_ascii() { Ok(()) } else { Err("must be ASCII".to_owned()) }
    });
    let concept = table.required("concept");
    let derivation = table.optional("derivation");
    let unit = table.required_checked("unit", |unit: &CodedConcept| {
        if unit.scheme != "UCUM" {
            return Err(format!("the coding scheme of a unit is UCUM, not {}", unit.scheme));
        }
        if UNITS.contains(&&*unit.value) { Ok(()) } else { Err(format!("unknown UCUM unit «{}»", unit.value)) }
    });
    let nan = table.word("nan", &[("absent", NanPolicy::Absent), ("refuse", NanPolicy::Refuse)]);
    let range = table.optional_checked("range", |[least, largest]: &[f64; 2]| within(*least, f64::MIN, *largest));
    table.finish();
    Some(MeasurementColumn {
        label: label?,
        concept: concept?,
        derivation,
        unit: unit?,
        nan: nan.unwrap_or(NanPolicy::Absent),
        range,
    })
}
