//! Labels on the source grid from labels, scores or probabilities on that of the modules.

use tch::{Kind, Tensor};

use super::super::fault::Fault;
use super::super::inputs::turned;
use super::super::source::Source;
use super::to_vec;
use crate::inference::manifest::{Activation, SegmentationEncoding, SegmentationGrid, SegmentationOutput};
use crate::inference::prediction::LabelMap;
use crate::inference::steps::{Back, Field, argmax_back, back, likeliest_back};

/// Voxels of a slab.
const SLAB_VOXELS: i64 = 4 << 20;

/// The label map of a tensor that was checked.
pub(super) fn label_map(
    output: &SegmentationOutput,
    tensor: &Tensor,
    source: &Source,
    field: &Field,
) -> Result<LabelMap, Fault> {
    let labels = labels(output, tensor, field)?;
    let labels = if labels.dim() == 2 { labels.f_unsqueeze(0)? } else { labels };
    let labels = to_vec(&turned(&labels, &source.turn.inverse())?)?;
    Ok(LabelMap { shape: source.shape, labels })
}

/// The label map of labels on the grid before the steps, in the model's axes.
pub(super) fn turned_back(labels: Vec<u8>, source: &Source) -> Result<LabelMap, Fault> {
    let labels = if source.turn.is_identity() {
        labels
    } else {
        let extents = source.turn.reorder(source.shape).map(|extent| extent as i64);
        to_vec(&turned(&Tensor::f_from_slice(&labels)?.f_view(extents)?, &source.turn.inverse())?)?
    };
    Ok(LabelMap { shape: source.shape, labels })
}

/// On the grid before the steps, in the model's axes.
fn labels(output: &SegmentationOutput, tensor: &Tensor, field: &Field) -> Result<Tensor, Fault> {
    let coarse = match output.grid {
        SegmentationGrid::Input => None,
        SegmentationGrid::Patches => field.coarse(&super::shape(tensor)[2..]),
    };
    let field = coarse.as_ref().unwrap_or(field);
    let tensor = &made_likely(output, tensor, field)?;
    match output.encoding {
        SegmentationEncoding::Labels => {
            in_range(output, tensor)?;
            if is_whole(field) {
                Ok(tensor.shallow_clone())
            } else {
                Ok(back(&tensor.f_unsqueeze(0)?, field, Back::Nearest, 0.0)?.f_squeeze_dim(0)?)
            }
        }
        SegmentationEncoding::Scores => {
            let scores = tensor.f_select(0, 0)?;
            if is_whole(field) { largest(&scores) } else { Ok(argmax_back(&scores, field)?) }
        }
        SegmentationEncoding::Probabilities => probable(output, tensor, field),
    }
}

/// Scores as they are compared between voxels: probabilities of them where the manifest says so, which must be some.
pub(in super::super) fn made_likely(
    output: &SegmentationOutput,
    tensor: &Tensor,
    field: &Field,
) -> Result<Tensor, Fault> {
    let made = match output.activation {
        Activation::Sigmoid => tensor.f_sigmoid()?,
        // On the grid itself the largest score is that of the largest probability.
        Activation::Softmax if !is_whole(field) => tensor.f_softmax(1, Kind::Float)?,
        _ => tensor.shallow_clone(),
    };
    if output.encoding == SegmentationEncoding::Probabilities {
        check_probabilities(output, &made)?;
    }
    Ok(made)
}

/// Whether the steps left the grid as it was.
pub(in super::super) fn is_whole(field: &Field) -> bool {
    *field == Field::whole(&field.before())
}

/// The channel with the largest score, slab by slab: its index comes as eight bytes a voxel.
fn largest(scores: &Tensor) -> Result<Tensor, Fault> {
    let size = scores.size();
    let labels = Tensor::f_zeros(&size[1..], (Kind::Uint8, scores.device()))?;
    let plane: i64 = size[2..].iter().product();
    let slab = (SLAB_VOXELS / plane.max(1)).max(1);
    for first in (0..size[1]).step_by(usize::try_from(slab).unwrap_or(1)) {
        let count = slab.min(size[1] - first);
        let channel = scores.f_narrow(1, first, count)?.f_argmax(0, false)?;
        labels.f_narrow(0, first, count)?.f_copy_(&channel)?;
    }
    Ok(labels)
}

fn in_range(output: &SegmentationOutput, labels: &Tensor) -> Result<(), Fault> {
    let largest = labels.f_max()?.f_int64_value(&[])?;
    let count = output.segments.len();
    if usize::try_from(largest).is_ok_and(|largest| largest <= count) {
        return Ok(());
    }
    Err(Fault::Wrong(format!("«{}» holds label {largest}, the manifest has segments 1 to {count}", output.tensor)))
}

fn check_probabilities(output: &SegmentationOutput, tensor: &Tensor) -> Result<(), Fault> {
    let (least, largest) = (tensor.f_min()?.f_double_value(&[])?, tensor.f_max()?.f_double_value(&[])?);
    if !(-1e-3..=1.001).contains(&least) || !(-1e-3..=1.001).contains(&largest) {
        let name = &output.tensor;
        return Err(Fault::Wrong(format!("«{name}» holds {least} to {largest}, probabilities are 0 to 1")));
    }
    Ok(())
}

/// Of the segments that reach their threshold the likeliest.
fn probable(output: &SegmentationOutput, tensor: &Tensor, field: &Field) -> Result<Tensor, Fault> {
    let thresholds: Vec<f32> = output.thresholds.iter().map(|threshold| *threshold as f32).collect();
    Ok(likeliest_back(&tensor.f_select(0, 0)?, field, &thresholds)?)
}
