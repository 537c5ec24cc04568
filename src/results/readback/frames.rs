//! The frames of a multi-frame object as they were read: the slice that each says it was made from, and where it lies.

use bytes::Bytes;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::super::grid::SourceGrid;
use super::{Checked, ensure};
use crate::dicom::data_set::DataSet;
use crate::volume::frame_header::unit;
use crate::volume::{Geometry, SourceFrame};

/// Frames of an object, on the grid that they were made from.
pub(super) struct Frames<'a> {
    items: &'a [DataSet],
    shared: &'a DataSet,
    grid: SourceGrid<'a>,
    /// Pixel Data, as many bytes as there must be.
    pub(super) pixels: &'a Bytes,
}

/// Where one frame lies: in the patient, mm, or on the radiograph, pixels.
pub(super) struct Place {
    pub(super) slice: usize,
    origin: [f64; 3],
    /// From one row to the next.
    row_step: [f64; 3],
    /// From one column to the next.
    column_step: [f64; 3],
}

impl Place {
    /// Where the source's own text says that its frame lies: nothing where it does not.
    pub(super) fn of_source(source: &SourceFrame, slice: usize) -> Option<Self> {
        let mut texts = DataSet::new();
        texts.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, &source.image_position_patient);
        texts.put_text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &source.image_orientation_patient);
        texts.put_text(tags::PIXEL_SPACING, VR::DS, &source.pixel_spacing);
        Self::read(slice, &texts, &texts, &texts)
    }

    /// On a radiograph: in pixels.
    pub(super) const fn of_image(slice: usize) -> Self {
        Self { slice, origin: [0.0; 3], row_step: [0.0, 1.0, 0.0], column_step: [0.0, 0.0, 1.0] }
    }

    fn read(slice: usize, position: &DataSet, orientation: &DataSet, measures: &DataSet) -> Option<Self> {
        let origin: [f64; 3] = position.numbers(tags::IMAGE_POSITION_PATIENT).try_into().ok()?;
        let cosines: [f64; 6] = orientation.numbers(tags::IMAGE_ORIENTATION_PATIENT).try_into().ok()?;
        let spacing: [f64; 2] = measures.numbers(tags::PIXEL_SPACING).try_into().ok()?;
        let [a, b, c, d, e, f] = cosines;
        // As the grid was made.
        let (column_direction, row_direction) = (unit([a, b, c])?, unit([d, e, f])?);
        Some(Self {
            slice,
            origin,
            row_step: row_direction.map(|cosine| cosine * spacing[0]),
            column_step: column_direction.map(|cosine| cosine * spacing[1]),
        })
    }

    pub(super) fn of(&self, row: f64, column: f64) -> [f64; 3] {
        std::array::from_fn(|axis| self.origin[axis] + row * self.row_step[axis] + column * self.column_step[axis])
    }
}

impl<'a> Frames<'a> {
    /// Frames of `bits` bits a pixel.
    pub(super) fn read(object: &'a DataSet, grid: SourceGrid<'a>, bits: usize) -> Checked<Self> {
        let size = |tag| object.integer(tag).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let [_, rows, columns] = grid.shape();
        ensure((size(tags::ROWS), size(tags::COLUMNS)) == (rows, columns), || "rows or columns differ".into())?;
        ensure(size(tags::BITS_ALLOCATED) == bits, || "the pixels have another depth".into())?;
        let items = object.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
        ensure(size(tags::NUMBER_OF_FRAMES) == items.len(), || "the number of frames differs".into())?;
        let pixels = object.bytes(tags::PIXEL_DATA).ok_or("there is no pixel data")?;
        let needed = (items.len() * rows * columns * bits).div_ceil(8);
        ensure(pixels.len() == needed + needed % 2, || {
            format!("{} bytes of pixel data, {needed} are needed", pixels.len())
        })?;
        let shared = object.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first().ok_or("no shared groups")?;
        Ok(Self { items, shared, grid, pixels })
    }

    pub(super) const fn len(&self) -> usize {
        self.items.len()
    }

