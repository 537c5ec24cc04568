//! Embeddings that models gave: a safetensors file beside the series, and a row that finds it.
//!
//! The file gets its name inside the transaction that ends the job, before the row is committed. A crash in between leaves
//! a file without a row, or one newer than its row: the job runs again and replaces it, and the file itself says what it
//! is of.

mod file;

mod keep;

mod kept;

mod reindex;

pub use file::{EmbeddingFile, EmbeddingOf, EmbeddingTensor, TensorOutline, embedding_file};
pub use keep::NewEmbeddings;
pub use kept::KeptEmbeddings;

pub(super) use keep::{PreparedEmbeddings, keep_embeddings, prepare_embeddings};
