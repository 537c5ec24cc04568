//! What the modules returned, checked against the manifest, as a prediction.

mod attention;
mod checks;
mod classification;
mod measurement;
mod segmentation;

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor};

use super::fault::Fault;
use super::returned::Named;
use super::source::Source;
use super::streamed::Answer;
use crate::inference::manifest::Manifest;
use crate::inference::npz::{Array, Values};
use crate::inference::prediction::{Embedding, GeneratedText, Prediction, Verdict};
use crate::inference::steps::Field;
use crate::inference::text::Words;

pub(super) use checks::{check, check_beside, check_slab, check_slices};
pub(super) use classification::probabilities_of;
pub(super) use segmentation::{is_whole, made_likely};

/// The prediction that the tensors mean.
///
/// `source` is the subject before the steps, `field` leads from the grid of the tensors to it, `words` turn token ids into
/// text. The tensor of the segmentation, mostly the largest, is let go of before maps are made.
pub(super) fn prediction(
    manifest: &Manifest,
    answer: Answer,
    source: &Source,
    field: &Field,
    words: Option<&Words>,
) -> Result<Prediction, Fault> {
    let output = &manifest.output;
    let Answer { mut tensors, labels } = answer;
    let verdict = match &output.verdict {
        Some(output) => measurement::verdict(output, tensors[&output.tensor].f_int64_value(&[])?)?,
        None => Verdict::Suitable,
    };
    let mut prediction = Prediction::of(verdict);
    prediction.warnings.clone_from(&source.warnings);
    if prediction.verdict != Verdict::Suitable {
        return Ok(prediction);
    }
    if let Some(output) = &output.segmentation {
        prediction.label_map = Some(match labels {
            Some(labels) => segmentation::turned_back(labels, source)?,
            None => segmentation::label_map(output, &tensors[&output.tensor], source, field)?,
        });
        if !output_elsewhere(manifest, &output.tensor) {
            tensors.remove(&output.tensor);
        }
        prediction.segments.clone_from(&output.segments);
    }
    if let Some(output) = &output.measurement {
        let table = to_vec(&tensors[&output.tensor].f_to_kind(Kind::Double)?)?;
        prediction.measurement_groups = measurement::groups(output, &table)?;
    }
    let answer = output.pathology();
    for output in &output.classifications {
        prediction.findings.extend(classification::findings(output, answer, &tensors[&output.tensor])?);
    }
    if let (Some(output), Some(words)) = (&output.text, words) {
        let tokens: Vec<i64> = to_vec(&tensors[&output.tensor])?;
        let text = words.of(&tokens).map_err(|message| Fault::Wrong(format!("«{}»: {message}", output.tensor)))?;
        prediction.text = Some(GeneratedText { text, tokens });
    }
    if let Some(output) = &output.attention {
        let window = manifest.inference.window.as_ref();
        prediction.attention = Some(attention::map(output, &tensors[&output.tensor], source, field, window)?);
    }
    for name in &output.embeddings {
        let shape = shape(&tensors[name]);
        let values = to_vec(&tensors[name].f_to_kind(Kind::Float)?)?;
        prediction.embeddings.push(Embedding { name: name.clone(), shape, values });
    }
    Ok(prediction)
}

/// Whether the tensor of the segmentation is that of another output too.
pub(super) fn output_elsewhere(manifest: &Manifest, tensor: &str) -> bool {
    let output = &manifest.output;
    let attention = output.attention.as_ref().is_some_and(|attention| attention.tensor == tensor);
    attention || output.embeddings.iter().any(|name| name == tensor)
}

fn shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().into_iter().map(|extent| usize::try_from(extent).unwrap_or(0)).collect()
}

/// The values of a tensor, last index fastest; the type must be that of the tensor.
pub(super) fn to_vec<T: tch::kind::Element>(tensor: &Tensor) -> Result<Vec<T>, TchError> {
    let tensor = tensor.f_to_device(Device::Cpu)?.f_contiguous()?;
    let mut values = vec![T::ZERO; tensor.numel()];
    let count = values.len();
    tensor.f_copy_data(&mut values, count)?;
    Ok(values)
}

/// The tensors as they are compared with a golden case.
pub(super) fn arrays(tensors: &Named) -> Result<BTreeMap<String, Array>, TchError> {
    let array = |tensor: &Tensor| {
        let values = match tensor.f_kind()? {
            Kind::Uint8 => Values::U8(to_vec(tensor)?),
            Kind::Int16 => Values::I16(to_vec(tensor)?),
            Kind::Int64 => Values::I64(to_vec(tensor)?),
            Kind::Float => Values::F32(to_vec(tensor)?),
            Kind::Double => Values::F64(to_vec(tensor)?),
            kind => return Err(TchError::Kind(format!("{kind:?} is not compared"))),
        };
        Ok(Array { shape: shape(tensor), values })
    };
    tensors.iter().map(|(name, tensor)| Ok((name.clone(), array(tensor)?))).collect()
}
