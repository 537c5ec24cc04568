//! Numbers and verdicts.

use super::super::fault::Fault;
use crate::inference::manifest::{GroupRow, MeasurementColumn, MeasurementOutput, NanPolicy, VerdictOutput};
use crate::inference::prediction::{Measurement, MeasurementGroup, Verdict};

/// What the number of a verdict means.
pub(super) fn verdict(output: &VerdictOutput, number: i64) -> Result<Verdict, Fault> {
    let index = match usize::try_from(number) {
        Ok(0) => return Ok(Verdict::Suitable),
        Ok(number) => number - 1,
        Err(_) => usize::MAX,
    };
    let reason = output.reasons.get(index).ok_or_else(|| {
        let (name, count) = (&output.tensor, output.reasons.len());
        Fault::Wrong(format!("«{name}» is {number}, the manifest has reasons 1 to {count}"))
    })?;
    Ok(Verdict::NotSuitable { code: reason.code.clone(), reason: reason.reason.clone() })
}

/// The groups of a table, row after row.
pub(super) fn groups(output: &MeasurementOutput, table: &[f64]) -> Result<Vec<MeasurementGroup>, Fault> {
    let rows = table.chunks(output.columns.len().max(1));
    let group = |(row, numbers): (&GroupRow, &[f64])| {
        let read = |(column, value): (&MeasurementColumn, &f64)| {
            let value = number(column, *value)
                .map_err(|message| format!("«{}», {} of {}: {message}", output.tensor, column.label, row.label))?;
            Ok(Measurement {
                label: column.label.clone(),
                concept: column.concept.clone(),
                derivation: column.derivation.clone(),
                unit: column.unit.clone(),
                value,
            })
        };
        Ok(MeasurementGroup {
            label: row.label.clone(),
            segment_numbers: row.segments.clone(),
            finding: row.finding.clone(),
            finding_site: row.finding_site.clone(),
            laterality: row.laterality.clone(),
            measurements: output.columns.iter().zip(numbers).map(read).collect::<Result<_, String>>()?,
        })
    };
    output.groups.iter().zip(rows).map(group).collect::<Result<_, _>>().map_err(Fault::Wrong)
}

fn number(column: &MeasurementColumn, value: f64) -> Result<Option<f64>, String> {
    if value.is_nan() && column.nan == NanPolicy::Absent {
        return Ok(None);
    }
    if !value.is_finite() {
        return Err(format!("{value} is not a number that can be reported"));
    }
    match column.range {
        Some([least, largest]) if value < least || value > largest => {
            Err(format!("{value} is not between {least} and {largest}"))
        }
        _ => Ok(Some(value)),
    }
}
