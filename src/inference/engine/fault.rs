//! What goes wrong during a run, before it is known as an error of a package.

use std::time::Duration;

use tch::TchError;

use crate::inference::error::EngineError;

/// What went wrong.
#[derive(Debug)]
pub(super) enum Fault {
    /// libtorch or the module raised an error, with this text.
    Torch(String),
    /// What a module returned is not what the manifest says.
    Wrong(String),
    /// The subject contradicts itself: the model had no part in it.
    Subject(String),
    /// The label map of the gate is needed and was not given.
    NoGate,
    /// The time is over; this much was given.
    Late(Duration),
    /// The modules cannot be loaded.
    Load(String),
    /// The golden case does not fit the package.
    Case(String),
    /// Known as an error already.
    Engine(EngineError),
}

impl From<TchError> for Fault {
    fn from(error: TchError) -> Self {
        // Without the words that `tch` puts before the text of libtorch.
        Self::Torch(match error {
            TchError::Torch(text) => text,
            other => other.to_string(),
        })
    }
}

impl Fault {
    /// Says which module of several it was.
    pub(super) fn within(self, module: &str) -> Self {
        match self {
            Self::Torch(text) => Self::Torch(format!("module «{module}»: {text}")),
            Self::Wrong(message) => Self::Wrong(format!("module «{module}»: {message}")),
            other => other,
        }
    }

    /// Whether less memory might help.
    pub(super) fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Torch(text) | Self::Load(text) if matches!(EngineError::from_torch("", text), EngineError::OutOfMemory { .. }))
    }

    /// As an error of a package.
    pub(super) fn of(self, model: &str) -> EngineError {
        let model = model.to_owned();
        match self {
            Self::Torch(text) => EngineError::from_torch(&model, &text),
            Self::Wrong(message) => EngineError::WrongOutput { model, message },
            Self::Subject(message) => EngineError::Internal { model, message },
            Self::NoGate => EngineError::NoGate { model },
            Self::Late(limit) => EngineError::TimeLimit { model, limit },
            // Memory and the device are no faults of the package.
            Self::Load(text) => match EngineError::from_torch(&model, &text) {
                EngineError::ModelRaised { message, .. } => EngineError::Load { model, message },
                other => other,
            },
            Self::Case(message) => EngineError::Golden { model, message },
            Self::Engine(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_runs_out_while_loading_is_no_fault_of_the_package() {
        let full = Fault::Load("model.pt: CUDA out of memory. Tried to allocate 2 GiB".to_owned());
        assert!(full.is_out_of_memory());
        assert_eq!(
            (full.of("m").code(), Fault::Load("model.pt: no archive".to_owned()).of("m").code()),
            ("out-of-memory", "model-load")
        );
    }
}
