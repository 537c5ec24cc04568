//! Instances become series: by their UIDs, wherever they lie.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::super::gather::{Item, Source, Unreadable};
use super::identity::Identity;
use crate::dicom::uid::{SeriesInstanceUid, SopInstanceUid, StudyInstanceUid};

/// One series to be read.
#[derive(Debug, Clone)]
pub(super) struct SeriesToRead {
    pub(super) study: StudyInstanceUid,
    pub(super) series: SeriesInstanceUid,
    /// Where the study lies, for people.
    pub(super) path: String,
    /// Its instances, once each, in the order in which they were found.
    pub(super) sources: Vec<Source>,
    /// Instances that were found once more.
    pub(super) repeated: usize,
}

/// Groups instances, series in the order in which they were first met.
pub(super) fn group(items: Vec<Item<Identity>>) -> Vec<SeriesToRead> {
    let mut places: HashMap<StudyInstanceUid, Places> = HashMap::new();
    let mut archives: HashMap<PathBuf, HashSet<StudyInstanceUid>> = HashMap::new();
    let mut seen: HashSet<(usize, SopInstanceUid)> = HashSet::new();
    let mut index: HashMap<(StudyInstanceUid, SeriesInstanceUid), usize> = HashMap::new();
    let mut all: Vec<SeriesToRead> = Vec::new();
    for Item { source, argument, found } in items {
        let Identity { study, series, instance } = found;
        places.entry(study.clone()).or_default().add(argument, &source);
        if let Source::ZipEntry { archive, .. } = &source {
            archives.entry(archive.clone()).or_default().insert(study.clone());
        }
        let at = *index.entry((study.clone(), series.clone())).or_insert_with(|| {
            all.push(SeriesToRead { study, series, path: String::new(), sources: Vec::new(), repeated: 0 });
            all.len() - 1
        });
        if seen.insert((at, instance)) {
            all[at].sources.push(source);
        } else {
            all[at].repeated += 1;
        }
    }
    all.retain(|series| !series.sources.is_empty());
    for series in &mut all {
        let several = |archive: &Path| archives.get(archive).is_some_and(|studies| studies.len() > 1);
        series.path = places.get(&series.study).map(|places| places.shown(several)).unwrap_or_default();
    }
    all
}

/// Where the instances of one study lie: for each path it was found under, the folder that holds them all.
#[derive(Debug, Default)]
struct Places(BTreeMap<usize, Place>);

#[derive(Debug, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    Folder(PathBuf),
    Archive { archive: PathBuf, folder: PathBuf },
}

impl Places {
    fn add(&mut self, argument: usize, source: &Source) {
        let new = match source {
            Source::File(path) => Place::File(path.clone()),
            Source::ZipEntry { archive, name, .. } => Place::Archive {
                archive: archive.clone(),
                folder: Path::new(name).parent().unwrap_or(Path::new("")).to_owned(),
            },
        };
        let joined = match self.0.remove(&argument) {
            Some(old) => old.joined(new),
            None => new,
        };
        self.0.insert(argument, joined);
    }

    fn shown(&self, several: impl Fn(&Path) -> bool) -> String {
        let shown = |place: &Place| match place {
            Place::File(path) | Place::Folder(path) => path.display().to_string(),
            Place::Archive { archive, folder } if several(archive) && !folder.as_os_str().is_empty() => {
                format!("{}:{}", archive.display(), folder.display())
            }
            Place::Archive { archive, .. } => archive.display().to_string(),
        };
        self.0.values().map(shown).collect::<Vec<_>>().join("; ")
    }
}

impl Place {
    fn joined(self, other: Self) -> Self {
        match (self, other) {
            (Self::Archive { archive, folder }, Self::Archive { archive: same, folder: further })
                if archive == same =>
            {
                Self::Archive { archive, folder: common(&folder, &further) }
            }
            (one, other) if one == other => one,
            (one, other) => Self::Folder(common(one.folder(), other.folder())),
        }
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Folder(path) => path,
            Self::File(path) | Self::Archive { archive: path, .. } => path.parent().unwrap_or(Path::new("")),
        }
    }
}

/// The longest path that both begin with.
fn common(one: &Path, other: &Path) -> PathBuf {
    let both = one.components().zip(other.components());
    both.take_while(|(a, b)| a == b).map(|(component, _)| component).collect()
}

