//! Report, segmentation and maps as files, in a folder for each study and series that people can read.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::dicom::tags;
use crate::results::ResultSet;
use crate::volume::SourceSeries;
use crate::worker::kind_word;

/// Characters of a description in a folder's name.
const MOST_CHARACTERS: usize = 40;

/// Writes the objects below `folder`: `STUDY/SERIES/MODEL KIND.dcm`. Those of an earlier run are replaced.
///
/// # Errors
/// What the system says.
pub(super) fn write(folder: &Path, source: &SourceSeries, model: &str, results: &ResultSet) -> io::Result<()> {
    let folder = folder.join(folders(source));
    std::fs::create_dir_all(&folder)?;
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for object in &results.objects {
        let kind = kind_word(object.kind);
        let number = uses.entry(kind).and_modify(|count| *count += 1).or_insert(1);
        let number = if *number == 1 { String::new() } else { format!(" {number}") };
        std::fs::write(folder.join(format!("{model} {kind}{number}.dcm")), &object.bytes)?;
    }
    Ok(())
}

/// Study and series by date, number and description, and by their UIDs, so that no two are the same. Never by the patient.
fn folders(source: &SourceSeries) -> PathBuf {
    let text = |tag| source.header.text(tag).unwrap_or_default();
    let study = [text(tags::STUDY_DATE), text(tags::STUDY_DESCRIPTION), source.study_instance_uid.to_string()];
    let number = Some(text(tags::SERIES_NUMBER)).filter(|number| !number.is_empty());
    let series = [
        number.map(|number| format!("series {number}")).unwrap_or_default(),
        text(tags::SERIES_DESCRIPTION),
        source.series_instance_uid.to_string(),
    ];
    Path::new(&joined(&study)).join(joined(&series))
}

fn joined(words: &[String; 3]) -> String {
    let [first, description, uid] = words;
    let parts = [safe(first), safe(description), uid.clone()];
    parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" ")
}

/// What every file system takes, and no path: letters and digits of any script, blanks, `-` and `_`.
fn safe(text: &str) -> String {
    let signs = text.chars().map(|sign| if sign.is_alphanumeric() || matches!(sign, '-' | '_') { sign } else { ' ' });
    let words: String = signs.collect();
    let short: String = words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MOST_CHARACTERS).collect();
    short.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::VR;
    use crate::dicom::data_set::DataSet;
    use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};

    #[test]
    fn folders_are_readable_and_lead_nowhere_else() {
        let mut header = DataSet::new();
        header.put_text(tags::STUDY_DATE, VR::DA, "20260102");
        header.put_text(
            tags::STUDY_DESCRIPTION,
            VR::LO,
            "../../etc/passwd: Thorax, Lunge & mehr, sehr lang und länger",
        );
        header.put_text(tags::SERIES_NUMBER, VR::IS, "3");
        let source = SourceSeries {
            study_instance_uid: StudyInstanceUid::parse("1.2").unwrap(),
            series_instance_uid: SeriesInstanceUid::parse("1.2.3").unwrap(),
            frame_of_reference_uid: None,
            header,
            instances: Vec::new(),
            lossy: None,
        };
        let folders = folders(&source);
        let path = folders.to_str().unwrap();
        assert_eq!(path, "20260102 etc passwd Thorax Lunge mehr sehr lang u 1.2/series 3 1.2.3");
    }
}
