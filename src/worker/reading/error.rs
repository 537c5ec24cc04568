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
    /// The worker vanished with the job as often as it may be tried: whoever made the model must act, or the operator. What
    /// the index says of the last time.
    #[error("{0}")]
    Vanished(String),
    /// The index does not say what the series is: the operator must act.
    #[error("the series could not be looked up: {cause}")]
    Index {
        /// What the index said.
        cause: String,
        /// Whether it could not be asked now; what is damaged is no other the next time.
        may_pass: bool,
    },
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
            Self::Index { may_pass, .. } => *may_pass,
            Self::Engine(error) => error.retryable(),
            Self::Unreadable | Self::Mixed(_) | Self::Vanished(_) => false,
            Self::Unusable(_) | Self::Embeddings(_) | Self::Result(_) => false,
        }
    }

    /// Who must act: `peer`, who sent it; `model author`; `operator`; `us`, who make overread.
    #[must_use]
    pub const fn acts(&self) -> &'static str {
        match self {
            Self::File(_) | Self::Vanished(_) | Self::Index { .. } | Self::NotSaved(_) => "operator",
            Self::Unreadable | Self::Mixed(_) => "peer",
            Self::Engine(error) => error.acts().as_str(),
            Self::Unusable(_) | Self::Embeddings(_) | Self::Result(_) => "us",
        }
    }

    /// The cause for a report, which leaves, and of whose text its UIDs are derived: where our files lie is for our own log.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::File(_) => "a file of the series cannot be read".to_owned(),
            Self::Index { .. } => "the series could not be looked up".to_owned(),
            Self::NotSaved(_) => "the results could not be saved".to_owned(),
            Self::Vanished(_) => "the worker ended while it had the job, as often as it may be tried".to_owned(),
            Self::Engine(error) => error.told(),
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
            Self::Index { .. } => "index",
            Self::NotSaved(_) | Self::Unusable(_) => "not-saved",
            Self::Engine(error) => error.code(),
            Self::Embeddings(_) => "embeddings",
            Self::Result(_) => "result",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_report_is_told_names_no_file_of_ours() {
        let cause = || "/var/lib/overread/1.dcm: Input/output error (os error 5)".to_owned();
        let model = || "m".to_owned();
        let told = [
            (ReadingError::File(cause()), "a file of the series cannot be read"),
            (ReadingError::Index { cause: cause(), may_pass: true }, "the series could not be looked up"),
            (ReadingError::NotSaved(cause()), "the results could not be saved"),
            (ReadingError::Vanished(cause()), "the worker ended while it had the job, as often as it may be tried"),
            (EngineError::Load { model: model(), message: cause() }.into(), "model «m» cannot be loaded"),
            (EngineError::NotServed { model: model(), reason: cause() }.into(), "model «m» is not served"),
            (
                EngineError::Internal { model: model(), message: cause() }.into(),
                "internal fault while running model «m»",
            ),
        ];
        for (error, told) in told {
            assert!(error.to_string().contains("/var/lib/overread"), "the log has it: {error}");
            assert_eq!(error.told(), told);
        }
        // What the model said is told.
        let raised = ReadingError::from(EngineError::ModelRaised { model: model(), message: "no lungs".to_owned() });
        assert_eq!(raised.told(), raised.to_string());
    }
}
