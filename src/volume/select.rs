//! Which frames of a series can be slices of one volume, by their headers alone.

use std::collections::BTreeMap;

use dicom_core::dictionary::UidDictionary;
use dicom_dictionary_std::{StandardSopClassDictionary, uids};

use super::frame_header::{FrameHeader, Plane, dot};
use super::instance::InstanceHeader;
use super::options::AssembleOptions;
use super::refusal::Refusal;
use crate::dicom::tags;

/// A frame that may become a slice.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Which of the series' instances holds it.
    pub member: usize,
    /// That instance.
    pub instance: &'a InstanceHeader,
    /// The frame.
    pub frame: &'a FrameHeader,
    /// Where it lies.
    pub plane: &'a Plane,
}

/// What is left of a series once everything that is no slice has been left out.
#[derive(Debug, Clone)]
pub struct Selection<'a> {
    /// Frames of one patient, study, series, orientation, size and pixel spacing.
    pub candidates: Vec<Candidate<'a>>,
    /// What was left out, and what is odd about the rest.
    pub warnings: Vec<String>,
}

/// SOP classes whose frames are cross-sections.
const CROSS_SECTIONAL: [&str; 9] = [
    uids::CT_IMAGE_STORAGE,
    uids::ENHANCED_CT_IMAGE_STORAGE,
    uids::LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE,
    uids::MR_IMAGE_STORAGE,
    uids::ENHANCED_MR_IMAGE_STORAGE,
    uids::LEGACY_CONVERTED_ENHANCED_MR_IMAGE_STORAGE,
    uids::POSITRON_EMISSION_TOMOGRAPHY_IMAGE_STORAGE,
    uids::ENHANCED_PET_IMAGE_STORAGE,
    uids::LEGACY_CONVERTED_ENHANCED_PET_IMAGE_STORAGE,
];

pub(super) fn is_cross_sectional(sop_class: &str) -> bool {
    CROSS_SECTIONAL.contains(&sop_class)
}

/// Chooses the frames that can be slices.
///
/// # Errors
/// A [`Refusal`] where none can, or where those that could do not belong together.
pub fn select<'a>(instances: &'a [&'a InstanceHeader], options: &AssembleOptions) -> Result<Selection<'a>, Refusal> {
    check_identity(instances)?;
    let (images, mut warnings) = cross_sections(instances)?;
    let mut left_out: BTreeMap<Unfit, usize> = BTreeMap::new();
    let mut candidates = Vec::new();
    for (member, instance) in images {
        for frame in &instance.frames {
            match fitness(frame, options) {
                Ok(plane) => candidates.push(Candidate { member, instance, frame, plane }),
                Err(unfit) => *left_out.entry(unfit).or_default() += 1,
            }
        }
    }
    if candidates.is_empty() {
        let worst = left_out.into_iter().max_by_key(|(_, count)| *count).map(|(unfit, _)| unfit);
        return Err(worst.map_or(Refusal::NoGeometry, Unfit::refusal));
    }
    warnings.extend(unfit_warnings(left_out));
    check_pixels(&candidates)?;
    check_uniform(&candidates)?;
    warnings.extend(oddities(&candidates));
    Ok(Selection { candidates, warnings })
}

/// Refuses a series that is several.
///
/// # Errors
/// The [`Refusal`] that names what differs; [`Refusal::Empty`] where there is nothing.
pub fn check_identity(instances: &[&InstanceHeader]) -> Result<(), Refusal> {
    let Some(first) = instances.first() else { return Err(Refusal::Empty) };
    let identity = [
        ("Patient ID", tags::PATIENT_ID),
        ("Issuer of Patient ID", tags::ISSUER_OF_PATIENT_ID),
        ("Patient's Name", tags::PATIENT_NAME),
        ("Patient's Birth Date", tags::PATIENT_BIRTH_DATE),
    ];
    for (name, tag) in identity {
        let expected = first.data_set.text(tag);
        if instances.iter().any(|i| i.data_set.text(tag) != expected) {
            return Err(Refusal::SeveralPatients(name));
        }
    }
    match distinct(instances.iter().map(|i| &i.study_instance_uid)) {
        1 => {}
        several => return Err(Refusal::SeveralStudies(several)),
    }
    match distinct(instances.iter().map(|i| &i.series_instance_uid)) {
        1 => Ok(()),
        several => Err(Refusal::SeveralSeries(several)),
    }
}

type Images<'a> = Vec<(usize, &'a InstanceHeader)>;

