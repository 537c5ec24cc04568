//! The manifest table by table: every fault is found before the first `?` gives up on a value.

use std::time::Duration;

use toml::de::DeTable;

use super::agree::{Tables, agree};
use super::toml_table::{Faults, Table};
use super::{
    Accepts, Gather, Golden, Inference, Input, Manifest, ManifestError, Module, Origin, Output, Over,
    SegmentationEncoding, VOXELS, inference, input, modules, output,
};
use crate::inference::prefer::Preference;
use crate::volume::AssembleOptions;
use crate::volume::facts::Orientation;

/// No manifest needs more; what is larger is not read.
pub(in crate::inference) const LARGEST_TEXT: usize = 1 << 20;

pub(super) fn manifest(text: &str) -> Result<Manifest, Vec<ManifestError>> {
    let faults = Faults::of(text);
    if text.len() > LARGEST_TEXT {
        faults.add(0, "", format!("the file has {} bytes, at most {LARGEST_TEXT} are read", text.len()));
        return Err(faults.into_sorted());
    }
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        for error in syntax {
            faults.add(error.span().map_or(0, |span| span.start), "", error.message());
        }
        return Err(faults.into_sorted());
    }
    let top = Table::new(&faults, String::new(), 0..0, document.get_ref());
    let manifest = top_level(&top);
    top.finish();
    let found = faults.into_sorted();
    manifest.filter(|_| found.is_empty()).ok_or(found)
}

fn top_level(top: &Table<'_>) -> Option<Manifest> {
    let name = top.required_checked("name", |name: &String| stable_word(name));
    let version = top.required_checked("version", |text: &String| at_most(text, 64));
    let title = top.required_checked("title", |text: &String| at_most(text, 64));
    let manufacturer = top.required_checked("manufacturer", |text: &String| at_most(text, 64));
    let intended_use = top.required_checked("intended_use", |text: &String| at_most(text, 1024));
    let origins = [("trained", Origin::Trained), ("untrained", Origin::Untrained), ("algorithm", Origin::Algorithm)];
    let origin = top.required_word("origin", &origins);
    let licence = top.required_checked("licence", |text: &String| at_most(text, 256));
    let family = top.required("family");
    let parameters = top.optional_checked("parameters", |list: &Vec<String>| {
        list.iter().try_for_each(|text| {
            at_most(text, 128)?;
            if text.contains('=') { Ok(()) } else { Err(format!("«{text}» is not name=value")) }
        })
    });
    let parts = parts(top);
    let golden = top.table("golden").map(golden);
    let Parts { accepts, input, inference, output, modules } = parts;
    agree(
        top,
        &Tables {
            name: name.as_deref(),
            accepts: accepts.as_ref(),
            input: input.as_ref(),
            inference: inference.as_ref(),
            modules: modules.as_deref(),
            output: output.as_ref(),
        },
    );
    Some(Manifest {
        name: name?,
        version: version?,
        title: title?,
        manufacturer: manufacturer?,
        intended_use: intended_use?,
        origin: origin?,
        licence: licence?,
        family: family?,
        parameters: parameters.unwrap_or_default(),
        modules: modules?,
        accepts: accepts?,
        input: input?,
        inference: inference?,
        output: output?,
        golden: golden.flatten(),
    })
}

/// The tables that depend on each other, those that were read without fault.
struct Parts {
    accepts: Option<Accepts>,
    input: Option<Input>,
    inference: Option<Inference>,
    output: Option<Output>,
    modules: Option<Vec<Module>>,
}

fn parts(top: &Table<'_>) -> Parts {
    let single = !top.has("modules");
    let file = if single { one_file(top) } else { no_file(top) };
    let table = top.required_table("input");
    let per_slice = table.as_ref().is_some_and(|table| table.has("per_slice"));
    let (input, arguments) = table.and_then(|table| input::input(table, single)).unzip();
    let image = input.as_ref().map(Input::is_image);
    let accepts = top.required_table("accepts").and_then(|table| accepts(table, image));
    let table = top.required_table("inference");
    let window = table.as_ref().is_some_and(|table| table.has("window"));
    let inference = table.and_then(|table| inference::inference(table, per_slice));
    let (modules, results) = if single { (None, None) } else { modules::modules(top, window) };
    let output = top.required_table("output").and_then(|table| output::output(table, results.as_ref()));
    let modules = if single { one_module(top, file, arguments, output.as_ref(), window) } else { modules };
    Parts { accepts, input, inference, output, modules }
}

