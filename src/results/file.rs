//! Part 10 files of result objects (PS3.10 section 7), Explicit VR Little Endian: what every archive takes.

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};

use super::ResultError;
use crate::dicom::data_set::DataSet;
use crate::dicom::encode::{Layout, encode, length_of, part10_header};
use crate::dicom::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid, UidError};

pub(super) fn segmentation_storage() -> Result<SopClassUid, ResultError> {
    SopClassUid::parse(uids::SEGMENTATION_STORAGE).map_err(|e| our_own(&e))
}

pub(super) fn parametric_map_storage() -> Result<SopClassUid, ResultError> {
    SopClassUid::parse(uids::PARAMETRIC_MAP_STORAGE).map_err(|e| our_own(&e))
}

pub(super) fn comprehensive_3d_sr_storage() -> Result<SopClassUid, ResultError> {
    SopClassUid::parse(uids::COMPREHENSIVE3_DSR_STORAGE).map_err(|e| our_own(&e))
}

pub(super) fn explicit_little_endian() -> Result<TransferSyntaxUid, ResultError> {
    TransferSyntaxUid::parse(uids::EXPLICIT_VR_LITTLE_ENDIAN).map_err(|e| our_own(&e))
}

/// The file that holds a data set, and behind it as many bytes of pixel data as `pixels` says, which the caller appends:
/// the buffer is reserved once for all, and the element's head is already written.
pub(super) fn begin(
    data_set: &DataSet,
    sop_class: &SopClassUid,
    sop_instance: &SopInstanceUid,
    pixels: Option<(VR, u32)>,
) -> Result<Vec<u8>, ResultError> {
    let mut out = part10_header(sop_class, sop_instance, &explicit_little_endian()?, None);
    let pixel_length = pixels.map_or(0, |(_, length)| 12 + length as usize);
    out.reserve_exact(length_of(data_set, Layout::ExplicitLe) + pixel_length);
    out.extend(encode(data_set, Layout::ExplicitLe));
    if let Some((vr, length)) = pixels {
        out.extend(tags::PIXEL_DATA.group().to_le_bytes());
        out.extend(tags::PIXEL_DATA.element().to_le_bytes());
        out.extend(vr.to_bytes());
        out.extend([0, 0]);
        out.extend(length.to_le_bytes());
    }
    Ok(out)
}

fn our_own(error: &UidError) -> ResultError {
    ResultError::ReadBack { object: "file", difference: error.to_string() }
}
