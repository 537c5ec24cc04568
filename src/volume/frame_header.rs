//! What the header says of each frame: of a single-frame instance from its root, of an enhanced one from its functional
//! groups (PS3.3 C.7.6.16).

use super::rescale::Rescale;
use crate::dicom::Tag;
use crate::dicom::data_set::DataSet;
use crate::dicom::tags;

/// One frame's place in the patient, its units and what could set it apart from another at the same place.
#[derive(Debug, Clone)]
pub struct FrameHeader {
    /// From 0.
    pub index: usize,
    /// From 1 in an instance of several frames or with functional groups; `None` in a single-frame one.
    pub number: Option<u32>,
    /// Image Type, or Frame Type of an enhanced instance, upper case.
    pub image_type: Vec<String>,
    /// Where it lies; `None` where position, orientation or spacing is absent or makes no sense.
    pub plane: Option<Plane>,
    /// (0018,0050) as it stands in the source.
    pub slice_thickness: Option<String>,
    /// Rescale Slope and Intercept; `None` where absent, an error where they are no numbers.
    pub rescale: Option<Result<Rescale, ()>>,
    /// Convolution Kernel, values joined by a backslash.
    pub kernel: Option<String>,
    /// One for each of [`ACQUISITION_KEYS`].
    pub acquisition: Vec<Option<String>>,
}

/// A frame's plane (PS3.3 C.7.6.2), as text to copy and as numbers to compute with.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// Image Position (Patient) as it stands in the source.
    pub position_text: String,
    /// Image Orientation (Patient) as it stands in the source.
    pub orientation_text: String,
    /// Pixel Spacing as it stands in the source.
    pub spacing_text: String,
    /// Centre of the first pixel, mm.
    pub position: [f64; 3],
    /// Unit vector along a row, towards higher columns.
    pub column_direction: [f64; 3],
    /// Unit vector along a column, towards higher rows.
    pub row_direction: [f64; 3],
    /// Between rows, between columns, mm.
    pub pixel_spacing: [f64; 2],
}

impl Plane {
    /// The unit vector that slices are sorted along: column direction × row direction.
    #[must_use]
    pub fn normal(&self) -> [f64; 3] {
        cross(self.column_direction, self.row_direction)
    }
}

/// What an attribute is called, its tag in the root, its sequences and tags in functional groups.
pub type AcquisitionKey = (&'static str, Tag, &'static [(Tag, Tag)]);

/// What sets acquisitions apart, the most telling first. Each is looked for in the root and in its functional group.
pub const ACQUISITION_KEYS: [AcquisitionKey; 13] = [
    ("Acquisition Number", tags::ACQUISITION_NUMBER, &[(tags::FRAME_CONTENT_SEQUENCE, tags::FRAME_ACQUISITION_NUMBER)]),
    (
        "Temporal Position",
        tags::TEMPORAL_POSITION_IDENTIFIER,
        &[(tags::FRAME_CONTENT_SEQUENCE, tags::TEMPORAL_POSITION_INDEX)],
    ),
    (
        "Cardiac Phase",
        tags::NOMINAL_PERCENTAGE_OF_CARDIAC_PHASE,
        &[(tags::CARDIAC_SYNCHRONIZATION_SEQUENCE, tags::NOMINAL_PERCENTAGE_OF_CARDIAC_PHASE)],
    ),
    ("Trigger Time", tags::TRIGGER_TIME, &[]),
    ("Convolution Kernel", tags::CONVOLUTION_KERNEL, &[(tags::CT_RECONSTRUCTION_SEQUENCE, tags::CONVOLUTION_KERNEL)]),
    ("KVP", tags::KVP, &[(tags::CTX_RAY_DETAILS_SEQUENCE, tags::KVP)]),
    ("Slice Thickness", tags::SLICE_THICKNESS, &[(tags::PIXEL_MEASURES_SEQUENCE, tags::SLICE_THICKNESS)]),
    ("Echo Time", tags::ECHO_TIME, &[(tags::MR_ECHO_SEQUENCE, tags::EFFECTIVE_ECHO_TIME)]),
    ("b-value", tags::DIFFUSION_B_VALUE, &[(tags::MR_DIFFUSION_SEQUENCE, tags::DIFFUSION_B_VALUE)]),
    ("Image Type", tags::IMAGE_TYPE, FRAME_TYPES),
    ("Stack ID", tags::STACK_ID, &[(tags::FRAME_CONTENT_SEQUENCE, tags::STACK_ID)]),
    (ACQUISITION_TIME, tags::ACQUISITION_TIME, &[(tags::FRAME_CONTENT_SEQUENCE, tags::FRAME_ACQUISITION_DATE_TIME)]),
    (CONTENT_TIME, tags::CONTENT_TIME, &[]),
];

/// The keys that differ from slice to slice within one acquisition as well: acquisitions follow each other in them.
pub const ACQUISITION_TIME: &str = "Acquisition Time";
/// See [`ACQUISITION_TIME`].
pub const CONTENT_TIME: &str = "Content Time";

