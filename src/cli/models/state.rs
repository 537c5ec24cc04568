//! What is remembered of checks: a file each, in the user's state folder. Packages are often read-only, and shared by
//! machines whose devices compute differently: how a check went is no part of them.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::shown_time;
use crate::clock::Timestamp;
use crate::inference::engine::Engine;
use crate::inference::package::VerifiedModel;

/// Names the folder in the place of the user's own.
pub(super) const VARIABLE: &str = "OVERREAD_STATE";

/// Outcomes of golden checks.
pub(in crate::cli) struct Checks(PathBuf);

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Outcome {
    /// Package name.
    pub(in crate::cli) model: String,
    /// Of manifest and golden case, see `VerifiedModel::proof_sha256`.
    pub(super) proof_sha256: String,
    /// `cpu`, `cuda:0`.
    pub(super) device: String,
    /// UTC, as `2026-01-31 12:00:00Z`.
    pub(super) time: String,
    /// Whether it passed; `None`: it has no golden case, and could be loaded.
    pub(super) passed: Option<bool>,
    /// Why it did not.
    pub(super) message: Option<String>,
}

impl Outcome {
    /// How a package did when the engine was started, which loads it and computes its golden case.
    pub(super) fn of(engine: &Engine, model: &str, proof_sha256: String, now: Timestamp) -> Self {
        let refused = engine.refused().find(|(package, _)| package.manifest().name == model);
        let message = refused.map(|(_, error)| error.to_string());
        let passed = match (&message, engine.golden(model)) {
            (Some(_), _) => Some(false),
            (None, []) => None,
            (None, _) => Some(true),
        };
        Self { model: model.to_owned(), proof_sha256, device: engine.device(), time: shown_time(now), passed, message }
    }

    /// The same of all packages, but for those whose files cannot be read any more.
    pub(in crate::cli) fn of_all(engine: &Engine, now: Timestamp) -> Vec<Self> {
        let packages = engine.served().chain(engine.refused().map(|(package, _)| package));
        let of = |package: &VerifiedModel| {
            Some(Self::of(engine, &package.manifest().name, package.proof_sha256().ok()?, now))
        };
        packages.filter_map(of).collect()
    }
}

/// `overread` below the user's folder for state; nothing where the environment names none.
pub(super) fn folder() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = named("XDG_STATE_HOME").or_else(|| named("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("overread"))
}

impl Checks {
    /// Where a command keeps them that has no option for it; nothing where the environment names no place.
    pub(in crate::cli) fn of_user() -> Option<Self> {
        let named = std::env::var_os(VARIABLE).map(PathBuf::from);
        named.or_else(folder).map(|folder| Self::in_folder(&folder))
    }

    pub(super) fn in_folder(state: &Path) -> Self {
        Self(state.join("golden-checks"))
    }

    /// A package that was changed, or another device, has a file of its own.
    fn file(&self, proof_sha256: &str, device: &str) -> PathBuf {
        self.0.join(format!("{proof_sha256}.{}.json", device.replace(':', "-")))
    }

    /// How the last check of a package went on a device; nothing where there was none, or what is kept of it is damaged.
    pub(super) fn last(&self, proof_sha256: &str, device: &str) -> Option<Outcome> {
        let text = std::fs::read(self.file(proof_sha256, device)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Keeps an outcome in the place of the one before.
    ///
    /// # Errors
    /// It cannot be written.
    pub(in crate::cli) fn keep(&self, outcome: &Outcome) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
        serde_json::to_writer_pretty(&mut file, outcome)?;
        file.persist(self.file(&outcome.proof_sha256, &outcome.device))?;
        Ok(())
    }
}
