//! `overread models new`: a manifest to fill in.

use super::{Below, print_lacking, write_manifest};
use crate::cli::{exit, say};
use crate::inference::package::is_package_name;

const TEMPLATE: &str = include_str!("template.toml");

/// Write a commented manifest for a new package, and say which keys its author must fill in
#[derive(Debug, clap::Args)]
pub(super) struct New {
    #[command(flatten)]
    below: Below,
    /// The package's name, and its folder's: lower-case letters, digits, hyphens
    name: String,
}

/// Writes and says what is lacking.
pub(super) fn new(arguments: &New) -> u8 {
    let name = &arguments.name;
    let folder = arguments.below.folder.join(name);
    let text = TEMPLATE.replacen("name = \"\"", &format!("name = \"{name}\""), 1);
    let written = is_package_name(name).and_then(|()| write_manifest(&folder, &text));
    if let Err(error) = written {
        say(format_args!("{error}"));
        return exit::FAILED;
    }
    print_lacking(&folder, &text);
    exit::DONE
}

#[cfg(test)]
mod tests {
    use super::TEMPLATE;
    use crate::inference::manifest::Manifest;

    /// The keys that no one but the author knows, and what he could write.
    const ANSWERS: [(&str, &str); 16] = [
        ("name", "name = \"mine\""),
        ("title", "title = \"Mine\""),
        ("manufacturer", "manufacturer = \"Me\""),
        ("intended_use", "intended_use = \"To try. Not for diagnostic use.\""),
        ("origin", "origin = \"trained\""),
        ("licence", "licence = \"MIT\""),
        ("family", "family = \"123110, DCM, Artificial Intelligence\""),
        ("sha256", "sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\""),
        ("modality", "modality = [\"CT\"]"),
        ("kind", "kind = \"volume\""),
        ("axes", "axes = \"SPL\""),
        ("memory_mb", "memory_mb = 1000"),
        ("activation", "activation = \"sigmoid\""),
        ("label", "label = \"Any finding\""),
        ("concept", "concept = \"263654008, SCT, Abnormal\""),
        ("threshold", "threshold = 0.5"),
    ];

    #[test]
    fn the_template_lacks_what_only_the_author_knows_and_nothing_else() {
        let faults = Manifest::parse(TEMPLATE).unwrap_err();
        let mut lines: Vec<String> = TEMPLATE.lines().map(str::to_owned).collect();
        let mut asked = Vec::new();
        for fault in &faults {
            let key = fault.key.rsplit('.').next().unwrap();
            let (_, answer) = ANSWERS.iter().find(|(name, _)| *name == key).unwrap_or_else(|| panic!("{fault}"));
            let line = &mut lines[fault.line - 1];
            assert!(line.starts_with(key) && line.contains("TODO"), "{fault}: {line}");
            *line = (*answer).to_owned();
            asked.push(key);
        }
        assert_eq!(asked, ANSWERS.map(|(key, _)| key));
        let manifest = Manifest::parse(&lines.join("\n")).unwrap();
        assert_eq!(manifest.output.tensors(), ["logits"]);
    }
}
