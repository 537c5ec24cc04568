//! Unique identifiers (PS3.5 section 9), one type for each thing that is identified.

use std::fmt;

use sha2::{Digest, Sha256};

/// Why a text is not a UID. The peer (or the file) that gave it must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UidError {
    /// Nothing but padding.
    #[error("the UID is empty")]
    Empty,
    /// More than the 64 characters of PS3.5 section 9.1.
    #[error("the UID has {0} characters, 64 are allowed")]
    TooLong(usize),
    /// Something other than digits and dots.
    #[error("the UID holds a character other than a digit or a dot")]
    Character,
    /// Two dots in a row, or one at either end.
    #[error("the UID has an empty component")]
    EmptyComponent,
}

/// Checks a UID and takes off the padding (one trailing NUL by PS3.5, spaces by habit of some senders).
///
/// Leading zeros in a component, forbidden but common, are let through: the UID is an identifier and is kept as it came.
fn checked(text: &str) -> Result<&str, UidError> {
    let uid = text.trim_end_matches(['\0', ' ']).trim_start_matches(' ');
    if uid.is_empty() {
        return Err(UidError::Empty);
    }
    if uid.len() > 64 {
        return Err(UidError::TooLong(uid.len()));
    }
    if !uid.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(UidError::Character);
    }
    if uid.split('.').any(str::is_empty) {
        return Err(UidError::EmptyComponent);
    }
    Ok(uid)
}

/// Derives a UID from a list of parts: `2.25.` and 128 bits of their SHA-256, shaped as a version 8 UUID
/// (PS3.5 section B.2, RFC 9562 section 5.8). The same parts give the same UID.
fn derived_from(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    format!("2.25.{}", uuid::Builder::from_custom_bytes(bytes).into_uuid().as_u128())
}

macro_rules! uid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Takes a UID as it stands in a data set, padding included.
            ///
            /// # Errors
            /// [`UidError`] names the rule of PS3.5 section 9.1 that is broken.
            pub fn parse(text: &str) -> Result<Self, UidError> {
                checked(text).map(|uid| Self(uid.to_owned()))
            }

            /// The UID that stands for `parts`: always the same for the same parts in the same order.
            #[must_use]
            pub fn derived(parts: &[&str]) -> Self {
                Self(derived_from(parts))
            }

            /// The UID without padding.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

uid_type!(
    /// Study Instance UID (0020,000D).
    StudyInstanceUid
);
uid_type!(
    /// Series Instance UID (0020,000E).
    SeriesInstanceUid
);
uid_type!(
    /// SOP Instance UID (0008,0018).
    SopInstanceUid
);
uid_type!(
    /// SOP Class UID (0008,0016), or any abstract syntax.
    SopClassUid
);
uid_type!(
    /// Transfer Syntax UID (0002,0010).
    TransferSyntaxUid
);
uid_type!(
    /// Frame of Reference UID (0020,0052).
    FrameOfReferenceUid
);
uid_type!(
    /// Any other UID: tracking, dimension organization, device.
    OtherUid
);

impl SopClassUid {
    /// Verification SOP Class (PS3.4 section A.4).
    #[must_use]
    pub fn verification() -> Self {
        Self("1.2.840.10008.1.1".to_owned())
    }

    /// Study Root Query/Retrieve Information Model – FIND (PS3.4 section C.6.2).
    #[must_use]
    pub fn study_root_find() -> Self {
        Self("1.2.840.10008.5.1.4.1.2.2.1".to_owned())
    }
}

impl TransferSyntaxUid {
    /// Explicit VR Little Endian (PS3.5 section A.2).
    #[must_use]
    pub fn explicit_le() -> Self {
        Self("1.2.840.10008.1.2.1".to_owned())
    }

    /// Implicit VR Little Endian (PS3.5 section A.1), the one that every node speaks.
    #[must_use]
    pub fn implicit_le() -> Self {
        Self("1.2.840.10008.1.2".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_taken_off_and_the_rest_kept() {
        assert_eq!(SopInstanceUid::parse("1.2.840.10008.1.1\0").unwrap().as_str(), "1.2.840.10008.1.1");
        assert_eq!(SopInstanceUid::parse("1.02.3 ").unwrap().as_str(), "1.02.3");
    }

    #[test]
    fn what_could_leave_a_folder_is_refused() {
        assert_eq!(SopInstanceUid::parse("1..2"), Err(UidError::EmptyComponent));
        assert_eq!(SopInstanceUid::parse("../../etc"), Err(UidError::Character));
        assert_eq!(SopInstanceUid::parse(".1"), Err(UidError::EmptyComponent));
        assert_eq!(SopInstanceUid::parse(" \0"), Err(UidError::Empty));
        assert_eq!(SopInstanceUid::parse(&"1".repeat(65)), Err(UidError::TooLong(65)));
    }

    #[test]
    fn derived_uids_depend_on_every_part_and_on_their_borders() {
        let one = SopInstanceUid::derived(&["a", "bc"]);
        assert_eq!(one, SopInstanceUid::derived(&["a", "bc"]));
        assert_ne!(one, SopInstanceUid::derived(&["ab", "c"]));
        assert!(one.as_str().starts_with("2.25.") && one.as_str().len() <= 44);
        assert!(SopInstanceUid::parse(one.as_str()).is_ok());
    }
}
