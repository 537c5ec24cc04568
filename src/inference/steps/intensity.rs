//! Steps that change values and leave the grid as it is.

use tch::{Device, Kind, TchError, Tensor};

use super::Step;
use super::prepare::State;
use crate::inference::engine::memory::kept_within;

/// Does one of the steps that change values; the others are not this module's.
pub(super) fn change(state: State, step: &Step) -> Result<State, TchError> {
    match step {
        Step::ReplaceBelow { limit, value } => {
            let below = state.values.f_lt(*limit)?;
            state.changed(|values| values.f_masked_fill_(&below, *value))
        }
        Step::Clip([least, most]) => state.changed(|values| values.f_clamp_(*least, *most)),
        Step::Scale { from, to } => mapped(state, *from, *to),
        Step::Percentile { percentiles, to, clip } => {
            let on_host = state.values.device() == Device::Cpu;
            let from = values_at(&state.values, *percentiles, if on_host { select } else { select_there })?;
            let state = mapped(state, from, *to)?;
            if *clip { state.changed(|values| values.f_clamp_(to[0].min(to[1]), to[0].max(to[1]))) } else { Ok(state) }
        }
        Step::ZScore { nonzero } => z_score(state, *nonzero),
        Step::Standardise { mean, deviation } => standardise(state, mean, deviation),
        _ => Ok(state),
    }
}

impl State {
    /// Changes the values in place, on a copy where others have them too.
    fn changed(mut self, change: impl FnOnce(&mut Tensor) -> Result<Tensor, TchError>) -> Result<Self, TchError> {
        if !self.owned {
            let mut own = kept_within(|| self.values.f_empty_like())?;
            own.f_copy_(&self.values)?;
            (self.values, self.owned) = (own, true);
        }
        let _ = change(&mut self.values)?;
        Ok(self)
    }
}

/// A straight line through two points; a shift where both lie over each other (MONAI's `ScaleIntensityRange`).
fn mapped(state: State, from: [f64; 2], to: [f64; 2]) -> Result<State, TchError> {
    let slope = slope(from, to);
    state.changed(|values| values.f_sub_scalar_(from[0])?.f_mul_scalar_(slope)?.f_add_scalar_(to[0]))
}

/// Of the line through two points.
pub(super) fn slope(from: [f64; 2], to: [f64; 2]) -> f64 {
    let width = from[1] - from[0];
    if width == 0.0 { 1.0 } else { (to[1] - to[0]) / width }
}

/// Values by their ranks: ascending, each once.
pub(super) type Select = fn(&Tensor, &[usize]) -> Result<Vec<f32>, TchError>;

/// The values at two percentiles, linear between ranks, as `numpy.percentile` has it.
pub(super) fn values_at(values: &Tensor, percentiles: [f64; 2], select: Select) -> Result<[f64; 2], TchError> {
    let last = (values.numel() - 1) as f64;
    let ranks = percentiles.map(|percent| (percent / 100.0).clamp(0.0, 1.0) * last);
    let mut wanted: Vec<usize> = ranks.iter().flat_map(|rank| [rank.floor() as usize, rank.ceil() as usize]).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let found = select(values, &wanted)?;
    let value = |rank: usize| wanted.binary_search(&rank).map_or(f64::NAN, |at| f64::from(found[at]));
    Ok(ranks.map(|rank| {
        let (below, above) = (value(rank.floor() as usize), value(rank.ceil() as usize));
        (above - below).mul_add(rank.fract(), below)
    }))
}

/// On the host, without an index beside each value.
pub(super) fn select(values: &Tensor, ranks: &[usize]) -> Result<Vec<f32>, TchError> {
    let mut all = vec![0_f32; values.numel()];
    values.f_contiguous()?.f_copy_data(&mut all, values.numel())?;
    let (mut rest, mut passed) = (&mut all[..], 0);
    let mut found = Vec::with_capacity(ranks.len());
    for rank in ranks {
        let (_, value, above) = rest.select_nth_unstable_by(rank - passed, f32::total_cmp);
        found.push(*value);
        (rest, passed) = (above, rank + 1);
    }
    Ok(found)
}

