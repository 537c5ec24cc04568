//! Whether the tables of a manifest fit each other.

use super::toml_table::Table;
use super::{
    Accepts, AttentionOver, Inference, Input, InputKind, Layout, Module, Output, Over, Reduce, SPACING,
    SegmentationEncoding, SlicesOver, VoxelType,
};

/// The tables that were read without fault.
pub(super) struct Tables<'m> {
    pub(super) name: Option<&'m str>,
    pub(super) accepts: Option<&'m Accepts>,
    pub(super) input: Option<&'m Input>,
    pub(super) inference: Option<&'m Inference>,
    pub(super) modules: Option<&'m [Module]>,
    pub(super) output: Option<&'m Output>,
}

/// Keeps a fault for each disagreement of tables that were read; one that is faulty hides none of the others.
pub(super) fn agree(top: &Table<'_>, tables: &Tables<'_>) {
    gate(top, tables);
    layout(top, tables);
    windows(top, tables);
    mirroring(top, tables);
    outputs(top, tables);
}

fn gate(top: &Table<'_>, tables: &Tables<'_>) {
    let Tables { name, accepts: Some(accepts), input, .. } = tables else { return };
    if accepts.gate.is_some() && accepts.gate.as_deref() == *name {
        top.fault("accepts", "gate: a package is not its own gate");
    }
    let over_gate = |input: &Input| matches!(input.kind, InputKind::Slices { over: SlicesOver::Gate, .. });
    if input.is_some_and(over_gate) && accepts.gate.is_none() {
        top.fault("input", "slices.over = \"gate\" needs accepts.gate");
    }
}

fn layout(top: &Table<'_>, tables: &Tables<'_>) {
    let Tables { input: Some(input), inference, modules, .. } = tables else { return };
    if matches!(input.layout, Layout::Zyx | Layout::Nkyx) && input.channels() > 1 {
        top.fault("input", "a layout without channels takes no step that makes several");
    }
    let window = inference.is_some_and(|inference| inference.window.is_some());
    if window && (input.layout != Layout::Nczyx || input.dtype != VoxelType::Float32) {
        top.fault("inference", "a window needs input.layout = \"NCZYX\" and input.dtype = \"float32\"");
    }
    let takes_spacing = |module: &Module| module.arguments.iter().any(|name| name == SPACING);
    if input.is_image() && modules.is_some_and(|modules| modules.iter().any(takes_spacing)) {
        top.fault("input", "the spacing of an image is not known for sure: it is no argument");
    }
}

fn windows(top: &Table<'_>, tables: &Tables<'_>) {
    let Tables { inference, modules, output, input, .. } = tables;
    let over_windows = |module: &Module| matches!(module.over, Over::Windows(_));
    if let (Some(Inference { window: Some(_), .. }), Some(modules)) = (inference, modules)
        && !modules.iter().any(over_windows)
    {
        top.fault("inference", "a window needs a module with over = \"windows\"");
    }
    let Some(output) = output else { return };
    let attention = output.attention.as_ref();
    if inference.is_some_and(|inference| inference.window.is_none())
        && attention.is_some_and(|output| output.over == AttentionOver::Windows)
    {
        top.fault("output", "attention.over = \"windows\" needs inference.window");
    }
    if input.is_some_and(|input| input.per_slice().is_some()) && output.pathology().is_none() {
        top.fault("input", "per_slice needs an output.classification with one label, or one with pathology = true");
    }
}

fn mirroring(top: &Table<'_>, tables: &Tables<'_>) {
    let Tables { input, inference: Some(inference), output, .. } = tables else { return };
    if inference.mirror.is_empty() {
        return;
    }
    if input.is_some_and(Input::is_image) && inference.mirror.contains(&0) {
        top.fault("inference", "mirror: an image has no slices");
    }
    let not_slices = |input: &Input| matches!(input.layout, Layout::Nkyx | Layout::Bcyx);
    if input.is_some_and(not_slices) && inference.mirror.contains(&0) {
        top.fault("inference", "mirror: slices that are channels or a batch are not mirrored");
    }
    let Some(output) = output else { return };
    match &output.segmentation {
        Some(output) if output.encoding == SegmentationEncoding::Labels => {
            top.fault("inference", "mirror averages scores: a segmentation of labels has none");
        }
        None if output.classifications.is_empty() => {
            top.fault("inference", "mirror averages scores: there is no segmentation and no classification");
        }
        _ => {}
    }
}

fn outputs(top: &Table<'_>, tables: &Tables<'_>) {
    let Tables { input: Some(input), output: Some(output), inference, .. } = tables else { return };
    if let Some(segmentation) = &output.segmentation {
        let labels = segmentation.encoding == SegmentationEncoding::Labels;
        match input.layout {
            Layout::Nczyx | Layout::Ncyx => {}
            Layout::Zyx if labels => {}
            Layout::Zyx => {
                let needed = "a segmentation with encoding = \"scores\" or \"probabilities\" needs";
                top.fault("output", format!("{needed} input.layout = \"NCZYX\""));
            }
            Layout::Nkyx | Layout::Bcyx => {
                top.fault("output", "a segmentation needs slices that are neither channels nor a batch");
            }
        }
        if matches!(input.kind, InputKind::Slices { .. }) {
            top.fault("output", "some slices give no segmentation of a series");
        }
    }
    if output.attention.is_some() && matches!(input.kind, InputKind::Slices { .. }) {
        top.fault("output", "some slices give no attention map of a series");
    }
    let several = output.classifications.iter().any(|output| output.reduce != Reduce::None);
    let shares = |inference: &Inference| inference.batch > 1 && inference.window.is_none();
    if several && inference.is_some_and(shares) && input.per_slice().is_some() {
        top.fault("inference", "batch: slices cannot share a call whose rows are averaged");
    }
}