/// What could not be read, summed up for each place: one line however many files an archive or a folder has.
pub(super) fn summed_up(unreadable: &[Unreadable]) -> Vec<(String, String)> {
    let mut places: Vec<(PathBuf, Vec<&Unreadable>)> = Vec::new();
    let mut index: HashMap<PathBuf, usize> = HashMap::new();
    for what in unreadable {
        let at = *index.entry(what.under.clone()).or_insert_with(|| {
            places.push((what.under.clone(), Vec::new()));
            places.len() - 1
        });
        places[at].1.push(what);
    }
    places.iter().map(|(place, failed)| summary(place, failed)).collect()
}

fn summary(place: &Path, failed: &[&Unreadable]) -> (String, String) {
    match failed {
        [one] => match &one.entry {
            Some(entry) => (place.display().to_string(), format!("{entry}: {}", one.why)),
            None => (one.place.display().to_string(), one.why.clone()),
        },
        [first, ..] => {
            let name = match &first.entry {
                Some(entry) => entry.clone(),
                None => first.place.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            };
            let count = failed.len();
            (place.display().to_string(), format!("{count} files cannot be read, the first is {name}: {}", first.why))
        }
        [] => (place.display().to_string(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(argument: usize, study: &str, series: &str, instance: &str, source: Source) -> Item<Identity> {
        let found = Identity {
            study: StudyInstanceUid::parse(study).unwrap(),
            series: SeriesInstanceUid::parse(series).unwrap(),
            instance: SopInstanceUid::parse(instance).unwrap(),
        };
        Item { source, argument, found }
    }

    fn file(path: &str) -> Source {
        Source::File(PathBuf::from(path))
    }

    fn entry(archive: &str, name: &str) -> Source {
        Source::ZipEntry { archive: PathBuf::from(archive), index: 0, name: name.to_owned() }
    }

    #[test]
    fn a_study_over_several_folders_is_one_and_says_where_they_meet() {
        let all = group(vec![
            item(0, "1.1", "1.1.1", "1", file("/in/a/x")),
            item(0, "1.2", "1.2.1", "2", file("/in/b/y")),
            item(0, "1.1", "1.1.1", "3", file("/in/c/z")),
            item(0, "1.1", "1.1.1", "1", file("/in/d/x")),
            item(1, "1.2", "1.2.1", "4", file("/other")),
        ]);
        let told: Vec<_> = all.iter().map(|s| (&*s.path, s.sources.len(), s.repeated)).collect();
        assert_eq!(told, [("/in", 2, 1), ("/in/b/y; /other", 2, 0)]);
    }

    #[test]
    fn of_an_archive_the_inner_folder_is_named_only_where_it_holds_several_studies() {
        let all = group(vec![
            item(0, "1.1", "1.1.1", "1", entry("one.zip", "a/b/1")),
            item(0, "1.2", "1.2.1", "2", entry("two.zip", "p/s1/1")),
            item(0, "1.2", "1.2.2", "3", entry("two.zip", "p/s2/1")),
            item(0, "1.3", "1.3.1", "4", entry("two.zip", "1")),
        ]);
        let paths: Vec<_> = all.iter().map(|s| &*s.path).collect();
        assert_eq!(paths, ["one.zip", "two.zip:p", "two.zip:p", "two.zip"]);
    }

    #[test]
    fn what_cannot_be_read_is_one_line_for_each_place() {
        let failed = |place: &str, entry: Option<&str>| Unreadable {
            place: PathBuf::from(place),
            entry: entry.map(str::to_owned),
            under: PathBuf::from(if place.ends_with("zip") { place } else { &place[..2] }),
            why: "broken".to_owned(),
        };
        let lines = summed_up(&[
            failed("/a/one", None),
            failed("z.zip", Some("p")),
            failed("/b/two", None),
            failed("z.zip", Some("q")),
            failed("/b/three", None),
        ]);
        let line = |place: &str, why: &str| (place.to_owned(), why.to_owned());
        assert_eq!(
            lines,
            [
                line("/a/one", "broken"),
                line("z.zip", "2 files cannot be read, the first is p: broken"),
                line("/b", "2 files cannot be read, the first is two: broken"),
            ]
        );
    }
}
