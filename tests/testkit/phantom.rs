//! CT series made on the spot, with a marker whose place in the patient is known.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code outside of test functions")]

use bytes::Bytes;
use dicom_dictionary_std::uids;
use overread::dicom::data_set::{DataSet, Value};
use overread::dicom::encode::{Layout, encode, part10_header};
use overread::dicom::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid};
use overread::dicom::{VR, tags};
use overread::volume::{InstanceSource, Volume, Voxels};

/// The stored value of the marker; every other pixel is below 1000.
pub(crate) const MARKER: u16 = 2500;
/// What is taken off every stored value.
pub(crate) const INTERCEPT: i16 = -1024;

/// A stack of slices, ready to be bent out of shape by a test.
#[derive(Debug, Clone)]
pub(crate) struct CtSeries {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    /// Column direction, then row direction.
    pub(crate) orientation: [f64; 6],
    /// Between rows, between columns.
    pub(crate) pixel_spacing: [f64; 2],
    pub(crate) slices: Vec<CtSlice>,
}

/// One slice.
#[derive(Debug, Clone)]
pub(crate) struct CtSlice {
    pub(crate) position: [f64; 3],
    pub(crate) pixels: Vec<u16>,
    /// Goes into the SOP Instance UID.
    pub(crate) id: usize,
}

impl CtSeries {
    /// `count` slices from `origin` on, `step` apart: an even stack has `step` along the normal. Every pixel has a value
    /// of its own place, so that no turn or mirror goes unseen; the marker is at `marker` (slice, row, column).
    pub(crate) fn new(
        orientation: [f64; 6],
        origin: [f64; 3],
        step: [f64; 3],
        count: usize,
        marker: [usize; 3],
    ) -> Self {
        let (rows, columns) = (12_u16, 10_u16);
        let slices = (0..count)
            .map(|slice| CtSlice {
                position: std::array::from_fn(|axis| origin[axis] + slice as f64 * step[axis]),
                pixels: (0..usize::from(rows))
                    .flat_map(|row| (0..usize::from(columns)).map(move |column| [slice, row, column]))
                    .map(|at| if at == marker { MARKER } else { (at[0] * 31 + at[1] * 7 + at[2] * 3) as u16 % 1000 })
                    .collect(),
                id: slice + 1,
            })
            .collect();
        Self { rows, columns, orientation, pixel_spacing: [0.75, 0.5], slices }
    }

    /// A plain axial stack of `count` slices, 1.25 mm apart, the marker in slice 2.
    pub(crate) fn axial(count: usize) -> Self {
        Self::new([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [-100.5, -80.25, -300.0], [0.0, 0.0, 1.25], count, [2, 3, 7])
    }

    /// Where a pixel lies, from nothing but the slice's own attributes (PS3.3 equation C.7.6.2.1-1).
    pub(crate) fn place(&self, [slice, row, column]: [usize; 3]) -> [f64; 3] {
        std::array::from_fn(|axis| {
            self.slices[slice].position[axis]
                + self.orientation[axis] * self.pixel_spacing[1] * column as f64
                + self.orientation[3 + axis] * self.pixel_spacing[0] * row as f64
        })
    }

    /// The header and pixels of one slice.
    pub(crate) fn data_set(&self, index: usize) -> DataSet {
        let slice = &self.slices[index];
        let mut ds = common();
        ds.put_uid(tags::SOP_CLASS_UID, uids::CT_IMAGE_STORAGE);
        ds.put_uid(tags::SOP_INSTANCE_UID, &format!("1.2.3.4.{}", slice.id));
        ds.put_text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\AXIAL");
        ds.put_text(tags::INSTANCE_NUMBER, VR::IS, &slice.id.to_string());
        ds.put_text(tags::SLICE_THICKNESS, VR::DS, "1.250");
        ds.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, &decimals(&slice.position));
        ds.put_text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &decimals(&self.orientation));
        ds.put_text(tags::PIXEL_SPACING, VR::DS, &decimals(&self.pixel_spacing));
        ds.put_text(tags::RESCALE_INTERCEPT, VR::DS, &INTERCEPT.to_string());
        ds.put_text(tags::RESCALE_SLOPE, VR::DS, "1");
        self.put_pixel_module(&mut ds);
        ds.put_bytes(tags::PIXEL_DATA, VR::OW, words(&slice.pixels));
        ds
    }

    fn put_pixel_module(&self, ds: &mut DataSet) {
        ds.put_us(tags::SAMPLES_PER_PIXEL, &[1]);
        ds.put_text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
        ds.put_us(tags::ROWS, &[self.rows]);
        ds.put_us(tags::COLUMNS, &[self.columns]);
        ds.put_us(tags::BITS_ALLOCATED, &[16]);
        ds.put_us(tags::BITS_STORED, &[16]);
        ds.put_us(tags::HIGH_BIT, &[15]);
        ds.put_us(tags::PIXEL_REPRESENTATION, &[0]);
    }

    /// All slices as Part 10 files, each changed by `edit` first.
    pub(crate) fn files_with(&self, edit: impl Fn(usize, &mut DataSet)) -> Vec<InstanceSource> {
        (0..self.slices.len())
            .map(|index| {
                let mut ds = self.data_set(index);
                edit(index, &mut ds);
                InstanceSource::Memory(part10(&ds, uids::EXPLICIT_VR_LITTLE_ENDIAN))
            })
            .collect()
    }

    /// All slices as Part 10 files.
    pub(crate) fn files(&self) -> Vec<InstanceSource> {
        self.files_with(|_, _| {})
    }

    /// The whole stack as one instance of `sop_class`, with functional groups.
    pub(crate) fn enhanced(&self, sop_class: &str) -> DataSet {
        let mut shared = DataSet::new();
        let mut put = |sequence, tag, text: &str| {
            let mut item = DataSet::new();
            item.put_text(tag, VR::DS, text);
            shared.put_items(sequence, vec![item]);
        };
        put(tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT, &decimals(&self.orientation));
        put(tags::PIXEL_MEASURES_SEQUENCE, tags::PIXEL_SPACING, &decimals(&self.pixel_spacing));
        let frames = self.slices.iter().map(|slice| {
            let mut position = DataSet::new();
            position.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, &decimals(&slice.position));
            let mut rescale = DataSet::new();
            rescale.put_text(tags::RESCALE_INTERCEPT, VR::DS, &INTERCEPT.to_string());
            rescale.put_text(tags::RESCALE_SLOPE, VR::DS, "1");
            let mut kind = DataSet::new();
            kind.put_text(tags::FRAME_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\VOLUME\\NONE");
            let mut frame = DataSet::new();
            frame.put_items(tags::PLANE_POSITION_SEQUENCE, vec![position]);
            frame.put_items(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, vec![rescale]);
            frame.put_items(tags::CT_IMAGE_FRAME_TYPE_SEQUENCE, vec![kind]);
            frame
        });
        let frames = frames.collect();
        let mut ds = common();
        ds.put_uid(tags::SOP_CLASS_UID, sop_class);
        ds.put_uid(tags::SOP_INSTANCE_UID, "1.2.3.4.1000");
        ds.put_text(tags::NUMBER_OF_FRAMES, VR::IS, &self.slices.len().to_string());
        ds.put_items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
        ds.put_items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames);
        self.put_pixel_module(&mut ds);
        let pixels: Vec<u8> = self.slices.iter().flat_map(|slice| words(&slice.pixels)).collect();
        ds.put_bytes(tags::PIXEL_DATA, VR::OW, pixels);
        ds
    }
}

