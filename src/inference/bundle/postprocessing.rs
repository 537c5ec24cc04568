//! What becomes of the network's result, and `output`.

use serde_json::Value;

use super::config::{Component, Config};
use super::metadata::Metadata;
use super::text::string;

/// What the transforms after the network come to.
#[derive(Default)]
pub(super) struct Output {
    softmax: bool,
    sigmoid: bool,
    argmax: bool,
    threshold: Option<f64>,
    /// What has no counterpart.
    not_translated: Vec<String>,
}

/// Files, types, and other entries of the dictionary.
const WITHOUT_EFFECT: [&str; 5] = ["SaveImaged", "EnsureTyped", "ToTensord", "DeleteItemsd", "CopyItemsd"];

pub(super) fn read<'b>(config: Option<&'b Config<'b>>) -> Output {
    let mut output = Output::default();
    let Some(config) = config else { return output };
    match config.transforms("postprocessing") {
        Ok(transforms) => transforms.iter().for_each(|transform| output.add(transform)),
        Err(found) => output.not_translated.push(found),
    }
    output
}

impl Output {
    fn add(&mut self, transform: &Component<'_>) {
        let discrete = self.argmax || self.threshold.is_some();
        match transform.target {
            target if WITHOUT_EFFECT.contains(&target) => {}
            "Activationsd" if !discrete && transform.has_only(&["softmax", "sigmoid"]) => {
                self.softmax |= transform.is_on("softmax");
                self.sigmoid |= transform.is_on("sigmoid");
            }
            "AsDiscreted" if !discrete && transform.has_only(&["argmax", "threshold"]) => {
                self.argmax = transform.is_on("argmax");
                self.threshold = transform.scalar("threshold").and_then(Value::as_f64);
            }
            // overread interpolates scores linearly on their way back, and decides there.
            "Invertd" if !discrete && transform.scalar("nearest_interp") == Some(&Value::Bool(false)) => {}
            _ => self.not_translated.push(transform.shown()),
        }
    }

    pub(super) fn lines(&self, metadata: &Metadata<'_>) -> Vec<String> {
        let lines = if metadata.is_segmentation() { self.segmentation(metadata) } else { classification(metadata) };
        let golden =
            "\n# [golden]    # a case with the expected answer, run before the package serves: see models/README.md";
        lines.into_iter().chain([golden.to_owned(), "# case = \"golden/case.npz\"".to_owned()]).collect()
    }

    fn segmentation(&self, metadata: &Metadata<'_>) -> Vec<String> {
        let channels = metadata.channels();
        let background = channels.first().is_some_and(|name| name.eq_ignore_ascii_case("background"));
        let mut lines =
            vec!["\n[output.segmentation]".to_owned(), format!("tensor = {}", string(metadata.output_name))];
        let probabilities = !background && self.sigmoid && !self.softmax && !self.argmax;
        if background && !self.sigmoid && self.argmax {
            lines.push("encoding = \"scores\"    # AsDiscreted takes the largest".to_owned());
            lines.extend(self.softmax.then(|| "activation = \"softmax\"    # Activationsd".to_owned()));
        } else if probabilities {
            lines.push("encoding = \"probabilities\"".to_owned());
            lines.push("activation = \"sigmoid\"    # Activationsd".to_owned());
        } else {
            let what =
                "labels | scores (the first channel is background, the largest wins) | probabilities (no background)";
            lines.push(format!("encoding = \"\"    # TODO {what}"));
        }
        if !self.not_translated.is_empty() {
            let list: Vec<_> = self.not_translated.iter().map(|what| string(what)).collect();
            let why = "MONAI does this to the result, overread does not: delete the line if it may be left out";
            lines.push(format!("not_translated = [{}]    # TODO {why}", list.join(", ")));
        }
        let threshold = self.threshold.filter(|_| probabilities);
        for (channel, name) in channels.iter().enumerate().skip(usize::from(background)) {
            lines.extend(segment(channel, name, threshold));
        }
        if channels.is_empty() {
            lines.push("segments = []    # TODO metadata.json names no channels of the output".to_owned());
        }
        lines
    }
}

fn segment(channel: usize, name: &str, threshold: Option<f64>) -> Vec<String> {
    let mut lines = vec![format!("\n[[output.segmentation.segments]]    # channel {channel}")];
    lines.push(match name.is_empty() {
        true => "label = \"\"    # TODO for people".to_owned(),
        false => format!("label = {}", string(name)),
    });
    lines.push(
        "category = \"\"    # TODO \"code, scheme, meaning\", DICOM CID 7150, such as Anatomical Structure".to_owned(),
    );
    lines.push("type = \"\"    # TODO \"code, scheme, meaning\", best SNOMED CT".to_owned());
    lines.push("colour = \"\"    # TODO sRGB, such as \"#4CAF50\"".to_owned());
    lines.extend(threshold.map(|threshold| format!("threshold = {threshold}    # AsDiscreted")));
    lines
}

fn classification(metadata: &Metadata<'_>) -> Vec<String> {
    let said = metadata.output_said();
    let mut lines = vec![format!("\n# metadata.json says of the output: {said}.")];
    lines.push("[[output.classification]]".to_owned());
    lines.push(format!("tensor = {}", string(metadata.output_name)));
    lines.push("activation = \"\"    # TODO sigmoid | softmax | none (0 to 1 already)".to_owned());
    for name in metadata.channels() {
        lines.push("\n[[output.classification.labels]]".to_owned());
        lines.push(match name.is_empty() {
            true => "label = \"\"    # TODO for people".to_owned(),
            false => format!("label = {}", string(name)),
        });
        lines.push("concept = \"\"    # TODO \"code, scheme, meaning\", best SNOMED CT".to_owned());
        lines.push("threshold = -1    # TODO 0 to 1: from here on it is present".to_owned());
    }
    lines
}
