//! `overread models check`: does a package compute here what it must?

use std::time::Instant;

use super::state::Outcome;
use super::{Below, Here};
use crate::cli::{exit, print, say};
use crate::clock::Clock;
use crate::inference::engine::{Engine, libtorch_folder};
use crate::inference::golden::{Distance, TensorDifference};
use crate::inference::manifest::Precision;
use crate::inference::package::{find, find_gate};

/// Check the hash of a package's weights, load it, and compare its golden case tensor by tensor
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    below: Below,
    #[command(flatten)]
    here: Here,
    /// The package, by its name or by its folder (with a /)
    name: String,
}

/// Checks, prints, remembers.
pub(super) fn check(arguments: &Check) -> u8 {
    match run(arguments) {
        Ok(code) => code,
        Err(lines) => {
            lines.iter().for_each(|line| say(format_args!("{line}")));
            exit::FAILED
        }
    }
}

fn run(arguments: &Check) -> Result<u8, Vec<String>> {
    let folder = &arguments.below.folder;
    let package = find(folder, &arguments.name)?;
    let manifest = package.manifest().clone();
    let proof = package.proof_sha256().map_err(|error| vec![error.to_string()])?;
    let libtorch = libtorch_folder().map_or_else(|| "not found".to_owned(), |folder| folder.display().to_string());
    print(format_args!("package   {} {} in {}", manifest.name, manifest.version, package.folder().display()));
    print(format_args!("weights   SHA-256 {}, as model.toml says", manifest.weights_sha256()));
    // A package whose gate is missing is of no use, whatever it computes.
    let gate = find_gate(&package, folder)?;
    let started = Instant::now();
    let packages = [Some(package), gate].into_iter().flatten().collect();
    let engine = Engine::start(arguments.here.device, packages).map_err(|error| vec![error.to_string()])?;
    let device = engine.device();
    let precisions = manifest.inference.precision;
    let precision = if device == "cpu" { precisions.cpu } else { precisions.cuda };
    print(format_args!("device    {device} in {}; libtorch in {libtorch}", precision.as_str()));
    let outcome = Outcome::of(&engine, &manifest.name, proof, Clock::System.now());
    print_table(engine.golden(&manifest.name), precision);
    let seconds = started.elapsed().as_secs_f64();
    let passed = outcome.passed;
    match (passed, &outcome.message) {
        (Some(true), _) => print(format_args!("passed    loaded and computed in {seconds:.1} s")),
        (None, _) => print(format_args!("unproven  loaded in {seconds:.1} s; there is no golden case to compare with")),
        (Some(false), error) => print(format_args!("FAILED    {}", error.as_deref().unwrap_or_default())),
    }
    let state = if passed == Some(true) { engine.differs_when_repeated(&manifest.name) } else { Ok(None) };
    let state = state.map_err(|error| vec![error.to_string()])?;
    if let Some(tensor) = &state {
        print(format_args!(
            "DIFFERS   «{tensor}» is not the same when the case is computed again: a module must keep no state, and compute the \
             same of the same"
        ));
    }
    remember(&arguments.here, &outcome);
    Ok(match passed {
        Some(true) if state.is_some() => exit::PARTLY,
        Some(true) => exit::DONE,
        Some(false) => exit::FAILED,
        None => exit::PARTLY,
    })
}

fn print_table(differences: &[TensorDifference], precision: Precision) {
    if differences.is_empty() {
        return;
    }
    let width = |text: fn(&TensorDifference) -> &str| differences.iter().map(|d| text(d).len()).max().unwrap_or(0);
    let (name, shape) = (width(|d| &d.tensor).max(6), width(|d| &d.expected).max(14));
    let allowed = if precision == Precision::Float32 { "allowed" } else { "allowed in half precision" };
    print(format_args!("\n{:<name$}  {:<shape$}  {:>24}  {allowed}", "tensor", "type and shape", "largest difference"));
    for difference in differences {
        let (off, allowed) = match difference.distance {
            Some(Distance::Relative(off, allowed)) => (format!("{off:.2e}"), format!("{allowed:.0e}")),
            Some(Distance::Labels(off, of, allowed)) => {
                (format!("{off} of {of} differ"), format!("a share of {allowed}"))
            }
            None => (String::new(), String::new()),
        };
        let fault = difference.fault.as_deref().map(|fault| format!("  WRONG: {fault}")).unwrap_or_default();
        let (tensor, expected) = (&difference.tensor, &difference.expected);
        print(format_args!("{tensor:<name$}  {expected:<shape$}  {off:>24}  {allowed}{fault}"));
    }
    print(format_args!("(numbers: |difference| / max(1, |expected|))\n"));
}

fn remember(here: &Here, outcome: &Outcome) {
    let Some(checks) = here.checks() else {
        say(format_args!(
            "the outcome is not remembered: neither XDG_STATE_HOME nor HOME is set, and no --state given"
        ));
        return;
    };
    if let Err(error) = checks.keep(outcome) {
        say(format_args!("the outcome could not be remembered: {error}"));
    }
}
