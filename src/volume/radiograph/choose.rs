//! Which image of a series is read, by headers alone.

use dicom_dictionary_std::uids;

use super::RadiographOptions;
use crate::dicom::data_set::DataSet;
use crate::dicom::tags;
use crate::volume::instance::InstanceHeader;
use crate::volume::pixel_format::PixelFormat;
use crate::volume::refusal::Refusal;
use crate::volume::select::{check_identity, class_name, counted, left_out};

/// SOP classes whose images can be radiographs, and those beside them that are refused by what is wrong with them.
const RADIOGRAPHIC: [&str; 8] = [
    uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE,
    uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
    uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING,
    uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_GRAYSCALE_BYTE_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_GRAYSCALE_WORD_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_SINGLE_BIT_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE_IMAGE_STORAGE,
];

/// Those of them that have frames, of which there is always a first one.
const MULTI_FRAME: [&str; 4] = [
    uids::MULTI_FRAME_GRAYSCALE_BYTE_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_GRAYSCALE_WORD_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_SINGLE_BIT_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE_IMAGE_STORAGE,
];

pub(super) fn is_multi_frame(sop_class: &str) -> bool {
    MULTI_FRAME.contains(&sop_class)
}

pub(in crate::volume) fn is_radiographic(sop_class: &str) -> bool {
    RADIOGRAPHIC.contains(&sop_class)
}

/// The way the rays went; those that are read first come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum View {
    PosteroAnterior,
    AnteroPosterior,
    /// One of the two.
    Frontal,
    Unknown,
    /// Oblique, or of a patient who lies on the side.
    Other,
    Lateral,
}

impl View {
    /// Whether it is known to be frontal.
    pub(super) const fn is_frontal(self) -> bool {
        matches!(self, Self::PosteroAnterior | Self::AnteroPosterior | Self::Frontal)
    }

    /// Whether it is known not to be frontal.
    pub(super) const fn is_from_the_side(self) -> bool {
        matches!(self, Self::Other | Self::Lateral)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::PosteroAnterior => "the postero-anterior view",
            Self::AnteroPosterior => "the antero-posterior view",
            Self::Frontal => "a frontal view",
            Self::Unknown => "one that does not name its view",
            Self::Other => "an oblique or decubitus view",
            Self::Lateral => "a lateral view",
        }
    }

    /// By View Position (0018,5101), or else the View Code Sequence (0054,0220), or else the direction of the rows
    /// (Patient Orientation, 0020,0020).
    fn of(data_set: &DataSet) -> Self {
        let code = || data_set.items(tags::VIEW_CODE_SEQUENCE).first().and_then(|item| item.text(tags::CODE_MEANING));
        let named = data_set.text(tags::VIEW_POSITION).map_or(Self::Unknown, |text| Self::named(&text));
        let coded = if named == Self::Unknown { code().map_or(named, |text| Self::named(&text)) } else { named };
        if coded != Self::Unknown {
            return coded;
        }
        match data_set.texts(tags::PATIENT_ORIENTATION).first().and_then(|rows| rows.chars().next()) {
            Some('L' | 'R') => Self::Frontal,
            Some('A' | 'P') => Self::Lateral,
            _ => Self::Unknown,
        }
    }

    fn named(text: &str) -> Self {
        let text = text.to_uppercase().replace('-', "");
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
        let has = |any: &[&str]| words.iter().any(|word| any.contains(word));
        let speaks_of = |part: &str| text.contains(part);
        if has(&["LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "LLD", "RLD"]) || speaks_of("OBLIQ") || speaks_of("DECUB") {
            Self::Other
        } else if has(&["LL", "RL", "LAT"]) || speaks_of("LATERAL") {
            Self::Lateral
        } else if has(&["PA"]) || speaks_of("POSTEROANTERIOR") {
            Self::PosteroAnterior
        } else if has(&["AP"]) || speaks_of("ANTEROPOSTERIOR") {
            Self::AnteroPosterior
        } else {
            Self::Unknown
        }
    }
}

/// An image that may be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) view: View,
    /// Presentation Intent Type (0008,0068): not yet made for the eye.
    raw: bool,
    derived: bool,
    instance_number: i64,
    sop_instance_uid: String,
    /// Which of the series' instances it is.
    pub(super) member: usize,
}

impl Candidate {
    fn of(member: usize, header: &InstanceHeader) -> Self {
        let data_set = &header.data_set;
        let image_type = header.frames.first().and_then(|frame| frame.image_type.first());
        Self {
            view: View::of(data_set),
            raw: data_set.text(tags::PRESENTATION_INTENT_TYPE).as_deref() == Some("FOR PROCESSING")
                || header.sop_class_uid.as_str() == uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING,
            derived: image_type.is_some_and(|value| value == "DERIVED"),
            instance_number: data_set.integer(tags::INSTANCE_NUMBER).unwrap_or(i64::MAX),
            sop_instance_uid: header.sop_instance_uid.as_str().to_owned(),
            member,
        }
    }

