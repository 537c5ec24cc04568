//! What a volume will be made of, known before a pixel is decoded.

use super::acquisition::choose_stack;
use super::fill::Wanted;
use super::frame_header::Plane;
use super::geometry::Geometry;
use super::instance::InstanceHeader;
use super::options::AssembleOptions;
use super::refusal::Refusal;
use super::select::{Candidate, select};
use super::series::FramePrint;

/// Where a slice comes from: member of the series and frame, both from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePlace {
    /// Index of the instance in the series.
    pub member: usize,
    /// Index of the frame in the instance.
    pub frame: usize,
}

/// The grid and the source of each of its slices.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of the volume.
    pub geometry: Geometry,
    /// One for each slice of the grid; `None` where it is missing, or lies between slices that are further apart than the grid's.
    /// The first and the last are never missing.
    pub slots: Vec<Option<FramePlace>>,
    /// Those of the slots that lie between slices, ascending: nothing is missing there.
    pub between: Vec<usize>,
    /// The longest distance between slices that is no gap, mm.
    pub distance: f64,
    /// What was left out or is odd.
    pub warnings: Vec<String>,
}

/// Plans the volume of a series. `print` is asked only of images at the same place: a hash that is equal for the same image,
/// `None` where that cannot be told.
///
/// # Errors
/// The [`Refusal`] that names why there is none.
pub(super) fn plan(
    headers: &[&InstanceHeader],
    options: &AssembleOptions,
    print: impl Fn(FramePlace) -> Option<FramePrint> + Sync,
) -> Result<Plan, Refusal> {
    let selection = select(headers, options)?;
    let place = |c: &Candidate| FramePlace { member: c.member, frame: c.frame.index };
    let chosen = choose_stack(selection, options, |candidate| print(place(candidate)));
    let least = options.min_slices.max(2);
    let (selection, stack) = match chosen {
        Ok((_, stack)) if stack.order.len() < least => {
            return Err(Refusal::TooFewSlices { found: stack.order.len(), least });
        }
        Err(Refusal::TooFewSlices { found, .. }) => return Err(Refusal::TooFewSlices { found, least }),
        chosen => chosen?,
    };
    let found = stack.order.len();
    check_missing(found, stack.expected(), options)?;
    let first = &selection.candidates[stack.order[0].0];
    let geometry = geometry(first, stack.slots, stack.spacing)?;
    // Before anything is reserved: four slices may span any number of slots.
    check_form(&geometry, Wanted::I16, options)?;
    let mut slots = vec![None; stack.slots];
    for &(index, slot) in &stack.order {
        slots[slot] = Some(place(&selection.candidates[index]));
    }
    let mut warnings = selection.warnings;
    if stack.off_grid > 0.02 * stack.spacing {
        warnings.push(format!("Slice positions are uneven by up to {:.2} mm.", stack.off_grid));
    }
    if !stack.between.is_empty() {
        let ([least, most], between) = (stack.distances, stack.between.len());
        warnings.push(format!(
            "Slices are {least:.2} to {most:.2} mm apart; the volume has one every {:.2} mm, of which {between} of {} were \
             interpolated between their neighbours.",
            stack.spacing, stack.slots
        ));
    }
    Ok(Plan { geometry, slots, between: stack.between, distance: stack.distances[1], warnings })
}

/// Refuses more missing slices than allowed.
///
/// # Errors
/// [`Refusal::MissingSlices`].
pub fn check_missing(found: usize, expected: usize, options: &AssembleOptions) -> Result<f64, Refusal> {
    let missing = expected - found;
    #[expect(clippy::cast_precision_loss, reason = "numbers of slices")]
    let share = missing as f64 / expected.max(1) as f64;
    let allowed = options.max_missing_share;
    if share > allowed {
        return Err(Refusal::MissingSlices { missing, expected, share, allowed });
    }
    Ok(share)
}

fn geometry(first: &Candidate, slices: usize, spacing: f64) -> Result<Geometry, Refusal> {
    let format = first.instance.format.clone()?;
    let plane: &Plane = first.plane;
    Ok(Geometry {
        shape: [slices, format.rows, format.columns],
        origin: plane.position,
        slice_direction: plane.normal(),
        row_direction: plane.row_direction,
        column_direction: plane.column_direction,
        spacing: [spacing, plane.pixel_spacing[0], plane.pixel_spacing[1]],
    })
}

/// Refuses a volume of more memory than allowed, in the form in which it is made.
///
/// # Errors
/// [`Refusal::TooLarge`].
pub(super) fn check_form(geometry: &Geometry, form: Wanted, options: &AssembleOptions) -> Result<(), Refusal> {
    let bytes: usize = if form == Wanted::I16 { size_of::<i16>() } else { size_of::<f32>() };
    // A slot takes memory as well, whatever is in a slice.
    let slots = geometry.shape[0].saturating_mul(size_of::<Option<FramePlace>>());
    let voxels = geometry.shape.iter().try_fold(bytes, |all, n| all.checked_mul(*n));
    let needed = voxels.and_then(|voxels| voxels.checked_add(slots)).unwrap_or(usize::MAX);
    if needed > options.max_volume_bytes {
        return Err(Refusal::TooLarge { needed_mb: needed >> 20, allowed_mb: options.max_volume_bytes >> 20 });
    }
    Ok(())
}
