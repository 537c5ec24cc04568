//! One instance: its header read, its frames decoded.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::compression::Compression;
use super::decode::{DecodeError, PixelData};
use super::early::DecodedInstance;
use super::frame_header::{FrameHeader, frame_headers};
use super::pixel_format::{PixelFormat, PixelFormatError};
use crate::dicom::data_set::DataSet;
use crate::dicom::parse::{ParseError, PixelDataElement, parse_header};
use crate::dicom::part10::{Part10, Part10Error};
use crate::dicom::tags;
use crate::dicom::transfer_syntax::Encoding;
use crate::dicom::uid::{
    SeriesInstanceUid, SopClassUid, SopInstanceUid, StudyInstanceUid, TransferSyntaxUid, UidError,
};

/// How much of a file is read in search of its header; most headers end well before.
const HEADER_PREFIX: usize = 64 << 10;

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
    /// Without the UIDs that identify it: its maker must act.
    #[error("{name}: {cause}")]
    Uid {
        /// The attribute.
        name: &'static str,
        /// What is wrong.
        cause: UidError,
    },
}

/// What is known of an instance without its pixels. Holds no reference to the file it came from.
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
    /// The frames that the header describes: one in an instance without functional groups, however many it declares.
    pub frames: Vec<FrameHeader>,
    /// Everything before the pixel data.
    pub data_set: DataSet,
}

impl InstanceSource {
    /// Reads the header; of a file only as much as that takes.
    ///
    /// # Errors
    /// [`InstanceError`].
    pub fn header(&self) -> Result<InstanceHeader, InstanceError> {
        if let Self::Decoded(early) = self {
            return Ok(early.header.clone());
        }
        if let Self::File(path) = self {
            let prefix = read_prefix(path).map_err(|cause| InstanceError::Read { path: path.clone(), cause })?;
            // A prefix that ends inside the header is no header yet; one that deflates cannot be read in part.
            match read_header(&prefix) {
                Ok(header) if header.has_pixel_data => return Ok(header),
                _ => {}
            }
        }
        read_header(&self.open()?)
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

fn read_prefix(path: &Path) -> std::io::Result<Bytes> {
    use std::io::Read;
    let mut prefix = Vec::with_capacity(HEADER_PREFIX);
    std::fs::File::open(path)?.take(HEADER_PREFIX as u64).read_to_end(&mut prefix)?;
    Ok(prefix.into())
}

/// Reads the header of a Part 10 file.
///
/// # Errors
/// [`InstanceError`] other than [`InstanceError::Read`].
pub fn read_header(file: &Bytes) -> Result<InstanceHeader, InstanceError> {
    let part10 = Part10::split(file)?;
    let transfer_syntax_uid = part10.transfer_syntax().ok();
    let (data_set, pixel_data) = parse_owned(&part10)?;
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
        frames: frame_headers(&data_set, number_of_frames(&data_set)),
        transfer_syntax_uid,
        data_set,
    })
}

/// Parses the header from a copy of its bytes, so that it does not keep the pixels alive.
fn parse_owned(part10: &Part10) -> Result<(DataSet, Option<PixelDataElement>), ParseError> {
    let (encoding, data_set) = part10.inflated()?;
    let found = parse_header(&data_set, encoding)?;
    let Some(element) = found.pixel_data else {
        let owned = Bytes::copy_from_slice(&data_set);
        return Ok((parse_header(&owned, encoding)?.data_set, None));
    };
    let head = if encoding == Encoding::ImplicitLe { 8 } else { 12 };
    let owned = Bytes::copy_from_slice(&data_set[..element.offset.saturating_sub(head)]);
    Ok((parse_header(&owned, encoding)?.data_set, Some(element)))
}

fn number_of_frames(data_set: &DataSet) -> usize {
    let declared = data_set.integer(tags::NUMBER_OF_FRAMES).unwrap_or(1).max(1);
    usize::try_from(declared).unwrap_or(1)
}

fn padding(data_set: &DataSet, format: &PixelFormat) -> Option<RangeInclusive<i32>> {
    let sample = format.native_samples();
    let value = sample.reinterpreted(data_set.integer(tags::PIXEL_PADDING_VALUE)?);
    let limit = data_set.integer(tags::PIXEL_PADDING_RANGE_LIMIT).map_or(value, |l| sample.reinterpreted(l));
    Some(value.min(limit)..=value.max(limit))
}

/// Locates the frames of a Part 10 file whose header is known.
///
/// # Errors
/// The pixels' [`DecodeError`], or a text where the file cannot be read any more as it was before.
pub fn pixel_data(file: &Bytes, header: &InstanceHeader) -> Result<PixelData, DecodeError> {
    let broken = |e: &dyn std::fmt::Display| DecodeError::Codec(e.to_string());
    let (encoding, data_set) = Part10::split(file).map_err(|e| broken(&e))?.inflated().map_err(|e| broken(&e))?;
    let found = parse_header(&data_set, encoding).map_err(|e| broken(&e))?;
    let element = found.pixel_data.ok_or(DecodeError::NoFrame(0))?;
    let format = header.format.clone().map_err(|e| broken(&e))?;
    let compression = header.compression.ok_or(DecodeError::Layout)?;
    let extended: Vec<u64> = header
        .data_set
        .bytes(tags::EXTENDED_OFFSET_TABLE)
        .map(|table| table.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
        .unwrap_or_default();
    let layout = (format, compression, header.declared_frames);
    PixelData::locate(&data_set, element, encoding, layout, &extended)
}
