//! Packages of several modules, steps, and outputs of learned models.

use super::super::*;
use super::{EXAMPLE, changed_in, line_of, one_fault};
use crate::inference::steps::{Antialias, Interpolation, Rounding, Step};

const MODULES: &str = include_str!("../example-modules.toml");

#[test]
fn the_example_is_read_whole() {
    let manifest = Manifest::parse(MODULES).unwrap();
    let names: Vec<_> = manifest.modules.iter().map(|module| module.name.as_str()).collect();
    assert_eq!(names, ["backbone", "head", "decoder"]);
    assert_eq!(manifest.modules[0].over, Over::Windows(vec![Gather::Blend, Gather::Collect]));
    assert_eq!(manifest.modules[1].arguments, ["patches", WINDOW_POSITIONS]);
    let generate = manifest.modules[2].generate.as_ref().unwrap();
    assert_eq!((generate.beams, generate.longest, generate.forced_first_token), (4, 128, Some(0)));
    assert!(generate.early_stopping);
    let linear = Interpolation::Linear { align_corners: false, antialias: Antialias::None };
    assert_eq!(manifest.input.steps[0], Step::ReplaceBelow { limit: -1500.0, value: -1024.0 });
    let spacing = Step::Spacing { mm: vec![1.5; 3], rounding: Rounding::Nearest, method: linear };
    assert_eq!(manifest.input.steps[1], spacing);
    assert_eq!(manifest.input.steps.len(), 4);
    assert_eq!(
        manifest.input.per_slice(),
        Some(PerSlice { window: 16, stride: 1, time_limit: Some(Duration::from_secs(3600)) })
    );
    assert_eq!(manifest.inference.precision, Precisions { cpu: Precision::Float32, cuda: Precision::Float16 });
    assert_eq!(manifest.inference.memory_mb, MemoryMb { cpu: 4000, cuda: 6000 });
    assert_eq!((&manifest.inference.mirror[..], manifest.inference.batch), (&[2][..], 4));
    assert_eq!(manifest.accepts.gate.as_deref(), Some("lung-densitometry"));
    let pathology = manifest.output.pathology().unwrap();
    assert_eq!((pathology.label.as_str(), pathology.uncertain), ("Any finding", Some([0.45, 0.55])));
    assert!(manifest.output.classifications[0].labels[2].skip);
    assert_eq!(manifest.output.tensors(), ["scores", "logits", "report_ids", "attention", "patches"]);
    assert_ne!(manifest.weights_sha256(), "0".repeat(64));
}

