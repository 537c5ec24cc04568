//! How the source was acquired, as far as measurements depend on it: kernel, slice thickness, tube voltage, contrast.

use bytes::Bytes;
use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::grid::SourceGrid;
use super::plain_text::plain;
use super::request::ResultRequest;
use crate::dicom::data_set::DataSet;

/// The facts that a report repeats. Text is printable ASCII; bytes are as in the source.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct AcquisitionFacts {
    pub(super) modality: String,
    pub(super) kernel: Option<String>,
    pub(super) slice_thickness: Option<f64>,
    pub(super) spacing_between_slices: Option<f64>,
    pub(super) pixel_spacing: Option<[f64; 2]>,
    pub(super) kvp: Option<f64>,
    /// In the repertoire of the source.
    pub(super) contrast_agent: Option<Bytes>,
    pub(super) scanner: Option<String>,
    /// A radiograph, which has neither slices nor a kernel.
    pub(super) projection: bool,
    pub(super) view: Option<String>,
    pub(super) body_part: Option<String>,
}

/// Reads the facts from the source's header and grid; multi-frame sources keep them in functional groups.
pub(super) fn facts(request: &ResultRequest<'_>) -> AcquisitionFacts {
    let header = &request.source.header;
    let grid = request.grid;
    let text = |tag| header.text(tag).map(|t| plain(&t, 64));
    let kernel = in_frame(header, tags::CT_RECONSTRUCTION_SEQUENCE, tags::CONVOLUTION_KERNEL);
    let kvp = in_frame(header, tags::CTX_RAY_DETAILS_SEQUENCE, tags::KVP);
    let stack = grid.and_then(|grid| grid.stack());
    let thickness = stack.and_then(|s| s.slices.iter().flatten().find_map(|frame| frame.slice_thickness.as_deref()));
    let scanner: Vec<String> =
        [tags::MANUFACTURER, tags::MANUFACTURER_MODEL_NAME].into_iter().filter_map(text).collect();
    AcquisitionFacts {
        modality: text(tags::MODALITY).unwrap_or_default(),
        kernel: kernel
            .map(|item| item.texts(tags::CONVOLUTION_KERNEL).join(" "))
            .map(|t| plain(&t, 64))
            .filter(|t| !t.is_empty()),
        slice_thickness: thickness.and_then(|t| t.trim().parse().ok()).or(header.number(tags::SLICE_THICKNESS)),
        spacing_between_slices: stack.and_then(|stack| stack.slice_spacing()),
        pixel_spacing: grid.and_then(|grid| grid.pixel_spacing()),
        kvp: kvp.and_then(|item| item.number(tags::KVP)),
        contrast_agent: contrast(header),
        scanner: (!scanner.is_empty()).then(|| scanner.join(" ")),
        projection: matches!(grid, Some(SourceGrid::Image(_))),
        view: text(tags::VIEW_POSITION),
        body_part: text(tags::BODY_PART_EXAMINED),
    }
}

impl AcquisitionFacts {
    /// One sentence for the reader of a report: what is known, and what is not.
    pub(super) fn sentence(&self) -> String {
        let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "not stated".to_owned());
        let mm = |value: Option<f64>| or_unknown(value.map(|v| format!("{} mm", rounded(v))));
        let voltage = format!("tube voltage {}", or_unknown(self.kvp.map(|v| format!("{} kV", rounded(v)))));
        let mut parts = if self.projection {
            let row_spacing = self.pixel_spacing.map(|[rows, _]| rows);
            vec![
                format!("body part {}", or_unknown(self.body_part.clone())),
                format!("view {}", or_unknown(self.view.clone())),
                format!("pixel spacing {}", mm(row_spacing)),
                voltage,
            ]
        } else {
            vec![
                format!("convolution kernel {}", or_unknown(self.kernel.clone())),
                format!("slice thickness {}", mm(self.slice_thickness)),
                format!("spacing between slices {}", mm(self.spacing_between_slices)),
                voltage,
                format!("contrast agent {}", if self.contrast_agent.is_some() { "given" } else { "not stated" }),
            ]
        };
        parts.extend(self.scanner.as_ref().map(|scanner| format!("scanner {scanner}")));
        format!("Acquisition: {}.", parts.join(", "))
    }
}

/// The contrast agent's name where one was given: the standard says so by a value (PS3.3 C.7.6.4).
fn contrast(header: &DataSet) -> Option<Bytes> {
    let agent = header.text(tags::CONTRAST_BOLUS_AGENT)?;
    let none = ["NONE", "NO", "UNENHANCED", "W/O"].contains(&agent.to_ascii_uppercase().as_str());
    if none { None } else { header.bytes(tags::CONTRAST_BOLUS_AGENT).cloned() }
}

/// The data set that holds `tag`: the top level, or `group` in the shared or else the first frame's functional groups.
fn in_frame(header: &DataSet, group: Tag, tag: Tag) -> Option<&DataSet> {
    if header.contains(tag) {
        return Some(header);
    }
    [tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE]
        .into_iter()
        .filter_map(|groups| header.items(groups).first()?.items(group).first())
        .find(|item| item.contains(tag))
}

/// To three decimals, without zeros at the end.
fn rounded(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
