//! What is remembered of checks: a file each, in the user's state folder. Packages are often read-only, and shared by
//! machines whose devices compute differently: how a check went is no part of them.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Outcomes of golden checks.
pub(super) struct Checks(PathBuf);

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Package name.
    pub(super) model: String,
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

/// `overread` below the user's folder for state; nothing where the environment names none.
pub(super) fn folder() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = named("XDG_STATE_HOME").or_else(|| named("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("overread"))
}

impl Checks {
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
    pub(super) fn keep(&self, outcome: &Outcome) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
        serde_json::to_writer_pretty(&mut file, outcome)?;
        file.persist(self.file(&outcome.proof_sha256, &outcome.device))?;
        Ok(())
    }
}
