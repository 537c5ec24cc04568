//! Labels made while the scores of windows come together, which are then never held for the whole volume.

use std::time::Instant;

use tch::{Device, Tensor};

use super::fault::Fault;
use super::inputs::ModuleInput;
use super::outputs::{check_beside, check_slab, is_whole, made_likely, output_elsewhere};
use super::returned::Named;
use super::run::{Run, Taker, add};
use crate::inference::manifest::{Gather, Manifest, Module, Over, SegmentationEncoding, SegmentationGrid};
use crate::inference::steps::{Field, LabelsBack};

/// What the modules made of an input, checked.
pub(super) struct Answer {
    /// The tensors that the outputs name, but for the one that became `labels`.
    pub(super) tensors: Named,
    /// On the grid before the steps, in the model's axes, where the scores were not kept for it.
    pub(super) labels: Option<Vec<u8>>,
}

impl Run<'_> {
    /// The tensors of all outputs, checked; labels in the place of scores that are added up on the host and that nothing
    /// but the segmentation needs.
    ///
    /// # Errors
    /// As [`Self::outputs`].
    pub(super) fn answer(&self, input: &ModuleInput) -> Result<Answer, Fault> {
        let on_host = self.device == Device::Cpu || self.rung.sums_on_host;
        let Some(output) = self.manifest.output.segmentation.as_ref().filter(|_| on_host) else {
            return Ok(Answer { tensors: self.mirrored(input)?, labels: None });
        };
        let field = &input.field;
        if !for_labels_alone(self.manifest, field) {
            return Ok(Answer { tensors: self.mirrored(input)?, labels: None });
        }
        let mut labels = match output.encoding {
            SegmentationEncoding::Probabilities => {
                let thresholds: Vec<f32> = output.thresholds.iter().map(|threshold| *threshold as f32).collect();
                LabelsBack::likeliest(field, &thresholds)?
            }
            _ => LabelsBack::greatest(field, output.segments.len() + 1)?,
        };
        let mut take = |first: usize, slab: &Tensor| {
            let began = Instant::now();
            check_slab(self.manifest, slab, field)?;
            let taken = labels.take(first, &made_likely(output, slab, field)?.f_select(0, 0)?);
            add(&self.spent.labels, began.elapsed());
            Ok(taken?)
        };
        let taker = Taker { tensor: &output.tensor, take: &mut take };
        let tensors = self.outputs_beside(input, &self.manifest.output.tensors(), Some(taker))?;
        check_beside(self.manifest, &tensors, field, Some(&output.tensor))?;
        Ok(Answer { tensors, labels: Some(labels.labels()?) })
    }
}

/// Whether the tensor of the segmentation is blended from windows, goes back through steps, and is nobody else's.
fn for_labels_alone(manifest: &Manifest, field: &Field) -> bool {
    let output = &manifest.output;
    let Some(segmentation) = &output.segmentation else { return false };
    let name = &segmentation.tensor;
    let blended = |module: &Module| match &module.over {
        Over::Windows(gathers) => module.results.iter().zip(gathers).any(|result| result == (name, &Gather::Blend)),
        Over::Input => false,
    };
    manifest.modules.iter().any(blended)
        && !output_elsewhere(manifest, name)
        && !manifest.modules.iter().any(|module| module.arguments.contains(name))
        && segmentation.encoding != SegmentationEncoding::Labels
        && segmentation.grid == SegmentationGrid::Input
        && manifest.inference.mirror.is_empty()
        && field.axes.len() == 3
        && !is_whole(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::steps::Along;

    #[test]
    fn scores_that_only_become_labels_on_another_grid_are_not_held_whole() {
        let alone = |name: &str, field: &Field| {
            let folder = format!("{}/tests/fixtures/modules/{name}", env!("CARGO_MANIFEST_DIR"));
            let package = Manifest::load(std::path::Path::new(&folder)).unwrap();
            for_labels_alone(package.manifest(), field)
        };
        let whole = Field::whole(&[8, 8, 8]);
        let coarse = whole.coarse(&[4, 4, 4]).unwrap();
        let image = Field { axes: vec![Along::whole(8), Along::whole(8)] };
        assert!(alone("several-resized", &coarse));
        assert!(!alone("several-resized", &whole) && !alone("several-resized", &image));
        // Mirror images are added to the whole scores.
        assert!(!alone("mirrored", &coarse));
    }
}
