//! `output.text`: a report that the model writes.

use super::super::sections::{path_inside, sha256_hex};
use super::super::toml_table::Table;
use super::Tensors;

/// Token ids and what turns them into words.
#[derive(Debug, Clone, PartialEq)]
pub struct TextOutput {
    /// Name of the tensor: int64 [1, T].
    pub tensor: String,
    /// File name of Hugging Face's `tokenizer.json` within the package's folder.
    pub tokenizer: String,
    /// SHA-256 of that file, lower-case hex.
    pub tokenizer_sha256: String,
}

pub(super) fn read(table: Table<'_>, tensors: &mut Tensors<'_>) -> Option<TextOutput> {
    let tensor = tensors.own(&table);
    let tokenizer = table.required_checked("tokenizer", |path: &String| path_inside(path));
    let tokenizer_sha256 = table.required_checked("tokenizer_sha256", |text: &String| sha256_hex(text));
    table.finish();
    Some(TextOutput { tensor: tensor?, tokenizer: tokenizer?, tokenizer_sha256: tokenizer_sha256? })
}