    /// A functional group of a frame, its own or the shared one.
    pub(super) fn group(&self, at: usize, group: Tag) -> Option<&'a DataSet> {
        self.items[at].items(group).first().or_else(|| self.shared.items(group).first())
    }

    /// Where a frame lies, after comparing it with its source.
    pub(super) fn place(&self, at: usize) -> Checked<Place> {
        let missing = |what: &str| format!("frame {} has no {what}", at + 1);
        let slice = self.source_slice(at).ok_or_else(|| missing("source frame in the series"))?;
        let Some(stack) = self.grid.stack() else {
            let placed = self.group(at, tags::PLANE_POSITION_SEQUENCE).is_some();
            ensure(!placed, || format!("frame {} of a radiograph has a place in the patient", at + 1))?;
            return Ok(Place::of_image(slice));
        };
        let place = self.group(at, tags::PLANE_POSITION_SEQUENCE).ok_or_else(|| missing("position"))?;
        let orientation = self.group(at, tags::PLANE_ORIENTATION_SEQUENCE).ok_or_else(|| missing("orientation"))?;
        let measures = self.group(at, tags::PIXEL_MEASURES_SEQUENCE).ok_or_else(|| missing("pixel measures"))?;
        let source = stack.slices[slice].as_ref().ok_or_else(|| missing("source frame"))?;
        for (written, tag, text) in [
            (place, tags::IMAGE_POSITION_PATIENT, &source.image_position_patient),
            (orientation, tags::IMAGE_ORIENTATION_PATIENT, &source.image_orientation_patient),
            (measures, tags::PIXEL_SPACING, &source.pixel_spacing),
        ] {
            let same = written.text(tag).as_deref() == Some(text.trim_matches([' ', '\0']));
            ensure(same, || format!("frame {}: {tag} is not the source's", at + 1))?;
        }
        let place = Place::read(slice, place, orientation, measures).ok_or_else(|| missing("complete geometry"))?;
        check_place(stack.geometry, &place).map_err(|e| format!("frame {}: {e}", at + 1))?;
        Ok(place)
    }

    /// The slice of the grid that a frame says it was derived from.
    fn source_slice(&self, at: usize) -> Option<usize> {
        let derivation = self.items[at].items(tags::DERIVATION_IMAGE_SEQUENCE).first()?;
        let image = derivation.items(tags::SOURCE_IMAGE_SEQUENCE).first()?;
        let instance = image.text(tags::REFERENCED_SOP_INSTANCE_UID)?;
        let number = image.integer(tags::REFERENCED_FRAME_NUMBER);
        let Some(stack) = self.grid.stack() else {
            let image = self.grid.reference(0)?;
            let same = image.sop_instance_uid.as_str() == instance && image.frame_number.map(i64::from) == number;
            return same.then_some(0);
        };
        let place = self.group(at, tags::PLANE_POSITION_SEQUENCE)?.text(tags::IMAGE_POSITION_PATIENT)?;
        let is_it = |frame: &SourceFrame| {
            frame.sop_instance_uid.as_str() == instance
                && frame.frame_number.map(i64::from) == number
                && frame.image_position_patient.trim_matches([' ', '\0']) == place
        };
        stack.slices.iter().position(|slice| slice.as_ref().is_some_and(is_it))
    }
}

/// How far a slice may lie off the even grid, as a share of the distance between slices: more than twice what is taken for
/// a stack.
const OFF_GRID: f64 = 0.25;
/// How far it may be shifted within its plane, as a share of the distance between pixels: what is taken for a stack.
const SHIFT: f64 = 0.5;
/// The angle between directions that are taken for one, from the grid's to the first slice's to another slice's, in radians.
const ANGLE: f64 = 0.009;

/// The corners of a frame, whose place is the source's own, lie where the grid has them, as near as slices must to be a stack.
fn check_place(grid: &Geometry, place: &Place) -> Checked {
    let [_, rows, columns] = grid.shape;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let real = |n: usize| n as f64;
    let length = |v: [f64; 3]| v.iter().map(|c| c * c).sum::<f64>().sqrt();
    let between = |a: [f64; 3], b: [f64; 3]| -> [f64; 3] { std::array::from_fn(|axis| a[axis] - b[axis]) };
    for row in [0, rows.saturating_sub(1)] {
        for column in [0, columns.saturating_sub(1)] {
            let expected = grid.position([real(place.slice), real(row), real(column)]);
            let off = between(place.of(real(row), real(column)), expected);
            let along: f64 = (0..3).map(|axis| off[axis] * grid.slice_direction[axis]).sum();
            let within = length(std::array::from_fn(|axis| off[axis] - along * grid.slice_direction[axis]));
            let turned = ANGLE * length(between(expected, grid.origin));
            let near = along.abs() <= OFF_GRID * grid.spacing[0] + turned
                && within <= SHIFT * grid.spacing[1].min(grid.spacing[2]) + turned + 1e-6;
            ensure(near, || format!("it lies {:.3} mm from where it was predicted", length(off)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The grid is made from cosines that were brought to length 1.
    #[test]
    fn cosines_of_nearly_length_one_lie_where_the_grid_has_them_to_the_last_pixel() {
        let grid = Geometry {
            shape: [1, 1024, 1024],
            origin: [0.0; 3],
            slice_direction: [0.0, 0.0, 1.0],
            row_direction: [0.0, 1.0, 0.0],
            column_direction: [1.0, 0.0, 0.0],
            spacing: [1.0; 3],
        };
        let mut texts = DataSet::new();
        texts.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, "0\\0\\0");
        texts.put_text(tags::PIXEL_SPACING, VR::DS, "1\\1");
        for (long, lies_there) in [("1.0099", true), ("0.9901", true), ("1", true), ("0", false)] {
            texts.put_text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &format!("{long}\\0\\0\\0\\{long}\\0"));
            let near = Place::read(0, &texts, &texts, &texts).is_some_and(|place| check_place(&grid, &place).is_ok());
            assert_eq!(near, lies_there, "{long}");
        }
    }
}