const FRAME_TYPES: &[(Tag, Tag)] = &[
    (tags::CT_IMAGE_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE),
    (tags::MR_IMAGE_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE),
    (tags::PET_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE),
];

/// More frames than that are not read: each takes about a kilobyte, and is described by as little as 8 bytes.
pub const MAX_FRAMES: usize = 65_536;

/// More than [`MAX_FRAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} frames are described, at most {MAX_FRAMES} are read")]
pub struct TooManyFrames(pub usize);

/// The headers of the frames that are described: as many as there are per-frame functional groups, but no more than
/// `declared`; one where there are none. So what is reserved is bounded by what was sent.
///
/// Several frames without functional groups have no place each: the one header then has no plane.
///
/// # Errors
/// [`TooManyFrames`].
pub fn frame_headers(root: &DataSet, declared: usize) -> Result<Vec<FrameHeader>, TooManyFrames> {
    let enhanced = root.contains(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)
        || root.contains(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE);
    let shared = root.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
    let each = root.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    if each.len() > MAX_FRAMES {
        return Err(TooManyFrames(each.len()));
    }
    let frames = (0..each.len().clamp(1, declared.max(1)))
        .map(|index| {
            let source = Groups { root, own: each.get(index), shared };
            let mut header = frame_header(&source, index, enhanced || declared > 1);
            if each.is_empty() && declared > 1 {
                header.plane = None;
            }
            header
        })
        .collect();
    Ok(frames)
}

/// Where the attributes of one frame are looked for.
struct Groups<'a> {
    root: &'a DataSet,
    own: Option<&'a DataSet>,
    shared: Option<&'a DataSet>,
}

impl Groups<'_> {
    /// The item that holds `tag`: the frame's functional group, the shared one, the root, in this order.
    fn holder(&self, groups: &[(Tag, Tag)], root_tag: Tag) -> Option<(&DataSet, Tag)> {
        let places = [self.own, self.shared];
        let in_groups = places.into_iter().flatten().find_map(|place| {
            groups.iter().find_map(|&(sequence, tag)| {
                place.items(sequence).first().filter(|item| item.contains(tag)).map(|item| (item, tag))
            })
        });
        in_groups.or_else(|| self.root.contains(root_tag).then_some((self.root, root_tag)))
    }

    fn text(&self, groups: &[(Tag, Tag)], root_tag: Tag) -> Option<String> {
        let (item, tag) = self.holder(groups, root_tag)?;
        item.text(tag).or_else(|| item.number(tag).map(|n| n.to_string()))
    }

    /// A number, whatever its representation; text of binary values is of no use.
    fn key(&self, groups: &[(Tag, Tag)], root_tag: Tag) -> Option<String> {
        let (item, tag) = self.holder(groups, root_tag)?;
        let numbers = item.numbers(tag);
        if numbers.is_empty() {
            return item.text(tag);
        }
        Some(numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join("\\"))
    }

    fn numbers<const N: usize>(&self, groups: &[(Tag, Tag)], root_tag: Tag) -> Option<(String, [f64; N])> {
        let (item, tag) = self.holder(groups, root_tag)?;
        Some((item.text(tag)?, item.numbers(tag).try_into().ok()?))
    }
}

fn frame_header(source: &Groups, index: usize, numbered: bool) -> FrameHeader {
    let image_type = source.text(FRAME_TYPES, tags::IMAGE_TYPE).unwrap_or_default();
    FrameHeader {
        index,
        number: if numbered { u32::try_from(index + 1).ok() } else { None },
        image_type: image_type.split('\\').map(|v| v.trim().to_uppercase()).filter(|v| !v.is_empty()).collect(),
        plane: plane(source),
        slice_thickness: source.text(&[(tags::PIXEL_MEASURES_SEQUENCE, tags::SLICE_THICKNESS)], tags::SLICE_THICKNESS),
        rescale: rescale(source),
        kernel: source.text(&[(tags::CT_RECONSTRUCTION_SEQUENCE, tags::CONVOLUTION_KERNEL)], tags::CONVOLUTION_KERNEL),
        acquisition: ACQUISITION_KEYS.iter().map(|(_, root_tag, groups)| source.key(groups, *root_tag)).collect(),
    }
}

fn plane(source: &Groups) -> Option<Plane> {
    let (position_text, position) = source
        .numbers::<3>(&[(tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT)], tags::IMAGE_POSITION_PATIENT)?;
    let (orientation_text, cosines) = source.numbers::<6>(
        &[(tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT)],
        tags::IMAGE_ORIENTATION_PATIENT,
    )?;
    let (spacing_text, pixel_spacing) =
        source.numbers::<2>(&[(tags::PIXEL_MEASURES_SEQUENCE, tags::PIXEL_SPACING)], tags::PIXEL_SPACING)?;
    let [a, b, c, d, e, f] = cosines;
    let (column_direction, row_direction) = (unit([a, b, c])?, unit([d, e, f])?);
    let sensible = dot(column_direction, row_direction).abs() < 1e-3
        && pixel_spacing.iter().all(|&s| (1e-4..=1e3).contains(&s))
        && position.iter().all(|p| p.abs() < 1e6);
    sensible.then_some(Plane {
        position_text,
        orientation_text,
        spacing_text,
        position,
        column_direction,
        row_direction,
        pixel_spacing,
    })
}

