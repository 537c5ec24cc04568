//! Which models read: those that are named, or all that may.

use std::path::Path;

use super::super::say;
use crate::inference::device::DeviceChoice;
use crate::inference::engine::Engine;
use crate::inference::manifest::Origin;
use crate::inference::package::{Packages, VerifiedModel, find, find_gate, packages};

/// Packages that were found and may run.
pub(super) struct Choice {
    /// Those that read.
    packages: Vec<VerifiedModel>,
    /// Those that only decide what others read.
    gates: Vec<VerifiedModel>,
    /// Whether the caller named them: then each must do.
    named: bool,
    /// What every row should say of it.
    pub(super) notes: Vec<String>,
}

/// Finds the packages `names` below `folder`, or all packages in it. A name with a `/` is a package's own folder.
///
/// # Errors
/// Why there is nothing to run, line by line.
pub(super) fn choose(folder: &Path, names: &[String], allow_untrained: bool) -> Result<Choice, Vec<String>> {
    let found = if names.is_empty() { all(folder)? } else { named(folder, names)? };
    let (untrained, packages): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|package| package.manifest().origin == Origin::Untrained && !allow_untrained);
    let names_of = |packages: &[VerifiedModel]| {
        packages.iter().map(|package| package.manifest().name.clone()).collect::<Vec<_>>().join(", ")
    };
    let mut notes = Vec::new();
    if !untrained.is_empty() {
        notes.push(format!("Not run, because the weights are untrained: {}.", names_of(&untrained)));
    }
    if packages.is_empty() {
        let why = match untrained.is_empty() {
            true => format!("there is no model package in {}", folder.display()),
            false => {
                format!("only untrained models were found ({}): --allow-untrained runs them", names_of(&untrained))
            }
        };
        return Err(vec![why]);
    }
    let gates = gates(folder, &packages)?;
    Ok(Choice { packages, gates, named: !names.is_empty(), notes })
}

/// The gates of packages that are not among them.
fn gates(folder: &Path, packages: &[VerifiedModel]) -> Result<Vec<VerifiedModel>, Vec<String>> {
    let has = |packages: &[VerifiedModel], name: &str| packages.iter().any(|p| p.manifest().name == name);
    let mut gates = Vec::new();
    for package in packages {
        let Some(gate) = &package.manifest().accepts.gate else { continue };
        if has(packages, gate) || has(&gates, gate) {
            continue;
        }
        gates.extend(find_gate(package, folder)?);
    }
    Ok(gates)
}

fn all(folder: &Path) -> Result<Vec<VerifiedModel>, Vec<String>> {
    let found = packages(folder).map_err(|error| vec![format!("models in {}: {error}", folder.display())]);
    let Packages { models, not_installed, faults } = found?;
    for fault in &faults {
        say(format_args!("{fault}"));
    }
    for package in &not_installed {
        say(format_args!("{package}"));
    }
    Ok(models)
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

/// Loads them on the device; those that read, by their names. Blocks.
///
/// # Errors
/// Why there is nothing to run, line by line.
pub(super) fn start(choice: Choice, device: DeviceChoice) -> Result<(Engine, Vec<String>), Vec<String>> {
    let Choice { packages, gates, named, .. } = choice;
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
    }
    Ok((engine, readers))
}
