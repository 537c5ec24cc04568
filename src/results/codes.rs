//! The concepts that results use (PS3.16), and their form in a data set (PS3.3 section 8.8, Code Sequence Macro).

use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::plain_text::plain;
use crate::dicom::code::CodedConcept;
use crate::dicom::data_set::DataSet;
use crate::inference::prediction::Decision;

macro_rules! concepts {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $scheme:literal, $meaning:literal;)*) => {
        $($(#[$doc])* pub(super) const $name: CodedConcept = CodedConcept::new($value, $scheme, $meaning);)*
    };
}

concepts! {
    // Titles and containers: TID 1500, 1600.
    IMAGING_MEASUREMENT_REPORT = "126000", "DCM", "Imaging Measurement Report";
    IMAGE_LIBRARY = "111028", "DCM", "Image Library";
    IMAGE_LIBRARY_GROUP = "126200", "DCM", "Image Library Group";
    IMAGING_MEASUREMENTS = "126010", "DCM", "Imaging Measurements";
    QUALITATIVE_EVALUATIONS = "C0034375", "UMLS", "Qualitative Evaluations";
    MEASUREMENT_GROUP = "125007", "DCM", "Measurement Group";
    // Context: TID 1204, 1001, 1002, 1004.
    LANGUAGE = "121049", "DCM", "Language of Content Item and Descendants";
    ENGLISH = "en", "RFC5646", "English";
    OBSERVER_TYPE = "121005", "DCM", "Observer Type";
    DEVICE = "121007", "DCM", "Device";
    DEVICE_OBSERVER_UID = "121012", "DCM", "Device Observer UID";
    DEVICE_OBSERVER_NAME = "121013", "DCM", "Device Observer Name";
    DEVICE_OBSERVER_MANUFACTURER = "121014", "DCM", "Device Observer Manufacturer";
    DEVICE_OBSERVER_MODEL_NAME = "121015", "DCM", "Device Observer Model Name";
    DEVICE_OBSERVER_SERIAL_NUMBER = "121016", "DCM", "Device Observer Serial Number";
    PROCEDURE_REPORTED = "121058", "DCM", "Procedure reported";
    // Image library: TID 1602, 1604.
    MODALITY = "121139", "DCM", "Modality";
    STUDY_DATE = "111060", "DCM", "Study Date";
    STUDY_TIME = "111061", "DCM", "Study Time";
    CONTENT_DATE = "111018", "DCM", "Content Date";
    CONTENT_TIME = "111019", "DCM", "Content Time";
    ACQUISITION_DATE = "126201", "DCM", "Acquisition Date";
    ACQUISITION_TIME = "126202", "DCM", "Acquisition Time";
    FRAME_OF_REFERENCE_UID = "112227", "DCM", "Frame of Reference UID";
    PIXEL_DATA_ROWS = "110910", "DCM", "Pixel Data Rows";
    PIXEL_DATA_COLUMNS = "110911", "DCM", "Pixel Data Columns";
    HORIZONTAL_PIXEL_SPACING = "111026", "DCM", "Horizontal Pixel Spacing";
    VERTICAL_PIXEL_SPACING = "111066", "DCM", "Vertical Pixel Spacing";
    SLICE_THICKNESS = "112225", "DCM", "Slice Thickness";
    SPACING_BETWEEN_SLICES = "112226", "DCM", "Spacing between slices";
    KVP = "113733", "DCM", "KVP";
    CONTRAST_AGENT = "123011", "DCM", "Contrast/Bolus Agent";
    SOURCE = "260753009", "SCT", "Source";
    // Measurement groups: TID 1411, 1501, 1419, 4019, 4108.
    TRACKING_IDENTIFIER = "112039", "DCM", "Tracking Identifier";
    TRACKING_UNIQUE_IDENTIFIER = "112040", "DCM", "Tracking Unique Identifier";
    FINDING = "121071", "DCM", "Finding";
    FINDING_CATEGORY = "276214006", "SCT", "Finding category";
    FINDING_SITE = "363698007", "SCT", "Finding Site";
    LATERALITY = "272741003", "SCT", "Laterality";
    REFERENCED_SEGMENT = "121191", "DCM", "Referenced Segment";
    SOURCE_SERIES_FOR_SEGMENTATION = "121232", "DCM", "Source series for segmentation";
    SOURCE_OF_MEASUREMENT = "121112", "DCM", "Source of Measurement";
    DERIVATION = "121401", "DCM", "Derivation";
    ALGORITHM_NAME = "111001", "DCM", "Algorithm Name";
    ALGORITHM_VERSION = "111003", "DCM", "Algorithm Version";
    ALGORITHM_MANUFACTURER = "122405", "DCM", "Algorithm Manufacturer";
    ALGORITHM_PARAMETERS = "111002", "DCM", "Algorithm Parameters";
    ALGORITHM_FAMILY = "111000", "DCM", "Algorithm Family";
    // Planar ROI: TID 1410.
    IMAGE_REGION = "111030", "DCM", "Image Region";
    REFERENCED_SEGMENTATION_FRAME = "121214", "DCM", "Referenced Segmentation Frame";
    SOURCE_IMAGE_FOR_SEGMENTATION = "121233", "DCM", "Source image for segmentation";
    SOURCE_IMAGE_OF_REGION = "121324", "DCM", "Source image";
    ANATOMICAL_STRUCTURE = "123037004", "SCT", "Anatomical Structure";
    // Findings: whether there (CID 240), how likely, above what.
    PRESENCE = "121052", "DCM", "Presence of property";
    PRESENT = "52101004", "SCT", "Present";
    UNDETERMINED = "373068000", "SCT", "Undetermined";
    PROBABILITY = "122157", "DCM", "Probability";
    THRESHOLD = "122411", "DCM", "Threshold Value";
    // What became of the analysis: CID 6042, CID 6047, CID 240.
    COMMENT = "121106", "DCM", "Comment";
    SUMMARY_OF_ANALYSES = "111065", "DCM", "Summary of Analyses";
    FINDINGS_SUMMARY = "111017", "DCM", "CAD Processing and Findings Summary";
    SUCCEEDED = "111222", "DCM", "Succeeded";
    FAILED = "111224", "DCM", "Failed";
    NOT_ATTEMPTED = "111225", "DCM", "Not Attempted";
    WITHOUT_FINDINGS = "111241", "DCM", "All algorithms succeeded; without findings";
    WITH_FINDINGS = "111242", "DCM", "All algorithms succeeded; with findings";
    NONE_SUCCEEDED = "111245", "DCM", "No algorithms succeeded; without findings";
    ABSENT = "272519000", "SCT", "Absent";
    // Attention: CID 7180, 7469, TID 1501.
    SALIENCY = "130404", "DCM", "Saliency";
    VISUAL_EXPLANATION = "130401", "DCM", "Visual explanation";
    QUANTITY = "246205007", "SCT", "Quantity";
    // Segmentation and equipment: CID 7203, 7202, 7005.
    SEGMENTATION = "113076", "DCM", "Segmentation";
    SOURCE_IMAGE = "121322", "DCM", "Source image for image processing operation";
    PROCESSING_EQUIPMENT = "109102", "DCM", "Processing Equipment";
    // Units (UCUM).
    MILLIMETRE = "mm", "UCUM", "mm";
    PERCENT = "%", "UCUM", "percent";
    NO_UNITS = "1", "UCUM", "no units";
    PIXELS = "{pixels}", "UCUM", "Pixels";
    KILOVOLT = "kV", "UCUM", "kV";
    // Procedures by modality: CID 100.
    CT_PROCEDURE = "25045-6", "LN", "CT unspecified body region";
    MR_PROCEDURE = "25056-3", "LN", "MRI unspecified body region";
    PET_PROCEDURE = "44136-0", "LN", "PET unspecified body region";
    X_RAY_PROCEDURE = "43468-8", "LN", "XR unspecified body region";
    IMAGING_PROCEDURE = "363679005", "SCT", "Imaging procedure";
    // Modalities: CID 29.
    CT = "CT", "DCM", "Computed Tomography";
    MR = "MR", "DCM", "Magnetic Resonance";
    PT = "PT", "DCM", "Positron emission tomography";
    CR = "CR", "DCM", "Computed Radiography";
    DX = "DX", "DCM", "Digital Radiography";
}

/// One item of a code sequence. The meaning is cut to the 64 characters of its VR.
pub(super) fn item(concept: &CodedConcept) -> DataSet {
    let mut item = DataSet::new();
    item.put_text(tags::CODE_VALUE, VR::SH, &plain(&concept.value, 16));
    item.put_text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, &plain(&concept.scheme, 16));
    item.put_text(tags::CODE_MEANING, VR::LO, &plain(&concept.meaning, 64));
    item
}

/// Whether two codes mean the same: the meaning is for people and does not count.
pub(super) fn same(one: &CodedConcept, other: &CodedConcept) -> bool {
    one.value == other.value && one.scheme == other.scheme
}

/// Whether a finding is there, as a concept of CID 240.
pub(super) const fn presence(decision: Decision) -> CodedConcept {
    match decision {
        Decision::Present => PRESENT,
        Decision::Absent => ABSENT,
        Decision::Uncertain => UNDETERMINED,
    }
}

/// The modality as a concept of CID 29, where it is one that results are made from.
pub(super) fn modality(defined_term: &str) -> Option<CodedConcept> {
    match defined_term {
        "CT" => Some(CT),
        "MR" => Some(MR),
        "PT" => Some(PT),
        "CR" => Some(CR),
        "DX" => Some(DX),
        _ => None,
    }
}

/// The imaging procedure that a modality stands for, where the source does not code its own.
pub(super) fn procedure(modality: &str) -> CodedConcept {
    match modality {
        "CT" => CT_PROCEDURE,
        "MR" => MR_PROCEDURE,
        "PT" => PET_PROCEDURE,
        "CR" | "DX" => X_RAY_PROCEDURE,
        _ => IMAGING_PROCEDURE,
    }
}
