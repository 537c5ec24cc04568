//! Which label a voxel gets from the scores of its channels.

use tch::{Kind, TchError, Tensor};

/// How a label is chosen.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Choice {
    /// The index of the channel with the greatest score, the first of equals.
    Greatest,
    /// Of the channels that reach their threshold the one with the greatest probability, the first of equals, counted from 1;
    /// 0 where none does. One threshold a channel.
    Likeliest(Vec<f32>),
}

impl Choice {
    /// Scores [channels, …] → labels […], on any device.
    pub(super) fn of(&self, scores: &Tensor) -> Result<Tensor, TchError> {
        let Self::Likeliest(thresholds) = self else { return scores.f_argmax(0, false) };
        let mut each = vec![1; scores.dim()];
        each[0] = -1;
        let thresholds = Tensor::f_from_slice(thresholds)?.f_view(each.as_slice())?.f_to_device(scores.device())?;
        // Below every probability where the threshold is not reached.
        let reached = scores.f_where_self(&scores.f_ge_tensor(&thresholds)?, &scores.f_full_like(-1.0)?)?;
        let (best, channel) = reached.f_max_dim(0, false)?;
        channel.f_add_scalar(1)?.f_mul(&best.f_gt(-1.0)?)?.f_to_kind(Kind::Uint8)
    }

    /// The label of channel `index`, and what its score must reach.
    pub(super) fn label(&self, index: usize) -> (u8, f32) {
        let (label, least) = match self {
            Self::Greatest => (index, f32::NEG_INFINITY),
            Self::Likeliest(thresholds) => (index + 1, thresholds.get(index).copied().unwrap_or(f32::INFINITY)),
        };
        (u8::try_from(label).unwrap_or(u8::MAX), least)
    }
}
