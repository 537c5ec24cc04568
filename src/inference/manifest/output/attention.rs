//! `output.attention`: where the model looked.

use super::super::sections::{at_most, within};
use super::super::toml_table::Table;
use super::Tensors;

/// How much each place weighed in the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionOutput {
    /// Name of the tensor: float, see [`AttentionOver`].
    pub tensor: String,
    /// What its numbers belong to.
    pub over: AttentionOver,
    /// Readable: "Attention of the report".
    pub label: String,
    /// How many slices are named as those that it points at.
    pub key_slices: usize,
}

/// What the numbers of an attention belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionOver {
    /// `float[N]`: the windows.
    Windows,
    /// float [slices, rows, columns] (images: [rows, columns]), dimensions of 1 before them allowed: a coarse grid over the
    /// field of view of the input.
    Grid,
}

pub(super) fn read(table: Table<'_>, tensors: &Tensors<'_>) -> Option<AttentionOutput> {
    let tensor = tensors.shared(&table);
    let over = table.required_word("over", &[("windows", AttentionOver::Windows), ("grid", AttentionOver::Grid)]);
    let label = table.required_checked("label", |text: &String| at_most(text, 64));
    let key_slices = table.optional_checked("key_slices", |count| within(*count, 0, 100));
    table.finish();
    Some(AttentionOutput { tensor: tensor?, over: over?, label: label?, key_slices: key_slices.unwrap_or(3) })
}
