//! What a model may ask of a series before it is decoded: headers and geometry, no pixels.

use std::collections::BTreeSet;

use super::instance::InstanceHeader;
use super::plan::Plan;
use super::refusal::Refusal;
use super::source::LossyCompression;
use crate::dicom::Tag;
use crate::dicom::data_set::DataSet;
use crate::dicom::tags;
use crate::dicom::uid::SopClassUid;

/// What kind of series it is: what decides whether a model looks at it at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SeriesKind {
    /// Modality (0008,0060).
    pub modality: Option<String>,
    /// SOP classes of all instances.
    pub sop_class_uids: BTreeSet<SopClassUid>,
    /// Image Types of all frames, values joined by a backslash, upper case.
    pub image_types: BTreeSet<String>,
}

impl SeriesKind {
    pub(super) fn collect(headers: &[&InstanceHeader]) -> Self {
        let image_types = headers.iter().flat_map(|h| &h.frames).map(|f| f.image_type.join("\\"));
        Self {
            modality: headers.iter().find_map(|h| h.data_set.text(tags::MODALITY)),
            sop_class_uids: headers.iter().map(|h| h.sop_class_uid.clone()).collect(),
            image_types: image_types.collect(),
        }
    }
}

/// A series in the terms of acceptance rules. Text is as it stands in the source, of the first instance that has it.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesFacts {
    /// Modality (0008,0060).
    pub modality: Option<String>,
    /// SOP classes of all instances.
    pub sop_class_uids: BTreeSet<SopClassUid>,
    /// How many instances there are.
    pub instances: usize,
    /// Image Types of all frames, values joined by a backslash, upper case.
    pub image_types: BTreeSet<String>,
    /// Body Part Examined (0018,0015), or the meaning of the Anatomic Region.
    pub body_part_examined: Option<String>,
    /// Study Description (0008,1030).
    pub study_description: Option<String>,
    /// Series Description (0008,103E).
    pub series_description: Option<String>,
    /// Protocol Name (0018,1030).
    pub protocol_name: Option<String>,
    /// Patient Position (0018,5100), such as HFS.
    pub patient_position: Option<String>,
    /// Convolution Kernels (0018,1210) of all frames.
    pub kernels: BTreeSet<String>,
    /// Slice Thickness (0018,0050) of the first frame that has one, mm.
    pub slice_thickness: Option<f64>,
    /// Contrast/Bolus Agent (0018,0010).
    pub contrast_agent: Option<String>,
    /// KVP (0018,0060), kV.
    pub kvp: Option<f64>,
    /// Manufacturer (0008,0070).
    pub manufacturer: Option<String>,
    /// Manufacturer's Model Name (0008,1090).
    pub manufacturer_model_name: Option<String>,
    /// Whether an image was compressed with loss: Lossy Image Compression (0028,2110).
    pub lossy: bool,
    /// Whether an image declares a Pixel Padding Value: some pixels are no image.
    pub pixel_padding: bool,
    /// The grid, or why there is none.
    pub stack: Result<StackFacts, Refusal>,
}

/// The grid of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct StackFacts {
    /// Which plane the slices lie in.
    pub orientation: Orientation,
    /// Between slices, rows, columns, mm; where slices are at unequal distances the longest that is no gap.
    pub spacing: [f64; 3],
    /// Rows and columns of a slice.
    pub size: [usize; 2],
    /// Slices that there should be, missing ones included.
    pub slices: usize,
    /// Missing slices as a share of them.
    pub missing_share: f64,
    /// First to last slice, mm.
    pub extent: f64,
}

/// The plane of slices, by their normal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orientation {
    /// Normal to the long axis, within about 25 degrees.
    Axial,
    /// Normal to left and right.
    Sagittal,
    /// Normal to front and back.
    Coronal,
    /// None of them.
    Oblique,
}

impl Orientation {
    /// By the normal of the slices, LPS.
    #[must_use]
    pub fn of(normal: [f64; 3]) -> Self {
        const NEAR: f64 = 0.9;
        match normal.map(f64::abs) {
            [x, _, _] if x > NEAR => Self::Sagittal,
            [_, y, _] if y > NEAR => Self::Coronal,
            [_, _, z] if z > NEAR => Self::Axial,
            _ => Self::Oblique,
        }
    }

