//! What a module returned, checked against its manifest, as a prediction.

use std::collections::BTreeMap;

use tch::{Device, IValue, Kind, TchError, Tensor};

use super::inputs::turned;
use crate::inference::error::EngineError;
use crate::inference::manifest::{
    Manifest, MeasurementColumn, MeasurementOutput, NanPolicy, SegmentationEncoding, SegmentationOutput, VerdictOutput,
};
use crate::inference::npz::{Array, Values};
use crate::inference::orientation::Reorientation;
use crate::inference::prediction::{LabelMap, Measurement, MeasurementGroup, Prediction, Verdict};

/// Tensors by the names of the manifest, with the types and shapes that it implies.
pub(super) type Named = BTreeMap<String, Tensor>;

/// Names the tensors and checks their types and shapes; `shape` is that of the voxels.
pub(super) fn named(manifest: &Manifest, shape: [usize; 3], returned: IValue) -> Result<Named, EngineError> {
    let wrong = |message: String| EngineError::WrongOutput { model: manifest.name.clone(), message };
    let names = manifest.output.tensors();
    let mut tensors = BTreeMap::new();
    match (returned, &names[..]) {
        (IValue::Tensor(tensor), [name]) => {
            tensors.insert((*name).to_owned(), tensor);
        }
        (IValue::GenericDict(entries), _) => {
            for entry in entries {
                let (IValue::String(name), IValue::Tensor(tensor)) = entry else {
                    return Err(wrong("the dict must map names to tensors".to_owned()));
                };
                tensors.insert(name, tensor);
            }
        }
        _ => return Err(wrong(format!("a dict with the tensors {} is needed", names.join(", ")))),
    }
    if let Some(name) = names.iter().find(|name| !tensors.contains_key(**name)) {
        return Err(wrong(format!("«{name}» is missing")));
    }
    if let Some(name) = tensors.keys().find(|name| !names.contains(&name.as_str())) {
        return Err(wrong(format!("«{name}» is not named by the manifest")));
    }
    for (name, kinds, expected) in expectations(manifest, shape) {
        let tensor = &tensors[name];
        let kind = tensor.f_kind().map_err(|error| wrong(format!("«{name}»: {error}")))?;
        let found = tensor.size();
        if !kinds.contains(&kind) || found != expected {
            return Err(wrong(format!("«{name}» must be {:?}{expected:?}, it is {kind:?}{found:?}", kinds[0])));
        }
    }
    Ok(tensors)
}

