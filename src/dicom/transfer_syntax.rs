//! How a transfer syntax lays out a data set (PS3.5 section 10 and annex A).

use dicom_dictionary_std::uids;

use super::uid::TransferSyntaxUid;

/// The layout of the elements; how pixel data is compressed is the volume's concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Implicit VR Little Endian.
    ImplicitLe,
    /// Explicit VR Little Endian, all encapsulated syntaxes included.
    ExplicitLe,
    /// Explicit VR Big Endian, retired but met.
    ExplicitBe,
    /// Explicit VR Little Endian behind a raw deflate stream over the whole data set.
    DeflatedExplicitLe,
}

impl Encoding {
    /// The layout that a transfer syntax asks for; an unknown syntax is taken as explicit little endian, as annex A.4
    /// requires of every encapsulated one.
    #[must_use]
    pub fn of(transfer_syntax: &TransferSyntaxUid) -> Self {
        match transfer_syntax.as_str() {
            uids::IMPLICIT_VR_LITTLE_ENDIAN => Self::ImplicitLe,
            #[expect(deprecated, reason = "retired syntaxes still arrive")]
            uids::EXPLICIT_VR_BIG_ENDIAN => Self::ExplicitBe,
            uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN | "1.2.840.10008.1.2.4.95" | "1.2.840.10008.1.2.4.205" => {
                Self::DeflatedExplicitLe
            }
            _ => Self::ExplicitLe,
        }
    }
}
