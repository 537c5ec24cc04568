//! Which SOP classes belong to which service (PS3.4), by the dictionary of PS3.6.

use dicom_core::dictionary::{UidDictionary, UidDictionaryEntry};
use dicom_dictionary_std::{StandardSopClassDictionary, uids};

use super::uid::SopClassUid;

/// A service class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Verification (PS3.4 annex A).
    Verification,
    /// Storage of what belongs to a patient (PS3.4 annex B).
    Storage,
    /// Query, the C-FIND of Patient Root, Study Root and Patient/Study Only (PS3.4 annex C).
    Query,
}

impl Service {
    /// The service that an abstract syntax asks for, if it is one of ours.
    #[must_use]
    pub fn of(abstract_syntax: &SopClassUid) -> Option<Self> {
        match abstract_syntax.as_str() {
            uids::VERIFICATION => Some(Self::Verification),
            uids::PATIENT_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND
            | uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND
            | PATIENT_STUDY_ONLY_FIND => Some(Self::Query),
            uid if is_storage(uid) => Some(Self::Storage),
            _ => None,
        }
    }
}

/// Patient/Study Only, retired and still asked for.
const PATIENT_STUDY_ONLY_FIND: &str = "1.2.840.10008.5.1.4.1.2.3.1";

/// Named «Storage» in the dictionary, but not of the Storage Service Class: storage commitment, the directory of media,
/// and the non-patient objects of PS3.4 annex GG, which have neither study nor series.
const OTHER_STORAGE: &[&str] = &[
    "1.2.840.10008.1.20.1",
    "1.2.840.10008.1.20.2",
    "1.2.840.10008.1.3.10",
    "1.2.840.10008.5.1.4.38.1",
    "1.2.840.10008.5.1.4.39.1",
    "1.2.840.10008.5.1.4.43.1",
    "1.2.840.10008.5.1.4.44.1",
    "1.2.840.10008.5.1.4.45.1",
    "1.2.840.10008.5.1.4.1.1.200.1",
    "1.2.840.10008.5.1.4.1.1.200.3",
    "1.2.840.10008.5.1.4.1.1.200.7",
    "1.2.840.10008.5.1.4.1.1.201.1",
];

fn is_storage(uid: &str) -> bool {
    let entry = StandardSopClassDictionary.by_uid(uid);
    entry.is_some_and(|entry| entry.name().contains("Storage")) && !OTHER_STORAGE.contains(&uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(uid: &str) -> Option<Service> {
        Service::of(&SopClassUid::parse(uid).unwrap())
    }

    #[test]
    fn images_reports_segmentations_and_retired_classes_are_stored() {
        for uid in [
            uids::CT_IMAGE_STORAGE,
            uids::SEGMENTATION_STORAGE,
            uids::COMPREHENSIVE3_DSR_STORAGE,
            "1.2.840.10008.5.1.4.1.1.3",
            "1.2.840.10008.5.1.4.1.1.104.1",
            "1.2.840.10008.5.1.4.34.7",
        ] {
            assert_eq!(service(uid), Some(Service::Storage), "{uid}");
        }
    }

    #[test]
    fn what_is_only_called_storage_is_not_served() {
        for uid in ["1.2.840.10008.1.20.1", "1.2.840.10008.1.3.10", "1.2.840.10008.5.1.4.38.1", "1.2.3"] {
            assert_eq!(service(uid), None, "{uid}");
        }
    }
}
