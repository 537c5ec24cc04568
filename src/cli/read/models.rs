//! Which models read: those that are named, or all that may.

use std::path::Path;

use super::super::say;
use crate::inference::device::DeviceChoice;
use crate::inference::engine::Engine;
use crate::inference::manifest::{ManifestError, Origin};
use crate::inference::package::{Packages, VerifiedModel, find, find_gate, packages};

/// Packages that were found and may run.
pub(super) struct Choice {
    /// Those that read.
    packages: Vec<VerifiedModel>,
    /// Those that only decide what others read.
    gates: Vec<VerifiedModel>,
    /// Whether the caller named them: then each must do.
    named: bool,
    /// Whether all that were found may run, but for those whose weights are untrained or absent.
    whole: bool,
    /// What every row should say of it.
    notes: Vec<String>,
}

/// Packages that run.
pub(super) struct Started {
    /// With all of them on its device.
    pub(super) engine: Engine,
    /// Those that read, by their names; the engine's others are their gates.
    pub(super) readers: Vec<String>,
    /// Whether none was left out for a fault of its own.
    pub(super) whole: bool,
    /// What every row should say of those that were left out.
    pub(super) notes: Vec<String>,
}

/// Finds the packages `names` below `folder`, or all packages in it. A name with a `/` is a package's own folder.
///
/// # Errors
/// Why there is nothing to run, line by line.
pub(super) fn choose(folder: &Path, names: &[String], allow_untrained: bool) -> Result<Choice, Vec<String>> {
    let (found, faulty) = if names.is_empty() { all(folder)? } else { (named(folder, names)?, Vec::new()) };
    let (untrained, packages): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|package| package.manifest().origin == Origin::Untrained && !allow_untrained);
    let names_of = |packages: &[VerifiedModel]| {
        packages.iter().map(|package| package.manifest().name.clone()).collect::<Vec<_>>().join(", ")
    };
    let mut notes = Vec::new();
    if !untrained.is_empty() {
        let note = format!("Not run, because the weights are untrained: {}.", names_of(&untrained));
        say(format_args!("{note}"));
        notes.push(note);
    }
    if !faulty.is_empty() {
        notes.push(format!("Not run, because the package is faulty: {}.", faulty.join(", ")));
    }
    if packages.is_empty() {
        let why = match untrained.is_empty() {
            true if !faulty.is_empty() => format!("every model package in {} is faulty", folder.display()),
            true => format!("there is no model package in {}", folder.display()),
            false => {
                format!("only untrained models were found ({}): --allow-untrained runs them", names_of(&untrained))
            }
        };
        return Err(vec![why]);
    }
    let named = !names.is_empty();
    let gates = gates(folder, &packages, named)?;
    Ok(Choice { packages, gates, named, whole: faulty.is_empty(), notes })
}

/// The gates of packages that are not among them; one that is faulty is an error where the packages were named.
fn gates(folder: &Path, packages: &[VerifiedModel], named: bool) -> Result<Vec<VerifiedModel>, Vec<String>> {
    let has = |packages: &[VerifiedModel], name: &str| packages.iter().any(|p| p.manifest().name == name);
    let mut gates = Vec::new();
    for package in packages {
        let Some(gate) = &package.manifest().accepts.gate else { continue };
        if has(packages, gate) || has(&gates, gate) {
            continue;
        }
        match find_gate(package, folder) {
            Ok(gate) => gates.extend(gate),
            Err(lines) if named => return Err(lines),
            // The engine does not serve a package without its gate, and says so; what is wrong with the gate was told.
            Err(_) => {}
        }
    }
    Ok(gates)
}

/// All packages, and the folders of those that are faulty.
fn all(folder: &Path) -> Result<(Vec<VerifiedModel>, Vec<String>), Vec<String>> {
    let found = packages(folder).map_err(|error| vec![format!("models in {}: {error}", folder.display())]);
    let Packages { models, not_installed, faults } = found?;
    for fault in &faults {
        say(format_args!("{fault}"));
    }
    for package in &not_installed {
        say(format_args!("{package}"));
    }
    let own = |fault: &ManifestError| {
        let part = fault.file.strip_prefix(folder).ok()?.components().next()?;
        Some(part.as_os_str().to_string_lossy().into_owned())
    };
    let mut faulty: Vec<String> = faults.iter().filter_map(own).collect();
    faulty.dedup();
    Ok((models, faulty))
}

fn named(folder: &Path, names: &[String]) -> Result<Vec<VerifiedModel>, Vec<String>> {
    let mut packages: Vec<VerifiedModel> = Vec::new();
    let mut faults = Vec::new();
    for name in names {
        match find(folder, name) {
            Ok(package) => match packages.iter().find(|other| other.manifest().name == package.manifest().name) {
                Some(other) if other.folder() != package.folder() => {
                    let (one, two) = (other.folder().display(), package.folder().display());
                    faults.push(format!("two packages are called {}: {one} and {two}", package.manifest().name));
                }
                Some(_) => {}
                None => packages.push(package),
            },
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() { Ok(packages) } else { Err(faults) }
}

/// Loads them on the device. Blocks.
///
/// # Errors
/// Why there is nothing to run, line by line.
pub(super) fn start(choice: Choice, device: DeviceChoice) -> Result<Started, Vec<String>> {
    let Choice { packages, gates, named, whole, mut notes } = choice;
    let readers: Vec<String> = packages.iter().map(|package| package.manifest().name.clone()).collect();
    let all = packages.into_iter().chain(gates).collect();
    let engine = Engine::start(device, all).map_err(|error| vec![error.to_string()])?;
    let refused: Vec<String> = engine.refused().map(|(_, error)| error.to_string()).collect();
    let served = |name: &String| engine.served().any(|package| package.manifest().name == *name);
    let readers: Vec<String> = readers.into_iter().filter(served).collect();
    if readers.is_empty() || (named && !refused.is_empty()) {
        return Err(refused);
    }
    for error in &refused {
        say(format_args!("{error}"));
        notes.push(format!("Not run: {error}."));
    }
    Ok(Started { engine, readers, whole: whole && refused.is_empty(), notes })
}
