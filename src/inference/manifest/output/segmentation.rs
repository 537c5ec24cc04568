//! `output.segmentation`: a label map.

use super::super::sections::{at_most, within};
use super::super::toml_table::Table;
use super::{Activation, Tensors, unique};
use crate::inference::prediction::Segment;

/// A label map.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentationOutput {
    /// Name of the tensor.
    pub tensor: String,
    /// Labels, scores or probabilities.
    pub encoding: SegmentationEncoding,
    /// What makes probabilities of the scores before they go back to the source grid: values between voxels differ by it.
    pub activation: Activation,
    /// On which grid it lies.
    pub grid: SegmentationGrid,
    /// Label n is segment n, from 1; at most 255.
    pub segments: Vec<Segment>,
    /// For each segment: the least probability at which a voxel belongs to it.
    pub thresholds: Vec<f64>,
}

/// What the tensor of a segmentation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentationEncoding {
    /// uint8 on the input grid.
    Labels,
    /// float32 [1, 1 + segments, slices, rows, columns]: the channel with the largest score is the label.
    Scores,
    /// float32 [1, segments, slices, rows, columns], 0 to 1: of the channels that reach their threshold the largest is the
    /// label.
    Probabilities,
}

/// On which grid a segmentation lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentationGrid {
    /// That of the input.
    Input,
    /// A coarser one over the same field of view: the patches of a transformer.
    Patches,
}

pub(super) fn read(table: Table<'_>, tensors: &mut Tensors<'_>) -> Option<SegmentationOutput> {
    let tensor = tensors.own(&table);
    let encodings = [
        ("labels", SegmentationEncoding::Labels),
        ("scores", SegmentationEncoding::Scores),
        ("probabilities", SegmentationEncoding::Probabilities),
    ];
    let encoding = table.word("encoding", &encodings).unwrap_or(SegmentationEncoding::Labels);
    let activations = [("none", Activation::None), ("softmax", Activation::Softmax), ("sigmoid", Activation::Sigmoid)];
    let activation = table.word("activation", &activations).unwrap_or(Activation::None);
    let fits = match activation {
        Activation::None => true,
        Activation::Softmax => encoding == SegmentationEncoding::Scores,
        Activation::Sigmoid => encoding == SegmentationEncoding::Probabilities,
    };
    if !fits {
        table.fault("activation", "softmax is for encoding = \"scores\", sigmoid for encoding = \"probabilities\"");
    }
    let grids = [("input", SegmentationGrid::Input), ("patches", SegmentationGrid::Patches)];
    let grid = table.word("grid", &grids).unwrap_or(SegmentationGrid::Input);
    if grid == SegmentationGrid::Patches && encoding == SegmentationEncoding::Labels {
        table.fault("grid", "patches need encoding = \"scores\" or \"probabilities\"");
    }
    let rows = table.tables("segments");
    if rows.len() > 255 {
        table.fault("segments", format!("has {} segments, a label map holds 255", rows.len()));
    }
    let count = rows.len();
    let probabilities = encoding == SegmentationEncoding::Probabilities;
    let rows: Vec<_> = rows.into_iter().filter_map(|row| segment(row, probabilities)).collect();
    unique(&table, "segments", rows.iter().map(|(segment, _)| segment.label.as_str()));
    table.finish();
    (rows.len() == count).then_some(())?;
    let (segments, thresholds) = rows.into_iter().unzip();
    Some(SegmentationOutput { tensor: tensor?, encoding, activation, grid, segments, thresholds })
}

/// `probabilities`: whether a threshold has a meaning.
fn segment(table: Table<'_>, probabilities: bool) -> Option<(Segment, f64)> {
    let label = table.required_checked("label", |text: &String| at_most(text, 64));
    let category = table.required("category");
    let property_type = table.required("type");
    let laterality = table.optional("laterality");
    let region = table.optional("region");
    let colour = table.required_checked("colour", |text: &String| colour(text).map(|_| ()));
    let threshold = table.optional_checked("threshold", |share| within(*share, 0.0, 1.0));
    if threshold.is_some() && !probabilities {
        table.fault("threshold", "has a meaning only with encoding = \"probabilities\"");
    }
    table.finish();
    let segment = Segment {
        label: label?,
        category: category?,
        property_type: property_type?,
        laterality,
        region,
        colour: colour_of(&colour?)?,
    };
    Some((segment, threshold.unwrap_or(0.5)))
}

fn colour_of(text: &str) -> Option<[u8; 3]> {
    colour(text).ok()
}

fn colour(text: &str) -> Result<[u8; 3], String> {
    let wrong = || format!("«{text}» is not a colour such as \"#4CAF50\"");
    let digits = text.strip_prefix('#').filter(|d| d.len() == 6 && d.bytes().all(|b| b.is_ascii_hexdigit()));
    let number = u32::from_str_radix(digits.ok_or_else(wrong)?, 16).map_err(|_| wrong())?;
    let [_, red, green, blue] = number.to_be_bytes();
    Ok([red, green, blue])
}
