//! `output.verdict`: whether the series is one that the model reads.

use super::super::sections::{at_most, stable_word};
use super::super::toml_table::Table;
use super::{Tensors, unique};

/// Whether the series is one that the model reads.
#[derive(Debug, Clone, PartialEq)]
pub struct VerdictOutput {
    /// Name of the tensor: int64 without dimensions; 0 is «read», n the n-th reason.
    pub tensor: String,
    /// Why not, from 1.
    pub reasons: Vec<Reason>,
}

/// Why a series is not suitable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Short stable word.
    pub code: String,
    /// One sentence for the radiologist.
    pub reason: String,
}

pub(super) fn read(table: Table<'_>, tensors: &mut Tensors<'_>) -> Option<VerdictOutput> {
    let tensor = tensors.own(&table);
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
