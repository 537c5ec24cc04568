//! A Segmentation against the label map it was made from: every voxel, and where the voxels lie in the patient.

use std::collections::HashSet;

use bytes::Bytes;
use dicom_dictionary_std::tags;

use super::super::ResultError;
use super::super::request::{ResultRequest, SourceGrid};
use super::super::segmentation::Plan;
use super::extent::{Extent, SliceExtent};
use super::{Checked, ensure, of, open};
use crate::dicom::data_set::DataSet;
use crate::inference::prediction::LabelMap;
use crate::volume::SourceFrame;

/// Reads a Segmentation back and compares.
pub(in super::super) fn segmentation(
    request: &ResultRequest<'_>,
    plan: &Plan<'_>,
    bytes: &Bytes,
) -> Result<(), ResultError> {
    compare(request, plan, bytes).map_err(of("segmentation"))
}

fn compare(request: &ResultRequest<'_>, plan: &Plan<'_>, bytes: &Bytes) -> Checked {
    let object = open(request, bytes)?;
    let (grid, map, _) = request.labelled_grid().ok_or("there was no label map")?;
    let written = Written::read(&object, grid)?;
    check_segments(&object, plan)?;
    check_references(request, &object)?;
    let mut extents = vec![Extent::default(); plan.segments.len()];
    let mut seen = HashSet::new();
    for at in 0..written.frames.len() {
        let frame = written.frame(at)?;
        ensure(seen.insert((frame.segment, frame.slice)), || format!("frame {} repeats another", at + 1))?;
        let segment = plan.segments.get(frame.segment).ok_or_else(|| format!("frame {} has no segment", at + 1))?;
        let slice = &map.labels[frame.slice * written.frame_size..][..written.frame_size];
        let extent = written.compare_voxels(at, slice, segment.label)?;
        extents[frame.segment].add(&extent, |row, column| frame.place(row, column));
    }
    for (segment, read) in plan.segments.iter().zip(&extents) {
        check_extent(grid, map, segment.label, read).map_err(|e| format!("segment {}: {e}", segment.number))?;
    }
    Ok(())
}

/// The object as it was read.
struct Written<'a> {
    frames: &'a [DataSet],
    shared: &'a DataSet,
    bits: &'a Bytes,
    columns: usize,
    frame_size: usize,
    grid: SourceGrid<'a>,
}

/// One frame as it was read.
struct Frame {
    /// Index in the plan.
    segment: usize,
    slice: usize,
    origin: [f64; 3],
    /// From one row to the next, mm.
    row_step: [f64; 3],
    /// From one column to the next, mm.
    column_step: [f64; 3],
}

impl Frame {
    fn place(&self, row: f64, column: f64) -> [f64; 3] {
        std::array::from_fn(|axis| self.origin[axis] + row * self.row_step[axis] + column * self.column_step[axis])
    }
}

impl<'a> Written<'a> {
    fn read(object: &'a DataSet, grid: SourceGrid<'a>) -> Checked<Self> {
        let size = |tag| object.integer(tag).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let [_, rows, columns] = grid.geometry.shape;
        ensure((size(tags::ROWS), size(tags::COLUMNS)) == (rows, columns), || "rows or columns differ".into())?;
        let frames = object.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
        ensure(size(tags::NUMBER_OF_FRAMES) == frames.len(), || "the number of frames differs".into())?;
        let bits = object.bytes(tags::PIXEL_DATA).ok_or("there is no pixel data")?;
        let needed = (frames.len() * rows * columns).div_ceil(8);
        ensure(bits.len() == needed + needed % 2, || {
            format!("{} bytes of pixel data, {needed} are needed", bits.len())
        })?;
        let shared = object.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first().ok_or("no shared groups")?;
        Ok(Self { frames, shared, bits, columns, frame_size: rows * columns, grid })
    }

    fn frame(&self, at: usize) -> Checked<Frame> {
        let item = &self.frames[at];
        let group = |tag| item.items(tag).first().or_else(|| self.shared.items(tag).first());
        let missing = |what: &str| format!("frame {} has no {what}", at + 1);
        let place = group(tags::PLANE_POSITION_SEQUENCE).ok_or_else(|| missing("position"))?;
        let orientation = group(tags::PLANE_ORIENTATION_SEQUENCE).ok_or_else(|| missing("orientation"))?;
        let measures = group(tags::PIXEL_MEASURES_SEQUENCE).ok_or_else(|| missing("pixel measures"))?;
        let number = group(tags::SEGMENT_IDENTIFICATION_SEQUENCE)
            .and_then(|s| s.integer(tags::REFERENCED_SEGMENT_NUMBER))
            .ok_or_else(|| missing("segment"))?;
        let slice = self.source_slice(item).ok_or_else(|| missing("source frame in the volume"))?;
        let source = self.grid.slices[slice].as_ref().ok_or_else(|| missing("source frame"))?;
        for (written, tag, text) in [
            (place, tags::IMAGE_POSITION_PATIENT, &source.image_position_patient),
            (orientation, tags::IMAGE_ORIENTATION_PATIENT, &source.image_orientation_patient),
            (measures, tags::PIXEL_SPACING, &source.pixel_spacing),
        ] {
            let same = written.text(tag).as_deref() == Some(text.trim_matches([' ', '\0']));
            ensure(same, || format!("frame {}: {tag} is not the source's", at + 1))?;
        }
        let numbers = |item: &DataSet, tag| item.numbers(tag);
        let (origin, cosines, spacing) = (
            numbers(place, tags::IMAGE_POSITION_PATIENT),
            numbers(orientation, tags::IMAGE_ORIENTATION_PATIENT),
            numbers(measures, tags::PIXEL_SPACING),
        );
        ensure((origin.len(), cosines.len(), spacing.len()) == (3, 6, 2), || missing("complete geometry"))?;
        Ok(Frame {
            segment: usize::try_from(number - 1).unwrap_or(usize::MAX),
            slice,
            origin: std::array::from_fn(|axis| origin[axis]),
            row_step: std::array::from_fn(|axis| cosines[3 + axis] * spacing[0]),
            column_step: std::array::from_fn(|axis| cosines[axis] * spacing[1]),
        })
    }

