//! The inferer as `inference.window`.

use serde_json::Value;

use super::config::{Component, Config};
use super::metadata::Metadata;
use super::text::{as_numbers, numbers};

/// Keys of the table `inference`.
pub(super) fn lines<'b>(config: Option<&'b Config<'b>>, metadata: &Metadata<'_>) -> Vec<String> {
    let inferer = config.and_then(|config| config.component("inferer"));
    match inferer {
        Some(inferer) if inferer.target == "SlidingWindowInferer" => {
            window(&inferer).unwrap_or_else(|| undecided(&format!("MONAI's {}", inferer.shown())))
        }
        Some(inferer) if inferer.target == "SimpleInferer" => Vec::new(),
        Some(inferer) => undecided(&format!("MONAI's {}", inferer.shown())),
        None if metadata.takes_patches() => {
            undecided("metadata.json says that the network takes patches, of what size?")
        }
        None => Vec::new(),
    }
}

fn undecided(why: &str) -> Vec<String> {
    vec![format!("window = []    # TODO [slices, rows, columns] of a sliding window, or delete this line; {why}")]
}

fn window(inferer: &Component<'_>) -> Option<Vec<String>> {
    let computed = ["roi_size", "sw_batch_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval"];
    // Where and in what portions, not what.
    let run = ["sw_device", "device", "progress", "cache_roi_weight_map", "cpu_thresh"];
    if !inferer.has_only(&[&computed[..], &run[..]].concat()) {
        return None;
    }
    let size = match inferer.get("roi_size")? {
        Value::Array(_) => as_numbers(inferer.get("roi_size")?, 3)?,
        size => vec![size.as_f64()?; 3],
    };
    let whole = size.iter().all(|extent| *extent >= 1.0 && extent.fract() == 0.0);
    let number = |key: &str, default: f64| inferer.get(key).map_or(Some(default), Value::as_f64);
    let overlap = number("overlap", 0.25).filter(|share| (0.0..1.0).contains(share))?;
    let blending = inferer.word("mode").unwrap_or("constant");
    let padded = matches!(inferer.word("padding_mode"), None | Some("constant"));
    if !whole || !padded || !matches!(blending, "constant" | "gaussian") {
        return None;
    }
    let mut lines = vec![format!("window = {}    # SlidingWindowInferer", numbers(&size))];
    lines.push(format!("overlap = {overlap}"));
    lines.push(format!("blending = \"{blending}\""));
    if blending == "gaussian" {
        lines.push(format!("sigma_scale = {}", number("sigma_scale", 0.125)?));
    }
    lines.push(format!("padding_value = {}", number("cval", 0.0)?));
    lines.push(format!("batch = {}", number("sw_batch_size", 1.0)?));
    Some(lines)
}
