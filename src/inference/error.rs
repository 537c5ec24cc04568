//! What can go wrong between a volume and a prediction, and who must act.

use std::any::Any;
use std::time::Duration;

/// Why a model gave no prediction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No package of this name was found.
    #[error("there is no model «{model}»")]
    UnknownModel {
        /// As asked for.
        model: String,
    },
    /// The package failed its checks when the engine started.
    #[error("model «{model}» is not served: {reason}")]
    NotServed {
        /// Package name.
        model: String,
        /// What failed.
        reason: String,
    },
    /// The weights cannot be loaded.
    #[error("model «{model}» cannot be loaded: {message}")]
    Load {
        /// Package name.
        model: String,
        /// The telling line.
        message: String,
    },
    /// The module raised an error.
    #[error("model «{model}» failed: {message}")]
    ModelRaised {
        /// Package name.
        model: String,
        /// The telling line.
        message: String,
    },
    /// What the module returned is not what its manifest says.
    #[error("model «{model}» returned something else than its manifest says: {message}")]
    WrongOutput {
        /// Package name.
        model: String,
        /// Name of the tensor and what is wrong with it.
        message: String,
    },
    /// The golden case did not come out.
    #[error("the golden case of model «{model}» does not come out: {message}")]
    Golden {
        /// Package name.
        model: String,
        /// The difference.
        message: String,
    },
    /// The label map of the package's gate is needed and was not at hand.
    #[error("model «{model}» chooses its slices by the label map of its gate, which has not run")]
    NoGate {
        /// Package name.
        model: String,
    },
    /// There was not enough memory.
    #[error("model «{model}» ran out of memory: {message}")]
    OutOfMemory {
        /// Package name.
        model: String,
        /// The telling line.
        message: String,
    },
    /// By its estimate the package needs more memory than is free now: others use it.
    #[error("model «{model}» found too little memory free: {message}")]
    MemoryInUse {
        /// Package name.
        model: String,
        /// What it needs and what is free.
        message: String,
    },
    /// By its estimate the package needs more memory than there is.
    #[error("model «{model}» is too large for this machine: {message}")]
    TooLarge {
        /// Package name.
        model: String,
        /// What it needs and what there is.
        message: String,
    },
    /// The run took too long and was given up.
    #[error("model «{model}» did not end within {} s", limit.as_secs_f64())]
    TimeLimit {
        /// Package name.
        model: String,
        /// The limit.
        limit: Duration,
    },
    /// The device failed or is not there.
    #[error("device {device}: {message}")]
    Device {
        /// As in the configuration: `cpu`, `cuda:0`.
        device: String,
        /// What is wrong.
        message: String,
    },
    /// Runs that were given up are still going on, or the device is lost: only a restart of the process helps.
    #[error("{reason}, the engine takes no more until the process starts anew")]
    Exhausted {
        /// What has happened.
        reason: String,
    },
    /// A fault of overread itself.
    #[error("internal fault while running model «{model}»: {message}")]
    Internal {
        /// Package name.
        model: String,
        /// What is known.
        message: String,
    },
}

/// Who must act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActsOn {
    /// Whoever made the package.
    ModelAuthor,
    /// Whoever runs the node.
    Operator,
    /// Whoever makes overread.
    Us,
}

impl ActsOn {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ModelAuthor => "model author",
            Self::Operator => "operator",
            Self::Us => "us",
        }
    }
}

