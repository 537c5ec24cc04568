//! A model package on disk: its folder, its manifest, and weights whose hash was checked.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::golden::GoldenCase;
use super::manifest::{LARGEST_TEXT, Manifest, ManifestError, Module, stable_word};

/// No `tokenizer.json` needs more; what is larger is cut off, and its hash does not fit.
const LARGEST_TOKENIZER: u64 = 64 << 20;

/// A package whose manifest has no fault and whose weights have the hash that it names. Only [`Manifest::inspect`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedModel {
    manifest: Manifest,
    folder: PathBuf,
}

impl VerifiedModel {
    /// What the model is.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where it lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Opens the weights of a module and checks their hash once more: a package may have been replaced since it was verified,
    /// and results must never name weights that did not make them.
    ///
    /// # Errors
    /// The file cannot be read or is another one.
    pub fn open_weights(&self, module: &Module) -> Result<File, ManifestError> {
        let path = self.folder.join(&module.weights);
        let (file, sha256) = open_and_hash(&path).map_err(|error| fault(&path, "", error.to_string()))?;
        if sha256 == module.sha256 { Ok(file) } else { Err(other_hash(&path, &sha256, &module.sha256)) }
    }

    /// The text of `tokenizer.json`, where the package writes text; its hash is checked.
    ///
    /// # Errors
    /// The file cannot be read or is another one.
    pub fn tokenizer(&self) -> Result<Option<Vec<u8>>, ManifestError> {
        let Some(output) = &self.manifest.output.text else { return Ok(None) };
        let path = self.folder.join(&output.tokenizer);
        let read = || {
            let mut text = Vec::new();
            File::open(&path)?.take(LARGEST_TOKENIZER).read_to_end(&mut text)?;
            io::Result::Ok(text)
        };
        let text = read().map_err(|error| fault(&path, "", error.to_string()))?;
        let sha256 = hex(&Sha256::digest(&text));
        if sha256 == output.tokenizer_sha256 {
            Ok(Some(text))
        } else {
            Err(other_hash(&path, &sha256, &output.tokenizer_sha256))
        }
    }

    /// How large the weights are, bytes.
    #[must_use]
    pub fn weights_bytes(&self) -> u64 {
        let size = |module: &Module| std::fs::metadata(self.folder.join(&module.weights)).map_or(0, |file| file.len());
        self.manifest.modules.iter().map(size).sum()
    }

    /// SHA-256 over the manifest and the golden case: while both are the same, so is what a check of the case has shown.
    /// The manifest names the hashes of the weights. Lower-case hex.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn proof_sha256(&self) -> io::Result<String> {
        let case = self.manifest.golden.as_ref().map(|golden| self.folder.join(&golden.case));
        let files = [Some(self.folder.join("model.toml")), case];
        let hashes = files.iter().flatten().map(|path| sha256_of(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(hex(&Sha256::digest(hashes.concat())))
    }

    /// The golden case, where the package ships one.
    ///
    /// # Errors
    /// What is wrong with the case.
    pub fn golden_case(&self) -> Result<Option<GoldenCase>, String> {
        let golden = self.manifest.golden.as_ref();
        golden.map(|golden| GoldenCase::read(&self.folder, &self.manifest, golden)).transpose()
    }
}

/// A package that is described but whose weights are not there: they belong to their owner and are not shipped.
#[derive(Debug, Clone)]
pub struct NotInstalled {
    /// What the model is.
    pub manifest: Manifest,
    /// Where its weights would lie.
    pub folder: PathBuf,
    /// The files that are missing.
    pub missing: Vec<String>,
}

impl fmt::Display for NotInstalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folder, files) = (self.folder.display(), self.missing.join(", "));
        write!(f, "model {} is not installed: {folder} lacks {files}", self.manifest.name)?;
        if self.folder.join("export.py").is_file() {
            write!(f, "; python {folder}/export.py --weights FILE makes them from PyTorch weights")?;
        }
        Ok(())
    }
}

