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
            uids::IMPLICIT_VR_LITTLE_ENDIAN | "1.2.840.10008.1.20" | GE_PRIVATE => Self::ImplicitLe,
            #[expect(deprecated, reason = "retired syntaxes still arrive")]
            uids::EXPLICIT_VR_BIG_ENDIAN => Self::ExplicitBe,
            uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN | "1.2.840.10008.1.2.4.95" | "1.2.840.10008.1.2.4.205" => {
                Self::DeflatedExplicitLe
            }
            _ => Self::ExplicitLe,
        }
    }
}

/// What a transfer syntax does to pixel data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Nothing: native, or in fragments as they are.
    None,
    /// Every pixel comes back as it was.
    Lossless,
    /// Pixels may have lost something.
    MayLose,
    /// The pixel data is elsewhere (JPIP).
    Referenced,
}

/// The transfer syntaxes whose elements and pixels can be written in another order without touching a codec; one of them
/// deflated.
pub const NATIVE: [&str; 4] =
    ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"];

/// Every transfer syntax in which a data set can be sent by C-STORE: PS3.6 annex A, retired ones and the one vendor's
/// that is widely met included. Left out are those that are no encoding of a stored data set: MIME, XML, SMPTE ST 2110.
const STORABLE: &[(&str, Compression)] = &[
    ("1.2.840.10008.1.2", Compression::None),
    ("1.2.840.10008.1.2.1", Compression::None),
    ("1.2.840.10008.1.2.1.98", Compression::None),
    ("1.2.840.10008.1.2.1.99", Compression::None),
    ("1.2.840.10008.1.2.2", Compression::None),
    ("1.2.840.10008.1.2.4.50", Compression::MayLose),
    ("1.2.840.10008.1.2.4.51", Compression::MayLose),
    ("1.2.840.10008.1.2.4.52", Compression::MayLose),
    ("1.2.840.10008.1.2.4.53", Compression::MayLose),
    ("1.2.840.10008.1.2.4.54", Compression::MayLose),
    ("1.2.840.10008.1.2.4.55", Compression::MayLose),
    ("1.2.840.10008.1.2.4.56", Compression::MayLose),
    ("1.2.840.10008.1.2.4.57", Compression::Lossless),
    ("1.2.840.10008.1.2.4.58", Compression::Lossless),
    ("1.2.840.10008.1.2.4.59", Compression::MayLose),
    ("1.2.840.10008.1.2.4.60", Compression::MayLose),
    ("1.2.840.10008.1.2.4.61", Compression::MayLose),
    ("1.2.840.10008.1.2.4.62", Compression::MayLose),
    ("1.2.840.10008.1.2.4.63", Compression::MayLose),
    ("1.2.840.10008.1.2.4.64", Compression::MayLose),
    ("1.2.840.10008.1.2.4.65", Compression::Lossless),
    ("1.2.840.10008.1.2.4.66", Compression::Lossless),
    ("1.2.840.10008.1.2.4.70", Compression::Lossless),
    ("1.2.840.10008.1.2.4.80", Compression::Lossless),
    ("1.2.840.10008.1.2.4.81", Compression::MayLose),
    ("1.2.840.10008.1.2.4.90", Compression::Lossless),
    ("1.2.840.10008.1.2.4.91", Compression::MayLose),
    ("1.2.840.10008.1.2.4.92", Compression::Lossless),
    ("1.2.840.10008.1.2.4.93", Compression::MayLose),
    ("1.2.840.10008.1.2.4.94", Compression::Referenced),
    ("1.2.840.10008.1.2.4.95", Compression::Referenced),
    ("1.2.840.10008.1.2.4.100", Compression::MayLose),
    ("1.2.840.10008.1.2.4.100.1", Compression::MayLose),
    ("1.2.840.10008.1.2.4.101", Compression::MayLose),
    ("1.2.840.10008.1.2.4.101.1", Compression::MayLose),
    ("1.2.840.10008.1.2.4.102", Compression::MayLose),
    ("1.2.840.10008.1.2.4.102.1", Compression::MayLose),
    ("1.2.840.10008.1.2.4.103", Compression::MayLose),
    ("1.2.840.10008.1.2.4.103.1", Compression::MayLose),
    ("1.2.840.10008.1.2.4.104", Compression::MayLose),
    ("1.2.840.10008.1.2.4.104.1", Compression::MayLose),
    ("1.2.840.10008.1.2.4.105", Compression::MayLose),
    ("1.2.840.10008.1.2.4.105.1", Compression::MayLose),
    ("1.2.840.10008.1.2.4.106", Compression::MayLose),
    ("1.2.840.10008.1.2.4.106.1", Compression::MayLose),
    ("1.2.840.10008.1.2.4.107", Compression::MayLose),
    ("1.2.840.10008.1.2.4.108", Compression::MayLose),
    ("1.2.840.10008.1.2.4.110", Compression::Lossless),
    ("1.2.840.10008.1.2.4.111", Compression::MayLose),
    ("1.2.840.10008.1.2.4.112", Compression::MayLose),
    ("1.2.840.10008.1.2.4.201", Compression::Lossless),
    ("1.2.840.10008.1.2.4.202", Compression::Lossless),
    ("1.2.840.10008.1.2.4.203", Compression::MayLose),
    ("1.2.840.10008.1.2.4.204", Compression::Referenced),
    ("1.2.840.10008.1.2.4.205", Compression::Referenced),
    ("1.2.840.10008.1.2.5", Compression::Lossless),
    ("1.2.840.10008.1.2.8.1", Compression::Lossless),
    ("1.2.840.10008.1.20", Compression::None),
    (GE_PRIVATE, Compression::None),
];

/// Implicit VR Little Endian with big-endian pixel data, as GE systems send it.
const GE_PRIVATE: &str = "1.2.840.113619.5.2";

/// What the transfer syntax does to pixel data; nothing for one in which no data set is stored, or an unknown one.
#[must_use]
pub fn compression(transfer_syntax: &TransferSyntaxUid) -> Option<Compression> {
    STORABLE.iter().find(|(uid, _)| *uid == transfer_syntax.as_str()).map(|(_, compression)| *compression)
}
