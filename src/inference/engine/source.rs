//! A subject on its way to the steps: in a model's axes, as little of it copied as they need.

use std::sync::Arc;

use tch::{Device, TchError, Tensor};

use super::inputs::{ModuleInput, after_steps, laid_out, of_voxels, shaped, turned};
use super::positions::{ends, evenly_spaced};
use crate::inference::manifest::{Input, InputKind, SlicesOver, VoxelType};
use crate::inference::orientation::{Axes, Reorientation};
use crate::inference::prediction::Touched;
use crate::inference::steps;
use crate::volume::radiograph::Radiograph;
use crate::volume::{Stack, Voxels};

/// A subject before the steps.
pub(super) struct Source {
    held: Held,
    /// Between slices, rows, columns, or rows, columns, mm.
    spacing: Vec<f64>,
    /// Slices, rows, columns of the subject; one slice for an image.
    pub(super) shape: [usize; 3],
    /// From the subject's grid to the model's axes.
    pub(super) turn: Reorientation,
    /// Slices of the subject that lie between those of its source.
    pub(super) between: Vec<usize>,
    /// What a reader of the result should know.
    pub(super) warnings: Vec<String>,
}

/// The values of a subject.
enum Held {
    /// As the series has them, whose slices are those of the model.
    Voxels(Arc<Voxels>),
    /// In the model's axes, [slices, rows, columns] or [rows, columns] on the device: int16, or float32 where the subject has
    /// fractions.
    Tensor(Tensor),
    /// They were let go.
    Nothing,
}

impl Source {
    /// A volume for the device. Lets go of `voxels` as soon as a tensor has them.
    pub(super) fn of_volume(
        stack: &Stack,
        voxels: Arc<Voxels>,
        axes: Axes,
        dtype: VoxelType,
        device: Device,
    ) -> Result<Self, TchError> {
        let turn = Reorientation::to_axes(&stack.geometry, axes);
        let shape = stack.geometry.shape;
        let spacing = turn.reorder(stack.geometry.spacing).to_vec();
        let mut warnings = Vec::new();
        // What is read from the series slice by slice is shaped by nobody else.
        if voxels.count() != shape.iter().product::<usize>() {
            return Err(TchError::Shape(format!("{} values have no shape {shape:?}", voxels.count())));
        }
        let held = if device == Device::Cpu && dtype == VoxelType::Float32 && turn.source_axis[0] == 0 {
            Held::Voxels(voxels)
        } else {
            let values = of_voxels(&voxels, shape, dtype, &mut warnings)?;
            drop(voxels);
            Held::Tensor(turned(&values.f_to_device(device)?, &turn)?)
        };
        Ok(Self { held, spacing, shape, turn, between: stack.between.clone(), warnings })
    }

    /// A radiograph, on the device.
    pub(super) fn of_image(image: &Radiograph, device: Device) -> Result<Self, TchError> {
        let values = shaped(Tensor::f_from_slice(&image.values)?, &[image.rows as i64, image.columns as i64])?;
        let turn = Reorientation { source_axis: [0, 1, 2], flipped: [false; 3] };
        // No step of an image asks for its spacing.
        let spacing = image.pixel_spacing.unwrap_or([1.0; 2]).to_vec();
        let shape = [1, image.rows, image.columns];
        let held = Held::Tensor(values.f_to_device(device)?);
        Ok(Self { held, spacing, shape, turn, between: Vec::new(), warnings: Vec::new() })
    }

    /// Slices in the model's axes; 1 for an image.
    pub(super) fn slices(&self) -> usize {
        self.turn.reorder(self.shape)[0]
    }

    /// The slices in the model's axes that are the source's own, or that it lacks; those between them are left out. Only where the
    /// source's slices are the model's.
    pub(super) fn own_slices(&self) -> Vec<usize> {
        let own = (0..self.shape[0]).filter(|slice| self.between.binary_search(slice).is_err());
        if self.turn.flipped[0] { own.rev().map(|slice| self.shape[0] - 1 - slice).collect() } else { own.collect() }
    }

