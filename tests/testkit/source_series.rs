//! A small CT series with a geometry of choice: the instances as files, and the stack that they make.

use std::path::Path;

use overread::dicom::data_set::{DataSet, decimal_string};
use overread::dicom::encode::{Layout, encode, part10_header};
use overread::dicom::uid::{
    FrameOfReferenceUid, SeriesInstanceUid, SopClassUid, SopInstanceUid, StudyInstanceUid, TransferSyntaxUid,
};
use overread::dicom::{VR, tags};
use overread::volume::{Geometry, SourceFrame, SourceSeries, Stack};

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const ENHANCED_CT: &str = "1.2.840.10008.5.1.4.1.1.2.1";
const STUDY: &str = "1.2.826.0.1.3680043.8.498.1.1";
const SERIES: &str = "1.2.826.0.1.3680043.8.498.1.2";
const FRAME_OF_REFERENCE: &str = "1.2.826.0.1.3680043.8.498.1.3";

/// How the slices lie.
#[derive(Debug, Clone, Copy)]
pub struct Layout3d {
    /// Slices, rows, columns.
    pub shape: [usize; 3],
    pub origin: [f64; 3],
    /// Direction cosines of rows (towards the next column), then of columns.
    pub cosines: [f64; 6],
    /// Between slices, rows, columns.
    pub spacing: [f64; 3],
    /// The next slice lies against the normal.
    pub reversed: bool,
    pub multi_frame: bool,
}

impl Layout3d {
    pub fn axial(shape: [usize; 3]) -> Self {
        let (cosines, spacing) = ([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [2.5, 0.703_125, 0.8]);
        Self { shape, origin: [-100.5, -80.25, 12.125], cosines, spacing, reversed: false, multi_frame: false }
    }

    pub fn reversed(mut self) -> Self {
        self.reversed = true;
        self
    }

    pub fn multi_frame(mut self) -> Self {
        self.multi_frame = true;
        self
    }

    pub fn sagittal(mut self) -> Self {
        self.cosines = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0];
        self
    }

    /// Turned about all three axes, so that no cosine is 0 or 1.
    pub fn oblique(mut self) -> Self {
        let (sa, ca) = 0.3_f64.sin_cos();
        let (sb, cb) = 0.2_f64.sin_cos();
        let (sc, cc) = 0.5_f64.sin_cos();
        let row = [cb * cc, cb * sc, -sb];
        let column = [sa * sb * cc - ca * sc, sa * sb * sc + ca * cc, sa * cb];
        self.cosines = [row[0], row[1], row[2], column[0], column[1], column[2]].map(|c| {
            let text = decimal_string(c);
            text.parse().unwrap()
        });
        self
    }

    fn geometry(&self) -> Geometry {
        let [a, b, c, d, e, f] = self.cosines;
        let sign = if self.reversed { -1.0 } else { 1.0 };
        Geometry {
            shape: self.shape,
            origin: self.origin,
            slice_direction: [b * f - c * e, c * d - a * f, a * e - b * d].map(|n| n * sign),
            row_direction: [d, e, f],
            column_direction: [a, b, c],
            spacing: self.spacing,
        }
    }
}

/// A series as a modality sends it, and as the stack that it becomes.
pub struct Series {
    pub instances: Vec<DataSet>,
    pub stack: Stack,
}

