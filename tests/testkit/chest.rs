//! Small CT series with a known end: a chest that the built-in model reads in a moment, a head without lungs, a localizer.

use bytes::Bytes;
use dicom_dictionary_std::uids;
use overread::dicom::data_set::DataSet;
use overread::dicom::uid::SeriesInstanceUid;
use overread::dicom::{VR, tags};

use super::phantom::{decimals, part10, words};

const ROWS: usize = 80;
const COLUMNS: usize = 96;
const PIXEL_MM: f64 = 2.0;
const SLICE_MM: f64 = 8.0;

/// What is in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    /// Two lungs of some 300 cm3.
    Lungs,
    /// No air at all.
    Brain,
}

/// A series of one study.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) study: String,
    pub(crate) series: String,
    pub(crate) inside: Inside,
    pub(crate) slices: usize,
    pub(crate) image_type: &'static str,
    /// Hounsfield value of the body around the lungs.
    pub(crate) body: i32,
    /// Body Part Examined (0018,0015), where the series has it.
    pub(crate) body_part: Option<&'static str>,
    /// Number of Series Related Instances (0020,1209) in every instance: with the last one the series is complete.
    pub(crate) announces: bool,
}

impl Series {
    /// A chest from above the lungs to below them; `name` makes its UIDs.
    pub(crate) fn chest(name: &str) -> Self {
        let uid = |level| SeriesInstanceUid::derived(&["chest", name, level]).to_string();
        Self {
            study: uid("study"),
            series: uid("series"),
            inside: Inside::Lungs,
            slices: 14,
            image_type: "ORIGINAL\\PRIMARY\\AXIAL",
            body: 40,
            body_part: None,
            announces: false,
        }
    }

    /// The same body without lungs.
    pub(crate) fn head(name: &str) -> Self {
        Self { inside: Inside::Brain, ..Self::chest(name) }
    }

    /// One projection, as scanners send it before the volume.
    pub(crate) fn localizer(name: &str) -> Self {
        Self { slices: 1, image_type: "ORIGINAL\\PRIMARY\\LOCALIZER", ..Self::chest(name) }
    }

    /// The same study, another series.
    pub(crate) fn beside(self, other: &Self) -> Self {
        Self { study: other.study.clone(), ..self }
    }

    /// SOP Instance UID of a slice.
    pub(crate) fn instance(&self, slice: usize) -> String {
        SeriesInstanceUid::derived(&[&self.series, &slice.to_string()]).to_string()
    }

    /// The slices as DICOM files, from the feet up.
    pub(crate) fn files(&self) -> Vec<Bytes> {
        self.files_with(|_| ())
    }

    /// The same, each changed by `edit` first.
    pub(crate) fn files_with(&self, edit: impl Fn(&mut DataSet)) -> Vec<Bytes> {
        let file = |slice| {
            let mut ds = self.data_set(slice);
            edit(&mut ds);
            part10(&ds, uids::EXPLICIT_VR_LITTLE_ENDIAN)
        };
        (0..self.slices).map(file).collect()
    }

    /// A slice, for a test that changes something in it.
    pub(crate) fn data_set(&self, slice: usize) -> DataSet {
        let mut ds = DataSet::new();
        ds.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
        ds.put_text(tags::IMAGE_TYPE, VR::CS, self.image_type);
        ds.put_uid(tags::SOP_CLASS_UID, uids::CT_IMAGE_STORAGE);
        ds.put_uid(tags::SOP_INSTANCE_UID, &self.instance(slice));
        ds.put_text(tags::STUDY_DATE, VR::DA, "20260102");
        ds.put_text(tags::STUDY_TIME, VR::TM, "101500");
        ds.put_text(tags::ACCESSION_NUMBER, VR::SH, "A-17");
        ds.put_text(tags::MODALITY, VR::CS, "CT");
        ds.put_text(tags::MANUFACTURER, VR::LO, "Phantoms");
        ds.put_text(tags::SERIES_DESCRIPTION, VR::LO, "Thorax 8 mm");
        ds.put_text(tags::PATIENT_NAME, VR::PN, "Phantom^Chest");
        ds.put_text(tags::PATIENT_ID, VR::LO, "PH-17");
        if let Some(part) = self.body_part {
            ds.put_text(tags::BODY_PART_EXAMINED, VR::CS, part);
        }
        ds.put_text(tags::SLICE_THICKNESS, VR::DS, "8");
        ds.put_text(tags::CONVOLUTION_KERNEL, VR::SH, "B60f");
        ds.put_uid(tags::STUDY_INSTANCE_UID, &self.study);
        ds.put_uid(tags::SERIES_INSTANCE_UID, &self.series);
        ds.put_text(tags::SERIES_NUMBER, VR::IS, "3");
        ds.put_text(tags::INSTANCE_NUMBER, VR::IS, &(slice + 1).to_string());
        if self.announces {
            ds.put_text(tags::NUMBER_OF_SERIES_RELATED_INSTANCES, VR::IS, &self.slices.to_string());
        }
        let position = [-95.0, -79.0, -300.0 + slice as f64 * SLICE_MM];
        ds.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, &decimals(&position));
        ds.put_text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0");
        ds.put_uid(tags::FRAME_OF_REFERENCE_UID, &format!("{}.1", self.study));
        ds.put_us(tags::SAMPLES_PER_PIXEL, &[1]);
        ds.put_text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
        ds.put_us(tags::ROWS, &[ROWS as u16]);
        ds.put_us(tags::COLUMNS, &[COLUMNS as u16]);
        ds.put_text(tags::PIXEL_SPACING, VR::DS, &decimals(&[PIXEL_MM, PIXEL_MM]));
        ds.put_us(tags::BITS_ALLOCATED, &[16]);
        ds.put_us(tags::BITS_STORED, &[16]);
        ds.put_us(tags::HIGH_BIT, &[15]);
        ds.put_us(tags::PIXEL_REPRESENTATION, &[0]);
        ds.put_text(tags::RESCALE_INTERCEPT, VR::DS, "-1024");
        ds.put_text(tags::RESCALE_SLOPE, VR::DS, "1");
        ds.put_bytes(tags::PIXEL_DATA, VR::OW, words(&self.pixels(slice)));
        ds
    }

    fn pixels(&self, slice: usize) -> Vec<u16> {
        let middle = |index: usize, count: usize, mm: f64| (index as f64 - (count - 1) as f64 / 2.0) * mm;
        let z = middle(slice, self.slices.max(14), SLICE_MM);
        let mut pixels = Vec::with_capacity(ROWS * COLUMNS);
        for row in 0..ROWS {
            for column in 0..COLUMNS {
                let (y, x) = (middle(row, ROWS, PIXEL_MM), middle(column, COLUMNS, PIXEL_MM));
                let inside = |x0: f64, rx: f64, ry: f64, rz: f64| {
                    ((x - x0) / rx).powi(2) + (y / ry).powi(2) + (z / rz).powi(2) < 1.0
                };
                let lung =
                    self.inside == Inside::Lungs && (inside(-42.0, 32.0, 46.0, 44.0) || inside(42.0, 32.0, 46.0, 44.0));
                // Some grain, so that lung is not taken for gas.
                let grain = ((row * 7 + column * 13 + slice * 5) % 60) as i32;
                let hu = if lung {
                    -880 + grain
                } else if (x / 88.0).powi(2) + (y / 66.0).powi(2) < 1.0 {
                    self.body
                } else {
                    -1000
                };
                pixels.push(u16::try_from(hu + 1024).unwrap());
            }
        }
        pixels
    }
}
