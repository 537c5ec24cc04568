//! Why a request is refused, and the one place where that becomes a status (PS3.7 annex C, PS3.4 tables B.2-1 and C.4-1).

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use crate::dicom::command::{Operation, Problem, Response};
use crate::dicom::parse::ParseError;
use crate::dicom::status::Status;
use crate::store::{StoreError, Unusable};

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The command set is at fault.
    #[error("{0}")]
    Command(Problem),
    /// A service that we do not have.
    #[error("{0:?} is not served")]
    Operation(Operation),
    /// The command names another SOP class than its presentation context, or one of another service.
    #[error("SOP class is not that of the presentation context")]
    SopClass,
    /// A command that must bring a data set does not.
    #[error("no data set follows the command")]
    NoDataSet,
    /// The data set is longer than allowed.
    #[error("data set is longer than {0} bytes")]
    TooLong(u64),
    /// The data set cannot be read.
    #[error("{0}")]
    DataSet(#[from] ParseError),
    /// The identifier of a query cannot be read.
    #[error("{0}")]
    Identifier(ParseError),
    /// The store does not take it.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl Refusal {
    /// Turns an answer into one that says this.
    pub(super) fn answer(&self, mut response: Response) -> Response {
        let (status, offending) = self.status();
        response.status = status;
        response.offending = offending.into_iter().collect();
        response.with_comment(self.comment())
    }

    /// Status, and the element at fault.
    fn status(&self) -> (Status, Option<Tag>) {
        match self {
            Self::Command(problem) => (problem.status(), problem.element()),
            Self::Operation(_) => (Status::UNRECOGNIZED_OPERATION, None),
            Self::SopClass => (Status::SOP_CLASS_NOT_SUPPORTED, Some(tags::AFFECTED_SOP_CLASS_UID)),
            Self::NoDataSet => (Status::INVALID_ATTRIBUTE_VALUE, Some(tags::COMMAND_DATA_SET_TYPE)),
            Self::TooLong(_) => (Status::OUT_OF_RESOURCES, None),
            Self::DataSet(error) => (Status::CANNOT_UNDERSTAND, element(error)),
            Self::Identifier(error) => (Status::DATA_SET_DOES_NOT_MATCH, element(error)),
            Self::Store(error) => store_status(error),
        }
    }

    /// Words for the peer; what went wrong in here is only for our own log.
    fn comment(&self) -> String {
        match self {
            Self::Store(StoreError::Unusable(unusable)) => unusable.to_string(),
            Self::Store(StoreError::DiskReserve { .. }) => "no space left for more instances".to_owned(),
            Self::Store(_) => "could not be stored".to_owned(),
            other => other.to_string(),
        }
    }
}

fn store_status(error: &StoreError) -> (Status, Option<Tag>) {
    match error {
        StoreError::DiskReserve { .. } => (Status::OUT_OF_RESOURCES, None),
        StoreError::Unusable(unusable) => match unusable {
            Unusable::Study(_) => (Status::CANNOT_UNDERSTAND, Some(tags::STUDY_INSTANCE_UID)),
            Unusable::Series(_) => (Status::CANNOT_UNDERSTAND, Some(tags::SERIES_INSTANCE_UID)),
            Unusable::OtherInstance => (Status::DATA_SET_DOES_NOT_MATCH, Some(tags::SOP_INSTANCE_UID)),
            Unusable::OtherClass => (Status::DATA_SET_DOES_NOT_MATCH, Some(tags::SOP_CLASS_UID)),
            Unusable::NotDicom(_) => (Status::CANNOT_UNDERSTAND, None),
        },
        StoreError::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            (Status::OUT_OF_RESOURCES, None)
        }
        // Going down: the peer may come again.
        StoreError::Closed => (Status::OUT_OF_RESOURCES, None),
        _ => (Status::PROCESSING_FAILURE, None),
    }
}

/// The element at which reading stopped, where it is known.
fn element(error: &ParseError) -> Option<Tag> {
    match error {
        ParseError::Truncated { tag, .. } | ParseError::NoVr { tag, .. } | ParseError::UndefinedLength(tag) => {
            Some(*tag).filter(|tag| *tag != Tag(0, 0))
        }
        ParseError::NotAnItem { .. }
        | ParseError::TooDeep(_)
        | ParseError::TooManyElements
        | ParseError::Deflate(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_status_and_its_element() {
        let cases = [
            (Refusal::SopClass, 0x0122),
            (Refusal::TooLong(1), 0xA700),
            (Refusal::DataSet(ParseError::TooDeep(0)), 0xC000),
            (Refusal::Identifier(ParseError::TooDeep(0)), 0xA900),
            (Refusal::Store(StoreError::DiskReserve { free: 1, reserve: 2 }), 0xA700),
            (Refusal::Store(StoreError::Unusable(Unusable::OtherInstance)), 0xA900),
            (Refusal::Store(StoreError::Damaged(String::new())), 0x0110),
        ];
        for (refusal, status) in cases {
            assert_eq!(refusal.status().0, Status(status), "{refusal:?}");
        }
        let missing = Refusal::Store(StoreError::Unusable(Unusable::Study(crate::dicom::uid::UidError::Empty)));
        assert_eq!(missing.status(), (Status::CANNOT_UNDERSTAND, Some(tags::STUDY_INSTANCE_UID)));
    }

    #[test]
    fn the_peer_is_not_told_where_our_files_lie() {
        let refusal = Refusal::Store(StoreError::InUse("/secret".into()));
        assert!(!refusal.comment().contains("secret"));
    }
}
