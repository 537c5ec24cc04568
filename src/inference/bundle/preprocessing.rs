//! The transforms before the network as `input.steps`. A transform is taken over where every parameter of it is understood.

use serde_json::Value;

use super::config::{Component, Config};
use super::text::{as_numbers, comment, numbers};
use crate::inference::orientation::Axes;

/// What they come to.
#[derive(Default)]
pub(super) struct Prepared {
    /// Of the last orientation.
    axes: Option<String>,
    /// Lines of the array.
    steps: Vec<String>,
}

/// Loading and types: what overread does anyhow.
const WITHOUT_EFFECT: [&str; 9] = [
    "LoadImaged",
    "EnsureChannelFirstd",
    "AddChanneld",
    "AsChannelFirstd",
    "EnsureTyped",
    "ToTensord",
    "CastToTyped",
    "ToDeviced",
    "Identityd",
];

pub(super) fn read<'b>(config: Option<&'b Config<'b>>) -> Prepared {
    let mut prepared = Prepared::default();
    let Some(config) = config else {
        prepared.undecided("there is no configs/inference.json: what happens to the values before the network?");
        return prepared;
    };
    match config.transforms("preprocessing") {
        Ok(transforms) if transforms.is_empty() => {
            prepared.undecided("inference.json has no preprocessing: what happens to the values before the network?");
        }
        Ok(transforms) => transforms.iter().for_each(|transform| prepared.add(transform)),
        Err(found) => prepared.undecided(&format!("not understood: {found}")),
    }
    prepared
}

impl Prepared {
    fn undecided(&mut self, why: &str) {
        self.steps.push(format!("    {{ do = \"\" }},    # TODO replace or delete this line; {}", comment(why)));
    }