/// A folder whose manifest has no fault.
#[derive(Debug, Clone)]
pub enum Package {
    /// Whole.
    Installed(VerifiedModel),
    /// Its weights are missing.
    NotInstalled(NotInstalled),
}

impl Manifest {
    /// Reads and checks the package in `folder`: manifest, hashes, golden case.
    ///
    /// # Errors
    /// All faults at once; missing weights are one.
    pub fn load(folder: &Path) -> Result<VerifiedModel, Vec<ManifestError>> {
        match Self::inspect(folder)? {
            Package::Installed(model) => Ok(model),
            Package::NotInstalled(package) => Err(vec![fault(&folder.join("model.toml"), "", package.to_string())]),
        }
    }

    /// As [`Self::load`]; missing weights are no fault where nothing else is wrong.
    ///
    /// # Errors
    /// All faults at once.
    pub fn inspect(folder: &Path) -> Result<Package, Vec<ManifestError>> {
        let file = folder.join("model.toml");
        let text = text_of(&file).map_err(|error| vec![fault(&file, "", error.to_string())])?;
        let manifest = Self::parse(&text).map_err(|mut faults| {
            faults.iter_mut().for_each(|fault| fault.file.clone_from(&file));
            faults
        })?;
        let model = VerifiedModel { manifest, folder: folder.to_owned() };
        let mut faults = Vec::new();
        if !named_so(folder, &model.manifest.name) {
            let message = format!("is «{}», the folder has another name", model.manifest.name);
            faults.push(fault(&file, "name", message));
        }
        let missing = model.missing();
        for module in model.manifest.modules.iter().filter(|module| !missing.contains(&module.weights)) {
            faults.extend(model.open_weights(module).err());
        }
        let text = model.manifest.output.text.as_ref().filter(|output| !missing.contains(&output.tokenizer));
        faults.extend(text.and_then(|_| model.tokenizer().err()));
        if missing.is_empty() || !faults.is_empty() {
            faults.extend(missing.iter().map(|name| fault(&folder.join(name), "", "is missing".to_owned())));
            if let Err(message) = model.golden_case() {
                faults.push(fault(&file, "golden.case", message));
            }
        }
        match (faults.is_empty(), missing.is_empty()) {
            (false, _) => Err(faults),
            (true, true) => Ok(Package::Installed(model)),
            (true, false) => {
                let VerifiedModel { manifest, folder } = model;
                Ok(Package::NotInstalled(NotInstalled { manifest, folder, missing }))
            }
        }
    }
}

impl VerifiedModel {
    /// Files that the manifest names and that are not there.
    fn missing(&self) -> Vec<String> {
        let weights = self.manifest.modules.iter().map(|module| &module.weights);
        let files = weights.chain(self.manifest.output.text.as_ref().map(|output| &output.tokenizer));
        files.filter(|name| !self.folder.join(name).exists()).cloned().collect()
    }
}

/// Whether a folder has the name of its package: `NAME`, or `tiny` in the folder `NAME` of the package `NAME-tiny`.
fn named_so(folder: &Path, name: &str) -> bool {
    let part = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    // A path such as `.` names no folder.
    let Some(own) = part(folder) else { return true };
    own == name || folder.parent().and_then(part).is_some_and(|parent| format!("{parent}-{own}") == name)
}

