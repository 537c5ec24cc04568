//! A Segmentation against the label map it was made from: every voxel, and where the voxels lie in the patient.

use std::collections::HashSet;

use bytes::Bytes;
use dicom_dictionary_std::tags;

use super::super::ResultError;
use super::super::grid::SourceGrid;
use super::super::request::ResultRequest;
use super::super::segmentation::Plan;
use super::extent::{Extent, SliceExtent};
use super::frames::{Frames, Place};
use super::{Checked, check_references, ensure, of, open};
use crate::dicom::data_set::DataSet;
use crate::inference::prediction::LabelMap;

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
    let frames = Frames::read(&object, grid, 1)?;
    let bits = Bits { bits: frames.pixels, columns: grid.shape()[2], frame_size: grid.slice_size() };
    check_segments(&object, plan)?;
    check_references(request, &object)?;
    let mut extents = vec![Extent::default(); plan.segments.len()];
    let mut seen = HashSet::new();
    for at in 0..frames.len() {
        let place = frames.place(at)?;
        let number = frames
            .group(at, tags::SEGMENT_IDENTIFICATION_SEQUENCE)
            .and_then(|s| s.integer(tags::REFERENCED_SEGMENT_NUMBER))
            .and_then(|number| usize::try_from(number - 1).ok());
        let index = number.ok_or_else(|| format!("frame {} has no segment", at + 1))?;
        ensure(seen.insert((index, place.slice)), || format!("frame {} repeats another", at + 1))?;
        let segment = plan.segments.get(index).ok_or_else(|| format!("frame {} has no segment", at + 1))?;
        let slice = &map.labels[place.slice * bits.frame_size..][..bits.frame_size];
        let extent = bits.compare(at, slice, segment.label)?;
        extents[index].add(&extent, |row, column| place.of(row, column));
    }
    for (segment, read) in plan.segments.iter().zip(&extents) {
        check_extent(grid, map, segment.label, read).map_err(|e| format!("segment {}: {e}", segment.number))?;
    }
    Ok(())
}

/// One-bit pixels, frame after frame.
struct Bits<'a> {
    bits: &'a Bytes,
    columns: usize,
    frame_size: usize,
}

impl Bits<'_> {
    /// Compares the bits of frame `at` with a slice of labels; gives where the bits lie.
    fn compare(&self, at: usize, slice: &[u8], wanted: u8) -> Checked<SliceExtent> {
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

/// Number, centroid and bounding box against the label map on the source's own frames.
fn check_extent(grid: SourceGrid<'_>, map: &LabelMap, label: u8, read: &Extent) -> Checked {
    // Sums of the same numbers, in another order.
    const SAME: f64 = 1e-6;
    let [_, rows, columns] = map.shape;
    let mut expected = Extent::default();
    let slices = map.labels.chunks(rows * columns).enumerate().filter(|(slice, _)| grid.reference(*slice).is_some());
    for (slice, labels) in slices {
        let place = match grid.stack() {
            Some(stack) => stack.slices[slice].as_ref().and_then(|source| Place::of_source(source, slice)),
            None => Some(Place::of_image(slice)),
        };
        let place = place.ok_or_else(|| format!("the source of slice {slice} does not say where it lies"))?;
        let extent = SliceExtent::of_labels(labels, columns, label);
        expected.add(&extent, |row, column| place.of(row, column));
    }
    ensure(expected.count == read.count, || format!("{} voxels, {} were predicted", read.count, expected.count))?;
    let distance = read.distance(&expected);
    ensure(distance <= SAME, || format!("it lies {distance:.3} mm from where it was predicted"))
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