    fn add(&mut self, transform: &Component<'_>) {
        if WITHOUT_EFFECT.contains(&transform.target) {
            return;
        }
        if transform.target == "Orientationd" && self.steps.is_empty() {
            self.axes = axes(transform);
            if self.axes.is_some() {
                return;
            }
        }
        match steps(transform, self.axes.is_some()) {
            Some(steps) => self.steps.extend(steps.into_iter().map(|step| format!("    {{ {step} }},"))),
            None => self.undecided(&format!("MONAI's {}", transform.shown())),
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let axes = match &self.axes {
            Some(axes) => format!("axes = \"{axes}\"    # Orientationd"),
            None => {
                "axes = \"\"    # TODO directions in which the tensor's axes increase, as MONAI's axcodes".to_owned()
            }
        };
        let mut lines = vec!["\n[input]".to_owned(), "kind = \"volume\"".to_owned(), axes];
        lines.extend(["layout = \"NCZYX\"", "dtype = \"float32\"", "arguments = [\"voxels\"]"].map(str::to_owned));
        if !self.steps.is_empty() {
            lines.push("steps = [".to_owned());
            lines.extend(self.steps.iter().cloned());
            lines.push("]".to_owned());
        }
        lines
    }
}

fn axes(transform: &Component<'_>) -> Option<String> {
    let known = transform.has_only(&["axcodes", "labels", "lazy"]);
    // Other labels give the letters another meaning.
    let usual =
        transform.get("labels").is_none_or(|labels| *labels == serde_json::json!([["L", "R"], ["P", "A"], ["I", "S"]]));
    let axes = transform.word("axcodes").filter(|axes| Axes::parse(axes).is_ok())?;
    (known && usual).then(|| axes.to_owned())
}

/// The steps that one transform comes to; nothing where it, or a parameter of it, has no counterpart.
fn steps(transform: &Component<'_>, turned: bool) -> Option<Vec<String>> {
    match transform.target {
        "Spacingd" if turned => resample(transform),
        "Resized" if turned => resize(transform),
        "ScaleIntensityRanged" => range(transform),
        "ScaleIntensityRangePercentilesd" => percentiles(transform),
        "ScaleIntensityd" => {
            let only = transform.has_only(&["minv", "maxv", "channel_wise"]);
            let to = [transform.number("minv").unwrap_or(0.0), transform.number("maxv").unwrap_or(1.0)];
            only.then(|| vec![percentile([0.0, 100.0], to, false)])
        }
        "NormalizeIntensityd" => {
            let only = transform.has_only(&["nonzero", "channel_wise"]);
            only.then(|| vec![format!("do = \"z-score\", nonzero = {}", transform.is_on("nonzero"))])
        }
        _ => None,
    }
}

/// MONAI's Spacing with its defaults.
fn resample(transform: &Component<'_>) -> Option<Vec<String>> {
    let known =
        ["pixdim", "mode", "padding_mode", "align_corners", "diagonal", "scale_extent", "recompute_affine", "lazy"];
    let linear = matches!(transform.word("mode"), None | Some("bilinear"));
    let border = matches!(transform.word("padding_mode"), None | Some("border"));
    let usual = !["align_corners", "diagonal", "scale_extent"].iter().any(|key| transform.is_on(key));
    let mm = as_numbers(transform.get("pixdim")?, 3)?;
    let given = mm.iter().all(|mm| *mm > 0.0);
    let same = transform.has_only(&known) && linear && border && usual && given;
    // A number in the place of the word is a spline's order.
    let words = ["mode", "padding_mode"].iter().all(|key| transform.scalar(key).is_none_or(Value::is_string));
    (same && words).then(|| vec![format!("do = \"resample\", mm = {}", numbers(&mm))])
}

fn resize(transform: &Component<'_>) -> Option<Vec<String>> {
    let known = ["spatial_size", "mode", "size_mode", "align_corners", "anti_aliasing", "lazy"];
    let size = as_numbers(transform.get("spatial_size")?, 3)?;
    let whole = size.iter().all(|extent| *extent >= 1.0 && extent.fract() == 0.0);
    let all = matches!(transform.word("size_mode"), None | Some("all"));
    let (smoothed, corners) = (transform.is_on("anti_aliasing"), transform.is_on("align_corners"));
    let method = match transform.word("mode").unwrap_or("area") {
        "trilinear" if smoothed => format!("\"linear\", align_corners = {corners}, antialias = \"gaussian\""),
        "trilinear" => format!("\"linear\", align_corners = {corners}"),
        word @ ("area" | "nearest" | "nearest-exact") if !smoothed && !corners => format!("\"{word}\""),
        _ => return None,
    };
    let same = transform.has_only(&known) && whole && all;
    same.then(|| vec![format!("do = \"resize\", size = {}, method = {method}", numbers(&size))])
}

fn range(transform: &Component<'_>) -> Option<Vec<String>> {
    let from = [transform.number("a_min")?, transform.number("a_max")?];
    let to = [transform.number("b_min"), transform.number("b_max")];
    let (to, clip) = match to {
        [Some(least), Some(largest)] => ([least, largest], transform.is_on("clip")),
        [None, None] => ([0.0, 1.0], false),
        _ => return None,
    };
    let same = transform.has_only(&["a_min", "a_max", "b_min", "b_max", "clip"]) && from[0] < from[1] && to[0] < to[1];
    let scale = format!("do = \"scale\", from = {}, to = {}", numbers(&from), numbers(&to));
    let clip = clip.then(|| format!("do = \"clip\", range = {}", numbers(&from)));
    same.then(|| clip.into_iter().chain([scale]).collect())
}

fn percentiles(transform: &Component<'_>) -> Option<Vec<String>> {
    let known = ["lower", "upper", "b_min", "b_max", "clip", "relative", "channel_wise"];
    let same = transform.has_only(&known) && !transform.is_on("relative");
    let from = [transform.number("lower")?, transform.number("upper")?];
    let to = [transform.number("b_min")?, transform.number("b_max")?];
    same.then(|| vec![percentile(from, to, transform.is_on("clip"))])
}

fn percentile(from: [f64; 2], to: [f64; 2], clip: bool) -> String {
    format!("do = \"percentile\", percentiles = {}, to = {}, clip = {clip}", numbers(&from), numbers(&to))
}
