//! A Parametric Map against the attention map it was made from: every value in real-world units, and where each frame lies.

use std::collections::HashSet;

use bytes::Bytes;
use dicom_dictionary_std::tags;

use super::super::ResultError;
use super::super::request::ResultRequest;
use super::frames::Frames;
use super::{Checked, check_references, ensure, of, open};
use crate::dicom::data_set::DataSet;

/// Reads a Parametric Map back and compares.
pub(in super::super) fn parametric_map(request: &ResultRequest<'_>, bytes: &Bytes) -> Result<(), ResultError> {
    compare(request, bytes).map_err(of("parametric map"))
}

fn compare(request: &ResultRequest<'_>, bytes: &Bytes) -> Checked {
    let object = open(request, bytes)?;
    check_references(request, &object)?;
    let (grid, map) = request.attention().ok_or("there was no attention map")?;
    let frames = Frames::read(&object, grid, 16)?;
    let slice_size = grid.slice_size();
    let mut seen = HashSet::new();
    let mut step = 0.0;
    for at in 0..frames.len() {
        let place = frames.place(at)?;
        ensure(seen.insert(place.slice), || format!("frame {} repeats another", at + 1))?;
        let (slope, intercept) =
            mapping(&frames, at).ok_or_else(|| format!("frame {} has no real-world values", at + 1))?;
        step = slope;
        let stored = frames.pixels[at * slice_size * 2..][..slice_size * 2].as_chunks::<2>().0;
        let values = &map.values[place.slice * slice_size..][..slice_size];
        let differs = |(stored, value): &(&[u8; 2], &f32)| {
            let read = f64::from(u16::from_le_bytes(**stored)) * slope + intercept;
            (read - f64::from(**value)).abs() > slope * 0.500_001
        };
        if let Some(pixel) = stored.iter().zip(values).position(|pair| differs(&pair)) {
            return Err(format!("frame {}, pixel {pixel} differs", at + 1));
        }
    }
    let unseen = (0..map.shape[0]).filter(|slice| !seen.contains(slice) && grid.reference(*slice).is_some());
    for slice in unseen {
        let empty = map.values[slice * slice_size..][..slice_size].iter().all(|v| f64::from(*v) <= step * 0.500_001);
        ensure(empty, || format!("slice {slice} has no frame"))?;
    }
    Ok(())
}

/// Slope and intercept of the Real World Value Mapping, which must map all stored values.
fn mapping(frames: &Frames<'_>, at: usize) -> Option<(f64, f64)> {
    let mapping: &DataSet = frames.group(at, tags::REAL_WORLD_VALUE_MAPPING_SEQUENCE)?;
    let bounds = [tags::REAL_WORLD_VALUE_FIRST_VALUE_MAPPED, tags::REAL_WORLD_VALUE_LAST_VALUE_MAPPED];
    let whole = bounds.map(|tag| mapping.integer(tag)) == [Some(0), Some(65_535)];
    let slope = mapping.number(tags::REAL_WORLD_VALUE_SLOPE).filter(|slope| *slope > 0.0)?;
    whole.then_some((slope, mapping.number(tags::REAL_WORLD_VALUE_INTERCEPT)?))
}