impl EngineError {
    /// Whether the same run may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(
            self,
            Self::OutOfMemory { .. }
                | Self::MemoryInUse { .. }
                | Self::TimeLimit { .. }
                | Self::Device { .. }
                | Self::Exhausted { .. }
        )
    }

    /// Who must act.
    #[must_use]
    pub const fn acts(&self) -> ActsOn {
        match self {
            Self::ModelRaised { .. } | Self::WrongOutput { .. } | Self::Golden { .. } | Self::TimeLimit { .. } => {
                ActsOn::ModelAuthor
            }
            Self::UnknownModel { .. }
            | Self::NotServed { .. }
            | Self::Load { .. }
            | Self::OutOfMemory { .. }
            | Self::MemoryInUse { .. }
            | Self::TooLarge { .. }
            | Self::NoGate { .. }
            | Self::Device { .. }
            | Self::Exhausted { .. } => ActsOn::Operator,
            Self::Internal { .. } => ActsOn::Us,
        }
    }

    /// Short stable word for tables and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownModel { .. } => "unknown-model",
            Self::NotServed { .. } => "model-not-served",
            Self::Load { .. } => "model-load",
            Self::ModelRaised { .. } => "model-raised",
            Self::WrongOutput { .. } => "model-output",
            Self::Golden { .. } => "golden-case",
            Self::NoGate { .. } => "no-gate",
            Self::OutOfMemory { .. } | Self::MemoryInUse { .. } => "out-of-memory",
            Self::TooLarge { .. } => "too-large",
            Self::TimeLimit { .. } => "time-limit",
            Self::Device { .. } => "device",
            Self::Exhausted { .. } => "engine-exhausted",
            Self::Internal { .. } => "internal",
        }
    }

    /// In a sentence for a report, which leaves: without texts of the system and of this program, which may say where our
    /// files lie.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::NotServed { model, .. } => format!("model «{model}» is not served"),
            Self::Load { model, .. } => format!("model «{model}» cannot be loaded"),
            Self::Internal { model, .. } => format!("internal fault while running model «{model}»"),
            other => other.to_string(),
        }
    }

    /// An error of libtorch while `model` ran, by its text.
    #[must_use]
    pub fn from_torch(model: &str, text: &str) -> Self {
        let message = telling_line(text);
        let model = model.to_owned();
        let holds = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if holds(&["out of memory", "DefaultCPUAllocator", "bad_alloc", "ALLOC_FAILED", "ALLOCATION_FAILED"]) {
            return Self::OutOfMemory { model, message };
        }
        if holds(&["CUDA error", "cuDNN error", "CUBLAS_STATUS", "No CUDA GPUs", "no NVIDIA driver"]) {
            return Self::Device { device: "cuda".to_owned(), message };
        }
        Self::ModelRaised { model, message }
    }
}

/// The one line of libtorch's kilobytes of text that says what happened.
#[must_use]
pub fn telling_line(text: &str) -> String {
    let raised = |line: &&str| {
        let kind = line.split(": ").next().unwrap_or_default();
        let named = kind.ends_with("Error") || kind.ends_with("Exception");
        named && line.contains(": ") && kind.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_'))
    };
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let line = lines.iter().rev().copied().find(|line| raised(line)).or_else(|| lines.first().copied());
    line.unwrap_or("no message").chars().take(300).collect()
}

/// What a panic said.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAISED: &str = "The following operation failed in the TorchScript interpreter.\n\
        Traceback of TorchScript, serialized code (most recent call last):\n\
        \x20 File \"code/__torch__.py\", line 9, in forward\n\
        \x20   ops.prim.RaiseException(\"no lungs: sorry\")\n    ~~~ <--- HERE\n\
        RuntimeError: no lungs: sorry\n";

    #[test]
    fn of_a_traceback_the_last_line_that_names_an_error_is_kept() {
        assert_eq!(telling_line(RAISED), "RuntimeError: no lungs: sorry");
        let archive = "PytorchStreamReader failed reading zip archive: not a ZIP archive\nException raised from valid at \
                       ../inline_container.cc:42 (most recent call first):\nframe #0: c10::Error::Error()\n";
        assert_eq!(telling_line(archive), "PytorchStreamReader failed reading zip archive: not a ZIP archive");
        assert_eq!(telling_line(""), "no message");
        assert_eq!(telling_line(&"x".repeat(5000)).len(), 300);
    }

    #[test]
    fn errors_are_told_apart_by_who_must_act_and_whether_to_try_again() {
        let raised = EngineError::from_torch("m", RAISED);
        assert_eq!((raised.acts(), raised.retryable()), (ActsOn::ModelAuthor, false));
        let memory =
            EngineError::from_torch("m", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB");
        assert_eq!((memory.acts(), memory.retryable()), (ActsOn::Operator, true));
        for text in [
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        ] {
            assert_eq!(EngineError::from_torch("m", text).code(), "out-of-memory", "{text}");
        }
        let device = EngineError::from_torch("m", "CUDA error: an illegal memory access was encountered");
        assert_eq!((device.code(), device.retryable()), ("device", true));
    }
}