    /// What the modules see of the subject; `gate` is what its gate found. Without `again` nothing can be prepared
    /// afterwards: the values are let go as soon as steps have made others of them.
    ///
    /// # Errors
    /// The inner one where the gate leaves nothing to see.
    pub(super) fn prepared(
        &mut self,
        input: &Input,
        gate: Option<&Touched>,
        again: bool,
    ) -> Result<Result<ModuleInput, NoSlices>, TchError> {
        let InputKind::Slices { count, over, .. } = input.kind else {
            let held = if again { self.held.again() } else { self.held.let_go() };
            return self.whole(held, input).map(Ok);
        };
        let range = match over {
            SlicesOver::Series => Some((0, self.slices() - 1)),
            SlicesOver::Gate => match gate {
                None => return Ok(Err(NoSlices::NoGate)),
                Some(touched) => ends(touched, &self.turn),
            },
        };
        let Some((first, last)) = range else { return Ok(Err(NoSlices::NothingFound)) };
        let mut spacing = self.spacing.clone();
        spacing[0] *= (last - first).max(1) as f64 / (count.max(2) - 1) as f64;
        let chosen = self.chosen(&evenly_spaced(first, last, count))?;
        if !again {
            drop(self.held.let_go());
        }
        after_steps(chosen, &spacing, input).map(Ok)
    }

    /// What the modules see of the slices given, in this order, that lie so many slices of the grid apart.
    pub(super) fn prepared_slices(
        &self,
        indices: &[usize],
        apart: f64,
        input: &Input,
    ) -> Result<ModuleInput, TchError> {
        let mut spacing = self.spacing.clone();
        spacing[0] *= apart;
        after_steps(self.chosen(indices)?, &spacing, input)
    }

    fn whole(&self, held: Held, input: &Input) -> Result<ModuleInput, TchError> {
        let voxels = match held {
            Held::Voxels(voxels) => voxels,
            Held::Tensor(values) => return after_steps(values, &self.spacing, input),
            Held::Nothing => return Err(gone()),
        };
        match steps::apply_to_voxels(voxels, self.shape, &self.turn, &self.spacing, &input.steps)? {
            Ok(prepared) => laid_out(prepared, &self.spacing, input.layout, Device::Cpu),
            Err(voxels) => {
                let values = of_voxels(&voxels, self.shape, VoxelType::Float32, &mut Vec::new())?;
                drop(voxels);
                after_steps(turned(&values, &self.turn)?, &self.spacing, input)
            }
        }
    }

    /// Some slices of the model's axes, in their order.
    fn chosen(&self, indices: &[usize]) -> Result<Tensor, TchError> {
        match &self.held {
            Held::Voxels(voxels) => {
                let last = self.shape[0] - 1;
                let mut of_series = indices.to_vec();
                if self.turn.flipped[0] {
                    // The turn will turn them round once more.
                    of_series = indices.iter().rev().map(|index| last - index).collect();
                }
                let some = slices_of(voxels, self.shape, &of_series).ok_or_else(gone)?;
                let shape = [indices.len(), self.shape[1], self.shape[2]];
                turned(&of_voxels(&some, shape, VoxelType::Float32, &mut Vec::new())?, &self.turn)
            }
            Held::Tensor(values) => {
                let indices: Vec<i64> = indices.iter().map(|index| *index as i64).collect();
                values.f_index_select(0, &Tensor::f_from_slice(&indices)?.f_to_device(values.device())?)
            }
            Held::Nothing => Err(gone()),
        }
    }
}

impl Held {
    fn again(&self) -> Self {
        match self {
            Self::Voxels(voxels) => Self::Voxels(Arc::clone(voxels)),
            Self::Tensor(values) => Self::Tensor(values.shallow_clone()),
            Self::Nothing => Self::Nothing,
        }
    }

    const fn let_go(&mut self) -> Self {
        std::mem::replace(self, Self::Nothing)
    }
}

fn gone() -> TchError {
    TchError::Shape("the values of the series are not there".to_owned())
}

/// Some slices of a series of `shape`, one behind the other; `None` where there is no such slice.
fn slices_of(voxels: &Voxels, shape: [usize; 3], indices: &[usize]) -> Option<Voxels> {
    fn gathered<T: Copy>(values: &[T], plane: usize, indices: &[usize]) -> Option<Vec<T>> {
        let slices = indices.iter().map(|index| values.get(index * plane..(index + 1) * plane));
        slices.collect::<Option<Vec<_>>>().map(|slices| slices.concat())
    }
    let plane = shape[1] * shape[2];
    match voxels {
        Voxels::I16(values) => gathered(values, plane, indices).map(Voxels::I16),
        Voxels::F32(values) => gathered(values, plane, indices).map(Voxels::F32),
    }
}

