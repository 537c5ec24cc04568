//! Vectors for training: a safetensors file a series, and an index beside them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

use crate::inference::manifest::Manifest;
use crate::inference::prediction::Embedding;
use crate::volume::SourceSeries;

const COLUMNS: [&str; 5] = ["study_uid", "series_uid", "model", "version", "file"];

/// A folder of embeddings. A second run adds to it.
pub(super) struct Embeddings {
    folder: PathBuf,
    /// Whether several models write here: then each has a folder of its own.
    several: bool,
    index: csv::Writer<File>,
    known: HashSet<[String; 5]>,
}

impl Embeddings {
    /// # Errors
    /// What cannot be read or written, with its path.
    pub(super) fn open(folder: &Path, several: bool) -> Result<Self, String> {
        let path = folder.join("index.csv");
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        std::fs::create_dir_all(folder).map_err(|e| failed(&e))?;
        let mut known = HashSet::new();
        if path.is_file() {
            let mut reader = csv::Reader::from_path(&path).map_err(|e| failed(&e))?;
            if reader.headers().map_err(|e| failed(&e))? != COLUMNS[..] {
                return Err(failed(&format!("it has other columns than {}", COLUMNS.join(","))));
            }
            for row in reader.deserialize() {
                known.insert(row.map_err(|e| failed(&e))?);
            }
        }
        let new = !path.is_file();
        let file = File::options().create(true).append(true).open(&path).map_err(|e| failed(&e))?;
        let mut index = csv::WriterBuilder::new().has_headers(false).from_writer(file);
        if new {
            index.write_record(COLUMNS).map_err(|e| failed(&e))?;
            index.flush().map_err(|e| failed(&e))?;
        }
        Ok(Self { folder: folder.to_owned(), several, index, known })
    }

    /// Keeps the vectors of a series; one without any leaves nothing.
    ///
    /// # Errors
    /// What cannot be written.
    pub(super) fn add(
        &mut self,
        source: &SourceSeries,
        model: &Manifest,
        embeddings: &[Embedding],
    ) -> Result<(), String> {
        if embeddings.is_empty() {
            return Ok(());
        }
        let file = format!("{}.safetensors", source.series_instance_uid);
        let file = if self.several { format!("{}/{file}", model.name) } else { file };
        let path = self.folder.join(&file);
        write(&path, model, embeddings).map_err(|error| format!("{}: {error}", path.display()))?;
        let row = [
            source.study_instance_uid.to_string(),
            source.series_instance_uid.to_string(),
            model.name.clone(),
            model.version.clone(),
            file,
        ];
        if self.known.insert(row.clone()) {
            self.index.write_record(&row).map_err(|error| error.to_string())?;
            self.index.flush().map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// float32 tensors by their names; the file is there when it is whole.
fn write(path: &Path, model: &Manifest, embeddings: &[Embedding]) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| failed(&e))?;
    }
    let bytes: Vec<Vec<u8>> =
        embeddings.iter().map(|e| e.values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let tensors = embeddings
        .iter()
        .zip(&bytes)
        .map(|(e, bytes)| Ok((e.name.as_str(), TensorView::new(Dtype::F32, e.shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| format!("{error:?}"))?;
    let who = model.identity();
    let about = [("model", who.name), ("version", who.version), ("weights_sha256", who.weights_sha256)];
    let about: HashMap<String, String> = about.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let part = path.with_extension("safetensors.part");
    serialize_to_file(tensors, &Some(about), &part).map_err(|error| format!("{error:?}"))?;
    std::fs::rename(&part, path).map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::data_set::DataSet;
    use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};

    fn source(series: &str) -> SourceSeries {
        SourceSeries {
            study_instance_uid: StudyInstanceUid::parse("1.2").unwrap(),
            series_instance_uid: SeriesInstanceUid::parse(series).unwrap(),
            frame_of_reference_uid: None,
            header: DataSet::new(),
            instances: Vec::new(),
        }
    }

    #[test]
    fn vectors_are_read_back_and_a_second_run_adds_to_the_index() {
        let folder = tempfile::tempdir().unwrap();
        let model = Manifest::parse(include_str!("../../../models/lung-densitometry/model.toml")).unwrap();
        let vectors =
            [Embedding { name: "cls".to_owned(), shape: vec![1, 3], values: vec![1.0, -2.5, f32::MIN_POSITIVE] }];
        for series in ["1.2.3", "1.2.3", "1.2.4"] {
            let mut embeddings = Embeddings::open(folder.path(), false).unwrap();
            embeddings.add(&source(series), &model, &vectors).unwrap();
            embeddings.add(&source("1.2.9"), &model, &[]).unwrap();
        }
        let index = std::fs::read_to_string(folder.path().join("index.csv")).unwrap();
        let row = |series: &str| format!("1.2,{series},lung-densitometry,1.0.0,{series}.safetensors\n");
        assert_eq!(index, format!("study_uid,series_uid,model,version,file\n{}{}", row("1.2.3"), row("1.2.4")));
        let bytes = std::fs::read(folder.path().join("1.2.3.safetensors")).unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = read.tensor("cls").unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, &[1, 3][..]));
        assert_eq!(&tensor.data()[4..8], (-2.5_f32).to_le_bytes());
    }
}
