//! A volume as the tensors that a module takes.

use tch::{Device, Kind, TchError, Tensor};

use crate::inference::manifest::{Argument, Input, Layout, VoxelType};
use crate::inference::npz::{Array, Values};
use crate::inference::orientation::Reorientation;
use crate::volume::{Volume, Voxels};

/// The arguments of `forward`, in order, and how they came about.
pub(super) struct Arguments {
    /// Tensors on the device.
    pub(super) tensors: Vec<Tensor>,
    /// Slices, rows, columns as the module sees them.
    pub(super) shape: [usize; 3],
    /// From the source grid to the module's.
    pub(super) turn: Reorientation,
    /// What a reader of the result should know.
    pub(super) warnings: Vec<String>,
}

impl Arguments {
    /// Turns a volume into the model's axes and type, on the device.
    pub(super) fn of_volume(volume: &Volume, input: &Input, device: Device) -> Result<Self, TchError> {
        let turn = Reorientation::to_axes(&volume.geometry, input.axes);
        let shape = turn.reorder(volume.geometry.shape);
        let mut warnings = Vec::new();
        let voxels = voxels(volume, input.dtype, device, &mut warnings)?;
        let voxels = turned(&voxels, &turn)?;
        let [slices, rows, columns] = shape.map(|extent| extent as i64);
        let voxels = match input.layout {
            Layout::Zyx => voxels,
            Layout::Nczyx => shaped(voxels, &[1, 1, slices, rows, columns])?,
        };
        let mut tensors = Vec::new();
        for argument in &input.arguments {
            tensors.push(match argument {
                Argument::Voxels => voxels.shallow_clone(),
                Argument::Spacing => {
                    let spacing = turn.reorder(volume.geometry.spacing).map(|mm| mm as f32);
                    Tensor::f_from_slice(&spacing)?.f_to_device(device)?
                }
            });
        }
        Ok(Self { tensors, shape, turn, warnings })
    }

    /// The arguments of a golden case, which are in the model's axes already.
    ///
    /// # Errors
    /// An array does not have the type and dimensions that the manifest names.
    pub(super) fn of_arrays<'a>(
        input: &Input,
        array: impl Fn(&str) -> Option<&'a Array>,
        device: Device,
    ) -> Result<Self, String> {
        let mut tensors = Vec::new();
        let mut shape = [0; 3];
        for argument in &input.arguments {
            let name = argument.name();
            let array = array(name).ok_or_else(|| format!("«{name}» is missing"))?;
            let (dtype, leading) = match (argument, input.dtype, input.layout) {
                (Argument::Spacing, ..) => ("float32", None),
                (_, VoxelType::Int16, Layout::Zyx) => ("int16", Some(0)),
                (_, VoxelType::Int16, Layout::Nczyx) => ("int16", Some(2)),
                (_, VoxelType::Float32, Layout::Zyx) => ("float32", Some(0)),
                (_, VoxelType::Float32, Layout::Nczyx) => ("float32", Some(2)),
            };
            let extents: Option<[usize; 3]> = match leading {
                None => (array.shape == [3]).then_some([0; 3]),
                Some(leading) => {
                    let before = array.shape.get(..leading).filter(|before| before.iter().all(|extent| *extent == 1));
                    before.and_then(|_| array.shape[leading..].try_into().ok())
                }
            };
            let extents = extents.filter(|_| array.values.dtype() == dtype).ok_or_else(|| {
                format!("«{name}» is {}{:?}, which the manifest's input is not", array.values.dtype(), array.shape)
            })?;
            if leading.is_some() {
                shape = extents;
            }
            tensors.push(tensor_of(array, device).map_err(|error| error.to_string())?);
        }
        let turn = Reorientation { source_axis: [0, 1, 2], flipped: [false; 3] };
        Ok(Self { tensors, shape, turn, warnings: Vec::new() })
    }

    /// Frees the memory of the arguments although something may still refer to the tensors: `tch` leaks a reference to
    /// each of them whenever a module raises an error. (None of them is a view, which would keep its base alive.)
    pub(super) fn free(mut self) {
        for tensor in &mut self.tensors {
            // Fails only where libtorch is out of order altogether; then there is nothing left to free.
            let _ = tensor.f_set_();
        }
    }
}

/// Permutes and flips a tensor of slices, rows, columns.
pub(super) fn turned(tensor: &Tensor, turn: &Reorientation) -> Result<Tensor, TchError> {
    if turn.is_identity() {
        return Ok(tensor.shallow_clone());
    }
    let axes = turn.source_axis.map(|axis| axis as i64);
    let flipped: Vec<i64> = (0..3).filter(|axis| turn.flipped[*axis]).map(|axis| axis as i64).collect();
    tensor.f_permute(axes)?.f_flip(&flipped)?.f_contiguous()
}

fn voxels(volume: &Volume, dtype: VoxelType, device: Device, warnings: &mut Vec<String>) -> Result<Tensor, TchError> {
    let shape = volume.geometry.shape.map(|extent| extent as i64);
    let tensor = match (&volume.voxels, dtype) {
        (Voxels::I16(values), _) => Tensor::f_from_slice(values)?,
        (Voxels::F32(values), VoxelType::Float32) => Tensor::f_from_slice(values)?,
        (Voxels::F32(values), VoxelType::Int16) => {
            let whole: Vec<i16> = values.iter().map(|value| value.round() as i16).collect();
            if values.iter().zip(&whole).any(|(value, whole)| *value != f32::from(*whole)) {
                warnings.push("The values were rounded to whole units for the model.".to_owned());
            }
            Tensor::f_from_slice(&whole)?
        }
    };
    let kind = match dtype {
        VoxelType::Int16 => Kind::Int16,
        VoxelType::Float32 => Kind::Float,
    };
    shaped(tensor, &shape)?.f_to_device(device)?.f_to_kind(kind)
}

/// Gives a tensor another shape of as many values, in place.
fn shaped(mut tensor: Tensor, shape: &[i64]) -> Result<Tensor, TchError> {
    if shape.iter().product::<i64>() != tensor.numel() as i64 || tensor.numel() == 0 {
        return Err(TchError::Shape(format!("{} values have no shape {shape:?}", tensor.numel())));
    }
    tensor.f_resize_(shape)
}

fn tensor_of(array: &Array, device: Device) -> Result<Tensor, TchError> {
    let tensor = match &array.values {
        Values::U8(values) => Tensor::f_from_slice(values),
        Values::I16(values) => Tensor::f_from_slice(values),
        Values::I64(values) => Tensor::f_from_slice(values),
        Values::F32(values) => Tensor::f_from_slice(values),
        Values::F64(values) => Tensor::f_from_slice(values),
    }?;
    let shape: Vec<i64> = array.shape.iter().map(|extent| *extent as i64).collect();
    shaped(tensor, &shape)?.f_to_device(device)
}
