//! Several images of one place: the same image twice, or several acquisitions in one series.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rayon::prelude::*;

use super::frame_header::{ACQUISITION_KEYS, ACQUISITION_TIME, CONTENT_TIME, Plane, dot};
use super::options::{AssembleOptions, SeveralAcquisitions};
use super::refusal::Refusal;
use super::select::{Candidate, Selection};
use super::series::FramePrint;
use super::stack::{SAME_PLACE, Stack, StackError, stack, uneven_stack};

/// How much of the shorter of two acquisitions must lie beside the other one, for them to show the same region.
const SAME_REGION: f64 = 0.5;
/// Of how many slices of one acquisition side by side none lie between another's.
const LEAST_RUN: usize = 3;

/// Puts the candidates on a grid, after dropping repeated images and choosing one of several acquisitions. `print` gives a
/// hash that is equal for candidates that hold the same image, `None` where that cannot be told; it opens files, and is
/// asked only where images share a place and nothing in their headers tells them apart.
///
/// # Errors
/// A [`Refusal`] where that does not help.
pub(super) fn choose_stack<'a>(
    mut selection: Selection<'a>,
    options: &AssembleOptions,
    print: impl Fn(&Candidate) -> Option<FramePrint> + Sync,
) -> Result<(Selection<'a>, Stack), Refusal> {
    let mut attempt = stack_of(&selection.candidates);
    if let Err(StackError::SharedPlaces(shared)) = &attempt
        && !are_rounds(&selection.candidates)
    {
        let repeated = repeated_images(&selection.candidates, shared, print);
        if !repeated.is_empty() {
            selection.warnings.push(format!("{} repeated images were left out.", repeated.len()));
            let mut index = 0;
            selection.candidates.retain(|_| {
                index += 1;
                !repeated.contains(&(index - 1))
            });
            attempt = stack_of(&selection.candidates);
        }
    }
    let error = match attempt {
        Ok(stack) => {
            let stack = with_its_own_gaps(stack, &selection.candidates, options);
            return Ok((selection, stack));
        }
        Err(error) => error,
    };
    let refusal = match error {
        StackError::SharedPlaces(shared) => Refusal::DuplicatedPositions(shared.len()),
        // Acquisitions whose slices lie between each other's have no shared place, but an uneven spacing.
        StackError::Refused(refusal @ (Refusal::VariableSpacing { .. } | Refusal::ShiftedSlices(_))) => refusal,
        StackError::Refused(refusal) => return Err(refusal),
    };
    let is_uneven = matches!(refusal, Refusal::VariableSpacing { .. });
    if is_uneven && options.uneven_slices && lie_one_after_the_other(&selection.candidates) {
        return match uneven_stack(&planes(&selection.candidates)) {
            Ok(stack) => Ok((selection, stack)),
            Err(_) => Err(refusal),
        };
    }
    choose_acquisition(selection, options, refusal)
}

/// Gaps may be what the acquisition is like, where slices at unequal distances are wanted.
fn with_its_own_gaps(stack: Stack, candidates: &[Candidate], options: &AssembleOptions) -> Stack {
    if stack.slots == stack.order.len() || !options.uneven_slices {
        return stack;
    }
    uneven_stack(&planes(candidates)).unwrap_or(stack)
}

/// Whether the slices are of one acquisition, or of several none of which lies between another's slices.
fn lie_one_after_the_other(candidates: &[Candidate]) -> bool {
    let Some((_, acquisitions)) = tell_apart(candidates) else { return true };
    let mut slices: Vec<(f64, usize)> = acquisitions
        .iter()
        .enumerate()
        .flat_map(|(acquisition, (_, members))| {
            members.iter().map(move |&index| (height(&candidates[index]), acquisition))
        })
        .collect();
    slices.sort_by(|a, b| a.0.total_cmp(&b.0));
    slices.chunk_by(|a, b| a.1 == b.1).all(|run| run.len() >= LEAST_RUN)
}

