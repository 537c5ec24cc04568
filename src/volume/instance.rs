//! One instance: its header read, its frames decoded.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::compression::Compression;
use super::decode::{DecodeError, PixelData};
use super::early::DecodedInstance;
use super::frame_header::{FrameHeader, TooManyFrames, frame_headers};
use super::is_image;
use super::kept::{kept, kept_of_others};
use super::pixel_format::{PixelFormat, PixelFormatError, SampleBits};
use crate::dicom::data_set::DataSet;
use crate::dicom::parse::{ParseError, PixelDataElement, parse_header, parse_through};
use crate::dicom::part10::{Beginning, End, Part10, Part10Error};
use crate::dicom::tags;
use crate::dicom::uid::{
    SeriesInstanceUid, SopClassUid, SopInstanceUid, StudyInstanceUid, TransferSyntaxUid, UidError,
};

/// No header is longer, in the file and inflated: those of some thousand frames, with all that makers add to each of them,
/// take half of it.
pub const MAX_HEADER: usize = 64 << 20;
/// How much of a file is read in search of its header, until it is found; most headers end well within the first part.
const PARTS: [usize; 4] = [64 << 10, 1 << 20, 8 << 20, MAX_HEADER];

/// Where an instance lies. What lies in a file is opened when it is needed and let go of again.
#[derive(Debug, Clone)]
pub enum InstanceSource {
    /// The bytes of a Part 10 file.
    Memory(Bytes),
    /// A Part 10 file.
    File(PathBuf),
    /// A Part 10 file whose pixels were decoded already.
    Decoded(Arc<DecodedInstance>),
}

impl From<Bytes> for InstanceSource {
    fn from(bytes: Bytes) -> Self {
        Self::Memory(bytes)
    }
}

