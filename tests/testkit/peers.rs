//! Other people's programs that judge what overread writes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a program printed, both streams together, and whether it ended well.
pub struct Judgement {
    pub text: String,
    pub success: bool,
}

/// Runs a program of Debian's `dcmtk` or `dicom3tools`.
pub fn judge(program: &str, arguments: &[&Path]) -> Judgement {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program} must be installed (Debian: dcmtk, dicom3tools): {e}"));
    judgement(&output)
}

/// Runs a script of `tests/python` in the project's virtual environment.
pub fn python(script: &str, arguments: &[&Path]) -> Judgement {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join(".tools/venv/bin/python"))
        .arg(root.join("tests/python").join(script))
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("the virtual environment is made by `make test`: {e}"));
    judgement(&output)
}

/// Lines that report an error, not a warning.
pub fn errors(judgement: &Judgement) -> Vec<&str> {
    judgement.text.lines().filter(|line| line.starts_with("Error") || line.starts_with("E:")).collect()
}

fn judgement(output: &Output) -> Judgement {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Judgement { text, success: output.status.success() }
}
