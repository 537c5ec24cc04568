//! Types, shapes and finiteness of the tensors that a manifest names.

use std::fmt;

use tch::{Kind, Tensor};

use super::super::fault::Fault;
use super::super::returned::Named;
use crate::inference::manifest::{
    AttentionOver, ClassificationOutput, Manifest, Reduce, SegmentationEncoding, SegmentationGrid,
};
use crate::inference::sliding_window::Plan;
use crate::inference::steps::Field;

/// No embedding needs more; it is kept beside the series.
const LARGEST_EMBEDDING: i64 = 64 << 20;

/// As many tokens as a text has at most, as in `[modules.generate]`.
const MOST_TOKENS: i64 = 4096;

const FLOAT: &[Kind] = &[Kind::Float, Kind::Double];

/// What a tensor must be.
struct Expected<'m> {
    tensor: &'m str,
    kinds: &'static [Kind],
    /// One of these; empty for any.
    shapes: Vec<Vec<Extent>>,
    /// Whether NaN and infinities are faults.
    finite: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Extent {
    Is(i64),
    Any(&'static str),
    UpTo(i64, &'static str),
}

/// Checks what was returned for an input on the grid of `field`.
///
/// # Errors
/// The first tensor that is not as the manifest says: its name, what it must be and what it is.
pub(in super::super) fn check(manifest: &Manifest, tensors: &Named, field: &Field) -> Result<(), Fault> {
    check_beside(manifest, tensors, field, None)
}

/// The same for all but the tensor that was taken, and checked, some slices at a time.
///
/// # Errors
/// As [`check`].
pub(in super::super) fn check_beside(
    manifest: &Manifest,
    tensors: &Named,
    field: &Field,
    taken: Option<&str>,
) -> Result<(), Fault> {
    for expected in expectations(manifest, field) {
        let name = expected.tensor;
        if taken == Some(name) {
            continue;
        }
        let tensor = tensors.get(name).ok_or_else(|| Fault::Wrong(format!("«{name}» is missing")))?;
        expected.check(tensor)?;
    }
    for name in &manifest.output.embeddings {
        let count = tensors.get(name).map_or(0, |tensor| tensor.numel() as i64);
        if count > LARGEST_EMBEDDING {
            return Err(Fault::Wrong(format!(
                "«{name}» has {count} values, an embedding may have {LARGEST_EMBEDDING}"
            )));
        }
    }
    Ok(())
}

/// Checks some slices of the tensor of a segmentation.
///
/// # Errors
/// As [`check`].
pub(in super::super) fn check_slab(manifest: &Manifest, slab: &Tensor, field: &Field) -> Result<(), Fault> {
    // The segmentation is the first that is expected.
    let expected = expectations(manifest, field).into_iter().next().filter(|_| manifest.output.segmentation.is_some());
    let Some(mut expected) = expected else { return Ok(()) };
    if let Some(slices) = expected.shapes.first_mut().and_then(|shape| shape.get_mut(2)) {
        *slices = Extent::Any("Z");
    }
    expected.check(slab)
}

/// Checks what was returned for a batch of slices by a classification.
///
/// # Errors
/// As [`check`].
pub(in super::super) fn check_slices(
    output: &ClassificationOutput,
    tensors: &Named,
    slices: usize,
) -> Result<(), Fault> {
    let name = output.tensor.as_str();
    let tensor = tensors.get(name).ok_or_else(|| Fault::Wrong(format!("«{name}» is missing")))?;
    Expected { tensor: name, kinds: FLOAT, shapes: rows(output, slices), finite: true }.check(tensor)
}

impl Expected<'_> {
    fn check(&self, tensor: &Tensor) -> Result<(), Fault> {
        let (name, kind, found) = (self.tensor, tensor.f_kind()?, tensor.size());
        let fits = |shape: &Vec<Extent>| {
            shape.len() == found.len() && shape.iter().zip(&found).all(|(extent, found)| extent.fits(*found))
        };
        if !self.kinds.contains(&kind) || !(self.shapes.is_empty() || self.shapes.iter().any(fits)) {
            return Err(Fault::Wrong(format!("«{name}» must be {self}, it is {kind:?}{found:?}")));
        }
        if !self.finite || !FLOAT.contains(&kind) {
            return Ok(());
        }
        if tensor.numel() == 0 {
            return Err(Fault::Wrong(format!("«{name}» is empty: {found:?}")));
        }
        // What is no number becomes the least and the largest, and nothing of the tensor's size is made.
        let (least, largest) = tensor.f_aminmax(None, false)?;
        if least.f_double_value(&[])?.is_finite() && largest.f_double_value(&[])?.is_finite() {
            return Ok(());
        }
        let bad = tensor.f_isfinite()?.f_logical_not()?.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        let of = tensor.numel();
        Err(Fault::Wrong(format!("«{name}» holds NaN or infinity: {bad} of {of} values, {kind:?}{found:?}")))
    }
}

impl Extent {
    const fn fits(self, found: i64) -> bool {
        match self {
            Self::Is(extent) => extent == found,
            Self::Any(_) => found > 0,
            Self::UpTo(most, _) => found > 0 && found <= most,
        }
    }
}

impl fmt::Display for Expected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, shape) in self.shapes.iter().enumerate() {
            if index > 0 {
                f.write_str(" or ")?;
            }
            let extents: Vec<_> = shape
                .iter()
                .map(|extent| match extent {
                    Extent::Is(extent) => extent.to_string(),
                    Extent::Any(name) => (*name).to_owned(),
                    Extent::UpTo(most, name) => format!("{name} <= {most}"),
                })
                .collect();
            write!(f, "{:?}[{}]", self.kinds[0], extents.join(", "))?;
        }
        if self.shapes.is_empty() {
            write!(f, "{:?}", self.kinds[0])?;
        }
        Ok(())
    }
}

