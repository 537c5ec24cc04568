//! The files of a series that is to be decoded: where they lie, or out of an archive into a temporary folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::gather::{Archive, MAX_INSTANCE_BYTES, Source};

/// How much of the temporary folder a series may take. At most two lie there at a time.
const SERIES_BYTES: u64 = 8 << 30;

/// Files that can be opened. What was extracted for them goes when this does.
pub(super) struct OnDisk {
    pub(super) files: Vec<PathBuf>,
    _folder: Option<TempDir>,
}

/// Extracts what lies in archives, by number and never by an entry's name.
///
/// # Errors
/// The first instance that cannot be extracted, and why.
pub(super) fn on_disk(sources: &[Source]) -> Result<OnDisk, String> {
    let mut archives: BTreeMap<&Path, Vec<(usize, usize, &Source)>> = BTreeMap::new();
    let mut files = vec![PathBuf::new(); sources.len()];
    for (place, source) in sources.iter().enumerate() {
        match source {
            Source::File(path) => files[place].clone_from(path),
            Source::ZipEntry { archive, index, .. } => {
                archives.entry(archive).or_default().push((place, *index, source));
            }
        }
    }
    if archives.is_empty() {
        return Ok(OnDisk { files, _folder: None });
    }
    let folder = tempfile::Builder::new().prefix("overread-").tempdir();
    let folder = folder.map_err(|error| format!("there is no temporary folder: {error}"))?;
    let mut left = SERIES_BYTES;
    for (path, entries) in archives {
        let mut archive = Archive::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        for (place, index, source) in entries {
            let target = folder.path().join(format!("{place}.dcm"));
            let copied = File::create(&target)
                .and_then(|mut file| archive.copy(index, &mut file, MAX_INSTANCE_BYTES.min(left)))
                .map_err(|error| format!("{source}: {error}"))?;
            left -= copied;
            files[place] = target;
        }
    }
    Ok(OnDisk { files, _folder: Some(folder) })
}
