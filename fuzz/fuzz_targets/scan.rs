//! A data set as C-STORE takes it, piece by piece: the first byte chooses the layout, the second the size of the pieces, the
//! rest is the data set.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use overread::dicom::data_set::DataSet;
use overread::dicom::inflate::inflate;
use overread::dicom::parse::{ParseError, parse, parse_header};
use overread::dicom::scan::{MAX_KEPT_ELEMENT, Scanner};
use overread::dicom::transfer_syntax::Encoding;

fuzz_target!(|input: &[u8]| {
    let [choice, piece, bytes @ ..] = input else { return };
    let encoding = match choice % 4 {
        0 => Encoding::ImplicitLe,
        1 => Encoding::ExplicitLe,
        2 => Encoding::ExplicitBe,
        _ => Encoding::DeflatedExplicitLe,
    };
    let piece = usize::from(*piece) + 1;
    let (whole, in_pieces) = (scan(bytes, encoding, bytes.len().max(1)), scan(bytes, encoding, piece));
    if encoding == Encoding::DeflatedExplicitLe {
        // Where a stream is broken, more or less of what came before has been looked at.
        assert_eq!(whole.as_ref().ok(), in_pieces.as_ref().ok(), "whole and in pieces of {piece}");
    } else {
        assert_eq!(whole, in_pieces, "whole and in pieces of {piece}");
    }
    must_agree_with_parsing(bytes, encoding, whole);
});

/// Says of a data set that arrives in such pieces what C-STORE would.
fn scan(bytes: &[u8], encoding: Encoding, piece: usize) -> Result<DataSet, ParseError> {
    let mut scanner = Scanner::new(encoding);
    for piece in bytes.chunks(piece) {
        scanner.feed(piece)?;
    }
    scanner.finish()
}

/// The parser reads exactly what was taken, and finds the header that was kept.
fn must_agree_with_parsing(bytes: &[u8], encoding: Encoding, scanned: Result<DataSet, ParseError>) {
    let bytes = match encoding {
        Encoding::DeflatedExplicitLe => match inflate(bytes, MAX_KEPT_ELEMENT) {
            Ok(inflated) => inflated,
            Err(_) => return,
        },
        _ => Bytes::copy_from_slice(bytes),
    };
    // Longer elements are not kept.
    if bytes.len() > MAX_KEPT_ELEMENT {
        return;
    }
    match (scanned, parse(&bytes, encoding)) {
        (Ok(kept), Ok(_)) => {
            let header = parse_header(&bytes, encoding).expect("a whole data set has a header");
            assert_eq!(kept, header.data_set, "the header that is kept");
        }
        (Err(_), Err(_)) => {}
        (scanned, parsed) => panic!("scanned {scanned:?}, parsed {parsed:?}"),
    }
}
