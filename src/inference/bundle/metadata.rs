//! `metadata.json`: who made the model, what goes in and what comes out.

use serde_json::{Map, Value};

use super::text::{comment, string};

/// Values of Modality (0008,0060) that a bundle may name as they are; a word such as «MRI» is none.
const MODALITIES: [&str; 8] = ["CT", "MR", "PT", "NM", "US", "CR", "DX", "MG"];

/// The file, its one input and its one output.
pub(super) struct Metadata<'b> {
    whole: &'b Value,
    input: &'b Value,
    /// Name of the result.
    pub(super) output_name: &'b str,
    output: &'b Value,
}

impl<'b> Metadata<'b> {
    pub(super) fn read(whole: &'b Value) -> Result<Self, String> {
        let format = whole.get("network_data_format").ok_or("metadata.json has no network_data_format")?;
        let (_, input) = one(format, "inputs")?;
        let (output_name, output) = one(format, "outputs")?;
        let channels = input.get("num_channels").and_then(Value::as_u64);
        if channels != Some(1) {
            let count = channels.map_or_else(|| "?".to_owned(), |count| count.to_string());
            return Err(format!("the network takes {count} channels; overread gives one image, one channel"));
        }
        let extents = input.get("spatial_shape").and_then(Value::as_array).map(Vec::len);
        match extents {
            Some(3) => Ok(Self { whole, input, output_name, output }),
            Some(count) => Err(format!("the network takes images of {count} dimensions; volumes (3) are imported")),
            None => Err("metadata.json names no spatial_shape of the input".to_owned()),
        }
    }

    /// A text, where there is one.
    pub(super) fn said(&self, key: &str) -> Option<&'b str> {
        self.whole.get(key)?.as_str().filter(|text| !text.trim().is_empty())
    }

    /// The line of a key of the manifest that has a counterpart in the file.
    pub(super) fn line(&self, key: &str, own: &str, longest: usize, what: &str) -> String {
        let plain =
            |text: &&str| text.chars().count() <= longest && !text.contains(|c: char| c.is_control() || c == '\\');
        match self.said(own) {
            Some(text) if plain(&text) => format!("{key} = {}", string(text)),
            Some(text) => format!("{key} = \"\"    # TODO {what}; metadata.json says «{}»", comment(text)),
            None => format!("{key} = \"\"    # TODO {what}"),
        }
    }

    pub(super) fn accepts(&self) -> Vec<String> {
        let found = self.input.get("modality").and_then(Value::as_str);
        let modality = match found {
            Some(word) if MODALITIES.contains(&word) => format!("modality = [{}]", string(word)),
            Some(word) => {
                let said = comment(word);
                format!("modality = []    # TODO DICOM codes such as \"CT\" or \"MR\"; metadata.json says «{said}»")
            }
            None => "modality = []    # TODO DICOM codes such as \"CT\" or \"MR\"".to_owned(),
        };
        let more =
            "# orientation = \"axial\"    # orientation, least_slices, slice_spacing_mm, body_parts and more narrow it";
        vec!["\n[accepts]".to_owned(), modality, more.to_owned()]
    }

    /// Whether the network sees pieces of the image.
    pub(super) fn takes_patches(&self) -> bool {
        self.input.get("is_patch_data").and_then(Value::as_bool) == Some(true)
    }

    /// Whether the output is a label map.
    pub(super) fn is_segmentation(&self) -> bool {
        let word = |key: &str| self.output.get(key).and_then(Value::as_str);
        word("type") == Some("image") && matches!(word("format"), Some("segmentation" | "labels"))
    }

    /// What the file says of the output, for a comment.
    pub(super) fn output_said(&self) -> String {
        let word = |key: &str| self.output.get(key).and_then(Value::as_str).unwrap_or("?");
        comment(&format!("type «{}», format «{}»", word("type"), word("format")))
    }

    /// What each channel of the output stands for, in their order; an empty text where the file does not say.
    pub(super) fn channels(&self) -> Vec<&'b str> {
        let empty = Map::new();
        let names = self.output.get("channel_def").and_then(Value::as_object);
        let named = names.unwrap_or(&empty).keys().filter_map(|key| key.parse::<usize>().ok()).max();
        let count =
            self.output.get("num_channels").and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        let count = count.unwrap_or(0).max(named.map_or(0, |last| last.saturating_add(1))).min(256);
        let name = |channel: usize| names.and_then(|names| names.get(&channel.to_string())?.as_str());
        (0..count).map(|channel| name(channel).unwrap_or_default()).collect()
    }
}

/// The one entry of a table.
fn one<'b>(format: &'b Value, key: &str) -> Result<(&'b str, &'b Value), String> {
    let table = format.get(key).and_then(Value::as_object);
    let mut entries = table.into_iter().flatten();
    match (entries.next(), entries.next()) {
        (Some((name, entry)), None) => Ok((name, entry)),
        (None, _) => Err(format!("network_data_format.{key} of metadata.json names nothing")),
        (Some(_), Some(_)) => Err(format!("network_data_format.{key} of metadata.json names more than one tensor")),
    }
}
