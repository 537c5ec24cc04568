//! The tables `input` and `inference`, and whether they fit each other and the output.

use super::sections::{seconds, within};
use super::toml_table::Table;
use super::{Argument, Blending, Inference, Input, Layout, Output, SegmentationEncoding, VoxelType, Window};
use crate::inference::orientation::Axes;

pub(super) fn input(table: Table<'_>) -> Option<Input> {
    let kind = table.required_checked("kind", |kind: &String| match kind.as_str() {
        "volume" => Ok(()),
        "slices" | "image" => Err(format!("«{kind}» is not fed by this version, volume is")),
        _ => Err(format!("«{kind}» is not volume")),
    });
    let axes = table.required_checked("axes", |letters: &String| Axes::parse(letters).map(|_| ()));
    let layout = table.required_word("layout", &[("ZYX", Layout::Zyx), ("NCZYX", Layout::Nczyx)]);
    let dtype = table.required_word("dtype", &[("int16", VoxelType::Int16), ("float32", VoxelType::Float32)]);
    let names = table.required_checked("arguments", |names: &Vec<String>| arguments(names).map(|_| ()));
    table.finish();
    kind?;
    Some(Input { axes: Axes::parse(&axes?).ok()?, layout: layout?, dtype: dtype?, arguments: arguments(&names?).ok()? })
}

fn arguments(names: &[String]) -> Result<Vec<Argument>, String> {
    let mut list = Vec::new();
    for name in names {
        let argument = match name.as_str() {
            "voxels" => Argument::Voxels,
            "spacing" => Argument::Spacing,
            _ => return Err(format!("«{name}» is not one of voxels, spacing")),
        };
        if list.contains(&argument) {
            return Err(format!("names {name} twice"));
        }
        list.push(argument);
    }
    if list.contains(&Argument::Voxels) { Ok(list) } else { Err("must name voxels".to_owned()) }
}

pub(super) fn inference(table: Table<'_>) -> Option<Inference> {
    let limit = table.required_checked("time_limit_seconds", |limit| within(*limit, 0.1, 86_400.0));
    let memory_mb = table.required_checked("memory_mb", |size| within(*size, 1u64, 10_000_000));
    let _ = table.word("precision", &[("float32", ())]);
    let size = table
        .optional_checked("window", |size: &[usize; 3]| size.iter().try_for_each(|extent| within(*extent, 1, 4096)));
    let overlap = table.optional_checked("overlap", |share| {
        within(*share, 0.0, 1.0)?;
        if *share < 1.0 { Ok(()) } else { Err("must be less than 1".to_owned()) }
    });
    let sigma_scale = table.optional_checked("sigma_scale", |share| within(*share, 0.001, 10.0));
    let gaussian = table.word("blending", &[("gaussian", true), ("constant", false)]);
    let padding_value = table.optional("padding_value");
    let batch = table.optional_checked("batch", |count| within(*count, 1, 1024));
    if size.is_none() {
        for (key, given) in [
            ("overlap", overlap.is_some()),
            ("sigma_scale", sigma_scale.is_some()),
            ("blending", gaussian.is_some()),
            ("padding_value", padding_value.is_some()),
            ("batch", batch.is_some()),
        ] {
            if given {
                table.fault(key, "has a meaning only with inference.window");
            }
        }
    }
    if gaussian == Some(false) && sigma_scale.is_some() {
        table.fault("sigma_scale", "has a meaning only with blending = \"gaussian\"");
    }
    table.finish();
    let blending = match gaussian {
        Some(false) => Blending::Constant,
        _ => Blending::Gaussian { sigma_scale: sigma_scale.unwrap_or(0.125) },
    };
    let window = size.map(|size| Window {
        size,
        overlap: overlap.unwrap_or(0.25),
        blending,
        padding_value: padding_value.unwrap_or(0.0),
        batch: batch.unwrap_or(1),
    });
    Some(Inference { time_limit: seconds(limit?), memory_mb: memory_mb?, window })
}

/// Keeps a fault for each disagreement between the tables.
pub(super) fn agree(top: &Table<'_>, input: &Input, inference: &Inference, output: &Output) {
    let scores = output.segmentation.as_ref().is_some_and(|s| s.encoding == SegmentationEncoding::Scores);
    if inference.window.is_some() {
        if input.layout != Layout::Nczyx || input.dtype != VoxelType::Float32 {
            top.fault("inference", "a window needs input.layout = \"NCZYX\" and input.dtype = \"float32\"");
        }
        if input.arguments != [Argument::Voxels] {
            top.fault("inference", "a window needs input.arguments = [\"voxels\"]");
        }
        if !scores || output.measurement.is_some() || output.verdict.is_some() {
            top.fault("inference", "a window needs one output, a segmentation with encoding = \"scores\"");
        }
    }
    if scores && input.layout != Layout::Nczyx {
        top.fault("output", "a segmentation with encoding = \"scores\" needs input.layout = \"NCZYX\"");
    }
}