impl From<&Path> for InstanceSource {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

/// Why an instance cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The file cannot be opened or read: ours to mend, and worth another try.
    #[error("{path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Not a Part 10 file: its maker must act.
    #[error(transparent)]
    Part10(#[from] Part10Error),
    /// Not a data set: its maker must act.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// More than [`MAX_HEADER`] before the pixel data, or more of use than is kept: its maker must act.
    #[error("the header is too long to be read")]
    HeaderTooLong,
    /// More frames than are read: its maker must act.
    #[error(transparent)]
    TooManyFrames(#[from] TooManyFrames),
    /// Without the UIDs that identify it: its maker must act.
    #[error("{name}: {cause}")]
    Uid {
        /// The attribute.
        name: &'static str,
        /// What is wrong.
        cause: UidError,
    },
}

/// What is known of an instance without its pixels. Holds no reference to the file it came from, and no more of it than is
/// asked for.
#[derive(Debug, Clone)]
pub struct InstanceHeader {
    /// (0008,0016)
    pub sop_class_uid: SopClassUid,
    /// (0008,0018)
    pub sop_instance_uid: SopInstanceUid,
    /// (0020,000D)
    pub study_instance_uid: StudyInstanceUid,
    /// (0020,000E)
    pub series_instance_uid: SeriesInstanceUid,
    /// As the file declares it.
    pub transfer_syntax_uid: Option<TransferSyntaxUid>,
    /// `None` where the transfer syntax is not read.
    pub compression: Option<Compression>,
    /// The Image Pixel module.
    pub format: Result<PixelFormat, PixelFormatError>,
    /// Stored values that are no image: Pixel Padding Value and its range limit.
    pub padding: Option<RangeInclusive<i32>>,
    /// Whether there is a Pixel Data element; not whether it is whole.
    pub has_pixel_data: bool,
    /// Number of Frames (0028,0008), or 1.
    pub declared_frames: usize,
    /// Per-frame functional groups; `None` in an instance without them.
    pub described_frames: Option<usize>,
    /// The frames that the header describes: one in an instance without functional groups, however many it declares.
    pub frames: Vec<FrameHeader>,
    /// What stands before the pixel data, but for private elements, overlays and the functional groups of all frames
    /// but the first.
    pub data_set: DataSet,
}

impl InstanceSource {
    /// Reads the header; of a file only as much as that takes. Of an object that is neither a cross-section nor a
    /// radiograph by its SOP class no more than what identifies it, its patient and its study: such objects may have
    /// gigabytes and no pixel data.
    ///
    /// # Errors
    /// [`InstanceError`].
    pub fn header(&self) -> Result<InstanceHeader, InstanceError> {
        match self {
            Self::Decoded(early) => Ok(early.header.clone()),
            Self::Memory(bytes) => in_parts(|most| Ok(bytes.slice(..bytes.len().min(most))), Of::Images),
            Self::File(path) => in_parts(
                |most| beginning(path, most).map_err(|cause| InstanceError::Read { path: path.clone(), cause }),
                Of::Images,
            ),
        }
    }

    /// The whole file.
    ///
    /// # Errors
    /// [`InstanceError::Read`].
    pub fn open(&self) -> Result<Bytes, InstanceError> {
        match self {
            Self::Memory(bytes) => Ok(bytes.clone()),
            Self::Decoded(early) => early.encoded.open(),
            Self::File(path) => match std::fs::read(path) {
                Ok(bytes) => Ok(bytes.into()),
                Err(cause) => Err(InstanceError::Read { path: path.clone(), cause }),
            },
        }
    }
}

fn beginning(path: &Path, most: usize) -> std::io::Result<Bytes> {
    use std::io::Read;
    let mut bytes = Vec::with_capacity(most.min(PARTS[0]));
    std::fs::File::open(path)?.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// Reads the header of a Part 10 file, of whatever SOP class.
///
/// # Errors
/// [`InstanceError`] other than [`InstanceError::Read`].
pub fn read_header(file: &Bytes) -> Result<InstanceHeader, InstanceError> {
    in_parts(|most| Ok(file.slice(..file.len().min(most))), Of::All)
}

/// Which objects' headers are read to their ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Images,
    All,
}

/// `part` gives the beginning of the file, so many bytes at the most.
fn in_parts(part: impl Fn(usize) -> Result<Bytes, InstanceError>, of: Of) -> Result<InstanceHeader, InstanceError> {
    for most in PARTS {
        let bytes = part(most)?;
        let whole = bytes.len() < most;
        // A part that ends inside the header is no header yet.
        match header_in(&bytes, most, whole, of) {
            Ok(Some(header)) => return Ok(header),
            Err(error @ (InstanceError::HeaderTooLong | InstanceError::TooManyFrames(_))) => return Err(error),
            Err(error) if whole => return Err(error),
            Ok(None) | Err(_) => {}
        }
    }
    Err(InstanceError::HeaderTooLong)
}

/// The header in the first bytes of a file, inflated to at most `most`; nothing where it may go on behind them.
fn header_in(file: &Bytes, most: usize, whole: bool, of: Of) -> Result<Option<InstanceHeader>, InstanceError> {
    let part10 = Part10::split(file)?;
    let transfer_syntax_uid = part10.transfer_syntax().ok();
    let Beginning { encoding, bytes, end } = part10.beginning(most)?;
    if of == Of::Images {
        let class = parse_through(&bytes, encoding, tags::SOP_CLASS_UID);
        let class = class.ok().and_then(|data_set| data_set.text(tags::SOP_CLASS_UID));
        if class.is_some_and(|class| !is_image(&class)) {
            // What reports copy of the study goes on behind the UIDs; where these bytes end before, the UIDs are enough.
            let identified = parse_through(&bytes, encoding, tags::REQUEST_ATTRIBUTES_SEQUENCE);
            let data_set = match identified.or_else(|_| parse_through(&bytes, encoding, tags::SERIES_INSTANCE_UID)) {
                Err(_) if end == End::More => return Ok(None),
                parsed => parsed?,
            };
            let data_set = kept_of_others(&data_set).ok_or(InstanceError::HeaderTooLong)?;
            return instance_header(data_set, Vec::new(), None, transfer_syntax_uid, None).map(Some);
        }
    }
    let found = match parse_header(&bytes, encoding) {
        Err(_) if end == End::More => return Ok(None),
        parsed => parsed?,
    };
    match (found.pixel_data, end) {
        (None, End::More) => return Ok(None),
        (None, End::Broken) if whole => return Err(ParseError::Deflate("it ends before its end mark".into()).into()),
        (None, _) if !whole => return Ok(None),
        _ => {}
    }
    let data_set = found.data_set;
    let declared = number_of_frames(&data_set);
    let frames = frame_headers(&data_set, declared)?;
    let described = data_set
        .contains(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)
        .then(|| data_set.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).len());
    let data_set = kept(&data_set).ok_or(InstanceError::HeaderTooLong)?;
    instance_header(data_set, frames, described, transfer_syntax_uid, found.pixel_data).map(Some)
}

fn instance_header(
    data_set: DataSet,
    frames: Vec<FrameHeader>,
    described_frames: Option<usize>,
    transfer_syntax_uid: Option<TransferSyntaxUid>,
    pixel_data: Option<PixelDataElement>,
) -> Result<InstanceHeader, InstanceError> {
    let uid = |name, cause| InstanceError::Uid { name, cause };
    let format = PixelFormat::read(&data_set);
    let compression = match &transfer_syntax_uid {
        Some(syntax) => Compression::of(syntax),
        None => Some(Compression::Native),
    };
    Ok(InstanceHeader {
        sop_class_uid: data_set.uid(tags::SOP_CLASS_UID, SopClassUid::parse).map_err(|e| uid("SOP Class UID", e))?,
        sop_instance_uid: data_set
            .uid(tags::SOP_INSTANCE_UID, SopInstanceUid::parse)
            .map_err(|e| uid("SOP Instance UID", e))?,
        study_instance_uid: data_set
            .uid(tags::STUDY_INSTANCE_UID, StudyInstanceUid::parse)
            .map_err(|e| uid("Study Instance UID", e))?,
        series_instance_uid: data_set
            .uid(tags::SERIES_INSTANCE_UID, SeriesInstanceUid::parse)
            .map_err(|e| uid("Series Instance UID", e))?,
        compression,
        padding: format.as_ref().ok().and_then(|format| padding(&data_set, format)),
        format,
        has_pixel_data: pixel_data.is_some_and(|element| element.tag == tags::PIXEL_DATA),
        declared_frames: number_of_frames(&data_set),
        described_frames,
        frames,
        transfer_syntax_uid,
        data_set,
    })
}

fn number_of_frames(data_set: &DataSet) -> usize {
    let declared = data_set.integer(tags::NUMBER_OF_FRAMES).unwrap_or(1).max(1);
    usize::try_from(declared).unwrap_or(1)
}

/// By the bits that a cell has: a value beyond those of a sample is none that a pixel can have.
fn padding(data_set: &DataSet, format: &PixelFormat) -> Option<RangeInclusive<i32>> {
    let cell = SampleBits { shift: 0, bits: format.bits_allocated, signed: format.signed };
    let value = cell.reinterpreted(data_set.integer(tags::PIXEL_PADDING_VALUE)?);
    let limit = data_set.integer(tags::PIXEL_PADDING_RANGE_LIMIT).map_or(value, |l| cell.reinterpreted(l));
    let stored = format.native_samples().range();
    let (least, greatest) = (value.min(limit).max(*stored.start()), value.max(limit).min(*stored.end()));
    (least <= greatest).then_some(least..=greatest)
}

/// Locates the frames of a Part 10 file whose header is known.
///
/// # Errors
/// The pixels' [`DecodeError`], or a text where the file cannot be read any more as it was before.
pub fn pixel_data(file: &Bytes, header: &InstanceHeader) -> Result<PixelData, DecodeError> {
    let broken = |e: &dyn std::fmt::Display| DecodeError::Codec(e.to_string());
    let format = header.format.clone().map_err(|e| broken(&e))?;
    let most = format.frame_bytes().saturating_mul(header.declared_frames).saturating_add(MAX_HEADER);
    let part10 = Part10::split(file).map_err(|e| broken(&e))?;
    let Beginning { encoding, bytes: data_set, .. } = part10.beginning(most).map_err(|e| broken(&e))?;
    let found = parse_header(&data_set, encoding).map_err(|e| broken(&e))?;
    let element = found.pixel_data.ok_or(DecodeError::NoFrame(0))?;
    let compression = header.compression.ok_or(DecodeError::Layout)?;
    let extended: Vec<u64> = header
        .data_set
        .bytes(tags::EXTENDED_OFFSET_TABLE)
        .map(|table| table.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
        .unwrap_or_default();
    let layout = (format, compression, header.declared_frames);
    PixelData::locate(&data_set, element, encoding, layout, &extended)
}
