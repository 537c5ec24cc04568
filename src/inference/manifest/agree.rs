//! Whether the tables of a manifest fit each other.

use super::toml_table::Table;
use super::{
    Accepts, AttentionOver, Inference, Input, InputKind, Layout, Module, Output, Over, Reduce, SPACING,
    SegmentationEncoding, SlicesOver, VoxelType,
};

/// The tables that were read without fault.
pub(super) struct Tables<'m> {
    pub(super) name: &'m str,
    pub(super) accepts: &'m Accepts,
    pub(super) input: &'m Input,
    pub(super) inference: &'m Inference,
    pub(super) modules: &'m [Module],
    pub(super) output: &'m Output,
}

/// Keeps a fault for each disagreement.
pub(super) fn agree(top: &Table<'_>, tables: &Tables<'_>) {
    gate(top, tables);
    layout(top, tables);
    windows(top, tables);
    mirroring(top, tables);
    outputs(top, tables);
}

fn gate(top: &Table<'_>, tables: &Tables<'_>) {
    let Tables { accepts, input, .. } = tables;
    if accepts.gate.as_deref() == Some(tables.name) {
        top.fault("accepts", "gate: a package is not its own gate");
    }
    if matches!(input.kind, InputKind::Slices { over: SlicesOver::Gate, .. }) && accepts.gate.is_none() {
        top.fault("input", "slices.over = \"gate\" needs accepts.gate");
    }
}

fn layout(top: &Table<'_>, tables: &Tables<'_>) {
    let Tables { input, inference, modules, .. } = tables;
    if matches!(input.layout, Layout::Zyx | Layout::Nkyx) && input.channels() > 1 {
        top.fault("input", "a layout without channels takes no step that makes several");
    }
    if inference.window.is_some() && (input.layout != Layout::Nczyx || input.dtype != VoxelType::Float32) {
        top.fault("inference", "a window needs input.layout = \"NCZYX\" and input.dtype = \"float32\"");
    }
    if input.is_image() && modules.iter().any(|module| module.arguments.iter().any(|name| name == SPACING)) {
        top.fault("input", "the spacing of an image is not known for sure: it is no argument");
    }
}

fn windows(top: &Table<'_>, tables: &Tables<'_>) {
    let Tables { inference, modules, output, input, .. } = tables;
    let over_windows = modules.iter().any(|module| matches!(module.over, Over::Windows(_)));
    if inference.window.is_some() && !over_windows {
        top.fault("inference", "a window needs a module with over = \"windows\"");
    }
    let attention = output.attention.as_ref();
    if inference.window.is_none() && attention.is_some_and(|output| output.over == AttentionOver::Windows) {
        top.fault("output", "attention.over = \"windows\" needs inference.window");
    }
    if input.per_slice().is_some() && output.pathology().is_none() {
        top.fault("input", "per_slice needs an output.classification with one label, or one with pathology = true");
    }
}

fn mirroring(top: &Table<'_>, tables: &Tables<'_>) {
    let Tables { input, inference, output, .. } = tables;
    if inference.mirror.is_empty() {
        return;
    }
    if input.is_image() && inference.mirror.contains(&0) {
        top.fault("inference", "mirror: an image has no slices");
    }
    if matches!(input.layout, Layout::Nkyx | Layout::Bcyx) && inference.mirror.contains(&0) {
        top.fault("inference", "mirror: slices that are channels or a batch are not mirrored");
    }
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
    let Tables { input, output, inference, .. } = tables;
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
    if several && inference.batch > 1 && inference.window.is_none() && input.per_slice().is_some() {
        top.fault("inference", "batch: slices cannot share a call whose rows are averaged");
    }
}
