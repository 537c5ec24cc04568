//! A PDU that is no P-DATA-TF, out of its bytes.

use dicom_ul::pdu::{self, Pdu};

use super::error::Violation;
use super::pdata::PDU_HEADER;

/// The longest A-ASSOCIATE-RQ or -AC: 128 contexts with 12 transfer syntaxes of 64 characters take half of it.
pub(super) const MAX_ASSOCIATE: u32 = 256 * 1024;

/// Reads a whole PDU of this type.
///
/// # Errors
/// [`Violation`] where it is not what its type and lengths say.
pub(super) fn read(kind: u8, bytes: &[u8]) -> Result<Pdu, Violation> {
    match kind {
        0x02 => read_pdu(kind, &with_transfer_syntaxes(bytes)),
        _ => read_pdu(kind, bytes),
    }
}

fn read_pdu(kind: u8, bytes: &[u8]) -> Result<Pdu, Violation> {
    let malformed = |reason: String| Violation::MalformedPdu { kind, reason };
    match pdu::read_pdu(bytes, MAX_ASSOCIATE, true) {
        Ok(Some(pdu)) => Ok(pdu),
        Ok(None) => Err(malformed("it ends inside an item".to_owned())),
        Err(error) => Err(malformed(error.to_string())),
    }
}

/// Gives the refused contexts of an A-ASSOCIATE-AC the transfer syntax sub-item that old acceptors leave out, and the
/// reader asks for although PS3.8 section 9.3.3.2 gives it no meaning there.
fn with_transfer_syntaxes(bytes: &[u8]) -> Vec<u8> {
    const FIXED: usize = PDU_HEADER + 68;
    const IMPLICIT: &[u8] = b"\x40\x00\x00\x111.2.840.10008.1.2";
    let mut out = bytes.get(..FIXED).unwrap_or(bytes).to_vec();
    let mut rest = bytes.get(FIXED..).unwrap_or_default();
    while let Some(&[kind, _, high, low]) = rest.first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(item) = rest.get(..4 + length) else { break };
        let refused = kind == 0x21 && item.get(6).is_some_and(|&result| result != 0);
        if refused {
            out.extend_from_slice(&[kind, 0, 0, 4 + IMPLICIT.len() as u8]);
            out.extend_from_slice(item.get(4..8).unwrap_or_default());
            out.extend_from_slice(IMPLICIT);
        } else {
            out.extend_from_slice(item);
        }
        rest = &rest[4 + length..];
    }
    out.extend_from_slice(rest);
    let length = u32::try_from(out.len().saturating_sub(PDU_HEADER)).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(2..PDU_HEADER) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    out
}
