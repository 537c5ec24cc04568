//! What the manifest's reader finds, tested on the example with one or many things changed.

use super::*;

mod modules;

use std::time::Duration;

const EXAMPLE: &str = include_str!("../example.toml");

fn changed(from: &str, to: &str) -> Vec<ManifestError> {
    changed_in(EXAMPLE, from, to)
}

fn changed_in(example: &str, from: &str, to: &str) -> Vec<ManifestError> {
    assert!(example.contains(from), "{from}");
    Manifest::parse(&example.replacen(from, to, 1)).expect_err(to)
}

/// The one fault: key, line, and its message.
fn one_fault(example: &str, from: &str, to: &str) -> (String, usize, String) {
    let faults = changed_in(example, from, to);
    assert_eq!(faults.len(), 1, "{to}: {faults:#?}");
    (faults[0].key.clone(), faults[0].line, faults[0].message.clone())
}

fn line_of(example: &str, text: &str) -> usize {
    1 + example.lines().position(|line| line.contains(text)).unwrap()
}

#[test]
fn the_example_is_read_whole() {
    let manifest = Manifest::parse(EXAMPLE).unwrap();
    assert_eq!(manifest.name, "lung-densitometry");
    assert_eq!(manifest.modules[0].arguments, ["voxels", "spacing"]);
    assert_eq!(manifest.modules[0].results, ["mask", "metrics", "verdict"]);
    assert_eq!((manifest.modules[0].weights.as_str(), manifest.weights_sha256()), ("model.pt", "0".repeat(64)));
    assert_eq!(manifest.accepts.orientation, Some(Orientation::Axial));
    assert_eq!(manifest.inference.time_limit, Duration::from_secs(120));
    assert!(manifest.inference.window.is_none());
    let segmentation = manifest.output.segmentation.as_ref().unwrap();
    assert_eq!(segmentation.segments[1].colour, [0x21, 0x96, 0xF3]);
    let measurement = manifest.output.measurement.as_ref().unwrap();
    assert_eq!(measurement.groups[2].segments, [1, 2]);
    assert_eq!(measurement.columns[0].nan, NanPolicy::Refuse);
    assert_eq!(manifest.output.verdict.as_ref().unwrap().reasons[0].code, "not-a-chest-ct");
    assert!(!manifest.identity().untrained);
    assert_eq!(manifest.identity().parameters, ["air=-500 HU", "closing=5 mm"]);
}

#[test]
fn all_faults_are_found_at_once_in_the_order_of_their_lines() {
    let text = EXAMPLE
        .replacen("origin = \"algorithm\"", "origin = \"guessed\"\nweight = \"typo\"", 1)
        .replacen("least_slices = 20", "least_slices = \"twenty\"", 1)
        .replacen("axes = \"SPL\"", "axes = \"SPX\"", 1)
        .replacen("time_limit_seconds = 120", "", 1)
        .replacen("39607008, SCT, Lung", "39607008 SCT Lung", 1)
        .replacen("cm3, UCUM, cubic centimeter", "furlong, UCUM, furlong", 1)
        .replacen("segments = [1, 2]", "segments = [1, 3]", 1)
        .replacen("case = \"golden/phantom.npz\"", "case = \"../../etc/passwd\"", 1);
    let faults = Manifest::parse(&text).unwrap_err();
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "origin",
            "weight",
            "accepts.least_slices",
            "input.axes",
            "inference.time_limit_seconds",
            "output.segmentation.segments[0].type",
            "output.measurement.groups[2].segments",
            "output.measurement.columns[0].unit",
            "golden.case",
        ]
    );
    assert!(faults.windows(2).all(|pair| pair[0].line < pair[1].line), "{faults:#?}");
    let line = 1 + text.lines().position(|line| line.starts_with("axes")).unwrap();
    assert_eq!(faults[3].line, line);
    assert_eq!(faults[3].file.to_str(), Some("model.toml"));
}

