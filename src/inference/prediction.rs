//! What a model says of a series, in terms that every result object understands. No tensors.

use crate::dicom::code::CodedConcept;

/// The outcome of one model on one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Whether the series was one that the model reads.
    pub verdict: Verdict,
    /// Label 0 is background; label n is segment n. On the grid of the source volume.
    pub label_map: Option<LabelMap>,
    /// The segments that the label map may hold, numbered from 1 in this order, empty ones included.
    pub segments: Vec<Segment>,
    /// Numbers, grouped by what they were measured on.
    pub measurement_groups: Vec<MeasurementGroup>,
    /// Findings with their probabilities, in the order of the manifest.
    pub findings: Vec<Finding>,
    /// One finding scored slice by slice.
    pub slice_scores: Option<SliceScores>,
    /// A report that the model wrote.
    pub text: Option<GeneratedText>,
    /// Where the model looked, on the grid of the source volume.
    pub attention: Option<AttentionMap>,
    /// Vectors to keep beside the series. Never written into DICOM objects.
    pub embeddings: Vec<Embedding>,
    /// What a reader of the result should know, in plain English.
    pub warnings: Vec<String>,
}

impl Prediction {
    /// A prediction that says nothing but this.
    #[must_use]
    pub const fn of(verdict: Verdict) -> Self {
        Self {
            verdict,
            label_map: None,
            segments: Vec::new(),
            measurement_groups: Vec::new(),
            findings: Vec::new(),
            slice_scores: None,
            text: None,
            attention: None,
            embeddings: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The model's answer to «is anything wrong at all», where it gives one.
    #[must_use]
    pub fn pathology(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.is_pathology)
    }
}

/// Whether a model could read the series. «Not suitable» is a result and not a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was read.
    Suitable,
    /// It was looked at and is not what the model reads ("not a chest CT"), or was excluded by its geometry or metadata.
    NotSuitable {
        /// A short stable word for logs and tables, such as `not-a-chest-ct`.
        code: String,
        /// One sentence for the radiologist.
        reason: String,
    },
}

/// One byte a voxel, in the order slice, row, column of the source volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    /// Slices, rows, columns.
    pub shape: [usize; 3],
    /// `shape` product many labels.
    pub labels: Vec<u8>,
}

impl LabelMap {
    /// Where there are labels.
    #[must_use]
    pub fn touched(&self) -> Touched {
        let [_, rows, columns] = self.shape;
        let mut touched: Option<[[usize; 2]; 3]> = None;
        for (index, row) in self.labels.chunks_exact(columns.max(1)).enumerate() {
            let label = |label: &u8| *label > 0;
            let Some(ends) = row.iter().position(label).zip(row.iter().rposition(label)) else { continue };
            let here = [[index / rows; 2], [index % rows; 2], ends.into()];
            let known = touched.unwrap_or(here);
            touched = Some(std::array::from_fn(|axis| {
                [known[axis][0].min(here[axis][0]), known[axis][1].max(here[axis][1])]
            }));
        }
        Touched { shape: self.shape, ends: touched }
    }
}

/// The box around all labels of a map, of which nothing else is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    /// Slices, rows, columns of the map.
    pub shape: [usize; 3],
    /// The first and the last of its slices, rows, columns that have a label; `None` where there is none.
    pub ends: Option<[[usize; 2]; 3]>,
}

/// What a segment is (PS3.3 C.8.20.4).
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Segment Label, such as "Left lung".
    pub label: String,
    /// Segmented Property Category Code Sequence.
    pub category: CodedConcept,
    /// Segmented Property Type Code Sequence.
    pub property_type: CodedConcept,
    /// Segmented Property Type Modifier: laterality.
    pub laterality: Option<CodedConcept>,
    /// Anatomic Region Sequence.
    pub region: Option<CodedConcept>,
    /// Recommended display colour, sRGB.
    pub colour: [u8; 3],
}

