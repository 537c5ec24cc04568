//! Which series a file belongs to, from as little of it as that takes.

use std::io::Read;

use bytes::Bytes;
use flate2::read::DeflateDecoder;

use crate::cli::gather::DICOMDIR;
use crate::dicom::data_set::DataSet;
use crate::dicom::parse::{ParseError, parse_through};
use crate::dicom::part10::Part10;
use crate::dicom::tags;
use crate::dicom::transfer_syntax::Encoding;
use crate::dicom::uid::{SeriesInstanceUid, SopInstanceUid, StudyInstanceUid, UidError};

/// How much is read of a file until the Series Instance UID is there: at first, and then if it was not.
const PREFIXES: [usize; 4] = [32 << 10, 1 << 20, 16 << 20, 64 << 20];

/// What identifies an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Identity {
    pub(in crate::cli) study: StudyInstanceUid,
    pub(in crate::cli) series: SeriesInstanceUid,
    pub(in crate::cli) instance: SopInstanceUid,
}

impl Identity {
    /// Of the file that begins here; nothing where it is no DICOM instance.
    ///
    /// # Errors
    /// What is wrong with a DICOM file that cannot be told where it belongs.
    pub(in crate::cli) fn look(file: &mut dyn Read) -> Result<Option<Self>, String> {
        let mut prefix = Vec::new();
        for length in PREFIXES {
            let wanted = length - prefix.len();
            let read = file.take(wanted as u64).read_to_end(&mut prefix).map_err(|e| e.to_string())?;
            let whole = read < wanted;
            match of_prefix(&Bytes::copy_from_slice(&prefix), length) {
                Found::Identity(identity) => return Ok(Some(identity)),
                Found::Other => return Ok(None),
                Found::Broken(why) if whole => return Err(why),
                Found::Broken(_) => {}
            }
        }
        Err(format!("it has no Series Instance UID within {} MiB", PREFIXES[3] >> 20))
    }
}

enum Found {
    Identity(Identity),
    /// No DICOM file, or a DICOMDIR.
    Other,
    /// A DICOM file that does not say, or does not say yet.
    Broken(String),
}

fn of_prefix(prefix: &Bytes, most: usize) -> Found {
    let part10 = match Part10::split(prefix) {
        Ok(part10) => part10,
        Err(error) if is_marked(prefix) => return Found::Broken(error.to_string()),
        Err(_) => return Found::Other,
    };
    if part10.sop_class().is_ok_and(|class| class.as_str() == DICOMDIR) {
        return Found::Other;
    }
    // Without file meta information almost anything looks like the beginning of a data set.
    let certain = !part10.meta.elements().is_empty();
    let broken = |why: &dyn std::fmt::Display| if certain { Found::Broken(why.to_string()) } else { Found::Other };
    match header(&part10, most) {
        Ok(header) => match identity(&header) {
            Ok(identity) => Found::Identity(identity),
            Err((name, error)) => broken(&format!("{name}: {error}")),
        },
        Err(error) => broken(&error),
    }
}

/// Whether the prefix of DICOM files stands behind the preamble (PS3.10 section 7.1).
fn is_marked(file: &Bytes) -> bool {
    file.get(128..132) == Some(b"DICM")
}

fn header(part10: &Part10, most: usize) -> Result<DataSet, ParseError> {
    if part10.encoding != Encoding::DeflatedExplicitLe {
        return parse_through(&part10.data_set, part10.encoding, tags::SERIES_INSTANCE_UID);
    }
    let mut inflated = Vec::new();
    let end = DeflateDecoder::new(&part10.data_set[..]).take(most as u64).read_to_end(&mut inflated);
    // The stream of a prefix ends early: what came out of it may do.
    parse_through(&inflated.into(), Encoding::ExplicitLe, tags::SERIES_INSTANCE_UID)
        .map_err(|error| end.err().map_or(error, |cause| ParseError::Deflate(cause.to_string())))
}

fn identity(header: &DataSet) -> Result<Identity, (&'static str, UidError)> {
    let named = |name| move |error| (name, error);
    Ok(Identity {
        study: header.uid(tags::STUDY_INSTANCE_UID, StudyInstanceUid::parse).map_err(named("Study Instance UID"))?,
        series: header
            .uid(tags::SERIES_INSTANCE_UID, SeriesInstanceUid::parse)
            .map_err(named("Series Instance UID"))?,
        instance: header.uid(tags::SOP_INSTANCE_UID, SopInstanceUid::parse).map_err(named("SOP Instance UID"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::VR;
    use crate::dicom::encode::{Layout, encode, part10_header};
    use crate::dicom::uid::{SopClassUid, TransferSyntaxUid};

    /// A file with so many bytes of private text before its series, and the first `keep` bytes of pixel data.
    fn file(private: usize, keep: usize) -> Vec<u8> {
        let mut ds = DataSet::new();
        ds.put_uid(tags::SOP_INSTANCE_UID, "1.2.3");
        ds.put_text(crate::dicom::Tag(9, 0x10), VR::LO, "PRIVATE");
        ds.put_bytes(crate::dicom::Tag(9, 0x1001), VR::OB, vec![7; private]);
        ds.put_uid(tags::STUDY_INSTANCE_UID, "1.2");
        ds.put_uid(tags::SERIES_INSTANCE_UID, "1.2.4");
        ds.put_bytes(tags::PIXEL_DATA, VR::OW, vec![9; 1000]);
        let [class, instance] = ["1.2.840.10008.5.1.4.1.1.2", "1.2.3"];
        let mut file = part10_header(
            &SopClassUid::parse(class).unwrap(),
            &SopInstanceUid::parse(instance).unwrap(),
            &TransferSyntaxUid::explicit_le(),
            None,
        );
        let data_set = encode(&ds, Layout::ExplicitLe);
        file.extend_from_slice(&data_set[..data_set.len() - 1000 + keep]);
        file
    }

    fn look(file: &[u8]) -> Result<Option<Identity>, String> {
        Identity::look(&mut &file[..])
    }

    #[test]
    fn the_series_is_found_wherever_it_stands_and_though_the_pixels_are_cut() {
        for (private, keep) in [(0, 1000), (0, 3), (40_000, 1000), (2_000_000, 0)] {
            let found = look(&file(private, keep)).unwrap().unwrap();
            assert_eq!((found.study.as_str(), found.series.as_str()), ("1.2", "1.2.4"), "{private} {keep}");
        }
    }

    #[test]
    fn a_file_cut_before_its_series_is_broken_and_text_is_none() {
        let whole = file(100_000, 0);
        let error = look(&whole[..60_000]).unwrap_err();
        assert!(error.contains("ends") && error.contains("left"), "{error}");
        // Within its file meta information already.
        assert!(look(&whole[..300]).unwrap_err().contains("file meta information"));
        assert_eq!(look(b"just a text that is long enough"), Ok(None));
        assert_eq!(look(&[1, 0, 2, 0, 3, 0, 0, 0, 1, 1, 1, 0, 4, 0, 9, 9]), Ok(None));
    }
}
