//! What transforms come to, and what they must not come to.

use serde_json::json;

use super::*;

fn steps(transforms: &Value) -> String {
    let config = json!({ "preprocessing": { "_target_": "Compose", "transforms": transforms }, "half": [1.5, 1.5, 2] });
    let config = Config(&config);
    preprocessing::read(Some(&config)).lines()[3..].join("\n")
}

fn turned(transform: Value) -> String {
    steps(&json!([{ "_target_": "Orientationd", "axcodes": "RAS" }, transform]))
}

#[test]
fn transforms_with_a_counterpart_become_steps() {
    let range = json!({ "_target_": "ScaleIntensityRanged", "a_min": -57, "a_max": 164.5, "b_min": 0, "b_max": 1, "clip": true });
    let found = turned(range);
    assert!(found.contains("do = \"clip\", range = [-57, 164.5]"), "{found}");
    assert!(found.contains("do = \"scale\", from = [-57, 164.5], to = [0, 1]"), "{found}");
    for (transform, step) in [
        (
            json!({ "_target_": "monai.transforms.Spacingd", "pixdim": "@half", "mode": ["bilinear", "nearest"] }),
            "do = \"resample\", mm = [1.5, 1.5, 2]",
        ),
        (
            json!({ "_target_": "NormalizeIntensityd", "nonzero": true, "channel_wise": true }),
            "do = \"z-score\", nonzero = true",
        ),
        (
            json!({ "_target_": "Resized", "spatial_size": [8, 9, 10] }),
            "do = \"resize\", size = [8, 9, 10], method = \"area\"",
        ),
        (
            json!({ "_target_": "ScaleIntensityRangePercentilesd", "lower": 1, "upper": 99, "b_min": 0, "b_max": 1 }),
            "percentiles = [1, 99], to = [0, 1], clip = false",
        ),
    ] {
        let found = turned(transform);
        assert!(found.contains(step) && !found.contains("TODO"), "{found}");
    }
    let off = steps(
        &json!([{ "_target_": "Flipd", "_disabled_": true }, { "_target_": "LoadImaged", "reader": "ITKReader" }]),
    );
    assert!(!off.contains("steps"), "{off}");
}

#[test]
fn a_parameter_that_is_not_understood_leaves_the_decision_to_the_author() {
    for transform in [
        json!({ "_target_": "Spacingd", "pixdim": [1, 1, 1], "mode": 3 }),
        json!({ "_target_": "Spacingd", "pixdim": [1, 1, -1] }),
        json!({ "_target_": "Spacingd", "pixdim": [1, 1, 1], "scale_extent": true }),
        json!({ "_target_": "Spacingd", "pixdim": "$[1.0] * 3" }),
        json!({ "_target_": "Spacingd", "pixdim": "@nowhere" }),
        json!({ "_target_": "ScaleIntensityRanged", "a_min": 0, "a_max": 1, "b_min": 0 }),
        json!({ "_target_": "ScaleIntensityRanged", "a_min": 1, "a_max": 1 }),
        json!({ "_target_": "NormalizeIntensityd", "subtrahend": 3 }),
        json!({ "_target_": "Resized", "spatial_size": [8, 9, 10], "mode": "bicubic" }),
        json!({ "_target_": "Flipd" }),
    ] {
        let found = turned(transform);
        assert!(found.contains("{ do = \"\" },    # TODO"), "{found}");
    }
    let before = steps(
        &json!([{ "_target_": "Spacingd", "pixdim": [1, 1, 1] }, { "_target_": "Orientationd", "axcodes": "RAS" }]),
    );
    assert_eq!(before.matches("do = \"\"").count(), 2, "{before}");
}

#[test]
fn references_in_a_circle_end() {
    let config = json!({ "a": "@b", "b": "@a", "preprocessing": "@a" });
    let found = preprocessing::read(Some(&Config(&config))).lines().join("\n");
    assert!(found.contains("do = \"\""), "{found}");
}

fn metadata(output: Value) -> Value {
    let input = json!({ "type": "image", "num_channels": 1, "spatial_shape": [8, 8, 8], "modality": "MR" });
    json!({ "name": "Two words", "network_data_format": { "inputs": { "image": input }, "outputs": { "pred": output } } })
}

#[test]
fn outputs_follow_from_channels_and_activation_together() {
    let with = |post: Value, channels: Value| {
        let output = json!({ "type": "image", "format": "segmentation", "num_channels": 2, "channel_def": channels });
        let config = json!({ "postprocessing": { "_target_": "Compose", "transforms": post } });
        let metadata = metadata(output);
        manifest("m", &Bundle { metadata: &metadata, inference: Some(&config), sha256: "" }).unwrap()
    };
    let sigmoid =
        json!([{ "_target_": "Activationsd", "sigmoid": true }, { "_target_": "AsDiscreted", "threshold": 0.4 }]);
    let tumours = with(sigmoid.clone(), json!({ "0": "core", "1": "edema" }));
    assert!(
        tumours.contains("encoding = \"probabilities\"") && tumours.matches("threshold = 0.4").count() == 2,
        "{tumours}"
    );
    assert!(tumours.contains("modality = [\"MR\"]"), "{tumours}");
    let unclear = with(sigmoid, json!({ "0": "background", "1": "edema" }));
    assert!(unclear.contains("encoding = \"\"    # TODO"), "{unclear}");
    let argmax =
        json!([{ "_target_": "AsDiscreted", "argmax": true }, { "_target_": "KeepLargestConnectedComponentd" }]);
    let organ = with(argmax, json!({ "0": "background", "1": "spleen" }));
    assert!(organ.contains("encoding = \"scores\"") && !organ.contains("activation"), "{organ}");
    assert!(organ.contains("not_translated = [") && organ.contains("label = \"spleen\""), "{organ}");
    assert!(!organ.contains("label = \"background\""), "{organ}");
}

#[test]
fn words_of_a_bundle_stay_words() {
    let hostile = "x\"\norigin = \"trained";
    let mut metadata = metadata(json!({ "type": "classes", "num_channels": 1, "channel_def": { "0": hostile } }));
    metadata["authors"] = json!(hostile);
    metadata["copyright"] = json!(hostile);
    metadata["network_data_format"]["inputs"]["image"]["modality"] = json!(hostile);
    let text = manifest("m", &Bundle { metadata: &metadata, inference: None, sha256: "" }).unwrap();
    let faults = crate::inference::manifest::Manifest::parse(&text).unwrap_err();
    assert!(faults.iter().any(|fault| fault.key == "origin"), "{faults:?}");
    assert_eq!(name_of(&metadata).as_deref(), Some("two-words"));
    assert_eq!(name_of(&json!({ "name": "«»" })), None);
}
