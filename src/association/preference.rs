//! Which of the proposed transfer syntaxes we take: by our own order, not the requestor's.

use dicom_dictionary_std::uids;

use crate::dicom::sop_class::Service;
use crate::dicom::transfer_syntax::{Compression, compression};
use crate::dicom::uid::TransferSyntaxUid;

const IMPLICIT_LE: &str = uids::IMPLICIT_VR_LITTLE_ENDIAN;
const EXPLICIT_LE: &str = uids::EXPLICIT_VR_LITTLE_ENDIAN;

/// The best of the proposed syntaxes for a service, if any will do.
///
/// Storage takes every syntax in which a data set can be stored. The order is made so that no sender is led to change its
/// pixels: what is lossless and stands first is what the sender has, so it is taken; else the uncompressed ones, explicit
/// before implicit; else another lossless one; and what may lose something only where nothing else is proposed.
/// Verification and Query take the two syntaxes that everybody speaks.
pub(super) fn choose_transfer_syntax(service: Service, proposed: &[TransferSyntaxUid]) -> Option<&TransferSyntaxUid> {
    match service {
        Service::Verification | Service::Query => {
            [EXPLICIT_LE, IMPLICIT_LE].into_iter().find_map(|wanted| proposed.iter().find(|uid| uid.as_str() == wanted))
        }
        // The first of the best, as `min_by_key` has it, is the one that the requestor named first.
        Service::Storage => proposed
            .iter()
            .enumerate()
            .filter_map(|(at, uid)| Some((rank(uid, at == 0)?, uid)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, uid)| uid),
    }
}

/// Lower is better; nothing for a syntax that we do not take.
fn rank(transfer_syntax: &TransferSyntaxUid, is_first: bool) -> Option<u8> {
    Some(match compression(transfer_syntax)? {
        Compression::Lossless if is_first => 0,
        Compression::None => match transfer_syntax.as_str() {
            EXPLICIT_LE => 1,
            IMPLICIT_LE => 2,
            _ => 3,
        },
        Compression::Lossless => 4,
        Compression::MayLose => 5,
        Compression::Referenced => 6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(proposed: &[&str]) -> Option<String> {
        let proposed: Vec<_> = proposed.iter().map(|uid| TransferSyntaxUid::parse(uid).unwrap()).collect();
        choose_transfer_syntax(Service::Storage, &proposed).map(ToString::to_string)
    }

    const JPEG_BASELINE: &str = "1.2.840.10008.1.2.4.50";
    const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
    const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

    #[test]
    fn our_order_counts_not_the_requestors() {
        assert_eq!(chosen(&[IMPLICIT_LE, BIG_ENDIAN, EXPLICIT_LE]).as_deref(), Some(EXPLICIT_LE));
        assert_eq!(chosen(&[BIG_ENDIAN, IMPLICIT_LE]).as_deref(), Some(IMPLICIT_LE));
    }

    #[test]
    fn lossless_first_is_taken_and_lossy_only_when_alone() {
        assert_eq!(chosen(&[JPEG_LS, EXPLICIT_LE]).as_deref(), Some(JPEG_LS));
        assert_eq!(chosen(&[JPEG_BASELINE, EXPLICIT_LE]).as_deref(), Some(EXPLICIT_LE));
        assert_eq!(chosen(&[JPEG_BASELINE, JPEG_LS]).as_deref(), Some(JPEG_LS));
        assert_eq!(chosen(&[JPEG_BASELINE]).as_deref(), Some(JPEG_BASELINE));
    }

    #[test]
    fn what_nobody_can_store_is_not_taken() {
        assert_eq!(chosen(&["1.2.840.10008.1.2.7.1", "1.2.3.4"]), None);
        assert_eq!(chosen(&[]), None);
    }
}