/// On the device.
pub(super) fn select_there(values: &Tensor, ranks: &[usize]) -> Result<Vec<f32>, TchError> {
    let all = values.f_contiguous()?.f_view([-1])?;
    let mut found = Vec::with_capacity(ranks.len());
    for rank in ranks {
        let (value, _) = all.f_kthvalue(*rank as i64 + 1, 0, false)?;
        found.push(value.f_double_value(&[])? as f32);
    }
    Ok(found)
}

/// MONAI's `NormalizeIntensity`: what does not vary is only shifted, and where all are zero nothing happens.
fn z_score(state: State, nonzero: bool) -> Result<State, TchError> {
    if !nonzero {
        let mean = state.values.f_mean(Kind::Float)?.f_double_value(&[])?;
        let deviation = state.values.f_std(false)?.f_double_value(&[])?;
        return state.changed(|values| values.f_sub_scalar_(mean)?.f_div_scalar_(divisor(deviation)));
    }
    let Some((mean, deviation)) = moments_of_nonzero(&state.values)? else { return Ok(state) };
    state.changed(|values| {
        for slice in slices(values)? {
            let (mut slice, zeros) = (slice.shallow_clone(), slice.f_eq(0.0)?);
            let _ = slice.f_sub_scalar_(mean)?.f_div_scalar_(divisor(deviation))?.f_masked_fill_(&zeros, 0.0)?;
        }
        Ok(values.shallow_clone())
    })
}

const fn divisor(deviation: f64) -> f64 {
    if deviation == 0.0 { 1.0 } else { deviation }
}

/// Mean and population deviation of what is not zero; `None` where all is. Slice by slice, so that no more than one of
/// them is copied.
fn moments_of_nonzero(values: &Tensor) -> Result<Option<(f64, f64)>, TchError> {
    let chosen = |slice: &Tensor| slice.f_masked_select(&slice.f_ne(0.0)?)?.f_to_kind(Kind::Double);
    let sum = |values: &Tensor| values.f_sum(Kind::Double)?.f_double_value(&[]);
    let (mut count, mut total) = (0, 0.0);
    for slice in slices(values)? {
        let chosen = chosen(&slice)?;
        (count, total) = (count + chosen.numel(), total + sum(&chosen)?);
    }
    if count == 0 {
        return Ok(None);
    }
    let (mean, mut squares) = (total / count as f64, 0.0);
    for slice in slices(values)? {
        squares += sum(&chosen(&slice)?.f_sub_scalar_(mean)?.f_square()?)?;
    }
    Ok(Some((mean, (squares / count as f64).sqrt())))
}

/// Views of the values, one for each slice or row.
fn slices(values: &Tensor) -> Result<Vec<Tensor>, TchError> {
    (0..values.size()[1]).map(|slice| values.f_narrow(1, slice, 1)).collect()
}

fn standardise(mut state: State, mean: &[f64], deviation: &[f64]) -> Result<State, TchError> {
    let size = state.values.size();
    let channels = i64::try_from(mean.len()).unwrap_or(0);
    if mean.len() != deviation.len() || channels == 0 || (size[0] != 1 && size[0] != channels) {
        let (means, deviations) = (mean.len(), deviation.len());
        let message =
            format!("{} channels cannot be standardised by {means} means and {deviations} deviations", size[0]);
        return Err(TchError::Shape(message));
    }
    let each = |numbers: &[f64]| {
        let mut shape = vec![1; size.len()];
        shape[0] = channels;
        let numbers: Vec<f32> = numbers.iter().map(|number| *number as f32).collect();
        Tensor::f_from_slice(&numbers)?.f_view(shape.as_slice())?.f_to_device(state.values.device())
    };
    let (mean, deviation) = (each(mean)?, each(deviation)?);
    // One channel and several means give as many channels.
    state.values = kept_within(|| state.values.f_sub(&mean))?;
    state.owned = true;
    state.changed(|values| values.f_div_(&deviation))
}
