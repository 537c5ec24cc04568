//! DICOM files (PS3.10 section 7): where the file meta information ends and the data set begins.

use bytes::Bytes;
use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::data_set::DataSet;
use super::parse::{ParseError, parse};
use super::transfer_syntax::Encoding;
use super::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid, UidError};

/// A DICOM file, cut in two; nothing of it is copied.
#[derive(Debug, Clone, PartialEq)]
pub struct Part10 {
    /// Group 0002.
    pub meta: DataSet,
    /// How the data set is encoded.
    pub transfer_syntax: TransferSyntaxUid,
    /// Everything behind group 0002, as it is.
    pub data_set: Bytes,
}

/// Why bytes are not a DICOM file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Part10Error {
    /// No `DICM` behind the preamble.
    #[error("this is not a DICOM file: «DICM» is missing at byte 128")]
    NotDicom,
    /// The file meta information cannot be read.
    #[error("the file meta information cannot be read: {0}")]
    Meta(#[from] ParseError),
    /// An identifier in the file meta information is missing or no UID.
    #[error("{tag} in the file meta information: {reason}")]
    Uid {
        /// Which.
        tag: Tag,
        /// Why.
        reason: UidError,
    },
}

impl Part10 {
    /// Cuts a file. The group length is not relied on: some writers leave it out, or get it wrong.
    ///
    /// # Errors
    /// [`Part10Error`] says what is not as it should be.
    pub fn split(file: &Bytes) -> Result<Self, Part10Error> {
        if file.get(128..132) != Some(b"DICM".as_slice()) {
            return Err(Part10Error::NotDicom);
        }
        let end = 132 + length_of_meta(&file[132..]);
        let meta = parse(&file.slice(132..end), Encoding::ExplicitLe)?;
        let transfer_syntax = meta
            .uid(tags::TRANSFER_SYNTAX_UID, TransferSyntaxUid::parse)
            .map_err(|reason| Part10Error::Uid { tag: tags::TRANSFER_SYNTAX_UID, reason })?;
        Ok(Self { meta, transfer_syntax, data_set: file.slice(end..) })
    }

    /// Media Storage SOP Class UID (0002,0002).
    ///
    /// # Errors
    /// [`Part10Error::Uid`] where it is missing or no UID.
    pub fn sop_class(&self) -> Result<SopClassUid, Part10Error> {
        let tag = tags::MEDIA_STORAGE_SOP_CLASS_UID;
        self.meta.uid(tag, SopClassUid::parse).map_err(|reason| Part10Error::Uid { tag, reason })
    }

    /// Media Storage SOP Instance UID (0002,0003).
    ///
    /// # Errors
    /// [`Part10Error::Uid`] where it is missing or no UID.
    pub fn sop_instance(&self) -> Result<SopInstanceUid, Part10Error> {
        let tag = tags::MEDIA_STORAGE_SOP_INSTANCE_UID;
        self.meta.uid(tag, SopInstanceUid::parse).map_err(|reason| Part10Error::Uid { tag, reason })
    }
}

/// How many bytes from the first element on belong to group 0002, which is always Explicit VR Little Endian.
fn length_of_meta(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&[2, 0, _, _, a, b, low, high]) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let long = matches!(&[a, b], b"OB" | b"OW" | b"UN" | b"UT" | b"SQ" | b"UC" | b"UR");
        let (head, length) = if long {
            let Some(length) = bytes.get(at + 8..).and_then(|rest| rest.first_chunk::<4>()) else { break };
            (12, u32::from_le_bytes(*length) as usize)
        } else {
            (8, usize::from(u16::from_le_bytes([low, high])))
        };
        at = (at + head).saturating_add(length);
    }
    at.min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::super::encode::part10_header;
    use super::*;

    #[test]
    fn our_own_header_is_cut_off_exactly() {
        let class = SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap();
        let instance = SopInstanceUid::parse("1.2.3").unwrap();
        let syntax = TransferSyntaxUid::parse("1.2.840.10008.1.2").unwrap();
        let mut file = part10_header(&class, &instance, &syntax, Some("PACS"));
        file.extend_from_slice(&[8, 0, 5, 0, 0, 0, 0, 0]);
        let part10 = Part10::split(&file.into()).unwrap();
        assert_eq!((part10.sop_class().unwrap(), part10.sop_instance().unwrap()), (class, instance));
        assert_eq!(part10.transfer_syntax, syntax);
        assert_eq!(&part10.data_set[..], &[8, 0, 5, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_meta_element_longer_than_the_file_is_truncated() {
        let mut file = vec![0; 128];
        file.extend_from_slice(b"DICM\x02\x00\x10\x00UI\xFF\xFF1.2");
        assert!(matches!(Part10::split(&file.into()), Err(Part10Error::Meta(ParseError::Truncated { .. }))));
        assert_eq!(Part10::split(&Bytes::from_static(b"short")), Err(Part10Error::NotDicom));
    }
}
