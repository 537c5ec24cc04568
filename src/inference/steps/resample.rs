//! Steps that give the grid another number of voxels.

use tch::{Kind, TchError, Tensor};

use super::back::{Back, back};
use super::field::{Along, Field, Positions};
use super::prepare::State;
use super::smooth;
use super::{Antialias, Interpolation, Rounding};
use crate::inference::engine::memory::kept_within;

/// Extents at other distances between voxels, over the same field of view.
pub(super) fn extents_at(
    field: &Field,
    spacing_mm: &[f64],
    wanted_mm: &[f64],
    rounding: Rounding,
) -> Result<Vec<usize>, TchError> {
    one_an_axis(field, wanted_mm.len())?;
    let spacing = field.spacing_after(spacing_mm);
    let extents = field.axes.iter().zip(&spacing).zip(wanted_mm).map(|((axis, mm), wanted)| {
        // The factor first, as published loaders compute it: a whole extent may come out a little smaller, and is cut then.
        let extent = axis.after as f64 * (mm / wanted);
        whole(match rounding {
            Rounding::Floor => extent.floor(),
            Rounding::Nearest => extent.round_ties_even(),
            Rounding::Ceiling => extent.ceil(),
        })
    });
    extents.collect::<Option<_>>().ok_or_else(|| no_grid(&spacing, wanted_mm))
}

/// More voxels along an axis are the mark of a wrong distance.
const LARGEST_EXTENT: f64 = 65_536.0;

/// A grid of more values is the mark of it too; in float32 it would have 8 GiB.
const LARGEST_GRID: usize = 1 << 31;

/// # Errors
/// A grid of `extents` has no place in memory.
pub(super) fn bounded(channels: i64, extents: &[usize]) -> Result<(), TchError> {
    let values = extents.iter().try_fold(usize::try_from(channels).unwrap_or(1), |all, next| all.checked_mul(*next));
    if values.is_some_and(|values| values <= LARGEST_GRID) {
        return Ok(());
    }
    Err(TchError::Shape(format!("a grid of {extents:?} voxels is too large")))
}

/// At least one voxel, and never so many that a wrong distance asks for all memory there is.
fn whole(extent: f64) -> Option<usize> {
    (extent.is_finite() && extent < LARGEST_EXTENT).then_some((extent as usize).max(1))
}

fn no_grid(spacing: &[f64], wanted_mm: &[f64]) -> TchError {
    TchError::Shape(format!("voxels of {spacing:?} mm cannot become voxels of {wanted_mm:?} mm"))
}

/// Puts voxels at exactly these distances, from the first one on.
pub(super) fn spread(state: State, spacing_mm: &[f64], wanted_mm: &[f64]) -> Result<State, TchError> {
    let (forth, wanted) = spread_axes(&state.field, spacing_mm, wanted_mm)?;
    bounded(state.values.size()[0], &forth.after())?;
    let values = back(&state.values, &wanted, Back::Linear, 0.0)?;
    Ok(State { values, field: forth, owned: true })
}

/// The grid after [`spread`], and the one that brings values forth: what brings scores back does it, between the two grids the
/// other way round.
pub(super) fn spread_axes(field: &Field, spacing_mm: &[f64], wanted_mm: &[f64]) -> Result<(Field, Field), TchError> {
    one_an_axis(field, wanted_mm.len())?;
    let spacing = field.spacing_after(spacing_mm);
    let (mut forth, mut wanted) = (Vec::new(), Vec::new());
    for ((axis, mm), wanted_mm) in field.axes.iter().zip(&spacing).zip(wanted_mm) {
        let extent = ((axis.after - 1) as f64 * mm / wanted_mm).round_ties_even() + 1.0;
        let extent = whole(extent).filter(|_| *wanted_mm > 0.0).ok_or_else(|| no_grid(&spacing, &[*wanted_mm]))?;
        forth.push(axis.spread(extent, wanted_mm / mm));
        wanted.push(Along::whole(extent).spread(axis.after, mm / wanted_mm));
    }
    Ok((Field { axes: forth }, Field { axes: wanted }))
}