fn expectations(manifest: &Manifest, shape: [usize; 3]) -> Vec<(&str, &'static [Kind], Vec<i64>)> {
    let [slices, rows, columns] = shape.map(|extent| extent as i64);
    let output = &manifest.output;
    let mut list: Vec<(&str, &'static [Kind], Vec<i64>)> = Vec::new();
    if let Some(SegmentationOutput { tensor, encoding, segments }) = &output.segmentation {
        let channels = segments.len() as i64 + 1;
        list.push(match encoding {
            SegmentationEncoding::Labels => (tensor, &[Kind::Uint8], vec![slices, rows, columns]),
            SegmentationEncoding::Scores => (tensor, &[Kind::Float], vec![1, channels, slices, rows, columns]),
        });
    }
    if let Some(MeasurementOutput { tensor, groups, columns }) = &output.measurement {
        list.push((tensor, &[Kind::Double, Kind::Float], vec![groups.len() as i64, columns.len() as i64]));
    }
    if let Some(VerdictOutput { tensor, .. }) = &output.verdict {
        list.push((tensor, &[Kind::Int64], Vec::new()));
    }
    list
}

/// The prediction that the tensors mean; `turn` led from the source grid of `source_shape` to the module's.
pub(super) fn prediction(
    manifest: &Manifest,
    tensors: &Named,
    turn: &Reorientation,
    source_shape: [usize; 3],
    warnings: Vec<String>,
) -> Result<Prediction, EngineError> {
    let torch = |error: TchError| EngineError::from_torch(&manifest.name, &error.to_string());
    let wrong = |message: String| EngineError::WrongOutput { model: manifest.name.clone(), message };
    let output = &manifest.output;
    let verdict = match &output.verdict {
        Some(output) => verdict(output, tensors[&output.tensor].f_int64_value(&[]).map_err(torch)?).map_err(wrong)?,
        None => Verdict::Suitable,
    };
    if verdict != Verdict::Suitable {
        let (segments, measurement_groups) = (Vec::new(), Vec::new());
        return Ok(Prediction { segments, measurement_groups, warnings, ..Prediction::of(verdict) });
    }
    let mut label_map = None;
    let mut segments = Vec::new();
    if let Some(output) = &output.segmentation {
        let labels = labels(output, &tensors[&output.tensor]).map_err(torch)?.map_err(wrong)?;
        let back = turned(&labels, &turn.inverse()).map_err(torch)?;
        label_map = Some(LabelMap { shape: source_shape, labels: to_vec(&back).map_err(torch)? });
        segments.clone_from(&output.segments);
    }
    let measurement_groups = match &output.measurement {
        Some(output) => {
            let table = tensors[&output.tensor].f_to_kind(Kind::Double).and_then(|table| to_vec(&table));
            measurements(output, &table.map_err(torch)?).map_err(wrong)?
        }
        None => Vec::new(),
    };
    Ok(Prediction { label_map, segments, measurement_groups, warnings, ..Prediction::of(verdict) })
}

fn verdict(output: &VerdictOutput, number: i64) -> Result<Verdict, String> {
    let index = match usize::try_from(number) {
        Ok(0) => return Ok(Verdict::Suitable),
        Ok(number) => number - 1,
        Err(_) => usize::MAX,
    };
    let reason = output.reasons.get(index).ok_or_else(|| {
        format!("«{}» is {number}, the manifest has reasons 1 to {}", output.tensor, output.reasons.len())
    })?;
    Ok(Verdict::NotSuitable { code: reason.code.clone(), reason: reason.reason.clone() })
}

/// uint8 labels on the module's grid, each of them background or a segment.
fn labels(output: &SegmentationOutput, tensor: &Tensor) -> Result<Result<Tensor, String>, TchError> {
    let labels = match output.encoding {
        SegmentationEncoding::Labels => tensor.shallow_clone(),
        SegmentationEncoding::Scores => {
            if tensor.f_isnan()?.f_any()?.f_int64_value(&[])? != 0 {
                return Ok(Err(format!("«{}» holds NaN", output.tensor)));
            }
            tensor.f_argmax(1, false)?.f_squeeze_dim(0)?.f_to_kind(Kind::Uint8)?
        }
    };
    let largest = labels.f_max()?.f_int64_value(&[])?;
    let count = output.segments.len();
    if usize::try_from(largest).is_ok_and(|largest| largest <= count) {
        return Ok(Ok(labels));
    }
    Ok(Err(format!("«{}» holds label {largest}, the manifest has segments 1 to {count}", output.tensor)))
}

/// `table`: row after row.
fn measurements(output: &MeasurementOutput, table: &[f64]) -> Result<Vec<MeasurementGroup>, String> {
    let rows = table.chunks(output.columns.len().max(1));
    let group = |(row, numbers): (&crate::inference::manifest::GroupRow, &[f64])| {
        let read = |(column, value): (&MeasurementColumn, &f64)| {
            let value = number(column, *value)
                .map_err(|message| format!("«{}», {} of {}: {message}", output.tensor, column.label, row.label))?;
            Ok(Measurement {
                label: column.label.clone(),
                concept: column.concept.clone(),
                derivation: column.derivation.clone(),
                unit: column.unit.clone(),
                value,
            })
        };
        Ok(MeasurementGroup {
            label: row.label.clone(),
            segment_numbers: row.segments.clone(),
            finding: row.finding.clone(),
            finding_site: row.finding_site.clone(),
            laterality: row.laterality.clone(),
            measurements: output.columns.iter().zip(numbers).map(read).collect::<Result<_, String>>()?,
        })
    };
    output.groups.iter().zip(rows).map(group).collect()
}

fn number(column: &MeasurementColumn, value: f64) -> Result<Option<f64>, String> {
    if value.is_nan() && column.nan == NanPolicy::Absent {
        return Ok(None);
    }
    if !value.is_finite() {
        return Err(format!("{value} is not a number that can be reported"));
    }
    match column.range {
        Some([least, largest]) if value < least || value > largest => {
            Err(format!("{value} is not between {least} and {largest}"))
        }
        _ => Ok(Some(value)),
    }
}

fn to_vec<T: tch::kind::Element>(tensor: &Tensor) -> Result<Vec<T>, TchError> {
    let tensor = tensor.f_to_device(Device::Cpu)?.f_contiguous()?;
    let mut values = vec![T::ZERO; tensor.numel()];
    let count = values.len();
    tensor.f_copy_data(&mut values, count)?;
    Ok(values)
}

/// The tensors as they are compared with a golden case.
pub(super) fn arrays(tensors: &Named) -> Result<BTreeMap<String, Array>, TchError> {
    let array = |tensor: &Tensor| {
        let values = match tensor.f_kind()? {
            Kind::Uint8 => Values::U8(to_vec(tensor)?),
            Kind::Int16 => Values::I16(to_vec(tensor)?),
            Kind::Int64 => Values::I64(to_vec(tensor)?),
            Kind::Float => Values::F32(to_vec(tensor)?),
            Kind::Double => Values::F64(to_vec(tensor)?),
            kind => return Err(TchError::Kind(format!("{kind:?} is not compared"))),
        };
        let shape = tensor.size().into_iter().map(|extent| usize::try_from(extent).unwrap_or(0)).collect();
        Ok(Array { shape, values })
    };
    tensors.iter().map(|(name, tensor)| Ok((name.clone(), array(tensor)?))).collect()
}