/// Why there are no slices to see.
pub(super) enum NoSlices {
    /// The caller did not say what the gate found.
    NoGate,
    /// The gate found nothing.
    NothingFound,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::engine::tests::stack;
    use crate::inference::manifest::{Layout, PerSlice};
    use crate::inference::steps::{Antialias, Interpolation, Step};

    const SHAPE: [usize; 3] = [5, 4, 6];

    fn source_stack() -> Stack {
        stack(SHAPE, [2.0, 0.7, 0.8])
    }

    /// A source whose values are a tensor from the beginning.
    fn of_tensor(voxels: &Voxels, axes: Axes) -> Source {
        let turn = Reorientation::to_axes(&source_stack().geometry, axes);
        let values = of_voxels(voxels, SHAPE, VoxelType::Float32, &mut Vec::new()).unwrap();
        let held = Held::Tensor(turned(&values, &turn).unwrap());
        let spacing = turn.reorder(source_stack().geometry.spacing).to_vec();
        Source { held, spacing, shape: SHAPE, turn, between: Vec::new(), warnings: Vec::new() }
    }

    #[test]
    fn slices_between_those_of_the_source_are_not_its_own() {
        let own = |axes: &str, between: Vec<usize>| {
            let voxels = Arc::new(Voxels::I16(vec![0; SHAPE.iter().product()]));
            let series = Stack { between, ..source_stack() };
            let axes = Axes::parse(axes).unwrap();
            Source::of_volume(&series, voxels, axes, VoxelType::Float32, Device::Cpu).unwrap().own_slices()
        };
        assert_eq!(own("SPL", vec![]), [0, 1, 2, 3, 4]);
        assert_eq!(own("SPL", vec![1, 2]), [0, 3, 4]);
        assert_eq!(own("IPL", vec![1, 2]), [0, 1, 4], "the last of the series is the model's first");
    }

    #[test]
    fn voxels_that_do_not_fit_the_grid_are_no_source() {
        for axes in ["SPL", "LPS"] {
            let voxels = Arc::new(Voxels::I16(vec![0; 7]));
            let axes = Axes::parse(axes).unwrap();
            let source = Source::of_volume(&source_stack(), voxels, axes, VoxelType::Float32, Device::Cpu);
            assert!(matches!(source, Err(TchError::Shape(_))));
        }
    }

    #[test]
    fn what_is_read_from_the_voxels_is_what_a_tensor_of_them_gives() {
        let count = SHAPE.iter().product::<usize>() as i16;
        let voxels = Arc::new(Voxels::I16((0..count).map(|value| value * 7 - 300).collect()));
        let linear = Interpolation::Linear { align_corners: false, antialias: Antialias::None };
        let resize = Step::Resize { size: vec![3, 7, 5], method: linear };
        let nearest = Step::Resize { size: vec![3, 7, 5], method: Interpolation::Nearest };
        let clip = Step::Clip([-200.0, 250.0]);
        for letters in ["SPL", "IPL", "IAR", "SLP", "IRA", "LPS"] {
            let axes = Axes::parse(letters).unwrap();
            let per_slice: Option<PerSlice> = None;
            let volume = InputKind::Volume { axes, per_slice };
            let slices = InputKind::Slices { axes, count: 3, over: SlicesOver::Series };
            for (kind, layout) in [(volume, Layout::Nczyx), (slices, Layout::Nkyx)] {
                for steps in [
                    vec![clip.clone(), resize.clone()],
                    vec![resize.clone(), clip.clone()],
                    vec![nearest.clone()],
                    vec![],
                ] {
                    let input = Input { kind: kind.clone(), layout, dtype: VoxelType::Float32, steps };
                    let prepare = |mut source: Source, again| match source.prepared(&input, None, again).unwrap() {
                        Ok(found) => found,
                        Err(_) => panic!("{letters}"),
                    };
                    let expected = prepare(of_tensor(&voxels, axes), false);
                    for again in [true, false] {
                        let source =
                            Source::of_volume(&source_stack(), voxels.clone(), axes, VoxelType::Float32, Device::Cpu);
                        let found = prepare(source.unwrap(), again);
                        assert_eq!((found.voxels.size(), &found.field), (expected.voxels.size(), &expected.field));
                        let apart = (&found.voxels - &expected.voxels).abs().max().double_value(&[]);
                        assert!(apart < 1e-4, "{letters} {input:?}: {apart}");
                        assert_eq!(found.spacing, expected.spacing);
                    }
                }
            }
        }
        assert_eq!(Arc::strong_count(&voxels), 1, "somebody holds them still");
    }
}
