//! Windows through a module, blended on the device.

use tch::{Device, Kind, TchError, Tensor};

use super::band::Band;
pub use super::band::Take;
use super::{Plan, importance};
use crate::inference::engine::memory::kept_within;
use crate::inference::manifest::{Gather, Window};

/// How windows are gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Windows in one call of the module.
    pub batch: usize,
    /// Where scores are added up.
    pub sums: Device,
}

/// A module over the windows of a volume, in MONAI's order.
///
/// `voxels` is float32 [1, channels, slices, rows, columns]; `module` takes float32 [n, channels, window] (n at most
/// `pace.batch`) and gives one tensor for each of `gathers`: float32 [n, k, window] to be blended to float32 [1, k, slices,
/// rows, columns], or [n, …] to be collected to [windows, …]. Blended scores are on the device of the sums. For each of
/// them one tensor of that size and one of a single channel are held, beside the windows of one batch. The scores that
/// `taker` names by their place among `gathers` are handed to it instead, some slices at a time from the first on, and no
/// more of them are held than a window has slices: they are not in what is given.
///
/// # Errors
/// Those of `module` and of the taker, and of libtorch where memory ends or the results do not have the shape of the windows.
pub fn over_windows<E: From<TchError>>(
    voxels: &Tensor,
    window: &Window,
    gathers: &[Gather],
    taker: Option<(usize, Take<'_, E>)>,
    pace: Pace,
    mut module: impl FnMut(&Tensor) -> Result<Vec<Tensor>, E>,
) -> Result<Vec<Option<Tensor>>, E> {
    let size = voxels.size();
    let [_, _, slices, rows, columns] = size[..] else {
        return Err(TchError::Shape(format!("five dimensions are needed, the voxels have {size:?}")).into());
    };
    let shape = [slices, rows, columns].map(|extent| usize::try_from(extent).unwrap_or(0));
    let plan = Plan::new(shape, window);
    let padded = pad(voxels, &plan, window.padding_value)?;
    let weights = weights(window, pace.sums)?;
    let mut gathered: Vec<Gathered<'_, E>> = gathers.iter().map(|gather| Gathered::new(*gather)).collect();
    if let Some((place, take)) = taker
        && let Some(gathered @ Gathered::Blended(_)) = gathered.get_mut(place)
    {
        *gathered = Gathered::Taken(None, shape, take);
    }
    for batch in plan.starts.chunks(pace.batch.max(1)) {
        let windows = batch.iter().map(|start| cut(&padded, *start, window.size)).collect::<Result<Vec<_>, _>>()?;
        let results = module(&Tensor::f_cat(&windows, 0)?)?;
        for (gathered, result) in gathered.iter_mut().zip(results) {
            gathered.add(result, batch, &plan, window, &weights)?;
        }
    }
    gathered.into_iter().map(|gathered| gathered.whole(&plan, window, &weights, shape)).collect()
}

/// float32 [windows, 3]: the centre of each window as a share of the padded grid's extents, slice, row, column.
///
/// # Errors
/// Those of libtorch.
pub fn positions(plan: &Plan, window: &Window, device: Device) -> Result<Tensor, TchError> {
    let centre = |start: &[usize; 3]| -> [f32; 3] {
        std::array::from_fn(|axis| {
            ((start[axis] as f64 + window.size[axis] as f64 / 2.0) / plan.padded[axis] as f64) as f32
        })
    };
    let centres: Vec<f32> = plan.starts.iter().flat_map(centre).collect();
    Tensor::f_from_slice(&centres)?.f_view([as_i64(plan.starts.len()), 3])?.f_to_device(device)
}

/// One weight a window, spread over the grid: [slices, rows, columns], at each voxel the mean of the windows over it.
///
/// # Errors
/// Those of libtorch; another number of weights than windows.
pub fn spread(per_window: &Tensor, shape: [usize; 3], window: &Window) -> Result<Tensor, TchError> {
    let plan = Plan::new(shape, window);
    if per_window.size() != [as_i64(plan.starts.len())] {
        let (found, windows) = (per_window.size(), plan.starts.len());
        return Err(TchError::Shape(format!("{found:?} weights for {windows} windows")));
    }
    let device = per_window.device();
    let weights = weights(window, device)?;
    let sums = zeros(1, plan.padded, device)?;
    for (index, start) in plan.starts.iter().enumerate() {
        let weighted = weights.f_mul(&per_window.f_select(0, as_i64(index))?)?;
        let _ = cut(&sums, *start, window.size)?.f_add_(&weighted)?;
    }
    let mean = sums.f_div(&counts(&plan, window, &weights)?)?;
    crop(&mean, &plan, shape)?.f_select(0, 0)?.f_select(0, 0)
}

/// One result of the module, as it comes together.
enum Gathered<'a, E> {
    Blended(Option<Tensor>),
    Collected(Vec<Tensor>),
    /// Of a volume of this shape.
    Taken(Option<Band>, [usize; 3], Take<'a, E>),
}

impl<E: From<TchError>> Gathered<'_, E> {
    const fn new(gather: Gather) -> Self {
        match gather {
            Gather::Blend => Self::Blended(None),
            Gather::Collect => Self::Collected(Vec::new()),
        }
    }

    /// Takes the result for a batch of windows, by their starts.
    fn add(
        &mut self,
        result: Tensor,
        batch: &[[usize; 3]],
        plan: &Plan,
        window: &Window,
        weights: &Tensor,
    ) -> Result<(), E> {
        match self {
            Self::Collected(results) => {
                if result.size().first() != Some(&as_i64(batch.len())) {
                    let found = result.size();
                    return Err(TchError::Shape(format!("{found:?} was returned for {} windows", batch.len())).into());
                }
                results.push(result);
            }
            Self::Blended(sums) => {
                let channels = check_scores(&result, batch.len(), window.size)?;
                let weighted = result.f_to_device(weights.device())?.f_mul(weights)?;
                let sums = match sums {
                    Some(sums) => sums,
                    None => sums.insert(zeros(channels, plan.padded, weights.device())?),
                };
                for (index, start) in batch.iter().enumerate() {
                    let _ = cut(sums, *start, window.size)?.f_add_(&weighted.f_narrow(0, as_i64(index), 1)?)?;
                }
            }
            Self::Taken(band, shape, take) => {
                let channels = check_scores(&result, batch.len(), window.size)?;
                let weighted = result.f_to_device(weights.device())?.f_mul(weights)?;
                let band = match band {
                    Some(band) => band,
                    None => band.insert(Band::new(channels, plan, window, weights.device())?),
                };
                for (index, start) in batch.iter().enumerate() {
                    band.finish(start[0], plan, *shape, take)?;
                    band.add(&weighted.f_narrow(0, as_i64(index), 1)?, weights, *start, window.size)?;
                }
            }
        }
        Ok(())
    }

    /// The result for the whole volume, where nobody has taken it.
    fn whole(self, plan: &Plan, window: &Window, weights: &Tensor, shape: [usize; 3]) -> Result<Option<Tensor>, E> {
        let none = || TchError::Shape("the plan has no window".to_owned());
        match self {
            Self::Collected(results) => Ok(Some(Tensor::f_cat(&results, 0)?)),
            Self::Blended(sums) => {
                let mut sums = sums.ok_or_else(none)?;
                let _ = sums.f_div_(&counts(plan, window, weights)?)?;
                Ok(Some(crop(&sums, plan, shape)?))
            }
            Self::Taken(band, shape, mut take) => {
                band.ok_or_else(none)?.finish(plan.padded[0], plan, shape, &mut take)?;
                Ok(None)
            }
        }
    }
}