/// Rows and columns after the shorter of them has become `length`; the longer one is cut to whole pixels, as torchvision
/// does it.
pub(super) fn shorter_side(extents: &[usize], length: usize) -> Result<Vec<usize>, TchError> {
    let [rows, columns] = *extents else {
        return Err(TchError::Shape("only images have a shorter side".to_owned()));
    };
    let (short, long) = (rows.min(columns), rows.max(columns));
    let other = (length * long / short).max(1);
    Ok(if rows <= columns { vec![length, other] } else { vec![other, length] })
}

/// Gives the grid `size`; a grid that has it is left as it is.
pub(super) fn resize(mut state: State, size: &[usize], method: Interpolation) -> Result<State, TchError> {
    one_an_axis(&state.field, size.len())?;
    if size.contains(&0) {
        return Err(TchError::Shape(format!("no grid has the size {size:?}")));
    }
    if state.field.after() == size {
        return Ok(state);
    }
    bounded(state.values.size()[0], size)?;
    let positions = method.positions();
    if method.antialias() == Antialias::Gaussian {
        state = smooth::before_shrinking(state, size)?;
    }
    let extents: Vec<i64> = size.iter().map(|extent| *extent as i64).collect();
    let resized = interpolate(&state.values.f_unsqueeze(0)?, &extents, method)?.f_squeeze_dim(0)?;
    let along = |(axis, extent): (&Along, &usize)| axis.resized(*extent, positions);
    let axes = state.field.axes.iter().zip(size).map(along).collect();
    Ok(State { values: resized, field: Field { axes }, owned: true })
}

pub(super) fn one_an_axis(field: &Field, found: usize) -> Result<(), TchError> {
    let needed = field.axes.len();
    if needed == found { Ok(()) } else { Err(TchError::Shape(format!("{found} numbers for {needed} axes"))) }
}

impl Interpolation {
    pub(super) const fn positions(self) -> Positions {
        match self {
            Self::Nearest => Positions::Floor,
            Self::NearestExact => Positions::FloorOfCentre,
            Self::Area => Positions::Edges,
            Self::Linear { align_corners, antialias } | Self::Cubic { align_corners, antialias } => {
                match (align_corners, antialias) {
                    (false, _) => Positions::Edges,
                    (true, Antialias::Kernel) => Positions::CornersFromEdge,
                    (true, _) => Positions::Corners,
                }
            }
        }
    }

    const fn antialias(self) -> Antialias {
        match self {
            Self::Linear { antialias, .. } | Self::Cubic { antialias, .. } => antialias,
            _ => Antialias::None,
        }
    }
}

/// `torch.nn.functional.interpolate` with `size`. `values` is [1, channels, ...].
fn interpolate(values: &Tensor, size: &[i64], method: Interpolation) -> Result<Tensor, TchError> {
    debug_assert_eq!(values.f_kind().ok(), Some(Kind::Float));
    let volume = size.len() == 3;
    let by_kernel = matches!(method, Interpolation::Linear { antialias: Antialias::Kernel, .. });
    if volume && (by_kernel || matches!(method, Interpolation::Cubic { .. })) {
        let message = "cubic interpolation and smoothing by a kernel are for images only";
        return Err(TchError::Shape(message.to_owned()));
    }
    kept_within(|| match method {
        Interpolation::Nearest if volume => values.f_upsample_nearest3d(size, None, None, None),
        Interpolation::Nearest => values.f_upsample_nearest2d(size, None, None),
        Interpolation::NearestExact if volume => values.f_internal_upsample_nearest_exact3d(size, None, None, None),
        Interpolation::NearestExact => values.f_internal_upsample_nearest_exact2d(size, None, None),
        Interpolation::Area if volume => values.f_adaptive_avg_pool3d(size),
        Interpolation::Area => values.f_adaptive_avg_pool2d(size),
        Interpolation::Linear { antialias: Antialias::Kernel, align_corners } => {
            values.f_internal_upsample_bilinear2d_aa(size, align_corners, None, None)
        }
        Interpolation::Cubic { antialias: Antialias::Kernel, align_corners } => {
            values.f_internal_upsample_bicubic2d_aa(size, align_corners, None, None)
        }
        Interpolation::Linear { align_corners, .. } if volume => {
            values.f_upsample_trilinear3d(size, align_corners, None, None, None)
        }
        Interpolation::Linear { align_corners, .. } => values.f_upsample_bilinear2d(size, align_corners, None, None),
        Interpolation::Cubic { align_corners, .. } => values.f_upsample_bicubic2d(size, align_corners, None, None),
    })
}