fn common() -> DataSet {
    let mut ds = DataSet::new();
    ds.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
    ds.put_text(tags::MODALITY, VR::CS, "CT");
    ds.put_text(tags::PATIENT_NAME, VR::PN, "Phantom^Péter");
    ds.put_text(tags::PATIENT_ID, VR::LO, "PH-1");
    ds.put_text(tags::BODY_PART_EXAMINED, VR::CS, "CHEST");
    ds.put_text(tags::CONVOLUTION_KERNEL, VR::SH, "B30f");
    ds.put_uid(tags::STUDY_INSTANCE_UID, "1.2.3.1");
    ds.put_uid(tags::SERIES_INSTANCE_UID, "1.2.3.2");
    ds.put_uid(tags::FRAME_OF_REFERENCE_UID, "1.2.3.3");
    ds
}

/// Numbers as a DS of several values.
pub(crate) fn decimals(values: &[f64]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join("\\")
}

/// Little-endian 16-bit words.
pub(crate) fn words(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A data set as a file. Pixel data must already be as the transfer syntax wants it.
pub(crate) fn part10(ds: &DataSet, transfer_syntax: &str) -> Bytes {
    let mut out = part10_header(
        &ds.uid(tags::SOP_CLASS_UID, SopClassUid::parse).unwrap(),
        &ds.uid(tags::SOP_INSTANCE_UID, SopInstanceUid::parse).unwrap(),
        &TransferSyntaxUid::parse(transfer_syntax).unwrap(),
        None,
    );
    let layout = match transfer_syntax {
        uids::IMPLICIT_VR_LITTLE_ENDIAN => Layout::ImplicitLe,
        _ => Layout::ExplicitLe,
    };
    out.extend(encode(ds, layout));
    out.into()
}

/// Puts frames as encapsulated pixel data, one fragment each, with an empty offset table.
pub(crate) fn put_fragments(ds: &mut DataSet, frames: impl IntoIterator<Item = Vec<u8>>) {
    let fragments = std::iter::once(Bytes::new()).chain(frames.into_iter().map(Bytes::from)).collect();
    ds.put(tags::PIXEL_DATA, VR::OB, Value::Fragments(fragments));
}

/// The index of the one voxel that is the marker.
pub(crate) fn marker_index(volume: &Volume) -> [usize; 3] {
    let Voxels::I16(voxels) = &volume.voxels else { panic!("not 16 bits") };
    let value = i16::try_from(MARKER).unwrap() + INTERCEPT;
    let found: Vec<usize> = (0..voxels.len()).filter(|&at| voxels[at] == value).collect();
    assert_eq!(found.len(), 1, "one marker");
    let [_, rows, columns] = volume.geometry.shape;
    [found[0] / (rows * columns), found[0] / columns % rows, found[0] % columns]
}