    /// The word for manifests and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Axial => "axial",
            Self::Sagittal => "sagittal",
            Self::Coronal => "coronal",
            Self::Oblique => "oblique",
        }
    }
}

impl SeriesFacts {
    /// Collects the facts of a series from its headers and its plan.
    #[must_use]
    pub fn collect(headers: &[&InstanceHeader], plan: Result<&Plan, Refusal>) -> Self {
        let first = |read: &dyn Fn(&DataSet) -> Option<String>| headers.iter().find_map(|h| read(&h.data_set));
        let text = |tag: Tag| first(&|data_set| data_set.text(tag));
        let frames = || headers.iter().flat_map(|h| &h.frames);
        let SeriesKind { modality, sop_class_uids, image_types } = SeriesKind::collect(headers);
        Self {
            modality,
            sop_class_uids,
            instances: headers.len(),
            image_types,
            body_part_examined: text(tags::BODY_PART_EXAMINED).or_else(|| first(&anatomic_region)),
            study_description: text(tags::STUDY_DESCRIPTION),
            series_description: text(tags::SERIES_DESCRIPTION),
            protocol_name: text(tags::PROTOCOL_NAME),
            patient_position: text(tags::PATIENT_POSITION),
            kernels: frames().filter_map(|f| f.kernel.clone()).collect(),
            slice_thickness: frames().find_map(|f| f.slice_thickness.as_ref()?.parse().ok()),
            contrast_agent: text(tags::CONTRAST_BOLUS_AGENT),
            kvp: text(tags::KVP).and_then(|t| t.parse().ok()),
            manufacturer: text(tags::MANUFACTURER),
            manufacturer_model_name: text(tags::MANUFACTURER_MODEL_NAME),
            lossy: headers.iter().any(|h| LossyCompression::of(&h.data_set).is_some()),
            pixel_padding: headers.iter().any(|h| h.padding.is_some()),
            stack: plan.map(StackFacts::of),
        }
    }

    /// Missing slices as a share of all that the grid has, 0 to 1, where it is known.
    #[must_use]
    pub fn missing_share(&self) -> Option<f64> {
        match &self.stack {
            Ok(stack) => Some(stack.missing_share),
            Err(refusal) => refusal.missing_share(),
        }
    }
}

impl StackFacts {
    /// How many of the slices are there.
    #[must_use]
    pub fn present(&self) -> usize {
        (self.slices as f64 * (1.0 - self.missing_share)).round() as usize
    }

    fn of(plan: &Plan) -> Self {
        let geometry = &plan.geometry;
        let [slots, rows, columns] = geometry.shape;
        let slices = slots - plan.between.len();
        let missing = slices - plan.slots.iter().flatten().count();
        #[expect(clippy::cast_precision_loss, reason = "numbers of slices")]
        Self {
            orientation: Orientation::of(geometry.slice_direction),
            spacing: [plan.distance, geometry.spacing[1], geometry.spacing[2]],
            size: [rows, columns],
            slices,
            missing_share: missing as f64 / slices as f64,
            extent: (slots - 1) as f64 * geometry.spacing[0],
        }
    }
}

/// The meaning of the Anatomic Region of an enhanced instance.
fn anatomic_region(data_set: &DataSet) -> Option<String> {
    let shared = data_set.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
    let anatomy = shared.and_then(|s| s.items(tags::FRAME_ANATOMY_SEQUENCE).first());
    let holder = anatomy.unwrap_or(data_set);
    holder.items(tags::ANATOMIC_REGION_SEQUENCE).first()?.text(tags::CODE_MEANING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orientations_follow_the_normal() {
        assert_eq!(Orientation::of([0.0, 0.1, -0.99]), Orientation::Axial);
        assert_eq!(Orientation::of([1.0, 0.0, 0.0]), Orientation::Sagittal);
        assert_eq!(Orientation::of([0.0, -1.0, 0.0]), Orientation::Coronal);
        assert_eq!(Orientation::of([0.7, 0.7, 0.14]), Orientation::Oblique);
    }
}