#[test]
fn embeddings_are_of_another_space_where_their_input_or_a_module_that_they_depend_on_is_another() {
    let of = |changes: &[(&str, &str)]| {
        let text = changes.iter().fold(MODULES.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        Manifest::parse(&text).unwrap().embeddings_sha256()
    };
    let space = of(&[]);
    // `patches`, the one embedding, comes from the backbone alone.
    let weights = |module: &str, digit: &str| {
        format!(
            "weights = \"{module}.pt\"{}\nsha256 = \"{}\"",
            match module {
                "backbone" => "             # a TorchScript file in the package's folder",
                _ => "",
            },
            digit.repeat(64)
        )
    };
    let other = |module: &str| of(&[(&weights(module, "0"), &weights(module, "e"))]);
    assert_eq!((other("head"), other("decoder")), (space.clone(), space.clone()));
    assert_ne!(other("backbone"), space);
    for (from, to) in [("weights = \"head.pt\"", "weights = \"new.pt\""), ("stride = 1", "stride = 2")] {
        assert_eq!(of(&[(from, to)]), space, "{from}");
    }
    for (from, to) in [
        ("rounding = \"nearest\"", "rounding = \"floor\""),
        ("{ do = \"clip\", range = [-1000, 1000] }", "{ do = \"clip\", range = [-1000, 999] }"),
        ("axes = \"SPL\"", "axes = \"IPL\""),
        ("overlap = 0.25", "overlap = 0.5"),
    ] {
        assert_ne!(of(&[(from, to)]), space, "{from}");
    }
}

/// What is changed, to what, the key of the one fault that follows, and a part of its message.
type Change = (&'static str, &'static str, &'static str, &'static str);

const IN_MODULES: [Change; 17] = [
    ("name = \"backbone\"", "name = \"head\"", "modules[1].name", "stands twice"),
    ("weights = \"head.pt\"", "weights = \"../head.pt\"", "modules[1].weights", "inside the package"),
    ("arguments = [\"memory\"]", "arguments = [\"memories\"]", "modules[2].arguments", "neither an input nor a result"),
    ("arguments = [\"memory\"]", "arguments = [\"report_ids\"]", "modules[2].arguments", "of a module above"),
    ("arguments = [\"voxels\"]", "arguments = [\"voxels\", \"spacing\"]", "modules[0].arguments", "takes [\"voxels\"]"),
    ("over = \"windows\"", "over = \"slices\"", "modules[0].over", "input, windows"),
    ("patches = \"collect\"", "patches = \"stack\"", "modules[0].gather.patches", "blend, collect"),
    ("patches = \"collect\"", "", "modules[0].gather.patches", "missing"),
    ("patches = \"collect\"", "patches = \"collect\"\nother = \"blend\"", "modules[0].gather.other", "unknown key"),
    ("results = [\"report_ids\"]", "results = [\"logits\"]", "modules[2].results", "another tensor"),
    ("longest = 128", "longest = 1", "modules[2].generate.longest", "out of range"),
    ("shortest = 0", "shortest = 129", "modules[2].generate.shortest", "0 to 128"),
    ("beams = 4", "beams = 0", "modules[2].generate.beams", "out of range"),
    ("early_stopping = true", "early_stopping = \"never\"", "modules[2].generate.early_stopping", "true or false"),
    ("beams = 4", "cache = [12, 64]", "modules[2].generate.cache", "counts the tokens and is 0"),
    ("beams = 4", "cache = [0, -1]", "modules[2].generate.cache", "sizes from 1"),
    ("beams = 4", "cache = [0, 4096, 8192]", "modules[2].generate.cache", "numbers for each token"),
];

const IN_INPUT: [Change; 14] = [
    ("do = \"clip\"", "do = \"clamp\"", "input.steps[2].do", "not one of"),
    ("range = [-1000, 1000]", "range = [1000, -1000]", "input.steps[2].range", "[least, largest]"),
    ("from = [-1000, 1000]", "from = [0, 0]", "input.steps[3].from", "different"),
    ("mm = [1.5, 1.5, 1.5]", "mm = [1.5, 1.5]", "input.steps[1].mm", "must hold 3 values"),
    ("rounding = \"nearest\"", "rounding = \"up\"", "input.steps[1].rounding", "floor, nearest, ceiling"),
    ("method = \"linear\", align", "method = \"cubic\", align", "input.steps[1].method", "for images"),
    ("antialias = \"none\" }", "antialias = \"kernel\" }", "input.steps[1].antialias", "for images"),
    ("limit = -1500,", "limit = -1500, size = 3,", "input.steps[0].size", "unknown key"),
    ("window = 16", "window = 0", "input.per_slice.window", "out of range"),
    ("cpu = \"float32\"", "cpu = \"float16\"", "inference.precision.cpu", "never run on the CPU"),
    ("cuda = 6000", "cuda = 0", "inference.memory_mb.cuda", "out of range"),
    ("cpu = 4000, ", "", "inference.memory_mb.cpu", "missing"),
    ("cuda = 6000", "cuda = 6000, rocm = 1", "inference.memory_mb.rocm", "unknown key"),
    ("mirror = [\"columns\"]", "mirror = [\"left\"]", "inference.mirror", "slices, rows, columns"),
];

const IN_OUTPUT: [Change; 12] = [
    ("tensor = \"logits\"", "tensor = \"logit\"", "output.classification[0].tensor", "no result of a module"),
    ("tensor = \"logits\"", "tensor = \"scores\"", "output.classification[0].tensor", "another output"),
    ("activation = \"sigmoid\"", "activation = \"relu\"", "output.classification[0].activation", "not one of"),
    ("threshold = 0.5", "threshold = 0.7", "output.classification[0].labels[0].uncertain", "must hold the threshold"),
    ("threshold = 0.4", "", "output.classification[0].labels[1].threshold", "missing"),
    ("label = \"No finding\"", "label = \"COVID‑19\"", "output.classification[0].labels[2].label", "printable ASCII"),
    ("label = \"No finding\"", "label = \"None \"", "output.classification[0].labels[2].label", "blanks at its ends"),
    ("label = \"No finding\"", "label = \"Any finding\"", "output.classification", "stands twice"),
    ("skip = true", "skip = true\npathology = true", "output.classification[0].labels[2].pathology", "skipped"),
    ("tokenizer = \"tok", "tokenizer = \"/tok", "output.text.tokenizer", "inside the package"),
    (
        "over = \"windows\"                    # windows:",
        "over = \"patches\" # windows:",
        "output.attention.over",
        "windows, grid",
    ),
    ("key_slices = 3", "key_slices = -1", "output.attention.key_slices", "negative"),
];

#[test]
fn resampling_to_exact_distances_is_a_step_of_its_own() {
    let line = MODULES.lines().find(|line| line.contains("do = \"spacing\"")).unwrap();
    let with = |step: &str| MODULES.replacen(line, step, 1);
    let manifest = Manifest::parse(&with("{ do = \"resample\", mm = [2, 1.5, 0.75] },")).unwrap();
    assert_eq!(manifest.input.steps[1], Step::Resample { mm: vec![2.0, 1.5, 0.75] });
    for step in [
        "mm = [2, 1.5]",
        "mm = [2, 1.5, 0]",
        "mm = [1, 1, 1], method = \"linear\"",
        "rounding = \"floor\", mm = [1, 1, 1]",
    ] {
        assert_eq!(
            Manifest::parse(&with(&format!("{{ do = \"resample\", {step} }},"))).unwrap_err().len(),
            1,
            "{step}"
        );
    }
}

#[test]
fn an_activation_of_a_segmentation_suits_its_encoding() {
    let scores = "encoding = \"scores\"";
    let parsed = |to: &str| Manifest::parse(&MODULES.replacen(scores, to, 1));
    let manifest = parsed(&format!("{scores}\nactivation = \"softmax\"")).unwrap();
    assert_eq!(manifest.output.segmentation.unwrap().activation, Activation::Softmax);
    assert!(parsed("encoding = \"probabilities\"\nactivation = \"sigmoid\"").is_ok());
    for wrong in [
        format!("{scores}\nactivation = \"sigmoid\""),
        "encoding = \"probabilities\"\nactivation = \"softmax\"".to_owned(),
    ] {
        assert_eq!(parsed(&wrong).unwrap_err()[0].key, "output.segmentation.activation", "{wrong}");
    }
}

#[test]
fn each_kind_of_fault_names_its_key_and_line() {
    for (from, to, key, message) in IN_MODULES.into_iter().chain(IN_INPUT).chain(IN_OUTPUT) {
        let (found_key, line, found_message) = one_fault(MODULES, from, to);
        assert_eq!(found_key, key, "{to}: {found_message}");
        assert!(found_message.contains(message), "{to}: {found_message}");
        let whole = MODULES.replacen(from, to, 1);
        let place = key.rsplit('.').next().unwrap();
        let named = whole.lines().nth(line - 1).unwrap();
        assert!(
            named.contains(place) || found_message == "is missing" || key == "output.classification",
            "{key}, line {line}: {named}"
        );
    }
}

#[test]
fn all_faults_are_found_at_once() {
    let text = MODULES
        .replacen("weights = \"backbone.pt\"", "", 1)
        .replacen("arguments = [\"memory\"]", "arguments = [\"memories\"]", 1)
        .replacen("do = \"clip\"", "do = \"clamp\"", 1)
        .replacen("cpu = \"float32\"", "cpu = \"float16\"", 1)
        .replacen("tensor = \"report_ids\"", "tensor = \"text\"", 1)
        .replacen("gate = \"lung-densitometry\"", "gate = \"chest-report\"", 1)
        .replacen("activation = \"sigmoid\"", "activation = 1", 1);
    let keys: Vec<_> = Manifest::parse(&text).unwrap_err().into_iter().map(|fault| fault.key).collect();
    let expected = [
        "modules[0].weights",
        "modules[2].arguments",
        "accepts",
        "input.steps[2].do",
        "inference.precision.cpu",
        "output.classification[0].activation",
        "output.text.tensor",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn a_faulty_table_hides_no_disagreement_of_the_others() {
    let accepts = ("modality = [\"CT\"]", "modality = []");
    let input = ("do = \"clip\"", "do = \"clamp\"");
    let modules = ("weights = \"head.pt\"", "weights = \"../head.pt\"");
    let inference = ("memory_mb = 4000", "memory_mb = 0");
    let output = ("threshold = 0.4", "threshold = 4");
    // What is wrong between two tables, and what is wrong with each of the others beside it.
    for (change, message, others) in [
        (
            ("gate = \"lung-densitometry\"", "gate = \"chest-report\""),
            "its own gate",
            vec![input, modules, inference, output],
        ),
        (("pathology = true", ""), "per_slice needs", vec![accepts, modules, inference]),
        (("encoding = \"scores\"", "encoding = \"labels\""), "mirror averages scores", vec![accepts, input, modules]),
        (("window = [96, 96, 96]", ""), "attention.over = \"windows\" needs", vec![accepts, input, modules]),
    ] {
        for other in others {
            let text = MODULES.replacen(change.0, change.1, 1).replacen(other.0, other.1, 1);
            let found = Manifest::parse(&text).unwrap_err();
            assert!(found.iter().any(|fault| fault.message.contains(message)), "{message}, {}: {found:#?}", other.1);
        }
    }
}

/// The keys and messages of several faults.
fn faults(from: &str, to: &str) -> String {
    changed_in(MODULES, from, to).iter().map(|fault| format!("{}: {}\n", fault.key, fault.message)).collect()
}

#[test]
fn the_tables_must_fit_each_other() {
    for (from, to, message) in [
        ("gate = \"lung-densitometry\"", "gate = \"chest-report\"", "not its own gate"),
        ("layout = \"NCZYX\"", "layout = \"ZYX\"", "a window needs input.layout"),
        ("dtype = \"float32\"", "dtype = \"int16\"", "without steps"),
        ("encoding = \"scores\"", "encoding = \"labels\"", "mirror averages scores"),
        ("pathology = true", "", "per_slice needs"),
        ("window = [96, 96, 96]", "", "windows need inference.window"),
        ("[accepts]", "weights = \"model.pt\"\n[accepts]", "unknown key"),
        ("name = \"chest-report\"", "name = \"chest-report\"\nsha256 = \"00\"", "each module has its own"),
        ("axes = \"SPL\"", "axes = \"SPL\"\narguments = [\"voxels\"]", "each module has its own"),
        (
            "modality = [\"CT\"]",
            "modality = [\"CT\"]\nkind_of_image = [\"monochrome\"]",
            "no meaning with this input.kind",
        ),
    ] {
        let found = faults(from, to);
        assert!(found.contains(message), "{to}:\n{found}");
    }
}

const IMAGE: &str = r#"
kind = "image"
layout = "NCYX"
dtype = "float32"
arguments = ["voxels"]
steps = [
    { do = "shorter-side", length = 518, method = "cubic", align_corners = false, antialias = "kernel" },
    { do = "fit", size = [518, 518], value = 0 },
    { do = "standardise", mean = [0.485, 0.456, 0.406], deviation = [0.229, 0.224, 0.225] },
]
[input.image]
voi = "none"
"#;

/// The first example with another table `input`, for a series of which nothing is asked, with one finding.
fn with_input(input: &str) -> Result<Manifest, Vec<ManifestError>> {
    let cut = |text: &str, from: &str, to: &str| {
        let (start, end) = (text.find(from).unwrap(), text.find(to).unwrap());
        format!("{}{}", &text[..start], &text[end..])
    };
    let text = cut(EXAMPLE, "sop_classes", "[input]");
    let text = text.replacen("[input]", "\n[input]", 1);
    let text = cut(&text, "kind = \"volume\"", "[inference]").replacen("[input]\n", &format!("[input]\n{input}\n"), 1);
    let output = "[[output.classification]]\ntensor = \"logits\"\nactivation = \"sigmoid\"\n\
                  [[output.classification.labels]]\nlabel = \"A\"\nconcept = \"263654008, SCT, Abnormal\"\nthreshold = 0.5\n";
    Manifest::parse(&cut(&text, "# The module returns", "[golden]").replacen(
        "[golden]",
        &format!("{output}[golden]"),
        1,
    ))
}

#[test]
fn images_and_slices_are_read() {
    let image = with_input(IMAGE).unwrap();
    assert_eq!(image.input.kind, InputKind::Image { voi: crate::volume::radiograph::Voi::Whole });
    assert_eq!((image.input.dimensions(), image.input.channels(), image.input.steps.len()), (2, 3, 3));
    let slices = "kind = \"slices\"\naxes = \"SPL\"\nlayout = \"NKYX\"\ndtype = \"float32\"\narguments = [\"voxels\"]\n\
                  [input.slices]\ncount = 5\n";
    let axes = crate::inference::orientation::Axes::parse("SPL").unwrap();
    let kind = InputKind::Slices { axes, count: 5, over: SlicesOver::Series };
    assert_eq!(with_input(slices).unwrap().input.kind, kind);
    for (input, message) in [
        (slices.replace("count = 5\n", "count = 5\nover = \"gate\"\n"), "needs accepts.gate"),
        (slices.replace("NKYX", "NCYX"), "NKYX, BCYX, NCZYX"),
        (slices.replace("[input.slices]\ncount = 5\n", ""), "the table is missing"),
        (IMAGE.replace("NCYX", "ZYX"), "not one of NCYX"),
        (IMAGE.replace("kind =", "axes = \"SPL\"\nkind ="), "unknown key"),
        (IMAGE.replace("do = \"fit\", size = [518, 518]", "do = \"fit\", size = [1, 518, 518]"), "must hold 2 values"),
        (IMAGE.replace("deviation = [0.229, 0.224, 0.225]", "deviation = [0.229]"), "1 values for 3 means"),
        (IMAGE.replace("[input.image]", "[input.slices]"), "no meaning with this input.kind"),
    ] {
        let faults = with_input(&input).unwrap_err();
        assert!(faults.iter().any(|fault| fault.message.contains(message)), "{message}: {faults:#?}");
    }
}

#[test]
fn the_line_of_a_module_is_its_own() {
    let faults = changed_in(MODULES, "weights = \"head.pt\"", "weights = 3");
    assert_eq!(faults[0].line, line_of(MODULES, "weights = \"head.pt\""));
}

#[test]
fn rows_are_averaged_of_one_slice_at_a_time() {
    let averaged =
        |text: &str| text.replacen("activation = \"sigmoid\"", "activation = \"sigmoid\"\nreduce = \"mean-logits\"", 1);
    let per_slice = include_str!("../../../../tests/fixtures/modules/per-slice/model.toml");
    let faults = Manifest::parse(&averaged(per_slice)).unwrap_err();
    assert!(faults[0].message.contains("slices cannot share a call"), "{faults:?}");
    // With a window a batch is one of windows, and slices come one after the other.
    let windows = include_str!("../../../../tests/fixtures/modules/per-slice-windows/model.toml");
    Manifest::parse(&averaged(windows)).unwrap();
}
