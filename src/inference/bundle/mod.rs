//! A MONAI bundle (`configs/metadata.json`, `configs/inference.json`) as a manifest. What the bundle says is taken over where
//! overread computes the same; what it lacks, or what has no counterpart, becomes a key that the manifest's reader refuses, so
//! that its author must decide. Nothing is guessed: no code, no modality, no colour. Nothing in a bundle is run.

mod config;

mod metadata;

mod postprocessing;

mod preprocessing;

mod text;

mod window;

#[cfg(test)]
mod tests;

use serde_json::Value;

use self::config::Config;
use self::metadata::Metadata;
use self::text::{comment, string};
use super::package::is_package_name;

/// What an import starts from.
#[derive(Debug, Clone, Copy)]
pub struct Bundle<'b> {
    /// `configs/metadata.json`.
    pub metadata: &'b Value,
    /// `configs/inference.json`, where there is one.
    pub inference: Option<&'b Value>,
    /// SHA-256 of the TorchScript file, lower-case hex.
    pub sha256: &'b str,
}

/// The name that a bundle's own title comes to, where it comes to one: `Spleen CT segmentation` is `spleen-ct-segmentation`.
#[must_use]
pub fn name_of(metadata: &Value) -> Option<String> {
    let title = metadata.get("name")?.as_str()?;
    let words = title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name = words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-");
    is_package_name(&name).ok().map(|()| name)
}

/// The manifest of a package `name` that is this bundle. Where all that is asked for is filled in, [`super::manifest`] reads it.
///
/// # Errors
/// Why no package can be made of it: not one input image of three dimensions and one channel.
pub fn manifest(name: &str, bundle: &Bundle<'_>) -> Result<String, String> {
    let metadata = Metadata::read(bundle.metadata)?;
    let config = bundle.inference.map(Config);
    let prepared = preprocessing::read(config.as_ref());
    let output = postprocessing::read(config.as_ref());
    let mut lines = head(name, &metadata, bundle.sha256);
    lines.extend(metadata.accepts());
    lines.extend(prepared.lines());
    lines.push("\n[inference]".to_owned());
    lines.push("time_limit_seconds = 600".to_owned());
    lines.push("memory_mb = 0    # TODO estimate of the peak; a run waits for that much".to_owned());
    lines.extend(window::lines(config.as_ref(), &metadata));
    lines.extend(output.lines(&metadata));
    Ok(lines.join("\n") + "\n")
}

fn head(name: &str, metadata: &Metadata<'_>, sha256: &str) -> Vec<String> {
    let mut lines = vec![
        "# Imported from a MONAI bundle. Fill in or decide every line marked TODO; until then overread refuses the package and says".to_owned(),
        "# which keys are wrong. src/inference/manifest/example.toml explains every key.".to_owned(),
        String::new(),
        format!("name = {}", string(name)),
    ];
    let asked = [
        ("version", "version", 64, "what metadata.json calls version"),
        ("title", "name", 64, "for people, at most 64 characters"),
        ("manufacturer", "authors", 64, "who made the model, at most 64 characters"),
        ("intended_use", "intended_use", 1024, "one or two sentences; what it is not for"),
    ];
    lines.extend(asked.map(|(key, own, longest, what)| metadata.line(key, own, longest, what)));
    lines.push(
        "origin = \"\"    # TODO trained | untrained (never delivered unless configured) | algorithm (no weights)"
            .to_owned(),
    );
    let copyright = metadata.said("copyright").map(|text| format!("; metadata.json has the copyright «{text}»"));
    let copyright = copyright.unwrap_or_default();
    lines.push(format!("licence = \"\"    # TODO of code and weights, best an SPDX expression{}", comment(&copyright)));
    lines.push("family = \"\"    # TODO algorithm family as \"code, scheme, meaning\", DICOM CID 7162".to_owned());
    lines.push("weights = \"model.pt\"    # models/model.ts of the bundle".to_owned());
    lines.push(format!("sha256 = {}", string(sha256)));
    lines
}
