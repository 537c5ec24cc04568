//! A package is held against what its manifest says: every fault at once, each with its file, key and line.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{NotInstalled, Package, VerifiedModel, fault, sha256_of};
use crate::inference::manifest::{Claims, FileClaim, LARGEST_TEXT, Manifest, ManifestError};
use crate::inference::npz;

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
        let held = Held { folder, file: &file, claims: Claims::of(&text) };
        let (missing, mut faults) = held.against_files();
        faults.extend(held.against_name());
        let manifest = match Self::parse(&text) {
            Ok(manifest) => manifest,
            Err(found) => {
                faults.extend(found.into_iter().map(|fault| ManifestError { file: file.clone(), ..fault }));
                faults.extend(held.golden_fault(|case| npz::read(case).map(|_| ())));
                return Err(sorted(faults));
            }
        };
        let model = VerifiedModel { manifest, folder: folder.to_owned() };
        if missing.is_empty() || !faults.is_empty() {
            faults.extend(missing.iter().map(|missing| held.fault(&missing.key, missing.name.clone() + " is missing")));
            faults.extend(held.golden_fault(|_| model.golden_case().map(|_| ())));
        }
        match (faults.is_empty(), missing.is_empty()) {
            (false, _) => Err(sorted(faults)),
            (true, true) => Ok(Package::Installed(model)),
            (true, false) => {
                let missing = missing.iter().map(|missing| missing.name.clone()).collect();
                let VerifiedModel { manifest, folder } = model;
                Ok(Package::NotInstalled(NotInstalled { manifest, folder, missing }))
            }
        }
    }
}

/// What a manifest says, beside the folder that it lies in.
struct Held<'a> {
    folder: &'a Path,
    /// The manifest's.
    file: &'a Path,
    claims: Claims,
}

impl Held<'_> {
    /// At a key of the manifest, which stands in this line.
    fn fault(&self, (key, line): &(String, usize), message: String) -> ManifestError {
        ManifestError { line: *line, ..fault(self.file, key, message) }
    }

    /// The files that are not there, and what is wrong with the others.
    fn against_files(&self) -> (Vec<&FileClaim>, Vec<ManifestError>) {
        let (there, missing): (Vec<_>, Vec<_>) =
            self.claims.files.iter().partition(|claim| self.folder.join(&claim.name).exists());
        let wrong = |claim: &&FileClaim| {
            let FileClaim { name, sha256, key } = claim;
            match sha256_of(&self.folder.join(name)) {
                Ok(found) if found == *sha256 => None,
                Ok(found) => Some(self.fault(key, format!("{name}: its SHA-256 is {found}, model.toml says {sha256}"))),
                Err(error) => Some(self.fault(key, format!("{name}: {error}"))),
            }
        };
        let faults = there.iter().filter_map(wrong).collect();
        (missing, faults)
    }

    fn against_name(&self) -> Option<ManifestError> {
        let (name, line) = self.claims.name.as_ref().filter(|(name, _)| !named_so(self.folder, name))?;
        let key = ("name".to_owned(), *line);
        Some(self.fault(&key, format!("is «{name}», the folder has another name")))
    }

    /// What `read` finds wrong with the golden case, where there is to be one.
    fn golden_fault(&self, read: impl FnOnce(File) -> Result<(), String>) -> Option<ManifestError> {
        let (case, line) = self.claims.golden.as_ref()?;
        let opened = File::open(self.folder.join(case)).map_err(|error| error.to_string());
        let message = opened.and_then(read).err()?;
        let message = if message.starts_with(case) { message } else { format!("{case}: {message}") };
        Some(self.fault(&("golden.case".to_owned(), *line), message))
    }
}

/// In the order of their lines.
fn sorted(mut faults: Vec<ManifestError>) -> Vec<ManifestError> {
    faults.sort_by(|a, b| (a.line, &a.key).cmp(&(b.line, &b.key)));
    faults
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
