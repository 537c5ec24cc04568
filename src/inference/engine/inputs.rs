//! A subject as the tensors that modules take.

use tch::{Device, Kind, TchError, Tensor};

use crate::inference::manifest::{Input, Layout, SPACING, VOXELS, VoxelType};
use crate::inference::npz::{Array, Values};
use crate::inference::orientation::Reorientation;
use crate::inference::steps::{self, Field, Prepared};
use crate::volume::Voxels;

/// What modules are handed, and where it lies.
pub(super) struct ModuleInput {
    /// In the layout and type of the manifest, on the device.
    pub(super) voxels: Tensor,
    /// Distances on the grid of the voxels, mm.
    pub(super) spacing: Tensor,
    /// From the grid of the voxels to the one before the steps.
    pub(super) field: Field,
}

pub(super) fn after_steps(values: Tensor, spacing: &[f64], input: &Input) -> Result<ModuleInput, TchError> {
    let device = values.device();
    let prepared = if input.steps.is_empty() {
        let extents: Vec<usize> = values.size().into_iter().map(|extent| extent as usize).collect();
        let values = values.f_to_kind(kind_of(input.dtype))?.f_unsqueeze(0)?;
        Prepared { values, field: Field::whole(&extents) }
    } else {
        steps::apply(values, spacing, &input.steps)?
    };
    laid_out(prepared, spacing, input.layout, device)
}

/// As modules take it; `spacing` is that before the steps.
pub(super) fn laid_out(
    prepared: Prepared,
    spacing: &[f64],
    layout: Layout,
    device: Device,
) -> Result<ModuleInput, TchError> {
    let Prepared { values, field } = prepared;
    let after: Vec<f32> = field.spacing_after(spacing).into_iter().map(|mm| mm as f32).collect();
    let spacing = Tensor::f_from_slice(&after)?.f_to_device(device)?;
    Ok(ModuleInput { voxels: in_layout(values, layout)?, spacing, field })
}

impl ModuleInput {
    /// Of a golden case: in the layout of the manifest, after the steps.
    ///
    /// # Errors
    /// An array does not have the type and dimensions that the manifest names.
    pub(super) fn of_arrays<'a>(
        input: &Input,
        array: impl Fn(&str) -> Option<&'a Array>,
        device: Device,
    ) -> Result<Self, String> {
        let found = array(VOXELS).ok_or_else(|| format!("«{VOXELS}» is missing"))?;
        let dtype = match input.dtype {
            VoxelType::Int16 => "int16",
            VoxelType::Float32 => "float32",
        };
        let extents = extents(&found.shape, input).filter(|_| found.values.dtype() == dtype).ok_or_else(|| {
            format!("«{VOXELS}» is {}{:?}, which the manifest's input is not", found.values.dtype(), found.shape)
        })?;
        let spacing = match array(SPACING) {
            Some(spacing) if spacing.shape != [extents.len()] || spacing.values.dtype() != "float32" => {
                let count = extents.len();
                let (found, shape) = (spacing.values.dtype(), &spacing.shape);
                return Err(format!("«{SPACING}» is {found}{shape:?}, it must be float32[{count}]"));
            }
            Some(spacing) => tensor_of(spacing, device),
            None => Tensor::f_ones([extents.len() as i64], (Kind::Float, device)),
        };
        let text = |error: TchError| error.to_string();
        let voxels = tensor_of(found, device).map_err(text)?;
        Ok(Self { voxels, spacing: spacing.map_err(text)?, field: Field::whole(&extents) })
    }

    /// Several inputs of a batch of one as one batch.
    pub(super) fn together(inputs: &[Self]) -> Result<Tensor, TchError> {
        let voxels: Vec<&Tensor> = inputs.iter().map(|input| &input.voxels).collect();
        Tensor::f_cat(&voxels, 0)
    }
}

/// [channels, …] in the layout of the manifest.
fn in_layout(values: Tensor, layout: Layout) -> Result<Tensor, TchError> {
    match layout {
        Layout::Nczyx | Layout::Ncyx => values.f_unsqueeze(0),
        Layout::Bcyx => values.f_transpose(0, 1)?.f_contiguous(),
        // One channel: [1, slices, rows, columns] as it stands.
        Layout::Nkyx => Ok(values),
        Layout::Zyx => values.f_squeeze_dim(0),
    }
}

/// Slices, rows, columns (or rows, columns) of an array of `shape`, where it has the layout of the manifest.
fn extents(shape: &[usize], input: &Input) -> Option<Vec<usize>> {
    let channels = input.channels();
    match (input.layout, shape) {
        (Layout::Zyx, [z, y, x]) => Some(vec![*z, *y, *x]),
        (Layout::Nczyx, [1, c, z, y, x]) if *c == channels => Some(vec![*z, *y, *x]),
        (Layout::Nkyx, [1, k, y, x]) => Some(vec![*k, *y, *x]),
        (Layout::Bcyx, [k, c, y, x]) if *c == channels => Some(vec![*k, *y, *x]),
        (Layout::Ncyx, [1, c, y, x]) if *c == channels => Some(vec![*y, *x]),
        _ => None,
    }
    .filter(|extents| !extents.contains(&0))
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

/// The values of a volume in the type they have: whole numbers take half of the memory until a step makes fractions of them.
pub(super) fn of_voxels(
    voxels: &Voxels,
    shape: [usize; 3],
    dtype: VoxelType,
    warnings: &mut Vec<String>,
) -> Result<Tensor, TchError> {
    let tensor = match (voxels, dtype) {
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
    shaped(tensor, &shape.map(|extent| extent as i64))
}

const fn kind_of(dtype: VoxelType) -> Kind {
    match dtype {
        VoxelType::Int16 => Kind::Int16,
        VoxelType::Float32 => Kind::Float,
    }
}

/// Gives a tensor another shape of as many values, in place.
pub(super) fn shaped(mut tensor: Tensor, shape: &[i64]) -> Result<Tensor, TchError> {
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
