//! Zip archives of unknown goodwill: nothing is written by an entry's name, and nothing is inflated beyond a bound.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path};

use zip::result::ZipError;

use super::{Gathered, Item, Look, Source, Unreadable};

/// Entries that inflate to less are taken however well they are compressed: a blank image is.
const ALWAYS_ALLOWED: u64 = 64 << 20;
/// Beyond that an entry may inflate to so many times its compressed size. Images stay below 20; deflate ends at 1032.
const LARGEST_RATIO: u64 = 250;

/// Whether a file is a zip archive: by its first bytes, or by its name where those are damaged.
pub(super) fn is_archive(magic: &[u8], path: &Path) -> bool {
    let named = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
    named || magic.starts_with(b"PK\x03\x04") || magic.starts_with(b"PK\x05\x06") || magic.starts_with(b"PK\x07\x08")
}

/// Whether an entry may go on inflating when it has come to `inflated` bytes.
const fn ratio_allows(inflated: u64, compressed: u64) -> bool {
    inflated <= ALWAYS_ALLOWED || inflated <= compressed.saturating_mul(LARGEST_RATIO)
}

/// An archive that is open.
pub(in crate::cli) struct Archive(zip::ZipArchive<BufReader<File>>);

impl Archive {
    pub(in crate::cli) fn open(path: &Path) -> io::Result<Self> {
        let archive = zip::ZipArchive::new(BufReader::new(File::open(path)?));
        Ok(Self(archive.map_err(|error| io::Error::other(said(&error)))?))
    }

    /// The names of all entries, by their numbers.
    ///
    /// # Errors
    /// A name leads out of the archive.
    pub(in crate::cli) fn names(&self) -> io::Result<Vec<String>> {
        let name = |index| match self.0.name_for_index(index) {
            Some(Ok(name)) if is_enclosed(&name) => Ok(name.into_owned()),
            Some(Ok(name)) => Err(io::Error::other(format!("the name of the entry «{name}» leads out of the archive"))),
            _ => Err(io::Error::other(format!("entry {index} has no name that can be read"))),
        };
        (0..self.0.len()).map(name).collect()
    }

    /// Inflates an entry, at most `limit` bytes of it.
    ///
    /// # Errors
    /// What is wrong with it: encrypted, damaged, larger than it may be.
    pub(in crate::cli) fn copy(&mut self, index: usize, to: &mut impl Write, limit: u64) -> io::Result<u64> {
        let mut entry = self.0.by_index(index).map_err(|error| io::Error::other(said(&error)))?;
        let compressed = entry.compressed_size();
        let mut block = vec![0; 1 << 18];
        let mut copied = 0;
        loop {
            let count = entry.read(&mut block)?;
            if count == 0 {
                return Ok(copied);
            }
            copied += count as u64;
            if copied > limit {
                return Err(io::Error::other(format!("it is larger than {} MiB", limit >> 20)));
            }
            if !ratio_allows(copied, compressed) {
                let message = format!("its {compressed} bytes inflate to more than {copied}: this is no image");
                return Err(io::Error::other(message));
            }
            to.write_all(&block[..count])?;
        }
    }
}

/// Whether a name stays below the folder that it is unpacked in.
fn is_enclosed(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.contains(['\\', '\0']) && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Looks into every entry.
pub(super) fn look_into<T>(path: &Path, argument: usize, look: &impl Look<T>, gathered: &mut Gathered<T>) {
    let fail = |entry: Option<String>, why: String| Unreadable::within(path, entry, why);
    let mut archive = match Archive::open(path) {
        Ok(archive) => archive.0,
        Err(error) => return gathered.unreadable.push(fail(None, error.to_string())),
    };
    for index in 0..archive.len() {
        let name = match archive.name_for_index(index) {
            Some(Ok(name)) => name.into_owned(),
            _ => format!("entry {index}"),
        };
        let mut entry = match archive.by_index(index) {
            Ok(entry) if entry.is_dir() => continue,
            Ok(entry) => entry,
            Err(error) => {
                gathered.unreadable.push(fail(Some(name), said(&error)));
                continue;
            }
        };
        if entry.enclosed_name().is_none() {
            gathered.unreadable.push(fail(Some(name), "its name leads out of the archive".to_owned()));
            continue;
        }
        let head = match head_of(&mut entry, Path::new(&name)) {
            Ok(head) => head,
            Err(error) => {
                gathered.unreadable.push(fail(Some(name), error.to_string()));
                continue;
            }
        };
        if is_archive(&head, Path::new(&name)) {
            let why = "an archive inside an archive is not read: unpack it first";
            gathered.unreadable.push(fail(Some(name), why.to_owned()));
            continue;
        }
        match look(&mut head.as_slice().chain(entry)) {
            Ok(Some(found)) => {
                let source = Source::ZipEntry { archive: path.to_owned(), index, name };
                gathered.items.push(Item { source, argument, found });
            }
            Ok(None) => gathered.passed_over += 1,
            Err(why) => gathered.unreadable.push(fail(Some(name), why)),
        }
    }
}

/// The first bytes of an entry whose name does not say what it is: documents are archives too, by their first bytes.
fn head_of(entry: &mut impl Read, name: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    if name.extension().is_none() {
        entry.take(4).read_to_end(&mut head)?;
    }
    Ok(head)
}

/// An error of the archive in words.
fn said(error: &ZipError) -> String {
    match error {
        ZipError::UnsupportedArchive(text) if *text == ZipError::PASSWORD_REQUIRED => "it is encrypted".to_owned(),
        ZipError::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_blank_image_is_no_bomb_and_a_large_one_that_comes_from_nothing_is() {
        assert!(ratio_allows(64 << 20, 1));
        assert!(ratio_allows(500 << 20, 20 << 20));
        assert!(!ratio_allows((64 << 20) + 1, 1000));
    }
}
