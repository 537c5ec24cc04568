//! A series on its way to a volume: headers first, facts and plan from them, pixels last.

use std::sync::{Mutex, OnceLock, PoisonError};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::facts::{SeriesFacts, SeriesKind};
use super::fill::{Filled, Wanted, fill};
use super::frame_header::FrameHeader;
use super::instance::{InstanceError, InstanceHeader, InstanceSource, pixel_data};
use super::options::AssembleOptions;
use super::plan::{FramePlace, Plan, check_form, check_missing, plan};
use super::refusal::{AssembleError, Refusal};
use super::rescale::Rescale;
use super::{SourceFrame, SourceSeries, Volume, Voxels};

/// The instances of one series with their headers read.
#[derive(Debug)]
pub struct Series {
    members: Vec<Member>,
    /// What was planned already: acceptance, a gate's acceptance and the volume ask for the same plan.
    plans: Mutex<Vec<(AssembleOptions, Result<Plan, Refusal>)>>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) header: InstanceHeader,
    pub(super) source: InstanceSource,
    /// A hash for each frame, once they were asked for.
    prints: OnceLock<Option<Vec<FramePrint>>>,
}

/// A hash of what was sent of a frame.
pub(super) type FramePrint = [u8; 32];

impl Member {
    /// Equal for frames that hold the same image, to the bit of what was sent; `None` where that cannot be told. The file
    /// is opened once, however often this is asked.
    fn print(&self, frame: usize) -> Option<FramePrint> {
        let prints = self.prints.get_or_init(|| {
            let pixels = pixel_data(&self.source.open().ok()?, &self.header).ok()?;
            let form = format!("{:?} {:?}", self.header.compression, self.header.format);
            let print = |frame: usize| {
                let encoded = pixels.encoded_frame(frame).ok()?;
                Some(Sha256::new().chain_update(&form).chain_update(&encoded).finalize().into())
            };
            (0..self.header.frames.len()).map(print).collect()
        });
        prints.as_ref()?.get(frame).copied()
    }
}

/// What a frame's values are multiplied by and shifted by; stored values as they are where it does not say.
pub(super) fn rescale_of(frame: &FrameHeader) -> Rescale {
    frame.rescale.and_then(Result::ok).unwrap_or(Rescale::IDENTITY)
}