    /// The slice of the volume that the frame says it was derived from.
    fn source_slice(&self, item: &DataSet) -> Option<usize> {
        let derivation = item.items(tags::DERIVATION_IMAGE_SEQUENCE).first()?;
        let image = derivation.items(tags::SOURCE_IMAGE_SEQUENCE).first()?;
        let instance = image.text(tags::REFERENCED_SOP_INSTANCE_UID)?;
        let number = image.integer(tags::REFERENCED_FRAME_NUMBER);
        let place = item.items(tags::PLANE_POSITION_SEQUENCE).first()?.text(tags::IMAGE_POSITION_PATIENT)?;
        let is_it = |frame: &SourceFrame| {
            frame.sop_instance_uid.as_str() == instance
                && frame.frame_number.map(i64::from) == number
                && frame.image_position_patient.trim_matches([' ', '\0']) == place
        };
        self.grid.slices.iter().position(|slice| slice.as_ref().is_some_and(is_it))
    }

    /// Compares the bits of frame `at` with a slice of labels; gives where the bits lie.
    fn compare_voxels(&self, at: usize, slice: &[u8], wanted: u8) -> Checked<SliceExtent> {
        let mut extent = SliceExtent::default();
        for (row, line) in slice.chunks(self.columns).enumerate() {
            let begin = at * self.frame_size + row * self.columns;
            for (chunk, labels) in line.chunks(8).enumerate() {
                let first = chunk * 8;
                let bits = self.eight_bits(begin + first, labels.len());
                if bits == 0 && !labels.contains(&wanted) {
                    continue;
                }
                if bits == 0xFF && labels.iter().all(|label| *label == wanted) {
                    extent.add_run(row, first, 8);
                    continue;
                }
                for (offset, label) in labels.iter().enumerate() {
                    let (set, column) = (bits >> offset & 1 == 1, first + offset);
                    ensure(set == (*label == wanted), || {
                        format!("frame {}, row {row}, column {column} differs", at + 1)
                    })?;
                    if set {
                        extent.add(row, column);
                    }
                }
            }
        }
        Ok(extent)
    }

    /// `count` (at most 8) bits of the pixel data from bit `first`, which need not begin a byte.
    fn eight_bits(&self, first: usize, count: usize) -> u8 {
        let byte = |at: usize| u16::from(self.bits.get(at).copied().unwrap_or(0));
        let pair = byte(first / 8) | byte(first / 8 + 1) << 8;
        let [bits, _] = (pair >> (first % 8)).to_le_bytes();
        if count < 8 { bits & ((1 << count) - 1) } else { bits }
    }
}

/// Number, centroid and bounding box against the label map and the grid: within half a voxel.
fn check_extent(grid: SourceGrid<'_>, map: &LabelMap, label: u8, read: &Extent) -> Checked {
    let [_, rows, columns] = map.shape;
    let mut expected = Extent::default();
    let slices = map.labels.chunks(rows * columns).enumerate().filter(|(slice, _)| grid.slices[*slice].is_some());
    for (slice, labels) in slices {
        let extent = SliceExtent::of_labels(labels, columns, label);
        #[expect(clippy::cast_precision_loss, reason = "a slice number")]
        let slice = slice as f64;
        expected.add(&extent, |row, column| grid.geometry.position([slice, row, column]));
    }
    ensure(expected.count == read.count, || format!("{} voxels, {} were predicted", read.count, expected.count))?;
    let tolerance = grid.geometry.spacing.iter().fold(f64::INFINITY, |least, s| least.min(*s)) / 2.0;
    let distance = read.distance(&expected);
    ensure(distance <= tolerance, || format!("it lies {distance:.3} mm from where it was predicted"))
}

fn check_segments(object: &DataSet, plan: &Plan<'_>) -> Checked {
    let segments = object.items(tags::SEGMENT_SEQUENCE);
    ensure(segments.len() == plan.segments.len(), || "the number of segments differs".into())?;
    for (written, planned) in segments.iter().zip(&plan.segments) {
        let same = written.integer(tags::SEGMENT_NUMBER) == Some(i64::from(planned.number))
            && written.text(tags::TRACKING_UID).as_deref() == Some(planned.tracking_uid.as_str())
            && written.text(tags::TRACKING_ID).as_deref() == Some(&planned.tracking_identifier);
        ensure(same, || format!("segment {} has another number or tracking identifier", planned.number))?;
    }
    Ok(())
}

/// The Referenced Series Sequence names the source series and all its instances, in order.
fn check_references(request: &ResultRequest<'_>, object: &DataSet) -> Checked {
    let series = object.items(tags::REFERENCED_SERIES_SEQUENCE).first().ok_or("no source series is referenced")?;
    let uid = series.text(tags::SERIES_INSTANCE_UID);
    ensure(uid.as_deref() == Some(request.source.series_instance_uid.as_str()), || {
        "another series is referenced".into()
    })?;
    let referenced = series.items(tags::REFERENCED_INSTANCE_SEQUENCE).iter();
    let referenced: Vec<_> = referenced.filter_map(|item| item.text(tags::REFERENCED_SOP_INSTANCE_UID)).collect();
    let instances = request.source.instances.iter().map(|(_, uid)| uid.as_str());
    ensure(referenced.iter().map(String::as_str).eq(instances), || "other instances are referenced".into())
}
