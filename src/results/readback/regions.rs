//! The rectangles of a report against the label map: none is wider than what it marks, and nothing is left out.

use dicom_dictionary_std::tags;

use super::super::codes;
use super::super::identifiers::Identifiers;
use super::super::plans::Plans;
use super::super::regions::MOST;
use super::super::request::ResultRequest;
use super::tree::{groups, has_value, named, of_type, referenced, tracking};
use super::{Checked, ensure};
use crate::dicom::data_set::DataSet;
use crate::inference::prediction::LabelMap;

/// Checks every rectangle; gives how many there are.
pub(super) fn check(
    request: &ResultRequest<'_>,
    identifiers: &Identifiers,
    plans: &Plans<'_>,
    object: &DataSet,
) -> Checked<usize> {
    let groups = groups(object);
    let with_region = groups.iter().filter_map(|group| Some((*group, of_type(group, "SCOORD").next()?)));
    let with_region: Vec<_> = with_region.collect();
    let Some((grid, map, _)) = request.labelled_grid().filter(|(grid, ..)| grid.stack().is_none()) else {
        ensure(with_region.is_empty(), || "there are regions, but no radiograph".into())?;
        return Ok(0);
    };
    let image = grid.reference(0).map(|r| (r.sop_instance_uid.as_str().to_owned(), r.frame_number.map(i64::from)));
    let mut count = 0;
    for segment in plans.segments() {
        let uids: Vec<_> =
            (1..=MOST).map(|n| identifiers.tracking_of("region", &format!("{}/{n}", segment.label))).collect();
        let is_of = |group: &DataSet| tracking(group).is_some_and(|uid| uids.iter().any(|u| u.as_str() == uid));
        let mut rectangles = Vec::new();
        for (group, region) in with_region.iter().filter(|(group, _)| is_of(group)) {
            let property = &segment.description.property_type;
            let named = named(group, &codes::FINDING).into_iter().any(|found| has_value(found, property));
            ensure(named, || "a region is of another finding".into())?;
            ensure(of_type(region, "IMAGE").find_map(referenced) == image, || "a region is in another image".into())?;
            rectangles.push(rectangle(region).ok_or("a region is no rectangle")?);
        }
        if !rectangles.is_empty() {
            check_rectangles(map, segment.label, &rectangles)
                .map_err(|e| format!("«{}»: {e}", segment.description.label))?;
        }
        count += rectangles.len();
    }
    ensure(count == with_region.len(), || "there is a region of no segment".into())?;
    Ok(count)
}

/// Left, top, right, bottom of a closed rectangle, the last two behind the last pixel.
fn rectangle(region: &DataSet) -> Option<[usize; 4]> {
    let numbers = region.numbers(tags::GRAPHIC_DATA);
    let whole = |n: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and in range")]
        (n.fract() == 0.0 && (0.0..65_536.0).contains(&n)).then_some(n as usize)
    };
    let numbers = numbers.into_iter().map(whole).collect::<Option<Vec<usize>>>()?;
    let [left, top, a, b, right, bottom, c, d, e, f] = numbers[..] else { return None };
    let closed = [a, b, c, d, e, f] == [right, top, left, bottom, left, top];
    (closed && left < right && top < bottom).then_some([left, top, right, bottom])
}

fn check_rectangles(map: &LabelMap, label: u8, rectangles: &[[usize; 4]]) -> Checked {
    let [_, rows, columns] = map.shape;
    let is = |row: usize, column: usize| map.labels.get(row * columns + column) == Some(&label);
    for &[left, top, right, bottom] in rectangles {
        ensure(right <= columns && bottom <= rows, || "a region leaves the image".into())?;
        let (across, down) =
            (|row: usize| (left..right).any(|c| is(row, c)), |column: usize| (top..bottom).any(|r| is(r, column)));
        let tight = across(top) && across(bottom - 1) && down(left) && down(right - 1);
        ensure(tight, || "a region is wider than what it marks".into())?;
    }
    let inside = |row: usize, column: usize| {
        rectangles.iter().any(|[l, t, r, b]| (*l..*r).contains(&column) && (*t..*b).contains(&row))
    };
    let outside = (0..rows).any(|row| (0..columns).any(|column| is(row, column) && !inside(row, column)));
    ensure(!outside || rectangles.len() >= MOST, || "a part is outside of all regions".into())
}
