//! Whether two files hold the same instance.
//!
//! The same transfer syntax and the same bytes: the same. Native little and big endian, implicit and explicit, are only
//! ways of writing: element by element the same is the same. Compressed pixel data is compared as bytes: whether it
//! decodes to the same pixels is not asked, so another compression counts as other content.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::uids;

use crate::dicom::data_set::{DataSet, Value};
use crate::dicom::parse::parse;
use crate::dicom::transfer_syntax::Encoding;
use crate::dicom::uid::TransferSyntaxUid;

/// Larger files are compared as bytes only: reading their elements would need twice their size in memory.
const MOST_PARSED: u64 = 64 << 20;

/// A data set in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content<'a> {
    pub(super) path: &'a Path,
    pub(super) transfer_syntax: &'a TransferSyntaxUid,
    pub(super) data_set_offset: u64,
}

/// Whether both hold the same data set. Blocks.
pub(super) fn same_content(one: Content<'_>, other: Content<'_>) -> io::Result<bool> {
    if one.transfer_syntax == other.transfer_syntax {
        if same_bytes(one, other)? {
            return Ok(true);
        }
    } else if !(is_native(one.transfer_syntax) && is_native(other.transfer_syntax)) {
        return Ok(false);
    }
    if !is_native(one.transfer_syntax) || length(one)?.max(length(other)?) > MOST_PARSED {
        return Ok(false);
    }
    let (Some(one), Some(other)) = (read(one)?, read(other)?) else { return Ok(false) };
    Ok(same_elements(&one, &other))
}

fn is_native(transfer_syntax: &TransferSyntaxUid) -> bool {
    #[expect(deprecated, reason = "retired syntaxes still arrive")]
    let native = [uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::EXPLICIT_VR_BIG_ENDIAN];
    native.contains(&transfer_syntax.as_str())
}

fn length(content: Content<'_>) -> io::Result<u64> {
    Ok(fs::metadata(content.path)?.len().saturating_sub(content.data_set_offset))
}

fn open(content: Content<'_>) -> io::Result<File> {
    let mut file = File::open(content.path)?;
    file.seek(SeekFrom::Start(content.data_set_offset))?;
    Ok(file)
}

fn same_bytes(one: Content<'_>, other: Content<'_>) -> io::Result<bool> {
    if length(one)? != length(other)? {
        return Ok(false);
    }
    let (mut one, mut other) = (open(one)?, open(other)?);
    let (mut here, mut there) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let read = one.read(&mut here)?;
        if read == 0 {
            return Ok(true);
        }
        other.read_exact(&mut there[..read])?;
        if here[..read] != there[..read] {
            return Ok(false);
        }
    }
}

fn read(content: Content<'_>) -> io::Result<Option<DataSet>> {
    let mut bytes = Vec::new();
    open(content)?.read_to_end(&mut bytes)?;
    Ok(parse(&Bytes::from(bytes), Encoding::of(content.transfer_syntax)).ok())
}

/// Group lengths depend on the encoding, and an implicit reader does not know every representation; the rest must agree.
fn same_elements(one: &DataSet, other: &DataSet) -> bool {
    fn counted(data_set: &DataSet) -> impl Iterator<Item = (Tag, VR, &Value)> {
        data_set.elements().iter().filter(|e| e.tag.element() != 0).map(|e| (e.tag, e.vr, &e.value))
    }
    let mut others = counted(other);
    for (tag, vr, value) in counted(one) {
        let Some((other_tag, other_vr, other_value)) = others.next() else { return false };
        let same_vr = vr == other_vr || vr == VR::UN || other_vr == VR::UN || is_word(vr) && is_word(other_vr);
        if tag != other_tag || !same_vr || !same_value(value, other_value) {
            return false;
        }
    }
    others.next().is_none()
}

/// Representations that the dictionary leaves open.
fn is_word(vr: VR) -> bool {
    matches!(vr, VR::OB | VR::OW | VR::US | VR::SS)
}

fn same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Items(one), Value::Items(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same_elements(a, b))
        }
        (one, other) => one == other,
    }
}
