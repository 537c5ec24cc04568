//! What a module returned, as tensors by the names of its manifest.

use std::collections::BTreeMap;

use tch::{IValue, Kind, TchError, Tensor};

/// Tensors by name.
pub(super) type Named = BTreeMap<String, Tensor>;

/// The tensors that `results` name, in this order: a tuple in this order, a dict with these keys, or the one tensor.
///
/// # Errors
/// What was returned instead.
pub(super) fn results(returned: IValue, results: &[String]) -> Result<Vec<Tensor>, String> {
    match (returned, results) {
        (IValue::Tensor(tensor), [_]) => Ok(vec![tensor]),
        (IValue::Tuple(values), _) if results.len() == values.len() => {
            let tensor = |(value, name): (IValue, &String)| match value {
                IValue::Tensor(tensor) => Ok(tensor),
                other => Err(format!("«{name}» is {}, not a tensor", kind_of(&other))),
            };
            values.into_iter().zip(results).map(tensor).collect()
        }
        (IValue::GenericDict(entries), _) => of_dict(entries, results),
        (IValue::Tuple(values), _) => Err(format!(
            "a tuple of {} was returned, {} are needed: {}",
            values.len(),
            results.len(),
            results.join(", ")
        )),
        (other, _) => {
            Err(format!("{} was returned, a dict with the tensors {} is needed", kind_of(&other), results.join(", ")))
        }
    }
}

fn of_dict(entries: Vec<(IValue, IValue)>, results: &[String]) -> Result<Vec<Tensor>, String> {
    let mut tensors = Named::new();
    for entry in entries {
        let (IValue::String(name), IValue::Tensor(tensor)) = entry else {
            return Err("the dict must map names to tensors".to_owned());
        };
        tensors.insert(name, tensor);
    }
    let found = results.iter().map(|name| tensors.remove(name).ok_or_else(|| format!("«{name}» is missing")));
    let found: Vec<Tensor> = found.collect::<Result<_, _>>()?;
    match tensors.keys().next() {
        Some(name) => Err(format!("«{name}» is not named by the manifest")),
        None => Ok(found),
    }
}

const fn kind_of(value: &IValue) -> &'static str {
    match value {
        IValue::None => "None",
        IValue::Tensor(_) => "a tensor",
        IValue::Tuple(_) => "a tuple",
        IValue::GenericDict(_) => "a dict",
        IValue::String(_) => "a string",
        IValue::TensorList(_) | IValue::GenericList(_) => "a list",
        _ => "something else",
    }
}

/// A tensor in float32 where it was computed in less, else as it is.
pub(super) fn widened(tensor: Tensor) -> Result<Tensor, TchError> {
    match tensor.f_kind()? {
        Kind::Half | Kind::BFloat16 => tensor.f_to_kind(Kind::Float),
        _ => Ok(tensor),
    }
}