impl Series {
    /// Reads the headers of all instances, in parallel.
    ///
    /// # Errors
    /// [`AssembleError::Read`] where a file cannot be opened; [`Refusal::UnreadableInstance`] where one is broken.
    pub fn read(sources: Vec<InstanceSource>) -> Result<Self, AssembleError> {
        let member = |source: InstanceSource| -> Result<Member, InstanceError> {
            Ok(Member { header: source.header()?, source, prints: OnceLock::new() })
        };
        let members = sources.into_par_iter().map(member).collect::<Result<Vec<Member>, InstanceError>>()?;
        Ok(Self { members, plans: Mutex::default() })
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(super) fn headers(&self) -> Vec<&InstanceHeader> {
        self.members.iter().map(|member| &member.header).collect()
    }

    fn plan(&self, options: &AssembleOptions) -> Result<Plan, Refusal> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plan)) = plans.iter().find(|(planned, _)| planned == options) {
            return plan.clone();
        }
        let plan = plan(&self.headers(), options, |place| self.members[place.member].print(place.frame));
        plans.push((options.clone(), plan.clone()));
        plan
    }

    /// Which kind of series it is. Plans nothing.
    #[must_use]
    pub fn kind(&self) -> SeriesKind {
        SeriesKind::collect(&self.headers())
    }

    /// What acceptance rules ask for. Decodes nothing.
    #[must_use]
    pub fn facts(&self, options: &AssembleOptions) -> SeriesFacts {
        let plan = self.plan(options);
        SeriesFacts::collect(&self.headers(), plan.as_ref().map_err(Clone::clone))
    }

    /// Decodes all slices, in parallel, straight into the volume.
    ///
    /// # Errors
    /// [`AssembleError::Refused`] with the reason why the series is no volume; [`AssembleError::Read`] where a file
    /// cannot be opened.
    pub fn assemble(mut self, options: &AssembleOptions) -> Result<Volume, AssembleError> {
        let plan = self.plan(options)?;
        let wanted = self.wanted(&plan);
        check_form(&plan.geometry, wanted, options)?;
        let filled = fill(&mut self.members, &plan, wanted, |wanted| check_form(&plan.geometry, wanted, options))?;
        Ok(self.finish(plan, filled, options)?)
    }

    /// 16 bits where the slopes and intercepts of all slices are whole numbers; whether the values fit is seen when they
    /// are there.
    fn wanted(&self, plan: &Plan) -> Wanted {
        let fits = |place: &FramePlace| {
            let member = &self.members[place.member];
            match &member.source {
                InstanceSource::Decoded(early) => !matches!(early.frames.get(place.frame), Some(Ok(Voxels::F32(_)))),
                _ => member.header.frames.get(place.frame).is_some_and(|frame| rescale_of(frame).whole().is_some()),
            }
        };
        if plan.slots.iter().flatten().all(fits) { Wanted::I16 } else { Wanted::F32 }
    }

    fn finish(self, plan: Plan, filled: Filled, options: &AssembleOptions) -> Result<Volume, Refusal> {
        let Plan { mut geometry, mut slots, mut between, mut warnings, .. } = plan;
        let Filled { mut voxels, failures } = filled;
        let expected = slots.len() - between.len();
        for (slot, _) in &failures {
            slots[*slot] = None;
        }
        let found = slots.iter().flatten().count();
        if let Some((_, first)) = failures.first() {
            let refusal =
                || Refusal::Undecodable { failed: failures.len(), total: found + failures.len(), first: first.clone() };
            check_missing(found, expected, options).map_err(|_| refusal())?;
            if found < options.min_slices.max(2) {
                return Err(refusal());
            }
            warnings.push(format!(
                "{} of {} images cannot be decoded: {first}.",
                failures.len(),
                found + failures.len()
            ));
        }
        let missing_share = check_missing(found, expected, options)?;
        let (leading, trailing) = missing_ends(&slots);
        if leading + trailing > 0 {
            geometry.origin = geometry.position([f64::from(u32::try_from(leading).unwrap_or(0)), 0.0, 0.0]);
            slots.drain(..leading);
            slots.truncate(slots.len() - trailing);
            voxels.keep_slices(leading, slots.len(), geometry.shape[1] * geometry.shape[2]);
            geometry.shape[0] = slots.len();
        }
        let least = options.min_slices.max(2);
        if found < least {
            return Err(Refusal::TooFewSlices { found, least });
        }
        voxels.interpolate_missing(&slots, geometry.shape[1] * geometry.shape[2]);
        between.retain(|slot| (leading..leading + slots.len()).contains(slot));
        between.iter_mut().for_each(|slot| *slot -= leading);
        let missing_slices = slots.len() - found - between.len();
        if missing_slices > 0 {
            #[expect(clippy::cast_precision_loss, reason = "numbers of slices")]
            let percent = missing_slices as f64 / expected as f64 * 100.0;
            warnings.push(format!(
                "{missing_slices} of {expected} slices are missing ({percent:.1} %); they were filled by interpolation between their \
                 neighbours."
            ));
        }
        let source = self.source(&slots)?;
        let slices = slots.iter().map(|slot| slot.and_then(|place| self.source_frame(place))).collect();
        Ok(Volume { geometry, voxels, slices, source, between, missing_share, warnings })
    }

    fn source_frame(&self, place: FramePlace) -> Option<SourceFrame> {
        let header = &self.members[place.member].header;
        let frame = header.frames.get(place.frame)?;
        let plane = frame.plane.as_ref()?;
        Some(SourceFrame {
            sop_class_uid: header.sop_class_uid.clone(),
            sop_instance_uid: header.sop_instance_uid.clone(),
            frame_number: frame.number,
            image_position_patient: plane.position_text.clone(),
            image_orientation_patient: plane.orientation_text.clone(),
            pixel_spacing: plane.spacing_text.clone(),
            slice_thickness: frame.slice_thickness.clone(),
        })
    }

    fn source(&self, slots: &[Option<FramePlace>]) -> Result<SourceSeries, Refusal> {
        let first = slots.iter().flatten().next().ok_or(Refusal::Empty)?;
        let header = &self.members[first.member].header;
        let mut seen = std::collections::HashSet::new();
        let read = slots.iter().flatten().map(|place| &self.members[place.member].header);
        Ok(SourceSeries::of(header, read.filter(|header| seen.insert(&header.sop_instance_uid))))
    }
}

/// How many slots are empty before the first and after the last that is not.
fn missing_ends(slots: &[Option<FramePlace>]) -> (usize, usize) {
    let leading = slots.iter().take_while(|slot| slot.is_none()).count();
    let trailing = slots[leading..].iter().rev().take_while(|slot| slot.is_none()).count();
    (leading, trailing)
}
