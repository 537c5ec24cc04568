//! The search over a decoder's tokens, with the decoder's step as a module on the device.

use tch::{Device, Kind, Tensor};

use super::fault::Fault;
use super::outputs::to_vec;
use crate::inference::generate::Search;
use crate::inference::manifest::Generate;

/// Searches until the sequence ends; gives int64 [1, T] on the CPU.
///
/// `memory` are the arguments of the step after the ids, each with a first dimension of 1 that becomes that of the beams;
/// `step` takes ids int64 [B, T] and them, and gives logits [B, T, V].
///
/// # Errors
/// Those of `step`; logits of another shape, or that are no numbers.
pub(super) fn decode(
    settings: &Generate,
    memory: &[Tensor],
    device: Device,
    mut step: impl FnMut(&Tensor, &[Tensor]) -> Result<Tensor, Fault>,
) -> Result<Tensor, Fault> {
    let mut search = Search::new(settings);
    let beams = search.sequences().len() as i64;
    let memory = memory.iter().map(|tensor| for_each_beam(tensor, beams)).collect::<Result<Vec<_>, _>>()?;
    loop {
        if let Some(tokens) = search.outcome() {
            return Ok(Tensor::f_from_slice(tokens)?.f_unsqueeze(0)?);
        }
        let flat: Vec<i64> = search.sequences().concat();
        let length = flat.len() as i64 / beams;
        let ids = Tensor::f_from_slice(&flat)?.f_view([beams, length])?.f_to_device(device)?;
        let logits = step(&ids, &memory)?;
        let last = match logits.size()[..] {
            [b, t, v] if b == beams && t == length && v > 0 && logits.f_kind()? == Kind::Float => {
                logits.f_select(1, length - 1)?
            }
            _ => {
                let (kind, found) = (logits.f_kind()?, logits.size());
                return Err(Fault::Wrong(format!(
                    "logits must be Float[{beams}, {length}, V], they are {kind:?}{found:?}"
                )));
            }
        };
        let last = if search.takes_log_probabilities() { last.f_log_softmax(-1, None::<Kind>)? } else { last };
        search.advance(to_vec(&last)?).map_err(|error| Fault::Wrong(error.to_string()))?;
    }
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