#[test]
fn each_kind_of_fault_names_its_key_and_line() {
    for (from, to, key, message) in [
        ("name = \"lung-", "name = \"Lung-", "name", "lower-case"),
        ("version = \"1.0.0\"", "version = 1.0", "version", "must be a string, it is float"),
        ("sha256 = \"0", "sha256 = \"g", "sha256", "SHA-256"),
        ("weights = \"model.pt\"", "weights = \"/model.pt\"", "weights", "inside the package"),
        ("\"air=-500 HU\"", "\"air\"", "parameters", "name=value"),
        ("modality = [\"CT\"]", "modality = []", "accepts.modality", "at least one"),
        ("sop_classes = [\"1.2", "sop_classes = [\"1..2", "accepts.sop_classes", "[0] the UID has an empty"),
        ("largest_missing_share = 0.05", "largest_missing_share = 5", "accepts.largest_missing_share", "out of range"),
        ("[0.2, 5.5]", "[5.5, 0.2]", "accepts.slice_spacing_mm", "[least, largest]"),
        ("[0.2, 5.5]", "[0.2]", "accepts.slice_spacing_mm", "must hold 2 values"),
        ("[0.2, 5.5]", "[0.2, inf]", "accepts.slice_spacing_mm", "finite"),
        ("body_parts = [\"CHEST\"", "body_parts = [\"--\"", "accepts.body_parts", "must hold a letter"),
        ("prefer = [\"original\"", "prefer = [\"thick\"", "accepts.prefer", "[0] «thick» is not one of thin-slices"),
        ("kind = \"volume\"", "kind = \"stack\"", "input.kind", "volume, slices, image"),
        ("layout = \"ZYX\"", "layout = \"XYZ\"", "input.layout", "ZYX, NCZYX"),
        ("dtype = \"int16\"", "dtype = \"float16\"", "input.dtype", "int16, float32"),
        ("[\"voxels\", \"spacing\"]", "[\"spacing\"]", "input.arguments", "must name voxels"),
        ("memory_mb = 2000", "memory_mb = -1", "inference.memory_mb", "negative"),
        ("precision = \"float32\"", "precision = \"float16\"", "inference.precision", "never run on the CPU"),
        ("precision = \"float32\"", "overlap = 0.5", "inference.overlap", "only with inference.window"),
        ("colour = \"#4CAF50\"", "colour = \"green\"", "output.segmentation.segments[0].colour", "not a colour"),
        ("label = \"Left lung\"", "label = \"Right lung\"", "output.segmentation.segments", "stands twice"),
        ("label = \"Volume\"", "label = \"Volúme\"", "output.measurement.columns[0].label", "ASCII"),
        ("range = [0.0, 20000.0]", "range = [1.0, 0.0]", "output.measurement.columns[0].range", "out of range"),
        ("tensor = \"verdict\"", "tensor = \"mask\"", "output.verdict.tensor", "another output"),
        ("code = \"not-a-chest-ct\"", "code = \"not a chest\"", "output.verdict.reasons[0].code", "hyphens"),
        ("float_tolerance = 1e-4", "tolerance = 1e-4", "golden.tolerance", "unknown key"),
        ("encoding = \"labels\"", "encoding = \"scores\"", "output", "NCZYX"),
    ] {
        let (found_key, line, found_message) = one_fault(EXAMPLE, from, to);
        assert_eq!(found_key, key, "{to}: {found_message}");
        assert!(found_message.contains(message), "{to}: {found_message}");
        if key.contains('.') && to != "label = \"Right lung\"" {
            assert_eq!(line, line_of(EXAMPLE, from), "{to}");
        }
    }
}

#[test]
fn one_number_of_memory_is_that_of_all_devices() {
    assert_eq!(Manifest::parse(EXAMPLE).unwrap().inference.memory_mb, MemoryMb { cpu: 2000, cuda: 2000 });
}

#[test]
fn a_window_must_fit_the_input_and_the_output() {
    let window = "precision = \"float32\"\nwindow = [96, 96, 96]";
    let keys: Vec<_> = changed("precision = \"float32\"", window).into_iter().map(|fault| fault.message).collect();
    assert_eq!(keys.len(), 3, "{keys:#?}");
}

#[test]
fn syntax_errors_are_all_found_with_their_lines() {
    let faults =
        Manifest::parse("name = \"a\"\nversion = = 1\ntitle = \"b\"\norigin = [\n\nlicence @ 3\n").unwrap_err();
    assert!(faults.len() >= 2, "{faults:#?}");
    assert_eq!(faults[0].line, 2);
}

#[test]
fn hostile_texts_end_in_faults() {
    assert_eq!(Manifest::parse(&"#".repeat((1 << 20) + 1)).unwrap_err().len(), 1);
    assert!(Manifest::parse(&format!("a = {}", "[".repeat(100_000))).is_err());
    assert!(Manifest::parse(&format!("{} = 1", vec!["a"; 50_000].join("."))).is_err());
    assert!(Manifest::parse("\0").is_err());
    assert!(Manifest::parse("memory_mb = 99999999999999999999").is_err());
    let missing: Vec<_> = Manifest::parse("").unwrap_err().into_iter().map(|fault| fault.key).collect();
    assert!(missing.contains(&"sha256".to_owned()) && missing.contains(&"output".to_owned()), "{missing:?}");
}

#[test]
fn a_package_that_does_not_say_how_much_may_be_missing_takes_five_percent() {
    let said = "largest_missing_share = 0.05";
    let text = include_str!("../example.toml").replacen(said, "", 1);
    assert_eq!(Manifest::parse(&text).unwrap().accepts.largest_missing_share, 0.05);
}

#[test]
fn series_are_preferred_by_what_the_manifest_says_else_by_thin_slices_and_then_by_many() {
    use crate::inference::prefer::Preference::{Description, ManySlices, Original, ThinSlices};
    const RADIOGRAPHS: &str = include_str!("../../../../models/cxr-vit/model.toml");
    let said = "prefer = [\"original\", \"thin-slices\", \"many-slices\"]";
    let prefers = |example: &str, from: &str, to: &str| {
        assert!(example.contains(from), "{from}");
        Manifest::parse(&example.replacen(from, to, 1)).unwrap()
    };
    let given = Manifest::parse(EXAMPLE).unwrap();
    assert_eq!(given.order_of_series(), Some(&[Original, ThinSlices, ManySlices][..]));
    let silent = prefers(EXAMPLE, said, "");
    assert_eq!(silent.order_of_series(), Some(&[ThinSlices, ManySlices][..]));
    assert_eq!(silent.content_sha256(), given.content_sha256(), "no result depends on it");
    assert_eq!(Manifest::parse(RADIOGRAPHS).unwrap().order_of_series(), None);
    let frontal = prefers(RADIOGRAPHS, "body_parts", "prefer = [\"description:*pa*|*ap*\"]\nbody_parts");
    let patterns = Description(vec!["*pa*".to_owned(), "*ap*".to_owned()]);
    assert_eq!(frontal.order_of_series(), Some(&[patterns][..]));
    let (key, _, message) = one_fault(RADIOGRAPHS, "body_parts", "prefer = [\"thin-slices\"]\nbody_parts");
    assert!(key == "accepts.prefer" && message.contains("no meaning with this input.kind"), "{key}: {message}");
}
