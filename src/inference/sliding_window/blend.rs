//! Windows through a module, blended on the device.

use tch::{Device, Kind, TchError, Tensor};

use super::{Plan, importance};
use crate::inference::manifest::Window;

/// Scores of a whole volume from scores of its windows.
///
/// `voxels` is float32 [1, channels, slices, rows, columns]; `module` takes float32 [n, channels, window] (n at most
/// `window.batch`) and gives float32 [n, k, window]. Gives float32 [1, k, slices, rows, columns], on the device of `voxels`.
/// One tensor of that size and one of a single channel are held, beside the windows of one batch.
///
/// # Errors
/// Those of `module`, and of libtorch where memory ends or the scores do not have the shape of the windows.
pub fn sliding_window<E: From<TchError>>(
    voxels: &Tensor,
    window: &Window,
    mut module: impl FnMut(&Tensor) -> Result<Tensor, E>,
) -> Result<Tensor, E> {
    let size = voxels.size();
    let [_, _, slices, rows, columns] = size[..] else {
        return Err(TchError::Shape(format!("five dimensions are needed, the voxels have {size:?}")).into());
    };
    let shape = [slices, rows, columns].map(|extent| usize::try_from(extent).unwrap_or(0));
    let plan = Plan::new(shape, window);
    let padded = pad(voxels, &plan, window.padding_value)?;
    let weights = weights(window, voxels.device())?;
    let mut sums: Option<Tensor> = None;
    for batch in plan.starts.chunks(window.batch) {
        let windows = batch.iter().map(|start| cut(&padded, *start, window.size)).collect::<Result<Vec<_>, _>>()?;
        let scores = module(&Tensor::f_cat(&windows, 0)?)?;
        let channels = check_scores(&scores, batch.len(), window.size)?;
        let weighted = scores.f_mul(&weights)?;
        let sums = match &mut sums {
            Some(sums) => sums,
            None => sums.insert(zeros(channels, plan.padded, voxels.device())?),
        };
        for (index, start) in batch.iter().enumerate() {
            let _ = cut(sums, *start, window.size)?.f_add_(&weighted.f_narrow(0, as_i64(index), 1)?)?;
        }
    }
    let mut sums = sums.ok_or_else(|| TchError::Shape("the plan has no window".to_owned()))?;
    let _ = sums.f_div_(&counts(&plan, window, &weights)?)?;
    Ok(crop(&sums, &plan, shape)?)
}

