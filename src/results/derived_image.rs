//! What Segmentation and Parametric Map have in common as images (PS3.3 C.7.4.1, C.7.6.1, C.7.6.3, C.12.2).

use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::ResultError;
use super::equipment::untrained_prefix;
use super::evidence;
use super::plain_text::{plain, plain_name};
use super::request::ResultRequest;
use crate::dicom::data_set::DataSet;
use crate::volume::LossyCompression;

/// Frame of Reference Module (PS3.3 C.7.4.1).
pub(super) fn put_frame_of_reference(object: &mut DataSet, request: &ResultRequest<'_>, uid: &str) {
    object.put_uid(tags::FRAME_OF_REFERENCE_UID, uid);
    let indicator = request.source.header.bytes(tags::POSITION_REFERENCE_INDICATOR).cloned();
    object.put_bytes(tags::POSITION_REFERENCE_INDICATOR, VR::LO, indicator.unwrap_or_default());
}

/// How an image without a place in the patient lies, as its source says; empty where it does not (PS3.3 C.7.6.1.1.1,
/// type 2C).
pub(super) fn put_patient_orientation(object: &mut DataSet, request: &ResultRequest<'_>) {
    let orientation = request.source.header.bytes(tags::PATIENT_ORIENTATION).cloned();
    object.put_bytes(tags::PATIENT_ORIENTATION, VR::CS, orientation.unwrap_or_default());
}

/// General Image and Image Pixel modules (PS3.3 C.7.6.1, C.7.6.3): grey, unsigned, of `bits` bits, as lossy as the source.
pub(super) fn put_pixel_description(
    object: &mut DataSet,
    request: &ResultRequest<'_>,
    frames: usize,
    shape: [usize; 3],
    bits: u16,
) -> Result<(), ResultError> {
    let sixteen_bits = |size: usize| {
        u16::try_from(size)
            .map_err(|_| ResultError::Source(format!("{size} rows or columns are more than an image has")))
    };
    object.put_us(tags::SAMPLES_PER_PIXEL, &[1]);
    object.put_text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    object.put_text(tags::NUMBER_OF_FRAMES, VR::IS, &frames.to_string());
    object.put_us(tags::ROWS, &[sixteen_bits(shape[1])?]);
    object.put_us(tags::COLUMNS, &[sixteen_bits(shape[2])?]);
    object.put_us(tags::BITS_ALLOCATED, &[bits]);
    object.put_us(tags::BITS_STORED, &[bits]);
    object.put_us(tags::HIGH_BIT, &[bits.saturating_sub(1)]);
    object.put_us(tags::PIXEL_REPRESENTATION, &[0]);
    object.put_text(tags::BURNED_IN_ANNOTATION, VR::CS, "NO");
    object.put_text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, if request.source.lossy.is_some() { "01" } else { "00" });
    if let Some(LossyCompression { ratio, method }) = &request.source.lossy {
        for (tag, vr, value) in [
            (tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, ratio),
            (tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, method),
        ] {
            if !value.is_empty() {
                object.put_bytes(tag, vr, value.clone());
            }
        }
    }
    Ok(())
}

/// Content Identification Macro (PS3.3 Table 10-12).
pub(super) fn put_content(object: &mut DataSet, request: &ResultRequest<'_>, label: &str, description: &str) {
    object.put_text(tags::CONTENT_LABEL, VR::CS, label);
    let description = format!("{}{description}", untrained_prefix(request));
    object.put_text(tags::CONTENT_DESCRIPTION, VR::LO, &plain(&description, 64));
    // A caret makes it a family name; without one it is the retired free form.
    let creator = format!("{}^", plain_name(&request.equipment.model_name));
    object.put_text(tags::CONTENT_CREATOR_NAME, VR::PN, &creator);
}

/// Common Instance Reference Module (PS3.3 C.12.2): viewers find the source series by it.
pub(super) fn put_references(object: &mut DataSet, request: &ResultRequest<'_>) {
    let mut series = DataSet::new();
    series.put_uid(tags::SERIES_INSTANCE_UID, request.source.series_instance_uid.as_str());
    series.put_items(tags::REFERENCED_INSTANCE_SEQUENCE, evidence::source_references(request));
    object.put_items(tags::REFERENCED_SERIES_SEQUENCE, vec![series]);
}

/// The length of native pixel data, even, where one element can hold it.
pub(super) fn pixel_length(bytes: usize) -> Result<u32, ResultError> {
    let length = u32::try_from(bytes + bytes % 2).ok().filter(|length| *length < u32::MAX - 1);
    length.ok_or_else(|| ResultError::Prediction("an object has more than 4 GB of pixels".into()))
}
