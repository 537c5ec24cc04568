use super::*;

fn explicit(bytes: &[u8]) -> Result<DataSet, ParseError> {
    parse(&Bytes::copy_from_slice(bytes), Encoding::ExplicitLe)
}

#[test]
fn four_gigabytes_in_sixteen_bytes_are_truncated() {
    // (7FE0,0010) OB, length FFFFFFFEH, four bytes
    let bytes = [0xE0, 0x7F, 0x10, 0, b'O', b'B', 0, 0, 0xFE, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4];
    assert!(matches!(explicit(&bytes), Err(ParseError::Truncated { tag: tags::PIXEL_DATA, left: 4, .. })));
}

#[test]
fn ten_thousand_levels_are_too_deep() {
    let mut bytes = Vec::new();
    for _ in 0..10_000 {
        bytes.extend([0x08, 0, 0x15, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        bytes.extend([0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
    }
    assert!(matches!(explicit(&bytes), Err(ParseError::TooDeep(_))));
}

#[test]
fn a_header_ends_at_the_pixel_data_and_says_where_it_lies() {
    let mut bytes = vec![0x28, 0, 0x10, 0, b'U', b'S', 2, 0, 2, 0];
    bytes.extend([0xE0, 0x7F, 0x10, 0, b'O', b'W', 0, 0, 8, 0, 0, 0, 1, 2]);
    let header = parse_header(&bytes.into(), Encoding::ExplicitLe).unwrap();
    assert_eq!(header.data_set.integer(tags::ROWS), Some(2));
    let expected = PixelDataElement { tag: tags::PIXEL_DATA, vr: VR::OW, offset: 22, length: Some(8) };
    assert_eq!(header.pixel_data, Some(expected));
}

#[test]
fn big_endian_numbers_are_turned() {
    let bytes = [0, 0x28, 0, 0x10, b'U', b'S', 0, 2, 0x01, 0x02];
    let ds = parse(&Bytes::copy_from_slice(&bytes), Encoding::ExplicitBe).unwrap();
    assert_eq!(ds.integer(tags::ROWS), Some(0x0102));
}

#[test]
fn half_a_million_elements_in_falling_order_are_read_in_no_time() {
    let bytes: Vec<u8> = (0x0010_0000_u32..0x0010_0000 + 500_000)
        .rev()
        .flat_map(|tag| {
            let [a, b, c, d] = tag.to_le_bytes();
            [c, d, a, b, b'U', b'S', 0, 0]
        })
        .collect();
    let begun = std::time::Instant::now();
    let ds = explicit(&bytes).unwrap();
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    assert_eq!(ds.elements().len(), 500_000);
    assert!(ds.elements().is_sorted_by_key(|element| element.tag));
}

#[test]
fn elements_out_of_order_are_found_and_the_last_of_the_same_counts() {
    let mut bytes = Vec::new();
    for (tag, value) in [(0x20, b"B "), (0x10, b"A "), (0x20, b"C "), (0x10, b"D "), (0x40, b"F ")] {
        bytes.extend([0x10, 0, tag, 0, b'C', b'S', 2, 0]);
        bytes.extend(value);
    }
    let ds = explicit(&bytes).unwrap();
    let found: Vec<_> = ds.elements().iter().map(|e| ds.text(e.tag).unwrap()).collect();
    assert_eq!(found, ["D", "C", "F"]);
}

#[test]
fn an_open_sequence_at_the_end_is_truncated() {
    let bytes = [0x08, 0, 0x15, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
    assert!(matches!(explicit(&bytes), Err(ParseError::Truncated { .. })));
}
