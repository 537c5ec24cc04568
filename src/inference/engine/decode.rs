//! The search over a decoder's tokens, with the decoder's step as a module on the device.

use tch::{Device, Kind, Tensor};

use super::fault::Fault;
use super::outputs::to_vec;
use crate::inference::generate::Search;
use crate::inference::manifest::{Cache, Generate};

/// What a step gives: logits [B, t, V], or of the last token alone [B, 1, V], and the cache where there is one.
pub(super) struct Step {
    pub(super) logits: Tensor,
    pub(super) cache: Option<Tensor>,
}

/// Searches until the sequence ends; gives int64 [1, T] on the CPU.
///
/// `memory` are the arguments of the step after the ids, each with a first dimension of 1 that becomes that of the beams;
/// `step` takes ids int64 [B, t], them, and the cache. Without a cache it is shown all tokens each time, with one the last.
///
/// # Errors
/// Those of `step`; logits or a cache of another shape, or that are no numbers.
pub(super) fn decode(
    settings: &Generate,
    memory: &[Tensor],
    device: Device,
    mut step: impl FnMut(&Tensor, &[Tensor]) -> Result<Step, Fault>,
) -> Result<Tensor, Fault> {
    let mut search = Search::new(settings);
    let beams = search.sequences().len() as i64;
    let mut arguments = memory.iter().map(|tensor| for_each_beam(tensor, beams)).collect::<Result<Vec<_>, _>>()?;
    if let Some(cache) = &settings.cache {
        let shape: Vec<i64> = std::iter::once(beams).chain(cache.empty.iter().copied()).collect();
        arguments.push(Tensor::f_zeros(shape, (Kind::Float, device))?);
    }
    let unmoved: Vec<usize> = (0..search.sequences().len()).collect();
    loop {
        if let Some(tokens) = search.outcome() {
            return Ok(Tensor::f_from_slice(tokens)?.f_unsqueeze(0)?);
        }
        let sequences = search.sequences();
        let before = sequences[0].len() as i64 - 1;
        let ids = ids(&sequences, settings.cache.is_some())?.f_to_device(device)?;
        let found = step(&ids, &arguments)?;
        let last = last_logits(&found.logits, ids.size2()?)?;
        let last = if search.takes_log_probabilities() { last.f_log_softmax(-1, None::<Kind>)? } else { last };
        search.advance(to_vec(&last)?).map_err(|error| Fault::Wrong(error.to_string()))?;
        if let (Some(shape), Some(kept), Some(argument)) = (&settings.cache, found.cache, arguments.last_mut()) {
            fits(&kept, shape, beams, before + 1)?;
            let parents = search.parents();
            *argument = if parents == unmoved { kept } else { of_parents(&kept, &parents)? };
        }
    }
}

/// int64 [B, t]: all tokens of the sequences, or the last of each.
fn ids(sequences: &[&[i64]], last_alone: bool) -> Result<Tensor, Fault> {
    let from = if last_alone { sequences[0].len() - 1 } else { 0 };
    let flat: Vec<i64> = sequences.iter().flat_map(|tokens| &tokens[from..]).copied().collect();
    let rows = sequences.len() as i64;
    Ok(Tensor::f_from_slice(&flat)?.f_view([rows, flat.len() as i64 / rows])?)
}

/// [B, V] of the last token.
fn last_logits(logits: &Tensor, (beams, length): (i64, i64)) -> Result<Tensor, Fault> {
    match logits.size()[..] {
        [b, t, v] if b == beams && (t == length || t == 1) && v > 0 && logits.f_kind()? == Kind::Float => {
            Ok(logits.f_select(1, t - 1)?)
        }
        _ => {
            let (kind, found) = (logits.f_kind()?, logits.size());
            Err(Fault::Wrong(format!(
                "logits must be Float[{beams}, {length}, V] or Float[{beams}, 1, V], they are {kind:?}{found:?}"
            )))
        }
    }
}

/// The cache must have grown by the one token that the step was shown.
fn fits(kept: &Tensor, shape: &Cache, beams: i64, tokens: i64) -> Result<(), Fault> {
    let mut expected = vec![beams];
    expected.extend(&shape.empty);
    expected[shape.tokens + 1] = tokens;
    let (kind, found) = (kept.f_kind()?, kept.size());
    if kind == Kind::Float && found == expected {
        return Ok(());
    }
    Err(Fault::Wrong(format!("the cache must be Float{expected:?} after {tokens} tokens, it is {kind:?}{found:?}")))
}

fn of_parents(kept: &Tensor, parents: &[usize]) -> Result<Tensor, Fault> {
    let parents: Vec<i64> = parents.iter().map(|parent| *parent as i64).collect();
    let parents = Tensor::f_from_slice(&parents)?.f_to_device(kept.device())?;
    Ok(kept.f_index_select(0, &parents)?)
}

fn for_each_beam(tensor: &Tensor, beams: i64) -> Result<Tensor, Fault> {
    let size = tensor.size();
    if size.first() != Some(&1) {
        return Err(Fault::Wrong(format!("a decoder's arguments begin with a dimension of 1, one has {size:?}")));
    }
    let mut repeats = vec![1; size.len()];
    repeats[0] = beams;
    Ok(tensor.f_repeat(&repeats)?)
}
