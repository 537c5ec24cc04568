//! The series that a volume or a radiograph came from, as far as result objects copy it and refer to it.

use bytes::Bytes;
use dicom_core::dictionary::UidDictionary;
use dicom_dictionary_std::StandardSopClassDictionary;

use super::instance::InstanceHeader;
use crate::dicom::data_set::DataSet;
use crate::dicom::tags;
use crate::dicom::uid::{FrameOfReferenceUid, SeriesInstanceUid, SopClassUid, SopInstanceUid, StudyInstanceUid};

/// The series that a volume came from, as far as the result objects need it.
#[derive(Debug, Clone)]
pub struct SourceSeries {
    /// Of all slices.
    pub study_instance_uid: StudyInstanceUid,
    /// Of all slices.
    pub series_instance_uid: SeriesInstanceUid,
    /// Of the first slice; a series whose slices disagree gets a warning.
    pub frame_of_reference_uid: Option<FrameOfReferenceUid>,
    /// The header of the first slice, pixel data excluded: patient and study modules are copied from it to the byte.
    pub header: DataSet,
    /// Every instance that was read, in slice order, once each.
    pub instances: Vec<(SopClassUid, SopInstanceUid)>,
    /// How the first of them that was compressed with loss was compressed; `None` where none of them was.
    pub lossy: Option<LossyCompression>,
}

/// What an image says of a compression with loss (PS3.3 C.7.6.1.1.5), as it stands there, empty where it does not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LossyCompression {
    /// Lossy Image Compression Ratio (0028,2112).
    pub ratio: Bytes,
    /// Lossy Image Compression Method (0028,2114).
    pub method: Bytes,
}

/// Whether instances of a SOP class are images, by the name that the standard gives it; those without a name may be.
#[must_use]
pub fn is_image_storage(sop_class: &SopClassUid) -> bool {
    StandardSopClassDictionary.by_uid(sop_class.as_str()).is_none_or(|class| class.name.contains("Image Storage"))
}

impl LossyCompression {
    /// `None` where the image does not say that it was compressed with loss.
    pub(super) fn of(header: &DataSet) -> Option<Self> {
        let value = |tag| header.bytes(tag).cloned().unwrap_or_default();
        (header.text(tags::LOSSY_IMAGE_COMPRESSION).as_deref() == Some("01")).then(|| Self {
            ratio: value(tags::LOSSY_IMAGE_COMPRESSION_RATIO),
            method: value(tags::LOSSY_IMAGE_COMPRESSION_METHOD),
        })
    }
}

impl SourceSeries {
    /// Of a series whose patient and study `first` names, and of which `instances` were read.
    #[must_use]
    pub fn of<'a>(first: &InstanceHeader, instances: impl IntoIterator<Item = &'a InstanceHeader>) -> Self {
        let mut read = Vec::new();
        let mut lossy = None;
        for header in instances {
            read.push((header.sop_class_uid.clone(), header.sop_instance_uid.clone()));
            lossy = lossy.or_else(|| LossyCompression::of(&header.data_set));
        }
        Self {
            study_instance_uid: first.study_instance_uid.clone(),
            series_instance_uid: first.series_instance_uid.clone(),
            frame_of_reference_uid: first.data_set.uid(tags::FRAME_OF_REFERENCE_UID, FrameOfReferenceUid::parse).ok(),
            header: first.data_set.clone(),
            instances: read,
            lossy,
        }
    }
}
