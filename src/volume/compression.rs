//! How a transfer syntax keeps pixels (PS3.5 section 10), in terms of what decodes them.

use dicom_dictionary_std::uids;

use crate::dicom::uid::TransferSyntaxUid;

/// What is to be done to get at the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Nothing: they lie in one run.
    Native,
    /// Nothing, but each frame is a fragment.
    EncapsulatedUncompressed,
    /// Each frame is a raw deflate stream.
    DeflatedFrame,
    /// PackBits by byte planes.
    RunLength,
    /// JPEG, every process.
    Jpeg,
    /// JPEG-LS.
    JpegLs,
    /// JPEG 2000 and HTJ2K.
    Jpeg2000,
}

impl Compression {
    /// The compression of a transfer syntax; `None` where it is not read (video, JPEG XL, JPIP, private ones).
    #[must_use]
    #[expect(deprecated, reason = "retired syntaxes still arrive")]
    pub fn of(transfer_syntax: &TransferSyntaxUid) -> Option<Self> {
        Some(match transfer_syntax.as_str() {
            uids::IMPLICIT_VR_LITTLE_ENDIAN
            | uids::EXPLICIT_VR_LITTLE_ENDIAN
            | uids::EXPLICIT_VR_BIG_ENDIAN
            | uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => Self::Native,
            uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN => Self::EncapsulatedUncompressed,
            uids::DEFLATED_IMAGE_FRAME_COMPRESSION => Self::DeflatedFrame,
            uids::RLE_LOSSLESS => Self::RunLength,
            uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT | uids::JPEG_LOSSLESS | uids::JPEG_LOSSLESS_SV1 => {
                Self::Jpeg
            }
            // Retired processes: spectral selection and full progression.
            "1.2.840.10008.1.2.4.53" | "1.2.840.10008.1.2.4.55" => Self::Jpeg,
            uids::JPEGLS_LOSSLESS | uids::JPEGLS_NEAR_LOSSLESS => Self::JpegLs,
            uids::JPEG2000_LOSSLESS
            | uids::JPEG2000
            | uids::JPEG2000MC_LOSSLESS
            | uids::JPEG2000MC
            | uids::HTJ2K_LOSSLESS
            | uids::HTJ2K_LOSSLESS_RPCL
            | uids::HTJ2K => Self::Jpeg2000,
            _ => return None,
        })
    }

    /// Whether a fragment can be the beginning of a frame.
    #[must_use]
    pub fn begins_frame(self, fragment: &[u8]) -> bool {
        match self {
            Self::Jpeg | Self::JpegLs => fragment.starts_with(&[0xFF, 0xD8, 0xFF]),
            Self::Jpeg2000 => fragment.starts_with(&[0xFF, 0x4F, 0xFF, 0x51]) || fragment.get(4..8) == Some(b"jP  "),
            // The number of segments, then the first one's offset, which is always 64.
            Self::RunLength => fragment.get(1..8) == Some(&[0, 0, 0, 64, 0, 0, 0]),
            Self::Native | Self::EncapsulatedUncompressed | Self::DeflatedFrame => false,
        }
    }
}
