//! The files themselves: float32 tensors in the safetensors format, and in its metadata of what they are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};
use crate::store::StoreError;
use crate::store::layout::Layout;

/// The longest header that is read; ours have a few hundred bytes a tensor.
const LONGEST_HEADER: u64 = 1 << 20;
/// Values that are read at a time.
const PORTION: usize = 1 << 16;
const FLOAT32: &str = "F32";

/// Of what embeddings are, and who made them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingOf {
    /// Study Instance UID.
    pub study_instance_uid: StudyInstanceUid,
    /// Series Instance UID.
    pub series_instance_uid: SeriesInstanceUid,
    /// Revision of the series; nothing where it was read without a node.
    pub revision: Option<i64>,
    /// Name of the model package.
    pub model_name: String,
    /// Its version.
    pub model_version: String,
    /// Of what they depend on, input and weights, lower-case hex: only those of one space can be compared.
    pub space_sha256: String,
}

impl EmbeddingOf {
    /// `STUDY/SERIES/MODEL-VERSION.safetensors`: where the file lies below the folder of embeddings. Different for whatever
    /// else they are of.
    #[must_use]
    pub fn place(&self) -> String {
        let Self { study_instance_uid, series_instance_uid, model_name, model_version, .. } = self;
        Layout::embedding_place(study_instance_uid, series_instance_uid, model_name, model_version)
    }
}

/// A tensor to be written.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddingTensor<'a> {
    /// As the package calls it.
    pub name: &'a str,
    /// Extents.
    pub shape: &'a [usize],
    /// As many as the product of `shape`.
    pub values: &'a [f32],
}

/// What the header of a file says of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorOutline {
    /// As the package calls it.
    pub name: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// Bytes from the end of the header.
    start: u64,
    /// How many values.
    count: usize,
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(rename = "__metadata__", default)]
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<String, TensorEntry>,
}

#[derive(Serialize, Deserialize)]
struct TensorEntry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// The whole file. The same content gives the same bytes; tensors lie in the order in which they are given.
///
/// # Errors
/// Where extents and values do not go together, in one sentence.
pub fn embedding_file(of: &EmbeddingOf, tensors: &[EmbeddingTensor<'_>]) -> Result<Vec<u8>, String> {
    let mut entries = BTreeMap::new();
    let mut length = 0;
    for EmbeddingTensor { name, shape, values } in tensors {
        if product(shape) != Some(values.len()) {
            return Err(format!("embedding «{name}» has {} values, not {shape:?}", values.len()));
        }
        let end = length + 4 * values.len() as u64;
        let entry = TensorEntry { dtype: FLOAT32.to_owned(), shape: shape.to_vec(), data_offsets: [length, end] };
        if entries.insert((*name).to_owned(), entry).is_some() {
            return Err(format!("two embeddings are called «{name}»"));
        }
        length = end;
    }
    let header = Header { metadata: of.metadata(), tensors: entries };
    let mut header = serde_json::to_vec(&header).map_err(|error| error.to_string())?;
    // The tensors begin at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = Vec::with_capacity(8 + header.len() + usize::try_from(length).unwrap_or(0));
    file.extend((header.len() as u64).to_le_bytes());
    file.extend(header);
    file.extend(tensors.iter().flat_map(|tensor| tensor.values).flat_map(|value| value.to_le_bytes()));
    Ok(file)
}

/// A file of embeddings that is open: its header has been read and fits its length, its tensors are read when asked for.
#[derive(Debug)]
pub struct EmbeddingFile {
    path: PathBuf,
    file: File,
    of: EmbeddingOf,
    tensors: Vec<TensorOutline>,
    /// Where the tensors begin.
    start: u64,
}

impl EmbeddingFile {
    /// Opens a file and reads its header. Blocks.
    ///
    /// # Errors
    /// What the system says, or [`StoreError::NoEmbeddings`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut file = File::open(path).map_err(StoreError::file("open", path))?;
        let length = file.metadata().map_err(StoreError::file("look at", path))?.len();
        let wrong = |cause: String| StoreError::NoEmbeddings { path: path.to_owned(), cause };
        let mut first = [0; 8];
        file.read_exact(&mut first).map_err(|_| wrong("it is cut short".to_owned()))?;
        let header_length = u64::from_le_bytes(first);
        if header_length > LONGEST_HEADER || header_length + 8 > length {
            return Err(wrong(format!("its header has {header_length} bytes")));
        }
        let mut header = Vec::new();
        (&mut file).take(header_length).read_to_end(&mut header).map_err(StoreError::file("read", path))?;
        let header: Header = serde_json::from_slice(&header).map_err(|error| wrong(error.to_string()))?;
        let of = EmbeddingOf::from_metadata(&header.metadata).map_err(wrong)?;
        let start = 8 + header_length;
        let tensors = outlines(header.tensors, length - start).map_err(wrong)?;
        Ok(Self { path: path.to_owned(), file, of, tensors, start })
    }

    /// Of what it is.
    #[must_use]
    pub const fn of(&self) -> &EmbeddingOf {
        &self.of
    }

    /// Its tensors, in the order of the package.
    #[must_use]
    pub fn tensors(&self) -> &[TensorOutline] {
        &self.tensors
    }

    /// The values of a tensor, or nothing where there is none of this name. Blocks.
    ///
    /// # Errors
    /// What the system says.
    pub fn values(&self, name: &str) -> Result<Option<Vec<f32>>, StoreError> {
        let mut values = Vec::new();
        let found = self.each_portion(name, |portion| values.extend_from_slice(portion))?;
        Ok(found.map(|_| values))
    }

    /// The mean of a tensor over all its axes but the last: a vector is itself, a table of vectors its mean vector.
    /// Nothing where there is no tensor of this name. Holds one portion at a time. Blocks.
    ///
    /// # Errors
    /// What the system says.
    pub fn mean_vector(&self, name: &str) -> Result<Option<Vec<f64>>, StoreError> {
        let Some(outline) = self.tensors.iter().find(|tensor| tensor.name == name) else { return Ok(None) };
        let width = outline.shape.last().copied().unwrap_or(1);
        let mut sums = vec![0.0; width];
        let mut at = 0;
        self.each_portion(name, |portion| {
            for value in portion {
                sums[at] += f64::from(*value);
                at = (at + 1) % width;
            }
        })?;
        #[expect(clippy::cast_precision_loss, reason = "a number of vectors")]
        let vectors = (outline.count / width.max(1)).max(1) as f64;
        Ok(Some(sums.into_iter().map(|sum| sum / vectors).collect()))
    }

    fn each_portion(&self, name: &str, mut take: impl FnMut(&[f32])) -> Result<Option<()>, StoreError> {
        let Some(outline) = self.tensors.iter().find(|tensor| tensor.name == name) else { return Ok(None) };
        let mut file = BufReader::new(&self.file);
        let failed = || StoreError::file("read", &self.path);
        file.seek(SeekFrom::Start(self.start + outline.start)).map_err(failed())?;
        let mut left = outline.count;
        let mut bytes = vec![0; 4 * left.min(PORTION)];
        let mut values = Vec::with_capacity(left.min(PORTION));
        while left > 0 {
            let now = left.min(PORTION);
            file.read_exact(&mut bytes[..4 * now]).map_err(failed())?;
            values.clear();
            values.extend(bytes[..4 * now].as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)));
            take(&values);
            left -= now;
        }
        Ok(Some(()))
    }
}