pub(super) fn as_i64(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

pub(super) fn zeros(channels: i64, [slices, rows, columns]: [usize; 3], device: Device) -> Result<Tensor, TchError> {
    let size = [1, channels, as_i64(slices), as_i64(rows), as_i64(columns)];
    kept_within(|| Tensor::f_zeros(size, (Kind::Float, device)))
}

/// Adds a constant around the volume where it is smaller than the window.
fn pad(voxels: &Tensor, plan: &Plan, value: f64) -> Result<Tensor, TchError> {
    if plan.padding == [[0, 0]; 3] {
        return Ok(voxels.shallow_clone());
    }
    // Last axis first, as PyTorch has it.
    let amounts: Vec<i64> = plan.padding.iter().rev().flatten().map(|amount| as_i64(*amount)).collect();
    kept_within(|| voxels.f_pad(&amounts, "constant", value))
}

fn weights(window: &Window, device: Device) -> Result<Tensor, TchError> {
    let [slices, rows, columns] = window.size.map(as_i64);
    Tensor::f_from_slice(&importance(window))?.f_view([1, 1, slices, rows, columns])?.f_to_device(device)
}

/// A window of a tensor, sharing its memory.
pub(super) fn cut(volume: &Tensor, start: [usize; 3], size: [usize; 3]) -> Result<Tensor, TchError> {
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
    use crate::inference::engine::memory::tests::in_little_memory;
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
            };
            let pace = Pace { batch: sizes[3], sums: Device::Cpu };
            let voxels = tensor(&arrays["voxels"]);
            let module = |windows: &Tensor| scores(windows).map(|scores| vec![scores]);
            let found =
                over_windows(&voxels, &window, &[Gather::Blend], None, pace, module).unwrap().remove(0).unwrap();
            let expected = tensor(&arrays["expected"]);
            assert_eq!(found.size(), expected.size(), "{}", path.display());
            let difference = (&found - expected).abs().max().double_value(&[]);
            assert!(difference < 1e-5, "{}: {difference}", path.display());
            assert_eq!(in_slabs(&voxels, &window, pace), found, "{}", path.display());
            cases += 1;
        }
        assert_eq!(cases, 6);
    }

    /// The same scores, taken some slices at a time.
    fn in_slabs(voxels: &Tensor, window: &Window, pace: Pace) -> Tensor {
        let mut slabs = Vec::new();
        let mut next = 0;
        let mut take = |first: usize, slab: &Tensor| {
            assert_eq!(first, next);
            next += usize::try_from(slab.size()[2]).unwrap();
            slabs.push(slab.copy());
            Ok(())
        };
        let module = |windows: &Tensor| scores(windows).map(|scores| vec![scores]);
        let kept = over_windows(voxels, window, &[Gather::Blend], Some((0, &mut take)), pace, module).unwrap();
        assert!(kept[0].is_none());
        Tensor::cat(&slabs, 2)
    }

    fn small() -> (Window, Tensor) {
        let window = Window { size: [2, 2, 2], overlap: 0.0, blending: Blending::Constant, padding_value: 0.0 };
        (window, Tensor::zeros([1, 1, 4, 4, 2], (Kind::Float, Device::Cpu)))
    }

    fn failure(module: impl Fn(&Tensor) -> Result<Tensor, TchError>, gather: Gather, voxels: &Tensor) -> String {
        let pace = Pace { batch: 1, sums: Device::Cpu };
        let one = |windows: &Tensor| module(windows).map(|result| vec![result]);
        over_windows(voxels, &small().0, &[gather], None, pace, one).unwrap_err().to_string()
    }

    #[test]
    fn results_of_another_shape_are_refused() {
        let voxels = small().1;
        assert!(failure(|w| w.f_narrow(2, 0, 1), Gather::Blend, &voxels).contains("scores for 1 windows"));
        assert!(failure(|w| w.f_to_kind(Kind::Double), Gather::Blend, &voxels).contains("Double"));
        assert!(failure(|w| w.f_to_kind(Kind::Float), Gather::Blend, &voxels.squeeze()).contains("five dimensions"));
        let two = |w: &Tensor| Tensor::f_cat(&[w, w], 0);
        assert!(failure(two, Gather::Collect, &voxels).contains("[2, 1, 2, 2, 2] was returned for 1 windows"));
    }

    #[test]
    fn what_is_collected_comes_in_the_order_of_the_windows_whatever_the_batch() {
        let (window, voxels) = small();
        let voxels = voxels + Tensor::arange(4, (Kind::Float, Device::Cpu)).view([1, 1, 1, 4, 1]);
        for batch in [1, 3, 4] {
            let module = |windows: &Tensor| {
                let largest = windows.f_amax([1, 2, 3, 4], false)?;
                Ok::<_, TchError>(vec![largest.f_unsqueeze(1)?, windows.f_mul_scalar(2.0)?])
            };
            let pace = Pace { batch, sums: Device::Cpu };
            let gathers = [Gather::Collect, Gather::Blend];
            let found = over_windows(&voxels, &window, &gathers, None, pace, module).unwrap();
            let found: Vec<Tensor> = found.into_iter().flatten().collect();
            assert_eq!(found[0].size(), [4, 1]);
            assert_eq!(Vec::<f32>::try_from(found[0].view(-1)).unwrap(), [1.0, 3.0, 1.0, 3.0]);
            assert_eq!(found[1].size(), [1, 1, 4, 4, 2]);
            assert!(found[1].equal(&(&voxels * 2.0)));
        }
        let plan = Plan::new([4, 4, 2], &window);
        let centres = positions(&plan, &window, Device::Cpu).unwrap();
        assert_eq!(Vec::<f32>::try_from(centres.get(1)).unwrap(), [0.25, 0.75, 0.5]);
    }

    #[test]
    fn sums_that_memory_does_not_suffice_for_are_an_error() {
        let error = in_little_memory(|| zeros(1, [256, 1024, 1024], Device::Cpu)).unwrap_err().to_string();
        assert!(error.contains("DefaultCPUAllocator"), "{error}");
    }

    #[test]
    fn weights_of_windows_are_spread_over_the_grid() {
        let window = Window { size: [2, 2, 4], overlap: 0.5, blending: Blending::Constant, padding_value: 0.0 };
        let weights = Tensor::from_slice(&[1.0f32, 3.0]);
        let map = spread(&weights, [2, 3, 3], &window).unwrap();
        assert_eq!(map.size(), [2, 3, 3]);
        let row = |row: i64| map.double_value(&[1, row, 2]);
        assert_eq!([row(0), row(1), row(2)], [1.0, 2.0, 3.0]);
        assert!(spread(&weights, [2, 2, 3], &window).unwrap_err().to_string().contains("1 windows"));
    }
}
