//! `overread models import-monai`: a MONAI bundle with a TorchScript file becomes a package.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Below, print_lacking, write_manifest};
use crate::cli::gather::Archive;
use crate::cli::{exit, say};
use crate::inference::bundle::{Bundle, manifest, name_of};
use crate::inference::package::{is_package_name, sha256_of};

/// No configuration or licence needs more.
const LARGEST_TEXT: u64 = 1 << 20;
/// No weights need more.
const LARGEST_WEIGHTS: u64 = 16 << 30;

const METADATA: &str = "configs/metadata.json";

/// Make a package of a MONAI bundle that holds models/model.ts, and say which keys its author must fill in
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Taken over: name, version, authors, intended use, modality, channels of the output; from configs/inference.json Orientationd, \
Spacingd, Resized, intensity transforms, SlidingWindowInferer, Activationsd, AsDiscreted. What has no counterpart, and what the \
bundle does not say (codes, colours, origin, licence), stands in the manifest as TODO: until it is filled in the package is refused.")]
pub(super) struct ImportMonai {
    #[command(flatten)]
    below: Below,
    /// The package's name [default: made of the bundle's]
    #[arg(long)]
    name: Option<String>,
    /// The bundle
    zip: PathBuf,
}

/// Reads, writes, and says what is lacking.
pub(super) fn import(arguments: &ImportMonai) -> u8 {
    match run(arguments) {
        Ok((folder, text)) => {
            print_lacking(&folder, &text);
            exit::DONE
        }
        Err(error) => {
            say(format_args!("{}: {error}", arguments.zip.display()));
            exit::FAILED
        }
    }
}

/// The package's folder and its manifest.
fn run(arguments: &ImportMonai) -> Result<(PathBuf, String), String> {
    let mut zip = Zip::open(&arguments.zip)?;
    let metadata = zip.json(METADATA)?.ok_or("this is no MONAI bundle: it holds no configs/metadata.json")?;
    let inference = zip.json("configs/inference.json")?;
    let name = arguments.name.clone().or_else(|| name_of(&metadata));
    let name = name.ok_or("the bundle has no name that a package could have: give one with --name")?;
    is_package_name(&name)?;
    let folder = arguments.below.folder.join(&name);
    if folder.exists() {
        return Err(format!("{} exists: give another name with --name", folder.display()));
    }
    // What fails half-way leaves no package.
    let models = &arguments.below.folder;
    let wrong = |error: std::io::Error| format!("{}: {error}", models.display());
    std::fs::create_dir_all(models).map_err(wrong)?;
    let begun = tempfile::Builder::new().prefix(".import-").tempdir_in(models).map_err(wrong)?;
    let weights = begun.path().join("model.pt");
    zip.weights(&weights)?;
    let sha256 = sha256_of(&weights).map_err(wrong)?;
    let bundle = Bundle { metadata: &metadata, inference: inference.as_ref(), sha256: &sha256 };
    let text = manifest(&name, &bundle)?;
    write_manifest(begun.path(), &text)?;
    if let Some(licence) = zip.text("LICENSE")? {
        std::fs::write(begun.path().join("LICENSE"), licence).map_err(wrong)?;
    }
    let begun = begun.keep();
    readable(&begun).and_then(|()| std::fs::rename(&begun, &folder)).map_err(|error| {
        // It was made a moment ago; nothing else is in it.
        let _ = std::fs::remove_dir_all(&begun);
        wrong(error)
    })?;
    Ok((folder, text))
}

/// A temporary folder is its owner's alone; a package is for whoever runs the node.
fn readable(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
}

/// A bundle: its entries below the one folder that holds `configs/metadata.json`.
struct Zip {
    archive: Archive,
    names: Vec<String>,
    prefix: String,
}

impl Zip {
    fn open(path: &Path) -> Result<Self, String> {
        let archive = Archive::open(path).map_err(|error| error.to_string())?;
        let names = archive.names().map_err(|error| error.to_string())?;
        let prefixes = names.iter().filter_map(|name| name.strip_suffix(METADATA));
        let mut prefixes = prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('/'));
        let prefix = prefixes.next().unwrap_or_default().to_owned();
        if prefixes.next().is_some() {
            return Err("it holds several bundles".to_owned());
        }
        Ok(Self { archive, names, prefix })
    }

    fn index(&self, name: &str) -> Option<usize> {
        let name = format!("{}{name}", self.prefix);
        self.names.iter().position(|other| *other == name)
    }

    fn text(&mut self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let Some(index) = self.index(name) else { return Ok(None) };
        let mut text = Vec::new();
        let copied = self.archive.copy(index, &mut text, LARGEST_TEXT);
        copied.map(|_| Some(text)).map_err(|error| format!("{name}: {error}"))
    }

    fn json(&mut self, name: &str) -> Result<Option<Value>, String> {
        let text = self.text(name)?;
        let parsed = text.map(|text| serde_json::from_slice(&text));
        parsed.transpose().map_err(|error| format!("{name}: {error}"))
    }

    /// Inflates the TorchScript file.
    fn weights(&mut self, to: &Path) -> Result<(), String> {
        const NAME: &str = "models/model.ts";
        let index = self.index(NAME).ok_or(
            "the bundle holds no TorchScript file (models/model.ts): export one with monai.bundle ckpt_export",
        )?;
        let wrong = |error: std::io::Error| format!("{NAME}: {error}");
        let mut file = File::create_new(to).map_err(wrong)?;
        self.archive.copy(index, &mut file, LARGEST_WEIGHTS).map_err(wrong)?;
        file.flush().map_err(wrong)?;
        let mut magic = [0; 4];
        let whole = File::open(to).and_then(|mut file| file.read_exact(&mut magic));
        if whole.is_err() || magic != *b"PK\x03\x04" {
            return Err(format!(
                "{NAME}: this is no TorchScript file; large files of a repository may be pointers only"
            ));
        }
        Ok(())
    }
}