/// The tensors by their place, each checked against the length of what is behind the header.
fn outlines(entries: BTreeMap<String, TensorEntry>, length: u64) -> Result<Vec<TensorOutline>, String> {
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, TensorEntry { dtype, shape, data_offsets: [start, end] }) in entries {
        if dtype != FLOAT32 {
            return Err(format!("«{name}» is {dtype}, not {FLOAT32}"));
        }
        let count = product(&shape).filter(|count| start.checked_add(4 * *count as u64) == Some(end) && end <= length);
        let count = count.ok_or_else(|| format!("«{name}» does not lie where the header says"))?;
        tensors.push(TensorOutline { name, shape, start, count });
    }
    tensors.sort_by_key(|tensor| tensor.start);
    Ok(tensors)
}

/// Nothing where it is more than a file can hold.
fn product(shape: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1_usize, |product, extent| product.checked_mul(*extent))?;
    (count <= 1 << 40).then_some(count)
}

impl EmbeddingOf {
    fn metadata(&self) -> BTreeMap<String, String> {
        let known = [
            ("study_uid", self.study_instance_uid.to_string()),
            ("series_uid", self.series_instance_uid.to_string()),
            ("model", self.model_name.clone()),
            ("version", self.model_version.clone()),
            ("space_sha256", self.space_sha256.clone()),
        ];
        let revision = self.revision.map(|revision| ("revision", revision.to_string()));
        known.into_iter().chain(revision).map(|(key, value)| (key.to_owned(), value)).collect()
    }

    fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = |key: &str| metadata.get(key).ok_or_else(|| format!("its metadata lack «{key}»"));
        let study = StudyInstanceUid::parse(text("study_uid")?).map_err(|error| error.to_string())?;
        let series = SeriesInstanceUid::parse(text("series_uid")?).map_err(|error| error.to_string())?;
        let revision = metadata.get("revision").map(|text| text.parse::<i64>()).transpose();
        Ok(Self {
            study_instance_uid: study,
            series_instance_uid: series,
            revision: revision.map_err(|error| format!("revision: {error}"))?,
            model_name: text("model")?.clone(),
            model_version: text("version")?.clone(),
            // Earlier files name all weights of the package.
            space_sha256: metadata.get("space_sha256").map_or_else(|| text("weights_sha256"), Ok)?.clone(),
        })
    }
}
