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
    /// The time is over.
    Late,
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
        matches!(self, Self::Torch(text) if matches!(EngineError::from_torch("", text), EngineError::OutOfMemory { .. }))
    }

    /// As an error of a package whose run had `limit`.
    pub(super) fn of(self, model: &str, limit: Duration) -> EngineError {
        let model = model.to_owned();
        match self {
            Self::Torch(text) => EngineError::from_torch(&model, &text),
            Self::Wrong(message) => EngineError::WrongOutput { model, message },
            Self::Subject(message) => EngineError::Internal { model, message },
            Self::NoGate => EngineError::NoGate { model },
            Self::Late => EngineError::TimeLimit { model, limit },
        }
    }
}
