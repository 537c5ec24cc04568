//! Each slice scored by itself: the classification on the slices around it.

use super::fault::Fault;
use super::inputs::ModuleInput;
use super::outputs::{check_slices, probabilities_of};
use super::positions::around;
use super::run::Run;
use super::source::Source;
use crate::inference::error::EngineError;
use crate::inference::manifest::{ClassLabel, Layout, PerSlice};
use crate::inference::prediction::SliceScores;

impl Run<'_> {
    /// The probability of the package's answer for every `stride`-th of the source's slices; `None` where the slices of the
    /// source are not those of the model's axes.
    ///
    /// # Errors
    /// As [`Self::outputs`].
    pub(super) fn slice_scores(&self, source: &Source, per_slice: PerSlice) -> Result<Option<SliceScores>, Fault> {
        let Some(label) = self.manifest.output.pathology().filter(|_| source.turn.source_axis[0] == 0) else {
            return Ok(None);
        };
        let slices = source.slices();
        // Nobody has an image of those between, and a window of them would show less of the patient than one of the series' own.
        let own = source.own_slices();
        let chosen: Vec<usize> = (0..own.len()).step_by(per_slice.stride).collect();
        // A batch dimension is what makes several windows one input, where no module makes windows of each of them.
        let several = self.manifest.input.layout == Layout::Nczyx && self.manifest.inference.window.is_none();
        let batch = if several { self.rung.batch } else { 1 };
        let mut scores = Vec::with_capacity(chosen.len());
        for chosen in chosen.chunks(batch) {
            let window = |at: &usize| {
                let window = around(*at, per_slice.window, own.len());
                let slots = distance(&window, &own);
                let window: Vec<usize> = window.into_iter().map(|at| own[at]).collect();
                source.prepared_slices(&window, slots, &self.manifest.input)
            };
            let inputs = chosen.iter().map(window).collect::<Result<Vec<_>, _>>()?;
            let probabilities = self.probabilities_of_all(label, inputs)?;
            scores.extend(chosen.iter().map(|at| own[*at]).zip(probabilities));
        }
        if source.turn.flipped[0] {
            scores.iter_mut().for_each(|(slice, _)| *slice = slices - 1 - *slice);
            scores.reverse();
        }
        let mut peak = 0;
        for (index, (_, score)) in scores.iter().enumerate() {
            if *score > scores[peak].1 {
                peak = index;
            }
        }
        let peak = scores.get(peak).map_or(0, |(slice, _)| *slice);
        Ok(Some(SliceScores { label: label.label.clone(), scores, peak }))
    }

    /// The probability of `label` for each of the inputs: at once, or one after the other where steps that cut each to what it
    /// shows leave them of different sizes.
    fn probabilities_of_all(&self, label: &ClassLabel, inputs: Vec<ModuleInput>) -> Result<Vec<f64>, Fault> {
        if inputs.windows(2).all(|pair| pair[0].voxels.size() == pair[1].voxels.size()) {
            return self.probabilities(label, inputs);
        }
        let each = inputs.into_iter().map(|input| self.probabilities(label, vec![input]));
        Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// The probability of `label` for each of the inputs, which are one batch.
    fn probabilities(&self, label: &ClassLabel, mut inputs: Vec<ModuleInput>) -> Result<Vec<f64>, Fault> {
        let Some((output, column)) = self.manifest.output.column_of(label) else { return Ok(Vec::new()) };
        let count = inputs.len();
        let voxels = ModuleInput::together(&inputs)?;
        let input = ModuleInput { voxels, ..inputs.swap_remove(0) };
        let found = self.outputs(&input, &[&output.tensor])?;
        check_slices(output, &found, count)?;
        probabilities_of(output, column, &found[&output.tensor])
    }
}

/// How many slices of the grid lie from one slice of a window to the next, on average: one, but where others lie between.
#[expect(clippy::cast_precision_loss, reason = "numbers of slices")]
fn distance(window: &[usize], own: &[usize]) -> f64 {
    let (Some(first), Some(last)) = (window.first(), window.last()) else { return 1.0 };
    if first == last { 1.0 } else { (own[*last] - own[*first]) as f64 / (last - first) as f64 }
}

/// What to say of slices that were not scored for a fault of the model or of its time. Memory may suffice on the next rung, and
/// a device that fails is no matter of the slices.
pub(super) fn unscored(fault: Fault, model: &str, is_last: bool) -> Result<String, Fault> {
    let why = match fault {
        Fault::Late(allowed) => format!("that did not end within {} s", allowed.as_secs_f64()),
        Fault::Wrong(message) => message,
        Fault::Torch(text) => match EngineError::from_torch(model, &text) {
            EngineError::ModelRaised { message, .. } => message,
            EngineError::OutOfMemory { message, .. } if is_last => format!("memory ran out: {message}"),
            _ => return Err(Fault::Torch(text)),
        },
        other => return Err(other),
    };
    Ok(format!("The slices were not scored one by one: {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_a_window_are_as_far_apart_as_those_of_the_source() {
        let even: Vec<usize> = (0..20).collect();
        let uneven = [0, 2, 4, 6, 9, 12, 15];
        assert_eq!(distance(&[0, 0, 1, 2], &even), 1.0);
        assert_eq!(distance(&[0, 0, 1, 2], &uneven), 2.0);
        assert_eq!(distance(&[2, 3, 4], &uneven), 2.5);
        assert_eq!(distance(&[5, 6, 6], &uneven), 3.0);
        assert_eq!((distance(&[4], &uneven), distance(&[3, 3], &uneven)), (1.0, 1.0));
    }
}