fn as_i64(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

fn zeros(channels: i64, [slices, rows, columns]: [usize; 3], device: Device) -> Result<Tensor, TchError> {
    Tensor::f_zeros([1, channels, as_i64(slices), as_i64(rows), as_i64(columns)], (Kind::Float, device))
}

/// Adds a constant around the volume where it is smaller than the window.
fn pad(voxels: &Tensor, plan: &Plan, value: f64) -> Result<Tensor, TchError> {
    if plan.padding == [[0, 0]; 3] {
        return Ok(voxels.shallow_clone());
    }
    // Last axis first, as PyTorch has it.
    let amounts: Vec<i64> = plan.padding.iter().rev().flatten().map(|amount| as_i64(*amount)).collect();
    voxels.f_pad(&amounts, "constant", value)
}

fn weights(window: &Window, device: Device) -> Result<Tensor, TchError> {
    let [slices, rows, columns] = window.size.map(as_i64);
    Tensor::f_from_slice(&importance(window))?.f_view([1, 1, slices, rows, columns])?.f_to_device(device)
}

/// A window of a tensor, sharing its memory.
fn cut(volume: &Tensor, start: [usize; 3], size: [usize; 3]) -> Result<Tensor, TchError> {
    let mut view = volume.shallow_clone();
    for axis in 0..3 {
        view = view.f_narrow(as_i64(axis + 2), as_i64(start[axis]), as_i64(size[axis]))?;
    }
    Ok(view)
}

/// How many channels the scores have, if they are scores of the windows given.
fn check_scores(scores: &Tensor, windows: usize, size: [usize; 3]) -> Result<i64, TchError> {
    let found = scores.size();
    let [slices, rows, columns] = size.map(as_i64);
    match found[..] {
        [n, channels, z, y, x]
            if [n, z, y, x] == [as_i64(windows), slices, rows, columns] && scores.f_kind()? == Kind::Float =>
        {
            Ok(channels)
        }
        _ => Err(TchError::Shape(format!(
            "scores for {windows} windows of {size:?} must be float32[{windows}, k, {slices}, {rows}, {columns}], they are {:?}{found:?}",
            scores.f_kind()?
        ))),
    }
}

/// The sum of the weights over each voxel.
fn counts(plan: &Plan, window: &Window, weights: &Tensor) -> Result<Tensor, TchError> {
    let counts = zeros(1, plan.padded, weights.device())?;
    for start in &plan.starts {
        let _ = cut(&counts, *start, window.size)?.f_add_(weights)?;
    }
    Ok(counts)
}

/// Takes the padding off again.
fn crop(scores: &Tensor, plan: &Plan, shape: [usize; 3]) -> Result<Tensor, TchError> {
    cut(scores, plan.padding.map(|[before, _]| before), shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::manifest::Blending;
    use crate::inference::npz::{self, Array, Values};

    fn tensor(array: &Array) -> Tensor {
        let Values::F32(values) = &array.values else { panic!("{}", array.values.dtype()) };
        let shape: Vec<i64> = array.shape.iter().map(|extent| as_i64(*extent)).collect();
        Tensor::f_from_slice(values).unwrap().f_view(shape.as_slice()).unwrap()
    }

    /// The module of `tests/python/make_sliding_window.py`: its scores depend on the place within the window.
    fn scores(windows: &Tensor) -> Result<Tensor, TchError> {
        let size = windows.size();
        let count: i64 = size[2..].iter().product();
        let ramp: Vec<f32> = (0..count).map(|index| index as f32 / count as f32).collect();
        let ramp = Tensor::f_from_slice(&ramp)?.f_view([1, 1, size[2], size[3], size[4]])?;
        let first = windows.f_mul(&ramp)?;
        let second = windows.f_mul(windows)?.f_mul_scalar(0.25)?.f_sub(&ramp)?;
        Tensor::f_cat(&[first, second], 1)
    }

    #[test]
    fn scores_equal_those_of_monai() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/sliding_window");
        let mut cases = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let arrays = npz::read(std::fs::File::open(&path).unwrap()).unwrap();
            let (Values::I64(window), Values::F64(settings)) = (&arrays["window"].values, &arrays["settings"].values)
            else {
                panic!("{}", path.display())
            };
            let blending = match settings[1] {
                scale if scale > 0.0 => Blending::Gaussian { sigma_scale: scale },
                _ => Blending::Constant,
            };
            let sizes: Vec<usize> = window.iter().map(|extent| usize::try_from(*extent).unwrap()).collect();
            let window = Window {
                size: [sizes[0], sizes[1], sizes[2]],
                overlap: settings[0],
                blending,
                padding_value: settings[2],
                batch: sizes[3],
            };
            let found = sliding_window(&tensor(&arrays["voxels"]), &window, scores).unwrap();
            let expected = tensor(&arrays["expected"]);
            assert_eq!(found.size(), expected.size(), "{}", path.display());
            let difference = (found - expected).abs().max().double_value(&[]);
            assert!(difference < 1e-5, "{}: {difference}", path.display());
            cases += 1;
        }
        assert_eq!(cases, 6);
    }

    #[test]
    fn scores_of_another_shape_are_refused() {
        let window =
            Window { size: [2, 2, 2], overlap: 0.0, blending: Blending::Constant, padding_value: 0.0, batch: 1 };
        let voxels = Tensor::zeros([1, 1, 4, 4, 4], (Kind::Float, Device::Cpu));
        let too_small = |windows: &Tensor| windows.f_narrow(2, 0, 1);
        assert!(sliding_window(&voxels, &window, too_small).unwrap_err().to_string().contains("scores for 1 windows"));
        let other_type = |windows: &Tensor| windows.f_to_kind(Kind::Double);
        assert!(sliding_window(&voxels, &window, other_type).is_err());
        assert!(sliding_window(&voxels.squeeze(), &window, |w| w.f_to_kind(Kind::Float)).is_err());
    }
}
