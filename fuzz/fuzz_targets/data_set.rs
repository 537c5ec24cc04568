//! A data set as a peer sends it: the first byte chooses the layout, the rest is the data set.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use overread::dicom::encode::{Layout, encode, length_of};
use overread::dicom::inflate::inflate;
use overread::dicom::parse::{parse, parse_header};
use overread::dicom::transfer_syntax::Encoding;

/// Far more than the inputs hold, far less than a deflate bomb.
const INFLATE_LIMIT: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    let (encoding, bytes) = match choice % 4 {
        0 => (Encoding::ImplicitLe, Bytes::copy_from_slice(rest)),
        1 => (Encoding::ExplicitLe, Bytes::copy_from_slice(rest)),
        2 => (Encoding::ExplicitBe, Bytes::copy_from_slice(rest)),
        _ => match inflate(rest, INFLATE_LIMIT) {
            Ok(inflated) => {
                assert!(inflated.len() <= INFLATE_LIMIT, "inflated beyond the limit");
                (Encoding::DeflatedExplicitLe, inflated)
            }
            Err(_) => return,
        },
    };
    let header = parse_header(&bytes, encoding);
    if let Ok(Some(pixels)) = header.as_ref().map(|h| h.pixel_data) {
        assert!(pixels.offset <= bytes.len(), "the pixel data begins behind the end");
    }
    let Ok(data_set) = parse(&bytes, encoding) else { return };
    assert!(header.is_ok(), "a whole data set has a header");
    for element in data_set.elements() {
        let _ = data_set.text(element.tag);
        let _ = data_set.texts(element.tag);
        let _ = data_set.numbers(element.tag);
    }
    // What was read can be written, and means the same when read again.
    let written = Bytes::from(encode(&data_set, Layout::ExplicitLe));
    assert_eq!(written.len(), length_of(&data_set, Layout::ExplicitLe), "the length foretold");
    let again = parse(&written, Encoding::ExplicitLe).expect("what we write we read");
    assert_eq!(encode(&again, Layout::ExplicitLe), written, "writing is stable");
});
