//! An instance on its way out: its data set as it is, or between the uncompressed little-endian encodings.

use std::borrow::Cow;

use bytes::Bytes;
use dicom_dictionary_std::uids;

use crate::dicom::encode::{Layout, encode};
use crate::dicom::parse::{ParseError, parse};
use crate::dicom::part10::{Part10, Part10Error};
use crate::dicom::transfer_syntax::NATIVE;
use crate::dicom::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid};

/// A DICOM file that is to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct OutgoingInstance {
    sop_class: SopClassUid,
    sop_instance: SopInstanceUid,
    transfer_syntax: TransferSyntaxUid,
    part10: Part10,
}

/// Why an instance cannot be sent. Whoever made the file must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstanceError {
    /// It is no DICOM file, or its file meta information is not as it should be.
    #[error(transparent)]
    File(#[from] Part10Error),
    /// It has to be re-encoded, and cannot be read.
    #[error("the data set cannot be re-encoded: {0}")]
    DataSet(#[from] ParseError),
}

/// What happens to a data set on its way out; the order is that of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Converted {
    /// Nothing: byte for byte.
    Not,
    /// Written anew in Explicit VR Little Endian.
    ExplicitLe,
    /// Written anew in Implicit VR Little Endian.
    ImplicitLe,
}

impl OutgoingInstance {
    /// Takes a whole DICOM file.
    ///
    /// # Errors
    /// [`InstanceError::File`] when it is none.
    pub fn from_file(file: &Bytes) -> Result<Self, InstanceError> {
        let part10 = Part10::split(file)?;
        Ok(Self {
            sop_class: part10.sop_class()?,
            sop_instance: part10.sop_instance()?,
            transfer_syntax: part10.transfer_syntax()?,
            part10,
        })
    }

    /// Its SOP class.
    #[must_use]
    pub fn sop_class(&self) -> &SopClassUid {
        &self.sop_class
    }

    /// Its SOP Instance UID.
    #[must_use]
    pub fn sop_instance(&self) -> &SopInstanceUid {
        &self.sop_instance
    }

    /// How the file is encoded.
    #[must_use]
    pub fn transfer_syntax(&self) -> &TransferSyntaxUid {
        &self.transfer_syntax
    }

    /// How it can be sent in a context of this transfer syntax, if at all.
    #[must_use]
    pub fn conversion_to(&self, accepted: &TransferSyntaxUid) -> Option<Converted> {
        if *accepted == self.transfer_syntax {
            return Some(Converted::Not);
        }
        // Encapsulated pixel data would have to be decoded: not here.
        let native = NATIVE.contains(&self.transfer_syntax.as_str());
        match accepted.as_str() {
            uids::EXPLICIT_VR_LITTLE_ENDIAN if native => Some(Converted::ExplicitLe),
            uids::IMPLICIT_VR_LITTLE_ENDIAN if native => Some(Converted::ImplicitLe),
            _ => None,
        }
    }

    /// The bytes to send.
    ///
    /// # Errors
    /// [`InstanceError::DataSet`] when it has to be read and cannot.
    pub fn data_set_for(&self, converted: Converted) -> Result<Cow<'_, [u8]>, InstanceError> {
        let layout = match converted {
            Converted::Not => return Ok(Cow::Borrowed(&self.part10.data_set)),
            Converted::ExplicitLe => Layout::ExplicitLe,
            Converted::ImplicitLe => Layout::ImplicitLe,
        };
        let (encoding, bytes) = self.part10.inflated()?;
        Ok(Cow::Owned(encode(&parse(&bytes, encoding)?, layout)))
    }
}
