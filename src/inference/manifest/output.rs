//! The table `output`.

use std::collections::BTreeSet;

use super::sections::{at_most, stable_word, within};
use super::toml_table::Table;
use super::{
    GroupRow, MeasurementColumn, MeasurementOutput, NanPolicy, Output, Reason, SegmentationEncoding,
    SegmentationOutput, VerdictOutput,
};
use crate::dicom::code::CodedConcept;
use crate::inference::prediction::Segment;

/// Kinds of output that the design names and that this version does not read yet.
const LATER: [&str; 4] = ["classification", "embedding", "text", "attention"];

/// UCUM units (<https://ucum.org>) that measurements on images are given in.
const UNITS: [&str; 33] = [
    "1", "%", "[ppth]", "mm", "cm", "m", "um", "mm2", "cm2", "m2", "mm3", "cm3", "dm3", "ml", "l", "[hnsf'U]", "g",
    "mg", "kg", "g/cm3", "mg/cm3", "g/ml", "s", "ms", "min", "deg", "rad", "mm/s", "/min", "Bq/ml", "{counts}",
    "{ratio}", "[arb'U]",
];

pub(super) fn output(table: Table<'_>) -> Option<Output> {
    for kind in LATER {
        if table.table(kind).is_some() {
            table.fault(kind, "is not read by this version: segmentation, measurement and verdict are");
        }
    }
    let segmentation = table.table("segmentation");
    let measurement = table.table("measurement");
    let verdict = table.table("verdict");
    if segmentation.is_none() && measurement.is_none() && verdict.is_none() {
        table.fault("", "names no output: at least one of segmentation, measurement, verdict");
    }
    let asked = [segmentation.is_some(), measurement.is_some(), verdict.is_some()];
    let segments = segmentation.as_ref().map_or(0, |table| table.count("segments"));
    let segmentation = segmentation.and_then(segmentation_output);
    let measurement = measurement.and_then(|table| measurement_output(table, segments));
    let verdict = verdict.and_then(verdict_output);
    let tensors = [
        ("segmentation", segmentation.as_ref().map(|o| &o.tensor)),
        ("measurement", measurement.as_ref().map(|o| &o.tensor)),
        ("verdict", verdict.as_ref().map(|o| &o.tensor)),
    ];
    let mut names = BTreeSet::new();
    for (kind, name) in tensors {
        if name.is_some_and(|name| !names.insert(name.clone())) {
            table.fault(kind, "takes a tensor that another output takes");
        }
    }
    table.finish();
    let whole = asked == [segmentation.is_some(), measurement.is_some(), verdict.is_some()];
    whole.then_some(Output { segmentation, measurement, verdict })
}

fn tensor(table: &Table<'_>) -> Option<String> {
    table.required_checked("tensor", |name: &String| at_most(name, 64))
}

fn segmentation_output(table: Table<'_>) -> Option<SegmentationOutput> {
    let tensor = tensor(&table);
    let encodings = [("labels", SegmentationEncoding::Labels), ("scores", SegmentationEncoding::Scores)];
    let encoding = table.word("encoding", &encodings);
    let rows = table.tables("segments");
    if rows.len() > 255 {
        table.fault("segments", format!("has {} segments, a label map holds 255", rows.len()));
    }
    let count = rows.len();
    let segments: Vec<_> = rows.into_iter().filter_map(segment).collect();
    unique(&table, "segments", segments.iter().map(|segment| segment.label.as_str()));
    table.finish();
    (segments.len() == count).then_some(())?;
    Some(SegmentationOutput { tensor: tensor?, encoding: encoding.unwrap_or(SegmentationEncoding::Labels), segments })
}

fn segment(table: Table<'_>) -> Option<Segment> {
    let label = table.required_checked("label", |text: &String| at_most(text, 64));
    let category = table.required("category");
    let property_type = table.required("type");
    let laterality = table.optional("laterality");
    let region = table.optional("region");
    let colour = table.required_checked("colour", |text: &String| colour(text).map(|_| ()));
    table.finish();
    Some(Segment {
        label: label?,
        category: category?,
        property_type: property_type?,
        laterality,
        region,
        colour: colour_of(&colour?)?,
    })
}

fn colour_of(text: &str) -> Option<[u8; 3]> {
    colour(text).ok()
}

fn colour(text: &str) -> Result<[u8; 3], String> {
    let wrong = || format!("«{text}» is not a colour such as \"#4CAF50\"");
    let digits = text.strip_prefix('#').filter(|d| d.len() == 6 && d.bytes().all(|b| b.is_ascii_hexdigit()));
    let number = u32::from_str_radix(digits.ok_or_else(wrong)?, 16).map_err(|_| wrong())?;
    let [_, red, green, blue] = number.to_be_bytes();
    Ok([red, green, blue])
}

/// `segments`: how many the segmentation has.
fn measurement_output(table: Table<'_>, segments: usize) -> Option<MeasurementOutput> {
    let tensor = tensor(&table);
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

fn verdict_output(table: Table<'_>) -> Option<VerdictOutput> {
    let tensor = tensor(&table);
    let rows = table.tables("reasons");
    let count = rows.len();
    let reasons: Vec<_> = rows.into_iter().filter_map(reason).collect();
    unique(&table, "reasons", reasons.iter().map(|reason| reason.code.as_str()));
    table.finish();
    (reasons.len() == count).then_some(())?;
    Some(VerdictOutput { tensor: tensor?, reasons })
}

fn reason(table: Table<'_>) -> Option<Reason> {
    let code = table.required_checked("code", |word: &String| stable_word(word));
    let reason = table.required_checked("reason", |text: &String| at_most(text, 1024));
    table.finish();
    Some(Reason { code: code?, reason: reason? })
}

fn unique<'a>(table: &Table<'_>, key: &str, labels: impl Iterator<Item = &'a str>) {
    let mut seen = BTreeSet::new();
    for label in labels {
        if !seen.insert(label) {
            table.fault(key, format!("«{label}» stands twice"));
        }
    }
}