fn cross_sections<'a>(instances: &'a [&'a InstanceHeader]) -> Result<(Images<'a>, Vec<String>), Refusal> {
    let all = instances.iter().copied().enumerate();
    let (images, others): (Images, Images) = all.partition(|(_, i)| is_cross_sectional(i.sop_class_uid.as_str()));
    match (images.is_empty(), others.first()) {
        (true, Some((_, other))) => Err(Refusal::NoCrossSections(class_name(other))),
        (_, None) => Ok((images, Vec::new())),
        (false, Some(_)) => {
            let warning = left_out(others.iter().map(|(_, other)| *other));
            Ok((images, vec![warning]))
        }
    }
}

/// Says how many instances were left out, and of which SOP classes.
pub(super) fn left_out<'a>(others: impl Iterator<Item = &'a InstanceHeader>) -> String {
    let mut classes: BTreeMap<String, usize> = BTreeMap::new();
    for other in others {
        *classes.entry(class_name(other)).or_default() += 1;
    }
    let count = classes.values().sum();
    let mut names: Vec<String> = match classes.len() {
        1 => classes.into_keys().collect(),
        _ => classes.into_iter().map(|(name, count)| format!("{count} {name}")).collect(),
    };
    let more = names.len().saturating_sub(MOST_KINDS);
    names.truncate(MOST_KINDS);
    if more > 0 {
        names.push(format!("{more} other classes"));
    }
    format!("{} were left out: {}.", counted(count, "instance"), names.join(", "))
}

/// Kinds that a warning names one by one: a sender may have any number of them.
const MOST_KINDS: usize = 5;

/// What the standard calls the SOP class of an instance.
pub(super) fn class_name(instance: &InstanceHeader) -> String {
    let uid = instance.sop_class_uid.as_str();
    StandardSopClassDictionary.by_uid(uid).map_or_else(|| uid.to_owned(), |entry| entry.name.to_owned())
}

/// One for each kind, those with the most images first; beyond a few kinds the rest in one.
fn unfit_warnings(left_out: BTreeMap<Unfit, usize>) -> Vec<String> {
    let mut kinds: Vec<(Unfit, usize)> = left_out.into_iter().collect();
    if kinds.len() <= MOST_KINDS {
        return kinds.into_iter().map(|(unfit, count)| unfit.warning(count)).collect();
    }
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rest = kinds.split_off(MOST_KINDS);
    let images = rest.iter().map(|(_, count)| count).sum();
    let mut warnings: Vec<String> = kinds.into_iter().map(|(unfit, count)| unfit.warning(count)).collect();
    warnings.push(format!("{} of {} other kinds were left out.", counted(images, "image"), rest.len()));
    warnings
}

/// Why a frame is no slice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Unfit {
    NoGeometry,
    Derived(String),
    Localizer,
}

impl Unfit {
    fn refusal(self) -> Refusal {
        match self {
            Self::NoGeometry => Refusal::NoGeometry,
            Self::Derived(image_type) => Refusal::Derived(image_type),
            Self::Localizer => Refusal::Localizer,
        }
    }

    fn warning(&self, count: usize) -> String {
        match self {
            Self::NoGeometry => format!("{} without a position were left out.", counted(count, "image")),
            Self::Derived(image_type) => format!("{} were left out: derived ({image_type}).", counted(count, "image")),
            Self::Localizer => format!("{} were left out.", counted(count, "localizer image")),
        }
    }
}

fn fitness<'a>(frame: &'a FrameHeader, options: &AssembleOptions) -> Result<&'a Plane, Unfit> {
    let has = |words: &[&str]| frame.image_type.iter().any(|value| words.iter().any(|word| value == word));
    if has(&["LOCALIZER", "SCOUT", "TOPOGRAM", "SURVEY"]) {
        return Err(Unfit::Localizer);
    }
    // «SECONDARY»: made from other images after the examination. «DERIVED» alone may be no more than a lossy compression.
    let secondary = frame.image_type.get(1).is_some_and(|value| value == "SECONDARY");
    let projected = has(&["MPR", "MIP", "MINIP", "PROJECTION IMAGE", "REFORMATTED", "CURVED", "VOLUME RENDERED"]);
    if (secondary || projected) && !options.accept_derived {
        return Err(Unfit::Derived(frame.image_type.join("\\")));
    }
    frame.plane.as_ref().ok_or(Unfit::NoGeometry)
}