fn planes<'a>(candidates: &[Candidate<'a>]) -> Vec<&'a Plane> {
    candidates.iter().map(|candidate| candidate.plane).collect()
}

/// Whether a key that is one for a whole acquisition tells acquisitions apart, of which each shows every place: then none
/// of their images repeats another one of the same acquisition, and pixels need not be compared.
fn are_rounds(candidates: &[Candidate]) -> bool {
    let Some((key, acquisitions)) = tell_apart(candidates) else { return false };
    let places = |members: &[usize]| {
        let mut places: Vec<f64> = members.iter().map(|&index| height(&candidates[index])).collect();
        places.sort_by(f64::total_cmp);
        places
    };
    let mut rounds = acquisitions.iter().map(|(_, members)| places(members));
    let first = rounds.next().unwrap_or_default();
    let same = |places: &Vec<f64>| {
        places.len() == first.len() && places.iter().zip(&first).all(|(a, b)| (a - b).abs() < SAME_PLACE)
    };
    key != ACQUISITION_TIME && key != CONTENT_TIME && rounds.all(|places| same(&places))
}

fn stack_of(candidates: &[Candidate]) -> Result<Stack, StackError> {
    stack(&planes(candidates))
}

/// Of each shared place, the candidates that show the same as an earlier one there; ascending.
fn repeated_images(
    candidates: &[Candidate],
    shared: &[Vec<usize>],
    print: impl Fn(&Candidate) -> Option<FramePrint> + Sync,
) -> BTreeSet<usize> {
    let repeated = |place: &Vec<usize>| {
        let images = place.par_iter().map(|&index| print(&candidates[index]).map(|print| (index, print)));
        let images: Vec<Option<(usize, FramePrint)>> = images.collect();
        let mut seen = HashSet::new();
        let mut repeated = Vec::new();
        for (index, print) in images.into_iter().flatten() {
            let Candidate { plane, frame, .. } = &candidates[index];
            // Adding zero makes one zero of two.
            let position = plane.position.map(|at| (at + 0.0).to_bits());
            let rescale = frame.rescale.map(|found| found.map(|r| (r.slope.to_bits(), r.intercept.to_bits())));
            if !seen.insert((position, rescale, print)) {
                repeated.push(index);
            }
        }
        repeated
    };
    shared.par_iter().flat_map_iter(repeated).collect()
}

/// Groups of candidates, by what their key says, in the order of the keys.
type Acquisitions = Vec<(String, Vec<usize>)>;

fn choose_acquisition<'a>(
    mut selection: Selection<'a>,
    options: &AssembleOptions,
    refusal: Refusal,
) -> Result<(Selection<'a>, Stack), Refusal> {
    let Some((key, acquisitions)) = tell_apart(&selection.candidates) else { return Err(refusal) };
    let several = Refusal::SeveralAcquisitions { key, count: acquisitions.len() };
    let may_choose = options.several_acquisitions == SeveralAcquisitions::ReadLargest
        && show_one_region(&selection.candidates, &acquisitions);
    if !may_choose {
        return Err(several);
    }
    let most = acquisitions.iter().map(|(_, members)| members.len()).max().unwrap_or_default();
    let count = acquisitions.len();
    let Some((value, members)) = acquisitions.into_iter().find(|(_, members)| members.len() == most) else {
        return Err(several);
    };
    let chosen: Vec<Candidate> = members.iter().map(|&index| selection.candidates[index]).collect();
    let attempt = match stack_of(&chosen) {
        Err(StackError::Refused(Refusal::VariableSpacing { .. })) if options.uneven_slices => {
            uneven_stack(&planes(&chosen))
        }
        attempt => attempt,
    };
    let stack = match attempt {
        Ok(stack) => with_its_own_gaps(stack, &chosen, options),
        Err(StackError::Refused(refusal)) => return Err(refusal),
        Err(StackError::SharedPlaces(_)) => return Err(several),
    };
    selection.warnings.push(format!(
        "The series holds {count} acquisitions of one region, told apart by {key}; {value} was read, {most} of {} images.",
        selection.candidates.len()
    ));
    selection.candidates = chosen;
    Ok((selection, stack))
}