/// The module of a package that has one, which gives what the outputs name.
fn one_module(
    top: &Table<'_>,
    file: Option<(String, String)>,
    arguments: Option<Vec<String>>,
    output: Option<&Output>,
    window: bool,
) -> Option<Vec<Module>> {
    let (arguments, output) = (arguments?, output?);
    let over = if window { windows_of_one(top, &arguments, output) } else { Over::Input };
    let (weights, sha256) = file?;
    let results = output.tensors().into_iter().map(str::to_owned).collect();
    Some(vec![Module { name: "model".to_owned(), weights, sha256, arguments, results, over, generate: None }])
}

/// Weights and hash of a package of one module.
fn one_file(top: &Table<'_>) -> Option<(String, String)> {
    let weights = top.optional_checked("weights", |path: &String| path_inside(path));
    let sha256 = top.required_checked("sha256", |text: &String| sha256_hex(text));
    Some((weights.unwrap_or_else(|| "model.pt".to_owned()), sha256?))
}

fn no_file(top: &Table<'_>) -> Option<(String, String)> {
    for key in ["weights", "sha256"] {
        if top.has(key) {
            top.fault(key, "has a meaning only without [[modules]]: each module has its own");
            let _: Option<String> = top.optional(key);
        }
    }
    None
}

/// The one module of a package with a window.
fn windows_of_one(top: &Table<'_>, arguments: &[String], output: &Output) -> Over {
    if arguments != [VOXELS] {
        top.fault("inference", "a window needs input.arguments = [\"voxels\"]");
    }
    let scores = output.segmentation.as_ref().is_some_and(|s| s.encoding != SegmentationEncoding::Labels);
    if !scores || output.tensors().len() != 1 {
        let needed = "a window needs [[modules]], or one output, a segmentation with encoding = \"scores\"";
        top.fault("inference", needed);
    }
    Over::Windows(vec![Gather::Blend])
}

/// Keys that speak of a stack of slices.
const OF_A_STACK: [&str; 7] = [
    "orientation",
    "least_slices",
    "largest_missing_share",
    "uneven_slices",
    "slice_spacing_mm",
    "pixel_spacing_mm",
    "extent_mm",
];

/// `image`: whether the package reads radiographs, where that is known.
fn accepts(table: Table<'_>, image: Option<bool>) -> Option<Accepts> {
    let without_meaning: &[&str] = match image {
        Some(true) => &OF_A_STACK,
        Some(false) => &["kind_of_image"],
        None => &[],
    };
    for key in without_meaning.iter().filter(|key| table.has(key)) {
        table.fault(key, "has no meaning with this input.kind");
    }
    let gate = table.optional_checked("gate", |name: &String| stable_word(name));
    // Radiographs are grey: the key says so, and has one value.
    let _: Option<Vec<String>> = table.optional_checked("kind_of_image", |kinds: &Vec<String>| {
        if *kinds == ["monochrome"] { Ok(()) } else { Err("must be [\"monochrome\"]: colour is not read".to_owned()) }
    });
    let modality = table.required_checked("modality", |list: &Vec<String>| {
        if list.is_empty() {
            return Err("must name at least one modality".to_owned());
        }
        list.iter().try_for_each(|text| code_string(text))
    });
    let sop_classes = table.optional("sop_classes");
    let planes = [
        ("axial", Some(Orientation::Axial)),
        ("coronal", Some(Orientation::Coronal)),
        ("sagittal", Some(Orientation::Sagittal)),
        ("any", None),
    ];
    let orientation = table.word("orientation", &planes);
    let least_slices = table.optional_checked("least_slices", |count| within(*count, 1, 100_000));
    let largest_missing_share = table.optional_checked("largest_missing_share", |share| within(*share, 0.0, 1.0));
    let uneven_slices = table.optional("uneven_slices");
    let slice_spacing_mm = range_mm(&table, "slice_spacing_mm");
    let pixel_spacing_mm = range_mm(&table, "pixel_spacing_mm");
    let extent_mm = range_mm(&table, "extent_mm");
    let code_strings = |list: &Vec<String>| list.iter().try_for_each(|text| code_string(text));
    let body_parts =
        table.optional_checked("body_parts", |list: &Vec<String>| list.iter().try_for_each(|text| body_part(text)));
    let exclude_image_types = table.optional_checked("exclude_image_types", code_strings);
    let prefer = table.optional_checked("prefer", |order: &Vec<Preference>| has_meaning(order, image));
    table.finish();
    Some(Accepts {
        modality: modality?,
        sop_classes: sop_classes.unwrap_or_default(),
        orientation: orientation.flatten(),
        least_slices: least_slices.unwrap_or(1),
        largest_missing_share: largest_missing_share.unwrap_or(AssembleOptions::default().max_missing_share),
        uneven_slices: uneven_slices.unwrap_or(false),
        slice_spacing_mm,
        pixel_spacing_mm,
        extent_mm,
        body_parts: body_parts.unwrap_or_default(),
        exclude_image_types: exclude_image_types.unwrap_or_default(),
        prefer: prefer.unwrap_or_default(),
        gate,
    })
}

