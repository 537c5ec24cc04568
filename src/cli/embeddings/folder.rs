//! A folder of embeddings for training: safetensors files and an index beside them.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::store::{EmbeddingOf, EmbeddingTensor, embedding_file};

const COLUMNS: [&str; 5] = ["study_uid", "series_uid", "model", "version", "file"];

/// A folder of embeddings. A second run adds to it.
pub(in crate::cli) struct EmbeddingFolder {
    folder: PathBuf,
    index: csv::Writer<File>,
    known: HashSet<[String; 5]>,
}

impl EmbeddingFolder {
    /// # Errors
    /// What cannot be read or written, with its path.
    pub(in crate::cli) fn open(folder: &Path) -> Result<Self, String> {
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
        Ok(Self { folder: folder.to_owned(), index, known })
    }

    /// Keeps the tensors that a version of a model gave of a series in a file of their own, and then its row; without any it
    /// leaves nothing.
    ///
    /// # Errors
    /// What cannot be written, with its path.
    pub(in crate::cli) fn add(&mut self, of: &EmbeddingOf, tensors: &[EmbeddingTensor<'_>]) -> Result<(), String> {
        if tensors.is_empty() {
            return Ok(());
        }
        let file = of.place();
        let path = self.folder.join(&file);
        let bytes = embedding_file(of, tensors).map_err(|error| format!("{}: {error}", path.display()))?;
        write_whole(&path, &bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        let (study, series) = (of.study_instance_uid.to_string(), of.series_instance_uid.to_string());
        let row = [study, series, of.model_name.clone(), of.model_version.clone(), file];
        if self.known.insert(row.clone()) {
            self.index.write_record(&row).map_err(|error| error.to_string())?;
            self.index.flush().map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// The file is there when it is whole.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)?;
    let part = path.with_extension("safetensors.part");
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};

    fn of(series: &str) -> EmbeddingOf {
        EmbeddingOf {
            study_instance_uid: StudyInstanceUid::parse("1.2").unwrap(),
            series_instance_uid: SeriesInstanceUid::parse(series).unwrap(),
            revision: None,
            model_name: "some-vit".to_owned(),
            model_version: "1.0.0".to_owned(),
            space_sha256: "00".to_owned(),
        }
    }

    #[test]
    fn vectors_are_read_back_and_a_second_run_adds_to_the_index() {
        let folder = tempfile::tempdir().unwrap();
        let vectors = [EmbeddingTensor { name: "cls", shape: &[1, 3], values: &[1.0, -2.5, f32::MIN_POSITIVE] }];
        for series in ["1.2.3", "1.2.3", "1.2.4"] {
            let mut embeddings = EmbeddingFolder::open(folder.path()).unwrap();
            embeddings.add(&of(series), &vectors).unwrap();
            embeddings.add(&of("1.2.9"), &[]).unwrap();
        }
        let index = std::fs::read_to_string(folder.path().join("index.csv")).unwrap();
        let row = |series: &str| format!("1.2,{series},some-vit,1.0.0,1.2/{series}/some-vit-1.0.0.safetensors\n");
        assert_eq!(index, format!("study_uid,series_uid,model,version,file\n{}{}", row("1.2.3"), row("1.2.4")));
        let bytes = std::fs::read(folder.path().join("1.2/1.2.3/some-vit-1.0.0.safetensors")).unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = read.tensor("cls").unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (safetensors::Dtype::F32, &[1, 3][..]));
        assert_eq!(&tensor.data()[4..8], (-2.5_f32).to_le_bytes());
    }
}
