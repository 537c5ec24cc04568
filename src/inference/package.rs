//! A model package on disk: its folder, its manifest, and weights whose hash was checked.

mod found;

mod inspect;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::golden::GoldenCase;
use super::manifest::{Manifest, ManifestError, Module};
pub use found::{Packages, find, find_gate, folder_of, is_package_name, packages, packages_of, packages_with};

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

fn fault(file: &Path, key: &str, message: String) -> ManifestError {
    ManifestError { file: file.to_owned(), key: key.to_owned(), line: 0, message }
}

fn other_hash(file: &Path, found: &str, expected: &str) -> ManifestError {
    fault(file, "", format!("its SHA-256 is {found}, model.toml says {expected}"))
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