/// Makes a series; `identify` may put patient and study attributes into the header of every instance.
pub fn series(layout: Layout3d, identify: impl Fn(&mut DataSet)) -> Series {
    let geometry = layout.geometry();
    let texts = |values: &[f64]| values.iter().map(|v| decimal_string(*v)).collect::<Vec<_>>().join("\\");
    let class = SopClassUid::parse(if layout.multi_frame { ENHANCED_CT } else { CT }).unwrap();
    let uid = |number: usize| SopInstanceUid::parse(&format!("1.2.826.0.1.3680043.8.498.1.4.{number}")).unwrap();
    let slices: Vec<SourceFrame> = (0..layout.shape[0])
        .map(|slice| SourceFrame {
            sop_class_uid: class.clone(),
            sop_instance_uid: uid(if layout.multi_frame { 1 } else { slice + 1 }),
            // Frames need not come in the order of their positions: the last slice is the first frame.
            frame_number: layout.multi_frame.then(|| u32::try_from(layout.shape[0] - slice).unwrap()),
            image_position_patient: {
                #[expect(clippy::cast_precision_loss, reason = "a small number")]
                let index = [slice as f64, 0.0, 0.0];
                texts(&geometry.position(index))
            },
            image_orientation_patient: texts(&layout.cosines),
            pixel_spacing: texts(&layout.spacing[1..]),
            slice_thickness: Some("3.0".to_owned()),
        })
        .collect();
    let instances: Vec<DataSet> = if layout.multi_frame {
        vec![enhanced(&slices, layout, &identify)]
    } else {
        slices.iter().enumerate().map(|(at, slice)| single(slice, at, layout, &identify)).collect()
    };
    let mut header = instances[0].clone();
    header.remove(tags::PIXEL_DATA);
    let mut uids: Vec<_> = slices.iter().map(|s| (s.sop_class_uid.clone(), s.sop_instance_uid.clone())).collect();
    uids.dedup();
    let stack = Stack {
        slices: slices.into_iter().map(Some).collect(),
        source: SourceSeries {
            study_instance_uid: StudyInstanceUid::parse(STUDY).unwrap(),
            series_instance_uid: SeriesInstanceUid::parse(SERIES).unwrap(),
            frame_of_reference_uid: Some(FrameOfReferenceUid::parse(FRAME_OF_REFERENCE).unwrap()),
            header,
            instances: uids,
            lossy: None,
        },
        geometry,
        between: Vec::new(),
        missing_share: 0.0,
        warnings: Vec::new(),
    };
    Series { instances, stack }
}

/// Writes every instance as a file.
pub fn write(instances: &[DataSet], folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let syntax = TransferSyntaxUid::parse("1.2.840.10008.1.2.1").unwrap();
    for (at, instance) in instances.iter().enumerate() {
        let class = instance.uid(tags::SOP_CLASS_UID, SopClassUid::parse).unwrap();
        let uid = instance.uid(tags::SOP_INSTANCE_UID, SopInstanceUid::parse).unwrap();
        let mut bytes = part10_header(&class, &uid, &syntax, None);
        bytes.extend(encode(instance, Layout::ExplicitLe));
        std::fs::write(folder.join(format!("{at:03}.dcm")), bytes).unwrap();
    }
}

