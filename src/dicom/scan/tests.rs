use dicom_dictionary_std::tags;

use super::super::encode::{Layout, encode};
use super::*;

fn scan_in_pieces(bytes: &[u8], encoding: Encoding, piece: usize) -> Result<DataSet, ParseError> {
    let mut scanner = Scanner::new(encoding);
    for piece in bytes.chunks(piece) {
        scanner.feed(piece)?;
    }
    scanner.finish()
}

fn example() -> DataSet {
    let mut inner = DataSet::new();
    inner.put_uid(tags::REFERENCED_SOP_INSTANCE_UID, "1.2.3");
    let mut item = DataSet::new();
    item.put_items(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, vec![inner, DataSet::new()]);
    let mut ds = DataSet::new();
    ds.put_text(tags::PATIENT_ID, VR::LO, "4711");
    ds.put_items(tags::SOURCE_IMAGE_SEQUENCE, vec![item]);
    ds.put_us(tags::ROWS, &[2]);
    ds
}

#[test]
fn a_scanned_header_is_the_parsed_one_however_it_is_cut() {
    for (layout, encoding) in [(Layout::ExplicitLe, Encoding::ExplicitLe), (Layout::ImplicitLe, Encoding::ImplicitLe)] {
        let mut whole = example();
        whole.put_bytes(tags::PIXEL_DATA, VR::OW, vec![7; 200]);
        let bytes = encode(&whole, layout);
        for piece in [1, 3, 7, 8, 64, bytes.len()] {
            let header = scan_in_pieces(&bytes, encoding, piece).unwrap();
            assert_eq!(encode(&header, layout), encode(&example(), layout), "pieces of {piece}");
        }
    }
}

#[test]
fn every_cut_of_a_data_set_is_either_between_elements_or_truncated() {
    let bytes = encode(&example(), Layout::ExplicitLe);
    for length in 0..bytes.len() {
        let scanned = scan_in_pieces(&bytes[..length], Encoding::ExplicitLe, 5);
        let parsed = parse(&Bytes::copy_from_slice(&bytes[..length]), Encoding::ExplicitLe);
        assert_eq!(scanned.is_ok(), parsed.is_ok(), "cut at {length}: {scanned:?} {parsed:?}");
    }
}

#[test]
fn ten_thousand_levels_are_too_deep() {
    let mut bytes = Vec::new();
    for _ in 0..10_000 {
        bytes.extend([0x08, 0, 0x15, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        bytes.extend([0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
    }
    assert!(matches!(scan_in_pieces(&bytes, Encoding::ExplicitLe, 100), Err(ParseError::TooDeep(_))));
}

#[test]
fn fragments_are_walked_and_a_missing_delimiter_is_noticed() {
    let mut ds = example();
    ds.put(
        tags::PIXEL_DATA,
        VR::OB,
        super::super::data_set::Value::Fragments(vec![Bytes::new(), Bytes::from_static(b"abcd")]),
    );
    let bytes = encode(&ds, Layout::ExplicitLe);
    assert!(scan_in_pieces(&bytes, Encoding::ExplicitLe, 9).is_ok());
    let cut = &bytes[..bytes.len() - 8];
    assert!(matches!(
        scan_in_pieces(cut, Encoding::ExplicitLe, 9),
        Err(ParseError::Truncated { tag: tags::PIXEL_DATA, .. })
    ));
}

#[test]
fn an_item_may_not_reach_over_the_end_of_its_sequence() {
    let bytes =
        [0x08, 0, 0x12, 0x21, b'S', b'Q', 0, 0, 16, 0, 0, 0, 0xFE, 0xFF, 0, 0xE0, 100, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    assert!(matches!(scan_in_pieces(&bytes, Encoding::ExplicitLe, 4), Err(ParseError::Truncated { tag: ITEM, .. })));
}

#[test]
fn long_elements_are_checked_but_not_kept() {
    let mut ds = example();
    ds.put_bytes(tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA, VR::OW, vec![1; 100_000]);
    let many: Vec<DataSet> = (0..2_000).map(|_| example()).collect();
    ds.put_items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, many);
    let bytes = encode(&ds, Layout::ExplicitLe);
    let header = scan_in_pieces(&bytes, Encoding::ExplicitLe, 1000).unwrap();
    assert_eq!(encode(&header, Layout::ExplicitLe), encode(&example(), Layout::ExplicitLe));
    assert!(scan_in_pieces(&bytes[..bytes.len() - 1], Encoding::ExplicitLe, 1000).is_err());
}

#[test]
fn a_deflated_data_set_is_scanned_and_must_end() {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&encode(&example(), Layout::ExplicitLe)).unwrap();
    let mut deflated = encoder.finish().unwrap();
    deflated.push(0);
    let header = scan_in_pieces(&deflated, Encoding::DeflatedExplicitLe, 11).unwrap();
    assert_eq!(header.text(tags::PATIENT_ID).as_deref(), Some("4711"));
    let cut = &deflated[..deflated.len() / 2];
    assert!(matches!(scan_in_pieces(cut, Encoding::DeflatedExplicitLe, 11), Err(ParseError::Deflate(_))));
}

#[test]
fn four_gigabytes_in_twenty_eight_bytes_are_truncated() {
    let mut bytes = encode(&DataSet::new(), Layout::ExplicitLe);
    bytes.extend([0xE0, 0x7F, 0x10, 0, b'O', b'B', 0, 0, 0xFE, 0xFF, 0xFF, 0xFF]);
    bytes.extend([0; 16]);
    let refused = scan_in_pieces(&bytes, Encoding::ExplicitLe, 28);
    assert!(matches!(refused, Err(ParseError::Truncated { tag: tags::PIXEL_DATA, .. })));
}