/// Fails where radiographs are to be preferred by what only stacks have.
fn has_meaning(order: &[Preference], image: Option<bool>) -> Result<(), String> {
    if image == Some(true) && order.iter().any(Preference::is_of_stacks) {
        return Err("slices and kernels have no meaning with this input.kind".to_owned());
    }
    Ok(())
}

fn golden(table: Table<'_>) -> Option<Golden> {
    let case = table.required_checked("case", |path: &String| {
        path_inside(path)?;
        if path.ends_with(".npz") { Ok(()) } else { Err("must be an .npz file".to_owned()) }
    });
    let float_tolerance = table.optional_checked("float_tolerance", |share| within(*share, 0.0, 1.0));
    let label_tolerance = table.optional_checked("label_tolerance", |share| within(*share, 0.0, 1.0));
    let half_tolerance = table.optional_checked("half_tolerance", |share| within(*share, 0.0, 1.0));
    table.finish();
    Some(Golden {
        case: case?,
        float_tolerance: float_tolerance.unwrap_or(1e-4),
        label_tolerance: label_tolerance.unwrap_or(0.0),
        half_tolerance: half_tolerance.unwrap_or(0.05),
    })
}

fn range_mm(table: &Table<'_>, key: &str) -> Option<[f64; 2]> {
    table.optional_checked(key, |[least, largest]: &[f64; 2]| {
        if *least >= 0.0 && least <= largest {
            Ok(())
        } else {
            Err("must be [least, largest] in mm, neither negative".to_owned())
        }
    })
}

/// Fails unless `least <= value <= largest`.
pub(super) fn within<T: PartialOrd + std::fmt::Display>(value: T, least: T, largest: T) -> Result<(), String> {
    if value >= least && value <= largest {
        Ok(())
    } else {
        Err(format!("{value} is out of range, {least} to {largest} are allowed"))
    }
}

/// Fails where a text is longer than `most` characters.
pub(super) fn at_most(text: &str, most: usize) -> Result<(), String> {
    let count = text.chars().count();
    if count <= most { Ok(()) } else { Err(format!("has {count} characters, {most} are allowed")) }
}

/// The time limit in seconds, from a tenth of a second to a day.
pub(super) fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value.clamp(0.1, 86_400.0))
}

/// Lower-case letters, digits and hyphens: safe as a folder, in a log and in a UID's derivation.
pub(in crate::inference) fn stable_word(word: &str) -> Result<(), String> {
    at_most(word, 64)?;
    let plain = word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if plain && !word.starts_with('-') && !word.ends_with('-') {
        Ok(())
    } else {
        Err(format!("«{word}» may hold lower-case letters, digits and, between them, hyphens"))
    }
}

/// 64 lower-case hexadecimal digits.
pub(super) fn sha256_hex(text: &str) -> Result<(), String> {
    if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        Ok(())
    } else {
        Err("must be a SHA-256: 64 lower-case hexadecimal digits".to_owned())
    }
}

/// Code String (PS3.5 table 6.2-1).
fn code_string(text: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ' || b == b'_';
    if text.len() <= 16 && text.bytes().all(fits) {
        Ok(())
    } else {
        Err(format!("«{text}» is not a code string: up to 16 upper-case letters, digits, spaces, underscores"))
    }
}

/// What a scanner may have written into Body Part Examined: a defined term, or words of any language.
fn body_part(text: &str) -> Result<(), String> {
    at_most(text, 64)?;
    let plain = !text.chars().any(|c| c.is_control() || c == '\\') && text.chars().any(char::is_alphanumeric);
    if plain {
        Ok(())
    } else {
        Err(format!("«{text}» must hold a letter, and neither backslashes nor control characters"))
    }
}

/// A path that stays inside the package's folder.
pub(super) fn path_inside(path: &str) -> Result<(), String> {
    let plain = path.split('/').all(|part| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    });
    if plain { Ok(()) } else { Err(format!("«{path}» is not a plain path inside the package's folder")) }
}