/// The first key by which no acquisition has two images at one place.
fn tell_apart(candidates: &[Candidate]) -> Option<(&'static str, Acquisitions)> {
    ACQUISITION_KEYS.iter().enumerate().find_map(|(at, (key, _, _))| {
        let groups = if *key == ACQUISITION_TIME || *key == CONTENT_TIME {
            by_time(candidates, at)?
        } else {
            by_value(candidates, at)
        };
        let apart = groups.len() > 1 && groups.iter().all(|(_, members)| has_no_shared_place(candidates, members));
        apart.then_some((*key, groups))
    })
}

fn by_value(candidates: &[Candidate], key: usize) -> Acquisitions {
    let mut groups: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        groups.entry(candidate.frame.acquisition[key].as_deref()).or_default().push(index);
    }
    let mut groups: Vec<(Option<&str>, Vec<usize>)> = groups.into_iter().collect();
    // Numbers in their order and not in that of their digits.
    groups.sort_by(|(a, _), (b, _)| {
        let number = |v: &Option<&str>| v.and_then(|t| t.parse::<f64>().ok()).unwrap_or(f64::INFINITY);
        number(a).total_cmp(&number(b)).then_with(|| a.cmp(b))
    });
    groups.into_iter().map(|(value, members)| (format!("«{}»", value.unwrap_or("none")), members)).collect()
}

/// Repetitions in time: every place is shown equally often, and each round ends before the next begins.
fn by_time(candidates: &[Candidate], key: usize) -> Option<Acquisitions> {
    let mut timed: Vec<(f64, f64, usize)> = Vec::with_capacity(candidates.len());
    for (index, candidate) in candidates.iter().enumerate() {
        let time = candidate.frame.acquisition[key].as_ref()?.parse().ok()?;
        timed.push((height(candidate), time, index));
    }
    timed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut places: Vec<Vec<(f64, usize)>> = timed
        .chunk_by(|a, b| b.0 - a.0 < SAME_PLACE)
        .map(|place| place.iter().map(|(_, time, index)| (*time, *index)).collect())
        .collect();
    let rounds = places.first()?.len();
    if rounds < 2 || places.iter().any(|place| place.len() != rounds) {
        return None;
    }
    for place in &mut places {
        place.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let bounds: Vec<(f64, f64)> = (0..rounds)
        .map(|round| {
            let times = places.iter().map(|place| place[round].0);
            times.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), t| (least.min(t), most.max(t)))
        })
        .collect();
    bounds.is_sorted_by(|a, b| a.1 < b.0).then(|| {
        (0..rounds)
            .map(|round| (format!("number {}", round + 1), places.iter().map(|place| place[round].1).collect()))
            .collect()
    })
}

fn height(candidate: &Candidate) -> f64 {
    dot(candidate.plane.position, candidate.plane.normal())
}

fn has_no_shared_place(candidates: &[Candidate], members: &[usize]) -> bool {
    let planes: Vec<&Plane> = members.iter().map(|&index| candidates[index].plane).collect();
    !matches!(stack(&planes), Err(StackError::SharedPlaces(_)))
}

/// Whether all acquisitions lie beside the largest one.
fn show_one_region(candidates: &[Candidate], acquisitions: &Acquisitions) -> bool {
    let extents: Vec<(f64, f64)> = acquisitions
        .iter()
        .map(|(_, members)| {
            let heights = members.iter().map(|&index| height(&candidates[index]));
            heights.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), h| (least.min(h), most.max(h)))
        })
        .collect();
    let Some(largest) = extents.iter().copied().reduce(|a, b| if b.1 - b.0 > a.1 - a.0 { b } else { a }) else {
        return false;
    };
    extents.iter().all(|(least, most)| most.min(largest.1) - least.max(largest.0) >= SAME_REGION * (most - least))
}
