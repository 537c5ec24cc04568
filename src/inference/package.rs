//! A model package on disk: its folder, its manifest, and weights whose hash was checked.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::golden::GoldenCase;
use super::manifest::{Manifest, ManifestError};

/// A package whose manifest has no fault and whose weights have the hash that it names. Only [`Manifest::load`] makes one.
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

    /// Opens the weights and checks their hash once more: a package may have been replaced since it was verified, and
    /// results must never name weights that did not make them.
    ///
    /// # Errors
    /// The file cannot be read or is another one.
    pub fn open_weights(&self) -> Result<File, ManifestError> {
        let path = self.folder.join(&self.manifest.weights);
        let fault = |message| ManifestError { file: path.clone(), key: String::new(), line: 0, message };
        let (file, sha256) = open_and_hash(&path).map_err(|error| fault(error.to_string()))?;
        if sha256 == self.manifest.sha256 {
            Ok(file)
        } else {
            Err(fault(format!("its SHA-256 is {sha256}, model.toml says {}", self.manifest.sha256)))
        }
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

impl Manifest {
    /// Reads and checks the package in `folder`: manifest, weights' hash, golden case.
    ///
    /// # Errors
    /// All faults at once.
    pub fn load(folder: &Path) -> Result<VerifiedModel, Vec<ManifestError>> {
        let file = folder.join("model.toml");
        let fault = |file: &Path, key: &str, message: String| {
            vec![ManifestError { file: file.to_owned(), key: key.to_owned(), line: 0, message }]
        };
        let text = std::fs::read_to_string(&file).map_err(|error| fault(&file, "", error.to_string()))?;
        let manifest = Self::parse(&text).map_err(|mut faults| {
            faults.iter_mut().for_each(|fault| fault.file.clone_from(&file));
            faults
        })?;
        let model = VerifiedModel { manifest, folder: folder.to_owned() };
        let mut faults = Vec::new();
        if folder.file_name().is_some_and(|name| name != model.manifest.name.as_str()) {
            let message = format!("is «{}», the folder has another name", model.manifest.name);
            faults.extend(fault(&file, "name", message));
        }
        faults.extend(model.open_weights().err());
        if let Err(message) = model.golden_case() {
            faults.extend(fault(&file, "golden.case", message));
        }
        if faults.is_empty() { Ok(model) } else { Err(faults) }
    }
}

/// Every package in `folder` (each sub-folder that holds a `model.toml`), by name, and every fault of the others.
///
/// # Errors
/// The folder cannot be read.
pub fn packages(folder: &Path) -> io::Result<(Vec<VerifiedModel>, Vec<ManifestError>)> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut folders: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    folders.retain(|path| path.join("model.toml").is_file());
    folders.sort();
    let (mut models, mut faults) = (Vec::new(), Vec::new());
    for path in folders {
        match Manifest::load(&path) {
            Ok(model) => models.push(model),
            Err(found) => faults.extend(found),
        }
    }
    Ok((models, faults))
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
    Ok((file, hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}
