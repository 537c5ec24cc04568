//! Test-time mirroring: the mean of what the modules say of the input and of its mirror images.

use super::fault::Fault;
use super::inputs::ModuleInput;
use super::outputs::check;
use super::returned::Named;
use super::run::Run;

impl Run<'_> {
    /// The tensors of all outputs, checked. Scores of a segmentation and numbers of a classification are the mean over the
    /// mirror images that the manifest asks for; everything else is of the input as it is.
    ///
    /// # Errors
    /// As [`Self::outputs`].
    pub(super) fn mirrored(&self, input: &ModuleInput) -> Result<Named, Fault> {
        let output = &self.manifest.output;
        let mut tensors = self.outputs(input, &output.tensors())?;
        check(self.manifest, &tensors, &input.field)?;
        let images = images(&self.manifest.inference.mirror);
        if images.is_empty() {
            return Ok(tensors);
        }
        let scores = output.segmentation.as_ref().map(|output| output.tensor.as_str());
        let mut averaged: Vec<&str> = scores.into_iter().collect();
        averaged.extend(output.classifications.iter().map(|output| output.tensor.as_str()));
        for dimensions in &images {
            let mirrored = ModuleInput {
                voxels: input.voxels.f_flip(dimensions)?,
                spacing: input.spacing.shallow_clone(),
                field: input.field.clone(),
            };
            let mut found = self.outputs(&mirrored, &averaged)?;
            for name in &averaged {
                let (Some(sum), Some(tensor)) = (tensors.get_mut(*name), found.remove(*name)) else { continue };
                let tensor = if scores == Some(name) { tensor.f_flip(dimensions)? } else { tensor };
                if tensor.size() != sum.size() {
                    let (before, now) = (sum.size(), tensor.size());
                    return Err(Fault::Wrong(format!("«{name}» is {now:?} for a mirror image, {before:?} before")));
                }
                // Not in place: the tensor may be a view of another output.
                *sum = sum.f_add(&tensor)?;
            }
        }
        for name in &averaged {
            if let Some(sum) = tensors.get_mut(*name) {
                *sum = sum.f_div_scalar(images.len() as f64 + 1.0)?;
            }
        }
        check(self.manifest, &tensors, &input.field)?;
        Ok(tensors)
    }
}

/// Every combination of the axes but none, as dimensions counted from the last.
fn images(axes: &[usize]) -> Vec<Vec<i64>> {
    let dimension = |index: usize| axes[index] as i64 - 3;
    let combination = |mask: u32| (0..axes.len()).filter(|index| mask >> index & 1 == 1).map(dimension).collect();
    (1..1u32 << axes.len()).map(combination).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_combinations_of_axes_are_mirrored() {
        assert_eq!(images(&[]), Vec::<Vec<i64>>::new());
        assert_eq!(images(&[2]), [vec![-1]]);
        assert_eq!(images(&[0, 2]), [vec![-3], vec![-1], vec![-3, -1]]);
        assert_eq!(images(&[0, 1, 2]).len(), 7);
    }
}