/// Refuses pixels that cannot be read, before one of them is.
fn check_pixels(candidates: &[Candidate]) -> Result<(), Refusal> {
    for candidate in candidates {
        let instance = candidate.instance;
        let data_set = &instance.data_set;
        if instance.compression.is_none() {
            let syntax = instance.transfer_syntax_uid.as_ref().map(ToString::to_string);
            return Err(Refusal::TransferSyntax(syntax.unwrap_or_default()));
        }
        if instance.format.clone()?.samples != 1 {
            return Err(Refusal::Colour);
        }
        if data_set.text(tags::PHOTOMETRIC_INTERPRETATION).is_some_and(|p| !p.starts_with("MONOCHROME")) {
            return Err(Refusal::Colour);
        }
        if !instance.has_pixel_data {
            return Err(Refusal::NoPixelData);
        }
        if let Some(described) = instance.described_frames.filter(|described| *described != instance.declared_frames) {
            return Err(Refusal::UndescribedFrames { declared: instance.declared_frames, described });
        }
        if !data_set.items(tags::MODALITY_LUT_SEQUENCE).is_empty() {
            return Err(Refusal::ModalityLut);
        }
        if candidate.frame.rescale == Some(Err(())) {
            return Err(Refusal::Rescale);
        }
    }
    Ok(())
}

/// Refuses slices that do not make a grid together.
fn check_uniform(candidates: &[Candidate]) -> Result<(), Refusal> {
    let same_direction = |a: [f64; 3], b: [f64; 3]| dot(a, b) > 1.0 - 1e-5;
    let orientations = classes(candidates, |a, b| {
        same_direction(a.plane.column_direction, b.plane.column_direction)
            && same_direction(a.plane.row_direction, b.plane.row_direction)
    });
    if orientations > 1 {
        return Err(Refusal::MixedOrientations(orientations));
    }
    let size = |c: &Candidate| c.instance.format.as_ref().ok().map(|f| (f.rows, f.columns));
    let sizes = classes(candidates, |a, b| size(a) == size(b));
    if sizes > 1 {
        return Err(Refusal::MixedSizes(sizes));
    }
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-3 * a;
    let spacings =
        classes(candidates, |a, b| (0..2).all(|axis| near(a.plane.pixel_spacing[axis], b.plane.pixel_spacing[axis])));
    if spacings > 1 {
        return Err(Refusal::MixedPixelSpacings(spacings));
    }
    Ok(())
}

/// How many kinds there are; each candidate is held against the first of every kind. Counting ends at a hundred.
fn classes(candidates: &[Candidate], same: impl Fn(&Candidate, &Candidate) -> bool) -> usize {
    let mut kinds: Vec<&Candidate> = Vec::new();
    for candidate in candidates {
        if kinds.len() < 100 && !kinds.iter().any(|kind| same(kind, candidate)) {
            kinds.push(candidate);
        }
    }
    kinds.len()
}

/// What is odd but does no harm.
fn oddities(candidates: &[Candidate]) -> Vec<String> {
    let mut warnings = Vec::new();
    let frames_of_reference =
        distinct(candidates.iter().map(|c| c.instance.data_set.text(tags::FRAME_OF_REFERENCE_UID)));
    if frames_of_reference > 1 {
        warnings.push(format!(
            "The images name {frames_of_reference} different frames of reference; their positions agree, so they were read as one."
        ));
    }
    let without_rescale = candidates.iter().filter(|c| c.frame.rescale.is_none()).count();
    if without_rescale > 0 {
        warnings.push(format!(
            "{} have no Rescale Slope and Intercept; their stored values were taken as they are.",
            counted(without_rescale, "image")
        ));
    }
    warnings
}

fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> usize {
    values.collect::<std::collections::BTreeSet<T>>().len()
}

/// "1 image", "2 images".
pub(super) fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}
