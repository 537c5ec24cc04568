//! Why a series was not read, and who must act.

use crate::inference::error::EngineError;
use crate::results::ResultError;
use crate::volume::Refusal;

/// Why there is no reading.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// A file could not be read: the operator must act, and it may pass.
    #[error("a file of the series cannot be read: {0}")]
    File(String),
    /// Not one instance of the series can be read: whoever sent it must act.
    #[error("not one instance of the series can be read")]
    Unreadable,
    /// The series is several: of several patients, studies or series. A report would stand under one of them and speak of
    /// the others: whoever sent it must act.
    #[error("no report can be written: {0}")]
    Mixed(Refusal),
    /// The worker vanished with the job as often as it may be tried: whoever made the model must act, or the operator.
    #[error("{0}")]
    Vanished(String),
    /// The index does not say what the series is: the operator must act.
    #[error("the series could not be looked up: {0}")]
    Index(String),
    /// The results are not saved: the operator must act, and it may pass.
    #[error("the results could not be saved: {0}")]
    NotSaved(String),
    /// The results are none that can be saved: ours to act.
    #[error("the results could not be saved: {0}")]
    Unusable(String),
    /// The model did not do it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The embeddings could not be written: ours to act.
    #[error("the embeddings cannot be written: {0}")]
    Embeddings(String),
    /// The objects could not be written.
    #[error(transparent)]
    Result(#[from] ResultError),
}

impl ReadingError {
    /// Whether another attempt may help.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::File(_) | Self::NotSaved(_) => true,
            Self::Engine(error) => error.retryable(),
            Self::Unreadable | Self::Mixed(_) | Self::Vanished(_) | Self::Index(_) => false,
            Self::Unusable(_) | Self::Embeddings(_) | Self::Result(_) => false,
        }
    }

    /// Who must act: `peer`, who sent it; `model author`; `operator`; `us`, who make overread.
    #[must_use]
    pub const fn acts(&self) -> &'static str {
        match self {
            Self::File(_) | Self::Vanished(_) | Self::Index(_) | Self::NotSaved(_) => "operator",
            Self::Unreadable | Self::Mixed(_) => "peer",
            Self::Engine(error) => error.acts().as_str(),
            Self::Unusable(_) | Self::Embeddings(_) | Self::Result(_) => "us",
        }
    }

    /// The cause for a report, which leaves: where our files lie is for our own log.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::NotSaved(_) => "the results could not be saved".to_owned(),
            other => other.to_string(),
        }
    }

    /// A short stable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Unreadable => "unreadable",
            Self::Mixed(refusal) => refusal.code(),
            Self::Vanished(_) => "worker-vanished",
            Self::Index(_) => "index",
            Self::NotSaved(_) | Self::Unusable(_) => "not-saved",
            Self::Engine(error) => error.code(),
            Self::Embeddings(_) => "embeddings",
            Self::Result(_) => "result",
        }
    }
}
