//! `overread models`: what is there.

use std::path::Path;

use serde_json::{Value, json};

use super::state::{Checks, Outcome};
use super::{Below, Here};
use crate::cli::{exit, print, say};
use crate::inference::engine::device_of;
use crate::inference::manifest::{Manifest, Origin};
use crate::inference::package::{NotInstalled, Packages, VerifiedModel, packages};

/// What the list is of.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    below: Below,
    #[command(flatten)]
    here: Here,
    /// One JSON array
    #[arg(long)]
    json: bool,
}

/// A package in the list.
struct Row<'m> {
    manifest: &'m Manifest,
    folder: &'m Path,
    /// Why it is not installed.
    absent: Option<&'m NotInstalled>,
    device: String,
    check: Option<Outcome>,
}

/// Looks and prints.
pub(super) fn list(arguments: &List) -> u8 {
    let folder = &arguments.below.folder;
    let found = packages(folder).map_err(|error| format!("models in {}: {error}", folder.display()));
    let device = device_of(arguments.here.device).map_err(|error| error.to_string());
    let (Packages { models, not_installed, faults }, device) = match (found, device) {
        (Ok(found), Ok(device)) => (found, device),
        (Err(error), _) | (_, Err(error)) => {
            say(format_args!("{error}"));
            return exit::FAILED;
        }
    };
    let checks = arguments.here.checks();
    let installed = models.iter().map(|package| Row::installed(package, &device, checks.as_ref()));
    let absent = not_installed.iter().map(|package| Row::absent(package, &device));
    let mut rows: Vec<Row<'_>> = installed.chain(absent).collect();
    rows.sort_by(|a, b| a.manifest.name.cmp(&b.manifest.name));
    if arguments.json {
        print(format_args!("{:#}", Value::Array(rows.iter().map(Row::json).collect())));
    } else if !rows.is_empty() {
        print(format_args!("{}", table(&rows)));
        for package in &not_installed {
            print(format_args!("{package}"));
        }
    }
    for fault in &faults {
        say(format_args!("{fault}"));
    }
    match (rows.is_empty(), faults.is_empty()) {
        (_, false) => exit::PARTLY,
        (true, true) => {
            say(format_args!("there is no model package in {}", folder.display()));
            exit::NOTHING
        }
        (false, true) => exit::DONE,
    }
}

impl<'m> Row<'m> {
    fn installed(package: &'m VerifiedModel, device: &str, checks: Option<&Checks>) -> Self {
        let proof = package.proof_sha256().ok();
        let check = proof.zip(checks).and_then(|(proof, checks)| checks.last(&proof, device));
        Self { manifest: package.manifest(), folder: package.folder(), absent: None, device: device.to_owned(), check }
    }

    fn absent(package: &'m NotInstalled, device: &str) -> Self {
        let NotInstalled { manifest, folder, .. } = package;
        Self { manifest, folder, absent: Some(package), device: device.to_owned(), check: None }
    }

    fn precision(&self) -> &'static str {
        let precisions = self.manifest.inference.precision;
        if self.device == "cpu" { precisions.cpu.as_str() } else { precisions.cuda.as_str() }
    }

    /// Its estimate for this device.
    fn memory_mb(&self) -> u64 {
        let estimates = self.manifest.inference.memory_mb;
        if self.device == "cpu" { estimates.cpu } else { estimates.cuda }
    }

    fn last_check(&self) -> String {
        match (&self.check, &self.manifest.golden) {
            _ if self.absent.is_some() => "-".to_owned(),
            (_, None) => "no golden case".to_owned(),
            (None, _) => "never".to_owned(),
            (Some(check), _) => {
                let word = if check.passed == Some(true) { "passed" } else { "FAILED" };
                format!("{word} {}", check.time)
            }
        }
    }

    fn cells(&self) -> [String; 8] {
        let model = self.manifest;
        let sha256 = if self.absent.is_some() { "-".to_owned() } else { model.weights_sha256()[..12].to_owned() };
        [
            model.name.clone(),
            model.version.clone(),
            origin(model.origin).to_owned(),
            if self.absent.is_some() { "no" } else { "yes" }.to_owned(),
            sha256,
            format!("{} {}", self.device, self.precision()),
            format!("{} MB", self.memory_mb()),
            self.last_check(),
        ]
    }

    fn json(&self) -> Value {
        let model = self.manifest;
        let absent = self.absent.map(|package| json!({ "missing": package.missing, "how": package.to_string() }));
        json!({
            "name": model.name,
            "version": model.version,
            "title": model.title,
            "origin": origin(model.origin),
            "folder": self.folder,
            "installed": self.absent.is_none(),
            "not_installed": absent,
            "weights_sha256": self.absent.is_none().then(|| model.weights_sha256()),
            "device": self.device,
            "precision": self.precision(),
            "memory_mb": self.memory_mb(),
            "golden_case": model.golden.is_some(),
            "last_check": self.check,
        })
    }
}

const fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Trained => "trained",
        Origin::Untrained => "untrained",
        Origin::Algorithm => "algorithm",
    }
}

const HEADINGS: [&str; 8] =
    ["name", "version", "origin", "installed", "weights", "device", "memory", "last golden check"];

fn table(rows: &[Row<'_>]) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    let lines = lines.iter().map(|line| {
        let cells: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}
