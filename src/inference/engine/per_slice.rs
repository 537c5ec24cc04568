//! Each slice scored by itself: the classification on the slices around it.

use super::fault::Fault;
use super::inputs::{ModuleInput, Source};
use super::outputs::{pathology_of, rows_of};
use super::positions::around;
use super::run::Run;
use crate::inference::manifest::{Layout, PerSlice};
use crate::inference::prediction::SliceScores;

impl Run<'_> {
    /// The probability of the package's answer for every `stride`-th slice of the source; `None` where the slices of the
    /// source are not those of the model's axes.
    ///
    /// # Errors
    /// As [`Self::outputs`].
    pub(super) fn slice_scores(&self, source: &Source, per_slice: PerSlice) -> Result<Option<SliceScores>, Fault> {
        let Some(label) = self.manifest.output.pathology().filter(|_| source.turn.source_axis[0] == 0) else {
            return Ok(None);
        };
        let slices = source.slices();
        let chosen: Vec<usize> = (0..slices).step_by(per_slice.stride).collect();
        // A batch dimension is what makes several windows one input.
        let batch = if self.manifest.input.layout == Layout::Nczyx { self.rung.batch } else { 1 };
        let mut scores = Vec::with_capacity(chosen.len());
        for chosen in chosen.chunks(batch) {
            let window =
                |slice: &usize| source.prepared_slices(&around(*slice, per_slice.window, slices), &self.manifest.input);
            let inputs = chosen.iter().map(window).collect::<Result<Vec<_>, _>>()?;
            let probabilities = self.probabilities(inputs)?;
            scores.extend(chosen.iter().copied().zip(probabilities));
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

    /// One probability for each of the inputs, which are one batch.
    fn probabilities(&self, mut inputs: Vec<ModuleInput>) -> Result<Vec<f64>, Fault> {
        let output = &self.manifest.output;
        let tensors: Vec<&str> = output.classifications.iter().map(|output| output.tensor.as_str()).collect();
        let count = inputs.len();
        let voxels = ModuleInput::together(&inputs)?;
        let input = ModuleInput { voxels, ..inputs.swap_remove(0) };
        let found = self.outputs(&input, &tensors)?;
        let answer = pathology_of(output, |output| {
            let tensor =
                found.get(&output.tensor).ok_or_else(|| Fault::Wrong(format!("«{}» is missing", output.tensor)))?;
            rows_of(output, tensor)
        })?;
        let probabilities = answer.map(|(_, probabilities)| probabilities).unwrap_or_default();
        if probabilities.len() == count && probabilities.iter().all(|probability| probability.is_finite()) {
            return Ok(probabilities);
        }
        let found = probabilities.len();
        Err(Fault::Wrong(format!("there are {found} probabilities for {count} slices, or one of them is no number")))
    }
}