    /// What a reader should know of the choice: of how many images, and how many before it could not be read.
    pub(super) fn warnings(&self, images: usize, unread: usize) -> Vec<String> {
        let mut warnings = Vec::new();
        if images > 1 {
            warnings.push(format!("The series holds {images} images; {} was read.", self.view.name()));
        }
        if unread > 0 {
            warnings.push(format!("{} that would have come first cannot be read.", counted(unread, "image")));
        }
        if self.view.is_from_the_side() {
            warnings.push(format!("The image is {}, not a frontal one.", self.view.name()));
        }
        if self.raw {
            warnings.push("The image is raw (for processing) and was not made to be looked at.".to_owned());
        }
        warnings
    }
}

/// The images of a series, those to be read first in front, and what was left out.
///
/// # Errors
/// A [`Refusal`] where the series is several, or holds no image that could be a radiograph.
pub(super) fn in_order(instances: &[&InstanceHeader]) -> Result<(Vec<Candidate>, Vec<String>), Refusal> {
    check_identity(instances)?;
    let is_radiograph = |header: &InstanceHeader| is_radiographic(header.sop_class_uid.as_str());
    let others: Vec<&&InstanceHeader> = instances.iter().filter(|header| !is_radiograph(header)).collect();
    let images = instances.iter().enumerate().filter(|(_, header)| is_radiograph(header));
    let mut candidates: Vec<Candidate> = images.map(|(member, header)| Candidate::of(member, header)).collect();
    candidates.sort();
    match (candidates.is_empty(), others.first()) {
        (true, Some(other)) => Err(Refusal::NoRadiographs(class_name(other))),
        (_, None) => Ok((candidates, Vec::new())),
        (false, Some(_)) => Ok((candidates, vec![left_out(others.iter().map(|other| **other))])),
    }
}

/// Refuses pixels that cannot be read, before the image is opened.
pub(super) fn check(header: &InstanceHeader, options: &RadiographOptions) -> Result<PixelFormat, Refusal> {
    if header.compression.is_none() {
        let syntax = header.transfer_syntax_uid.as_ref().map(ToString::to_string);
        return Err(Refusal::TransferSyntax(syntax.unwrap_or_default()));
    }
    let photometric = header.data_set.text(tags::PHOTOMETRIC_INTERPRETATION);
    if photometric.is_some_and(|name| !name.starts_with("MONOCHROME")) {
        return Err(Refusal::Colour);
    }
    let format = header.format.clone()?;
    if format.samples != 1 {
        return Err(Refusal::Colour);
    }
    if format.pixels() > options.max_pixels {
        let (rows, columns) = (format.rows, format.columns);
        return Err(Refusal::ImageTooLarge { rows, columns, megapixels: options.max_pixels >> 20 });
    }
    if header.declared_frames > 1 {
        return Err(Refusal::SeveralFrames(header.declared_frames));
    }
    if !header.has_pixel_data {
        return Err(Refusal::NoPixelData);
    }
    Ok(format)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::VR;

    #[test]
    fn views_are_known_by_their_many_names() {
        for (text, view) in [
            ("PA", View::PosteroAnterior),
            ("PA ERECT", View::PosteroAnterior),
            ("postero-anterior", View::PosteroAnterior),
            ("AP", View::AnteroPosterior),
            ("PORTABLE AP", View::AnteroPosterior),
            ("antero-posterior oblique", View::Other),
            ("LL", View::Lateral),
            ("L LAT", View::Lateral),
            ("left lateral", View::Lateral),
            ("left lateral decubitus", View::Other),
            ("RLD", View::Other),
            ("PATELLA", View::Unknown),
            ("", View::Unknown),
        ] {
            assert_eq!(View::named(text), view, "{text}");
        }
    }

    #[test]
    fn where_no_view_is_named_the_direction_of_rows_tells() {
        let mut data_set = DataSet::new();
        assert_eq!(View::of(&data_set), View::Unknown);
        data_set.put_text(tags::PATIENT_ORIENTATION, VR::CS, "L\\F");
        assert_eq!(View::of(&data_set), View::Frontal);
        data_set.put_text(tags::PATIENT_ORIENTATION, VR::CS, "A\\F");
        assert_eq!(View::of(&data_set), View::Lateral);
        let mut code = DataSet::new();
        code.put_text(tags::CODE_MEANING, VR::LO, "antero-posterior");
        data_set.put_items(tags::VIEW_CODE_SEQUENCE, vec![code]);
        assert_eq!(View::of(&data_set), View::AnteroPosterior);
        data_set.put_text(tags::VIEW_POSITION, VR::CS, "LL");
        assert_eq!(View::of(&data_set), View::Lateral);
    }
}