/// As much of a manifest's text as shows that it is too long.
fn text_of(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(LARGEST_TEXT as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn fault(file: &Path, key: &str, message: String) -> ManifestError {
    ManifestError { file: file.to_owned(), key: key.to_owned(), line: 0, message }
}

fn other_hash(file: &Path, found: &str, expected: &str) -> ManifestError {
    fault(file, "", format!("its SHA-256 is {found}, model.toml says {expected}"))
}

/// What a folder of packages holds, each by name.
#[derive(Debug, Clone, Default)]
pub struct Packages {
    /// Whole packages.
    pub models: Vec<VerifiedModel>,
    /// Packages without their weights.
    pub not_installed: Vec<NotInstalled>,
    /// Every fault of the others.
    pub faults: Vec<ManifestError>,
}

/// Every package in `folder`: each sub-folder that holds a `model.toml`.
///
/// # Errors
/// The folder cannot be read.
pub fn packages(folder: &Path) -> io::Result<Packages> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut folders: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    folders.retain(|path| path.join("model.toml").is_file());
    folders.sort();
    let mut found = Packages::default();
    for path in folders {
        match Manifest::inspect(&path) {
            Ok(Package::Installed(model)) => found.models.push(model),
            Ok(Package::NotInstalled(package)) => found.not_installed.push(package),
            Err(faults) => found.faults.extend(faults),
        }
    }
    Ok(found)
}

/// The packages of these names below `folder`, and their gates. No other is looked into; a name without a package is passed
/// over.
#[must_use]
pub fn packages_of<'n>(folder: &Path, names: impl IntoIterator<Item = &'n str>) -> Packages {
    let mut found = Packages::default();
    let mut wanted: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        let Some(path) = folder_of(folder, &name).filter(|_| seen.insert(name)) else { continue };
        match Manifest::inspect(&path) {
            Ok(Package::Installed(model)) => {
                wanted.extend(model.manifest.accepts.gate.clone());
                found.models.push(model);
            }
            Ok(Package::NotInstalled(package)) => found.not_installed.push(package),
            Err(faults) => found.faults.extend(faults),
        }
    }
    found.models.sort_by(|a, b| a.manifest.name.cmp(&b.manifest.name));
    found
}

/// Whether a package can have this name: lower-case letters, digits, hyphens.
///
/// # Errors
/// What is wrong with it.
pub fn is_package_name(name: &str) -> Result<(), String> {
    if name.is_empty() { Err("the name is empty".to_owned()) } else { stable_word(name) }
}

/// The folder of a package below `folder`: `NAME`, or `NAME/PART` of the package `NAME-PART`; a name with a `/` is the
/// package's own folder. Nothing where no `model.toml` is there.
#[must_use]
pub fn folder_of(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut places = vec![folder.join(name)];
    if name.contains('/') {
        places = vec![PathBuf::from(name)];
    }
    places.extend(name.rsplit_once('-').map(|(name, part)| folder.join(name).join(part)));
    places.into_iter().find(|place| place.join("model.toml").is_file())
}

/// The package `name` below `folder`, as [`folder_of`] finds it.
///
/// # Errors
/// It is not there, or all its faults; line by line.
pub fn find(folder: &Path, name: &str) -> Result<VerifiedModel, Vec<String>> {
    let Some(path) = folder_of(folder, name) else {
        return Err(vec![format!("there is no model «{name}» in {}", folder.display())]);
    };
    Manifest::load(&path).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

/// The gate of a package, where it has one: beside the package's own folder, else below `folder`.
///
/// # Errors
/// Those of [`find`], behind a line that says whose gate it is.
pub fn find_gate(package: &VerifiedModel, folder: &Path) -> Result<Option<VerifiedModel>, Vec<String>> {
    let Some(gate) = &package.manifest.accepts.gate else { return Ok(None) };
    let own = std::path::absolute(&package.folder).unwrap_or_else(|_| package.folder.clone());
    // `NAME/PART` lies in the folder of another package, beside which the gate lies.
    let beside = own.ancestors().skip(1).take(2).find(|place| folder_of(place, gate).is_some());
    find(beside.unwrap_or(folder), gate).map(Some).map_err(|mut faults| {
        faults.insert(0, format!("model {} needs its gate {gate}", package.manifest.name));
        faults
    })
}

/// SHA-256 of a file, lower-case hex.
///
/// # Errors
/// It cannot be read.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    open_and_hash(path).map(|(_, sha256)| sha256)
}

fn open_and_hash(path: &Path) -> io::Result<(File, String)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => break,
            count => hash.update(&block[..count]),
        }
    }
    Ok((file, hex(&hash.finalize())))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