fn rescale(source: &Groups) -> Option<Result<Rescale, ()>> {
    const GROUP: Tag = tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE;
    let number = |tag| {
        let (item, tag) = source.holder(&[(GROUP, tag)], tag)?;
        // An empty value stands for an absent one.
        item.text(tag).map(|_| item.number(tag).ok_or(()))
    };
    let (slope, intercept) = (number(tags::RESCALE_SLOPE), number(tags::RESCALE_INTERCEPT));
    if slope.is_none() && intercept.is_none() {
        return None;
    }
    let rescale = slope.unwrap_or(Ok(1.0)).and_then(|slope| {
        let intercept = intercept.unwrap_or(Ok(0.0))?;
        (slope != 0.0).then_some(Rescale { slope, intercept }).ok_or(())
    });
    Some(rescale)
}

/// Direction cosines brought to length 1; `None` where they are far from it.
#[must_use]
pub fn unit(v: [f64; 3]) -> Option<[f64; 3]> {
    let length = dot(v, v).sqrt();
    (0.99..1.01).contains(&length).then(|| v.map(|c| c / length))
}

/// Scalar product.
#[must_use]
pub fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Vector product.
#[must_use]
pub fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::VR;

    fn with(sequence: Tag, fill: impl Fn(&mut DataSet)) -> DataSet {
        let mut item = DataSet::new();
        fill(&mut item);
        let mut group = DataSet::new();
        group.put_items(sequence, vec![item]);
        group
    }

    fn positions(z: &str) -> DataSet {
        with(tags::PLANE_POSITION_SEQUENCE, |i| i.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, &format!("1\\2\\{z}")))
    }

    #[test]
    fn a_frame_takes_its_own_group_before_the_shared_one() {
        let mut shared = positions("77");
        shared.copy(
            &with(tags::PLANE_ORIENTATION_SEQUENCE, |i| {
                i.put_text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0");
            }),
            tags::PLANE_ORIENTATION_SEQUENCE,
        );
        shared.copy(
            &with(tags::PIXEL_MEASURES_SEQUENCE, |i| i.put_text(tags::PIXEL_SPACING, VR::DS, "0.70\\0.50")),
            tags::PIXEL_MEASURES_SEQUENCE,
        );
        let mut root = DataSet::new();
        root.put_items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
        root.put_items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, vec![positions("3.50"), DataSet::new()]);
        let frames = frame_headers(&root, 3).unwrap();
        let plane = |at: usize| frames[at].plane.clone().unwrap();
        assert_eq!((plane(0).position_text.as_str(), plane(0).spacing_text.as_str()), ("1\\2\\3.50", "0.70\\0.50"));
        assert_eq!(plane(1).position[2], 77.0);
        assert_eq!(frames[0].number, Some(1));
        assert_eq!(frames.len(), 2, "the third is declared but not described");
    }

    #[test]
    fn more_frames_than_can_be_kept_are_refused() {
        let mut root = DataSet::new();
        root.put_items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, vec![DataSet::new(); MAX_FRAMES + 1]);
        assert_eq!(frame_headers(&root, 1 << 20).unwrap_err(), TooManyFrames(MAX_FRAMES + 1));
    }

    #[test]
    fn directions_that_are_no_directions_give_no_plane() {
        let mut root = DataSet::new();
        root.put_text(tags::IMAGE_POSITION_PATIENT, VR::DS, "0\\0\\0");
        root.put_text(tags::PIXEL_SPACING, VR::DS, "1\\1");
        for bad in ["0\\0\\0\\0\\0\\0", "1\\0\\0\\1\\0\\0", "1\\0\\0", "nan\\0\\0\\0\\1\\0"] {
            root.put_text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, bad);
            assert!(frame_headers(&root, 1).unwrap()[0].plane.is_none(), "{bad}");
        }
        root.put_text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0");
        assert!(frame_headers(&root, 1).unwrap()[0].plane.is_some());
    }

    #[test]
    fn a_slope_of_zero_is_an_error_and_an_absent_one_is_not() {
        let mut root = DataSet::new();
        assert!(frame_headers(&root, 1).unwrap()[0].rescale.is_none());
        root.put_text(tags::RESCALE_INTERCEPT, VR::DS, "-1024");
        let expected = Some(Ok(Rescale { slope: 1.0, intercept: -1024.0 }));
        assert_eq!(frame_headers(&root, 1).unwrap()[0].rescale, expected);
        root.put_text(tags::RESCALE_SLOPE, VR::DS, "0");
        assert_eq!(frame_headers(&root, 1).unwrap()[0].rescale, Some(Err(())));
    }
}