fn common(
    class: &SopClassUid,
    instance: &SopInstanceUid,
    shape: [usize; 3],
    identify: &impl Fn(&mut DataSet),
) -> DataSet {
    let mut ds = DataSet::new();
    identify(&mut ds);
    ds.put_uid(tags::SOP_CLASS_UID, class.as_str());
    ds.put_uid(tags::SOP_INSTANCE_UID, instance.as_str());
    ds.put_uid(tags::STUDY_INSTANCE_UID, STUDY);
    ds.put_uid(tags::SERIES_INSTANCE_UID, SERIES);
    ds.put_uid(tags::FRAME_OF_REFERENCE_UID, FRAME_OF_REFERENCE);
    for (tag, vr, text) in [
        (tags::MODALITY, VR::CS, "CT"),
        (tags::SERIES_NUMBER, VR::IS, "3"),
        (tags::MANUFACTURER, VR::LO, "ACME"),
        (tags::MANUFACTURER_MODEL_NAME, VR::LO, "Tube 64"),
        (tags::POSITION_REFERENCE_INDICATOR, VR::LO, "SN"),
        (tags::ACQUISITION_DATE, VR::DA, "20240229"),
        (tags::ACQUISITION_TIME, VR::TM, "101500"),
        (tags::CONTENT_DATE, VR::DA, "20240229"),
        (tags::CONTENT_TIME, VR::TM, "101501.5"),
        (tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\AXIAL"),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        (tags::RESCALE_INTERCEPT, VR::DS, "-1024"),
        (tags::RESCALE_SLOPE, VR::DS, "1"),
    ] {
        ds.put_text(tag, vr, text);
    }
    ds.put_us(tags::SAMPLES_PER_PIXEL, &[1]);
    ds.put_us(tags::ROWS, &[u16::try_from(shape[1]).unwrap()]);
    ds.put_us(tags::COLUMNS, &[u16::try_from(shape[2]).unwrap()]);
    ds.put_us(tags::BITS_ALLOCATED, &[16]);
    ds.put_us(tags::BITS_STORED, &[12]);
    ds.put_us(tags::HIGH_BIT, &[11]);
    ds.put_us(tags::PIXEL_REPRESENTATION, &[0]);
    ds
}

fn single(slice: &SourceFrame, at: usize, layout: Layout3d, identify: &impl Fn(&mut DataSet)) -> DataSet {
    let mut ds = common(&slice.sop_class_uid, &slice.sop_instance_uid, layout.shape, identify);
    ds.put_text(tags::INSTANCE_NUMBER, VR::IS, &(at + 1).to_string());
    ds.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, &slice.image_position_patient);
    ds.put_text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &slice.image_orientation_patient);
    ds.put_text(tags::PIXEL_SPACING, VR::DS, &slice.pixel_spacing);
    ds.put_text(tags::SLICE_THICKNESS, VR::DS, slice.slice_thickness.as_deref().unwrap());
    ds.put_text(tags::KVP, VR::DS, "120");
    ds.put_text(tags::CONVOLUTION_KERNEL, VR::SH, "LUNG");
    ds.put_bytes(tags::PIXEL_DATA, VR::OW, vec![0; layout.shape[1] * layout.shape[2] * 2]);
    ds
}

fn enhanced(slices: &[SourceFrame], layout: Layout3d, identify: &impl Fn(&mut DataSet)) -> DataSet {
    let item = |fill: &dyn Fn(&mut DataSet)| {
        let mut item = DataSet::new();
        fill(&mut item);
        vec![item]
    };
    let first = &slices[0];
    let mut ds = common(&first.sop_class_uid, &first.sop_instance_uid, layout.shape, identify);
    ds.put_text(tags::INSTANCE_NUMBER, VR::IS, "1");
    ds.put_text(tags::NUMBER_OF_FRAMES, VR::IS, &slices.len().to_string());
    let mut shared = DataSet::new();
    shared.put_items(
        tags::PIXEL_MEASURES_SEQUENCE,
        item(&|i| {
            i.put_text(tags::PIXEL_SPACING, VR::DS, &first.pixel_spacing);
            i.put_text(tags::SLICE_THICKNESS, VR::DS, first.slice_thickness.as_deref().unwrap());
        }),
    );
    shared.put_items(
        tags::PLANE_ORIENTATION_SEQUENCE,
        item(&|i| i.put_text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &first.image_orientation_patient)),
    );
    shared.put_items(tags::CT_RECONSTRUCTION_SEQUENCE, item(&|i| i.put_text(tags::CONVOLUTION_KERNEL, VR::SH, "LUNG")));
    shared.put_items(tags::CTX_RAY_DETAILS_SEQUENCE, item(&|i| i.put_text(tags::KVP, VR::DS, "120")));
    ds.put_items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
    let mut frames: Vec<&SourceFrame> = slices.iter().collect();
    frames.sort_by_key(|slice| slice.frame_number);
    let frames = frames.into_iter().map(|slice| {
        let mut groups = DataSet::new();
        groups.put_items(
            tags::PLANE_POSITION_SEQUENCE,
            item(&|i| i.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, &slice.image_position_patient)),
        );
        groups
    });
    ds.put_items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames.collect());
    ds.put_bytes(tags::PIXEL_DATA, VR::OW, vec![0; layout.shape.iter().product::<usize>() * 2]);
    ds
}
