//! From a prediction's embeddings to the file that keeps them.

use bytes::Bytes;

use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};
use crate::inference::manifest::Manifest;
use crate::inference::prediction::Embedding;
use crate::store::{EmbeddingOf, EmbeddingTensor, NewEmbeddings, embedding_file};

/// Of what and by whom; `revision` where a node keeps count.
#[must_use]
pub fn embeddings_of(
    study: &StudyInstanceUid,
    series: &SeriesInstanceUid,
    revision: Option<i64>,
    model: &Manifest,
) -> EmbeddingOf {
    EmbeddingOf {
        study_instance_uid: study.clone(),
        series_instance_uid: series.clone(),
        revision,
        model_name: model.name.clone(),
        model_version: model.version.clone(),
        space_sha256: model.embeddings_sha256(),
    }
}

/// As it is written.
#[must_use]
pub fn tensor(embedding: &Embedding) -> EmbeddingTensor<'_> {
    EmbeddingTensor { name: &embedding.name, shape: &embedding.shape, values: &embedding.values }
}

/// What the store keeps; nothing where the model gave none.
///
/// # Errors
/// Where extents and values do not go together, in one sentence.
pub(super) fn new_embeddings(of: EmbeddingOf, embeddings: &[Embedding]) -> Result<Option<NewEmbeddings>, String> {
    if embeddings.is_empty() {
        return Ok(None);
    }
    let tensors: Vec<_> = embeddings.iter().map(tensor).collect();
    let file = Bytes::from(embedding_file(&of, &tensors)?);
    let EmbeddingOf { model_name, model_version, space_sha256, .. } = of;
    Ok(Some(NewEmbeddings { model_name, model_version, space_sha256, file }))
}
