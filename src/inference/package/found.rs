//! Packages by name: those that a folder holds, those that are asked for, and their gates.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::{NotInstalled, Package, VerifiedModel};
use crate::inference::manifest::{Manifest, ManifestError, stable_word};

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
    let mut search = Search::default();
    search.folder(folder)?;
    Ok(search.found)
}

/// The packages of these names below `folder`, and their gates. No other is looked into; a name without a package is passed
/// over.
#[must_use]
pub fn packages_of<'n>(folder: &Path, names: impl IntoIterator<Item = &'n str>) -> Packages {
    let mut search = Search::default();
    search.names(folder, names);
    search.found.models.sort_by(|a, b| a.manifest.name.cmp(&b.manifest.name));
    search.found
}

/// Every package in `folder`, and what [`packages_of`] finds beyond: `NAME/PART` of a name `NAME-PART`. Each once.
///
/// # Errors
/// The folder cannot be read.
pub fn packages_with<'n>(folder: &Path, names: impl IntoIterator<Item = &'n str>) -> io::Result<Packages> {
    let mut search = Search::default();
    search.folder(folder)?;
    search.names(folder, names);
    Ok(search.found)
}

/// Looks into each folder once.
#[derive(Default)]
struct Search {
    found: Packages,
    seen: BTreeSet<PathBuf>,
}

impl Search {
    fn folder(&mut self, folder: &Path) -> io::Result<()> {
        let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        let mut folders: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
        folders.retain(|path| path.join("model.toml").is_file());
        folders.sort();
        folders.into_iter().for_each(|path| self.look(path));
        Ok(())
    }

    fn names<'n>(&mut self, folder: &Path, names: impl IntoIterator<Item = &'n str>) {
        let mut wanted: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let mut asked = BTreeSet::new();
        while let Some(name) = wanted.pop() {
            let Some(path) = folder_of(folder, &name).filter(|_| asked.insert(name)) else { continue };
            self.look(path.clone());
            let model = self.found.models.iter().find(|model| model.folder == path);
            wanted.extend(model.and_then(|model| model.manifest.accepts.gate.clone()));
        }
    }

    fn look(&mut self, path: PathBuf) {
        if !self.seen.insert(path.clone()) {
            return;
        }
        match Manifest::inspect(&path) {
            Ok(Package::Installed(model)) => self.found.models.push(model),
            Ok(Package::NotInstalled(package)) => self.found.not_installed.push(package),
            Err(faults) => self.found.faults.extend(faults),
        }
    }
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
