//! A radiograph: one image of projection radiography (CR, DX, secondary captures of them) as it is meant to be seen.

mod choose;
mod display;
mod lookup;
mod voi;

use super::SourceSeries;
use super::decode::PixelData;
use super::instance::{InstanceHeader, pixel_data};
use super::pixel_format::NativeFrame;
use super::refusal::{AssembleError, Refusal};
use super::series::{Member, Series};
use crate::dicom::tags;
use crate::dicom::uid::{SopClassUid, SopInstanceUid};
pub(super) use choose::is_radiographic;
use choose::{View, check, in_order, is_multi_frame};
use display::displayed;

/// One image in the grey levels that a viewer would show.
#[derive(Debug, Clone)]
pub struct Radiograph {
    /// Rows (0028,0010).
    pub rows: usize,
    /// Columns (0028,0011).
    pub columns: usize,
    /// Row by row, 0 to 1: 1 is bright as displayed, whatever the Photometric Interpretation.
    pub values: Vec<f32>,
    /// Which pixels are padding and no image; their value is 0. `None` where there are none.
    pub padding: Option<Vec<bool>>,
    /// Between rows and between columns, mm: Pixel Spacing, or else that at the detector (Imager Pixel Spacing).
    pub pixel_spacing: Option<[f64; 2]>,
    /// Which image of the series it is.
    pub image: SourceImage,
    /// What the result objects copy and reference; of the instances only the one that was read.
    pub source: SourceSeries,
    /// What a reader of the result should know, in plain English.
    pub warnings: Vec<String>,
}

/// The image that a radiograph was read from, to be referred to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceImage {
    /// (0008,0016)
    pub sop_class_uid: SopClassUid,
    /// (0008,0018)
    pub sop_instance_uid: SopInstanceUid,
    /// 1 in an instance of a multi-frame class; `None` in a single-frame one.
    pub frame_number: Option<u32>,
}

/// Bounds and choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RadiographOptions {
    /// Which grey levels are shown.
    pub voi: Voi,
    /// An image of more pixels is refused before it is opened.
    pub max_pixels: usize,
}

/// Which modality values become 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voi {
    /// Those of the first VOI LUT, or else of the first window; of the whole image where it has neither.
    First,
    /// The least and the greatest of the image, padding not counted.
    Whole,
}

impl Default for RadiographOptions {
    fn default() -> Self {
        Self { voi: Voi::First, max_pixels: 64 << 20 }
    }
}

impl Series {
    /// Reads the one image of the series that shows most: frontal views (PA before AP) come first, lateral ones are read
    /// only where there is nothing else. Among equals those for presentation come before raw ones, original images before
    /// derived ones, then the order of Instance Numbers counts. Headers decide; only the image that is read is opened.
    ///
    /// # Errors
    /// [`AssembleError::Refused`] with the reason why there is no such image; [`AssembleError::Read`] where a file cannot
    /// be opened.
    pub fn radiograph(&self, options: &RadiographOptions) -> Result<Radiograph, AssembleError> {
        let headers = self.headers();
        let (order, warnings) = in_order(&headers)?;
        let mut refused: Option<(View, Refusal)> = None;
        let mut unread = 0;
        for candidate in &order {
            // Never a lateral view in place of a frontal one that cannot be read.
            if refused.as_ref().is_some_and(|(view, _)| view.is_frontal() && candidate.view.is_from_the_side()) {
                break;
            }
            match read(&self.members()[candidate.member], options) {
                Ok(mut radiograph) => {
                    radiograph.warnings.splice(0..0, warnings);
                    radiograph.warnings.extend(candidate.warnings(order.len(), unread));
                    return Ok(radiograph);
                }
                Err(AssembleError::Refused(refusal)) => {
                    unread += 1;
                    refused.get_or_insert((candidate.view, refusal));
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused.map_or(Refusal::Empty, |(_, refusal)| refusal).into())
    }
}

fn read(member: &Member, options: &RadiographOptions) -> Result<Radiograph, AssembleError> {
    let header = &member.header;
    let format = check(header, options)?;
    let frame = pixel_data(&member.source.open()?, header).and_then(|pixels: PixelData| pixels.frame(0));
    let frame: NativeFrame = frame.map_err(|first| Refusal::Undecodable { failed: 1, total: 1, first })?;
    let shown = displayed(header, &frame, options.voi)?;
    Ok(Radiograph {
        rows: format.rows,
        columns: format.columns,
        values: shown.values,
        padding: shown.padding,
        pixel_spacing: pixel_spacing(header),
        image: SourceImage {
            sop_class_uid: header.sop_class_uid.clone(),
            sop_instance_uid: header.sop_instance_uid.clone(),
            frame_number: is_multi_frame(header.sop_class_uid.as_str()).then_some(1),
        },
        source: SourceSeries::of(header, [header]),
        warnings: shown.warnings,
    })
}

fn pixel_spacing(header: &InstanceHeader) -> Option<[f64; 2]> {
    let sensible = |tag| {
        let spacing: [f64; 2] = header.data_set.numbers(tag).try_into().ok()?;
        spacing.iter().all(|mm| (1e-4..=1e3).contains(mm)).then_some(spacing)
    };
    sensible(tags::PIXEL_SPACING).or_else(|| sensible(tags::IMAGER_PIXEL_SPACING))
}