/// Numbers about one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasurementGroup {
    /// Readable, unique within the report: "Left lung".
    pub label: String,
    /// The segments it was measured on (from 1); several for "both lungs".
    pub segment_numbers: Vec<u16>,
    /// Finding (121071, DCM).
    pub finding: CodedConcept,
    /// Finding Site (363698007, SCT).
    pub finding_site: Option<CodedConcept>,
    /// Laterality of the site.
    pub laterality: Option<CodedConcept>,
    /// The numbers.
    pub measurements: Vec<Measurement>,
}

/// One number with its meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// For tables and logs, ASCII, such as "LAA-950".
    pub label: String,
    /// Concept name.
    pub concept: CodedConcept,
    /// Derivation (121401, DCM), such as mean.
    pub derivation: Option<CodedConcept>,
    /// UCUM unit.
    pub unit: CodedConcept,
    /// `None` where it cannot be computed (an empty lung has no density).
    pub value: Option<f64>,
}

impl Measurement {
    /// Its value, where there is a number.
    #[must_use]
    pub fn defined(&self) -> Option<f64> {
        self.value.filter(|value| value.is_finite())
    }
}

/// One class that a model gives a probability for.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Readable, unique within the model: "Pleural effusion". A column of the table.
    pub label: String,
    /// What it is.
    pub concept: CodedConcept,
    /// Where it is, if anywhere in particular.
    pub site: Option<CodedConcept>,
    /// 0 to 1.
    pub probability: f64,
    /// From here on it is present.
    pub threshold: f64,
    /// Least and largest probability of neither yes nor no.
    pub uncertain: Option<[f64; 2]>,
    /// What follows from the three.
    pub decision: Decision,
    /// Whether this is the model's answer to «is anything wrong at all».
    pub is_pathology: bool,
}

/// What a probability means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// At or above the threshold.
    Present,
    /// Below the threshold.
    Absent,
    /// Within the uncertain band.
    Uncertain,
}

impl Decision {
    /// Pure. Both ends belong to the uncertain band.
    #[must_use]
    pub fn of(probability: f64, threshold: f64, uncertain: Option<[f64; 2]>) -> Self {
        match uncertain {
            Some([least, largest]) if (least..=largest).contains(&probability) => Self::Uncertain,
            _ if probability >= threshold => Self::Present,
            _ => Self::Absent,
        }
    }

    /// What it says of «is anything wrong at all», in the word of tables and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Present => "pathology",
            Self::Absent => "normal",
            Self::Uncertain => "uncertain",
        }
    }
}

/// One finding scored for each slice of the source volume.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceScores {
    /// Label of the finding.
    pub label: String,
    /// Slice of the source volume (from 0) and probability, in slice order.
    pub scores: Vec<(usize, f64)>,
    /// The slice with the largest probability; the first of equals.
    pub peak: usize,
}

/// Text that a model wrote. Every object says that it is generated and unverified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedText {
    /// The words.
    pub text: String,
    /// The token ids that they come from, special ones included.
    pub tokens: Vec<i64>,
}

/// One number a voxel of the source volume: how much it weighed in the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionMap {
    /// Readable: "Attention to pleural effusion".
    pub label: String,
    /// Slices, rows, columns of the source volume.
    pub shape: [usize; 3],
    /// `shape` product many, 0 to 1, slice-major.
    pub values: Vec<f32>,
    /// The slices (from 0) that it points at, the most important first.
    pub key_slices: Vec<usize>,
}

/// A vector or a table of vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// Name of the tensor.
    pub name: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// `shape` product many.
    pub values: Vec<f32>,
}

/// Who made a prediction: the same in every object, row and log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlgorithmIdentity {
    /// Package name, such as `lung-densitometry`.
    pub name: String,
    /// Package version.
    pub version: String,
    /// Title for people.
    pub title: String,
    /// Manufacturer of the model.
    pub manufacturer: String,
    /// CID 7162: (123110, DCM, "Artificial Intelligence") for learned models, (123109…) and the like for others.
    pub family: CodedConcept,
    /// SHA-256 of the weights, lower-case hex.
    pub weights_sha256: String,
    /// Thresholds, window, precision: what the numbers depend on, one `name=value` each.
    pub parameters: Vec<String>,
    /// `true` where the package says its weights are untrained: every object says so too.
    pub untrained: bool,
}
