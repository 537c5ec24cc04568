//! Instances to send.

use std::io::{Cursor, Write};

use bytes::Bytes;
use overread::dicom::data_set::DataSet;
use overread::dicom::encode::{Layout, encode, part10_header};
use overread::dicom::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid};
use overread::dicom::{VR, tags};
use zip::write::SimpleFileOptions;

use super::wire::CT;

/// A small CT image with this SOP Instance UID.
pub(crate) fn ct(instance: &str) -> DataSet {
    let mut ds = DataSet::new();
    ds.put_uid(tags::SOP_CLASS_UID, CT);
    ds.put_uid(tags::SOP_INSTANCE_UID, instance);
    ds.put_text(tags::MODALITY, VR::CS, "CT");
    ds.put_text(tags::PATIENT_ID, VR::LO, "4711");
    ds.put_uid(tags::STUDY_INSTANCE_UID, "1.2.3");
    ds.put_uid(tags::SERIES_INSTANCE_UID, "1.2.3.4");
    ds.put_us(tags::ROWS, &[4]);
    ds.put_us(tags::COLUMNS, &[4]);
    ds.put_us(tags::BITS_ALLOCATED, &[16]);
    ds.put_bytes(tags::PIXEL_DATA, VR::OW, vec![9; 32]);
    ds
}

/// In Explicit VR Little Endian.
pub(crate) fn explicit(data_set: &DataSet) -> Vec<u8> {
    encode(data_set, Layout::ExplicitLe)
}

/// As a DICOM file.
pub(crate) fn file(data_set: &[u8], instance: &str, transfer_syntax: &str) -> Bytes {
    let mut file = part10_header(
        &SopClassUid::parse(CT).unwrap(),
        &SopInstanceUid::parse(instance).unwrap(),
        &TransferSyntaxUid::parse(transfer_syntax).unwrap(),
        None,
    );
    file.extend_from_slice(data_set);
    file.into()
}

/// An archive with these entries, deflated.
pub(crate) fn zipped(entries: impl IntoIterator<Item = (String, Bytes)>) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(&bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// 28 bytes that declare a pixel data element of nearly 4 GB.
pub(crate) fn four_gigabytes() -> Vec<u8> {
    let mut bytes = vec![0xE0, 0x7F, 0x10, 0, b'O', b'B', 0, 0, 0xFE, 0xFF, 0xFF, 0xFF];
    bytes.resize(28, 0);
    bytes
}

/// Sequences in sequences, in Explicit VR Little Endian, of which none ends.
pub(crate) fn ten_thousand_deep() -> Vec<u8> {
    let sequence = [0x08, 0, 0x15, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
    [sequence.as_slice(), &[0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]].concat().repeat(10_000)
}