fn expectations<'m>(manifest: &'m Manifest, field: &Field) -> Vec<Expected<'m>> {
    let grid: Vec<Extent> = field.after().iter().map(|extent| Extent::Is(*extent as i64)).collect();
    let any: Vec<Extent> = ["Z", "Y", "X"][3 - grid.len()..].iter().map(|name| Extent::Any(name)).collect();
    let output = &manifest.output;
    let mut list = Vec::new();
    let mut expect = |tensor: &'m str, kinds, shapes, finite| list.push(Expected { tensor, kinds, shapes, finite });
    if let Some(output) = &output.segmentation {
        let channels = match output.encoding {
            SegmentationEncoding::Labels => None,
            SegmentationEncoding::Scores => Some(output.segments.len() as i64 + 1),
            SegmentationEncoding::Probabilities => Some(output.segments.len() as i64),
        };
        let grid = if output.grid == SegmentationGrid::Patches { &any } else { &grid };
        let shape = channels.map_or_else(|| grid.clone(), |channels| with(&[1, channels], grid));
        let kinds: &[Kind] = if channels.is_some() { &[Kind::Float] } else { &[Kind::Uint8] };
        expect(&output.tensor, kinds, vec![shape], true);
    }
    if let Some(output) = &output.measurement {
        let shape = with(&[output.groups.len() as i64, output.columns.len() as i64], &[]);
        expect(&output.tensor, &[Kind::Double, Kind::Float], vec![shape], false);
    }
    if let Some(output) = &output.verdict {
        expect(&output.tensor, &[Kind::Int64], vec![Vec::new()], true);
    }
    for output in &output.classifications {
        expect(&output.tensor, FLOAT, rows(output, 1), true);
    }
    if let Some(output) = &output.text {
        expect(&output.tensor, &[Kind::Int64], vec![vec![Extent::Is(1), Extent::UpTo(MOST_TOKENS, "T")]], true);
    }
    if let Some(output) = &output.attention {
        let shapes = match output.over {
            AttentionOver::Windows => vec![with(&[windows(manifest, field)], &[])],
            AttentionOver::Grid => vec![any.clone(), with(&[1], &any), with(&[1, 1], &any)],
        };
        expect(&output.tensor, FLOAT, shapes, true);
    }
    for tensor in &output.embeddings {
        expect(tensor, FLOAT, Vec::new(), true);
    }
    list
}

/// The shapes of a classification of `inputs` series, or slices, in one call.
fn rows(output: &ClassificationOutput, inputs: usize) -> Vec<Vec<Extent>> {
    let labels = output.labels.len() as i64;
    match (output.reduce, inputs) {
        (Reduce::None, 1) => vec![with(&[1, labels], &[]), with(&[labels], &[])],
        (Reduce::None, inputs) => vec![with(&[inputs as i64, labels], &[])],
        _ => vec![vec![Extent::Any("B"), Extent::Is(labels)]],
    }
}

fn with(leading: &[i64], grid: &[Extent]) -> Vec<Extent> {
    leading.iter().map(|extent| Extent::Is(*extent)).chain(grid.iter().copied()).collect()
}

/// How many windows the grid has.
fn windows(manifest: &Manifest, field: &Field) -> i64 {
    match (&manifest.inference.window, &field.after()[..]) {
        (Some(window), [slices, rows, columns]) => Plan::new([*slices, *rows, *columns], window).starts.len() as i64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn a_text_has_as_many_tokens_as_a_search_may_give() {
        let manifest = Manifest::parse(include_str!("../../manifest/example-modules.toml")).unwrap();
        let field = Field::whole(&[96, 96, 96]);
        let expected = expectations(&manifest, &field);
        let text = expected.iter().find(|expected| expected.tensor == "report_ids").unwrap();
        let tokens = |count: i64| Tensor::zeros([1, count], (Kind::Int64, Device::Cpu));
        assert!(text.check(&tokens(4096)).is_ok());
        let Err(Fault::Wrong(message)) = text.check(&tokens(4097)) else { panic!("4097 tokens") };
        assert_eq!(message, "«report_ids» must be Int64[1, T <= 4096], it is Int64[1, 4097]");
    }
}
