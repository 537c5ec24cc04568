//! Scores on the grid after the steps, brought back to the grid before them.

use tch::{Kind, TchError, Tensor};

use super::choice::Choice;
use super::field::Field;
use super::way::Way;
use crate::inference::engine::memory::kept_within;

/// How a value between voxels is made on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// Linear along each axis: scores, probabilities, attention. Gives float32.
    Linear,
    /// Of the nearest voxel: labels. Keeps the type.
    Nearest,
}

impl Back {
    /// The type of what comes back.
    pub(super) fn kind(self, scores: &Tensor) -> Result<Kind, TchError> {
        match self {
            Self::Linear => Ok(Kind::Float),
            Self::Nearest => scores.f_kind(),
        }
    }
}

/// Brings scores back to the grid before the steps: [channels, slices, rows, columns] (or [channels, rows, columns]) to
/// the same of [`Field::before`]. What the steps cut off becomes `outside`; nothing is read from what they filled.
///
/// # Errors
/// [`TchError`] where the scores do not lie on the grid of the field, or memory ends.
pub fn back(scores: &Tensor, field: &Field, mode: Back, outside: f64) -> Result<Tensor, TchError> {
    let way = Way::new(scores, field, mode)?;
    let mut size = vec![scores.size()[0]];
    size.extend(field.axes.iter().map(|axis| axis.before as i64));
    let options = (mode.kind(scores)?, scores.device());
    // First without a value: `tch` panics where a call fails that is given a number.
    let mut whole = kept_within(|| Tensor::f_empty(&size, options))?;
    let _ = whole.f_fill_(outside)?;
    way.slabs(|first, slab| way.place_in(&whole, first, slab))?;
    Ok(whole)
}

/// The channel with the greatest score for each voxel of the grid before the steps (the first of equals), as uint8 without
/// a dimension for channels; 0 where the model did not look. Never holds all channels of that grid at once.
///
/// # Errors
/// Those of [`back`]; more than 256 channels.
pub fn argmax_back(scores: &Tensor, field: &Field) -> Result<Tensor, TchError> {
    labels_back(scores, field, &Choice::Greatest)
}

/// Of the channels that reach their threshold the one with the greatest probability (the first of equals), counted from 1,
/// for each voxel of the grid before the steps; 0 where none does, and where the model did not look. As [`argmax_back`].
///
/// # Errors
/// Those of [`back`]; more than 255 channels, or not one threshold for each.
pub fn likeliest_back(probabilities: &Tensor, field: &Field, thresholds: &[f32]) -> Result<Tensor, TchError> {
    labels_back(probabilities, field, &Choice::Likeliest(thresholds.to_vec()))
}

fn labels_back(scores: &Tensor, field: &Field, choice: &Choice) -> Result<Tensor, TchError> {
    let channels = scores.size().first().copied().unwrap_or(0);
    let fits = match choice {
        Choice::Greatest => (1..=256).contains(&channels),
        Choice::Likeliest(thresholds) => (1..=255).contains(&channels) && thresholds.len() as i64 == channels,
    };
    if !fits {
        return Err(TchError::Shape(format!("{channels} channels cannot become labels of 8 bits by {choice:?}")));
    }
    let way = Way::new(scores, field, Back::Linear)?;
    let size: Vec<i64> = field.axes.iter().map(|axis| axis.before as i64).collect();
    let labels = kept_within(|| Tensor::f_zeros(&size, (Kind::Uint8, scores.device())))?;
    way.labels(choice, |first, found| way.place_in(&labels, first, found))?;
    Ok(labels)
}
