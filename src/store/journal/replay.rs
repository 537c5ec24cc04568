//! Writing again what was not settled when the last process ended.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};
use std::time::{Duration, UNIX_EPOCH};

use super::record::{Entry, HEAD, Head, Word};
use super::{SEGMENTS, remove};
use crate::clock::Timestamp;
use crate::store::clear_up::move_aside;
use crate::store::error::StoreError;
use crate::store::file_system::FileSystem;
use crate::store::incoming::Spool;
use crate::store::layout::{Layout, Origin};

/// Where a record lies.
#[derive(Debug, Clone, Copy)]
struct At {
    segment: usize,
    offset: u64,
    head: Head,
}

/// Writes every file again of which the journal has the last word, syncs the file system and removes the journal; gives how many they
/// were. Whether a file is there already is not asked: the system's memory may have it and the disk not. Cut off, it is done
/// again. Blocks.
///
/// # Errors
/// What the disk says; the journal stays as it is.
pub(in crate::store) fn replay(layout: &Layout) -> Result<usize, StoreError> {
    let files = FileSystem::of(layout.folder(Origin::Received))?;
    let mut segments = Vec::new();
    for number in 0..SEGMENTS {
        let path = layout.journal(number);
        match File::open(&path) {
            Ok(file) => segments.push((number, file)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::file("open", &path)(error)),
        }
    }
    if segments.is_empty() {
        return Ok(0);
    }
    let mut fills = Vec::new();
    let mut unreadable = Vec::new();
    for (index, (number, file)) in segments.iter().enumerate() {
        let mut words = Vec::new();
        if let Err(error) = read(file, index, &mut words) {
            unreadable.push((*number, error));
        }
        fills.push((words.first().map(|(_, at)| at.head.generation), *number, words));
    }
    fills.sort_by_key(|(generation, ..)| *generation);
    let oldest_first: Vec<usize> = fills.iter().map(|(_, number, _)| *number).collect();
    // The later word of a place takes the place of the earlier one.
    let last: HashMap<String, At> = fills.into_iter().flat_map(|(.., words)| words).collect();
    let mut written = 0;
    for at in last.into_values() {
        let (number, file) = &segments[at.segment];
        let body = body(file, at).map_err(StoreError::file("read", &layout.journal(*number)))?;
        if let Some(Word::File(entry)) = at.head.word(&body) {
            write(layout, entry)?;
            written += 1;
        }
    }
    files.sync()?;
    for (number, error) in unreadable {
        let aside = move_aside(&layout.journal(number), &layout.aside(), "unreadable", &format!("journal.{number}"))?;
        tracing::error!(
            aside = %aside.display(),
            %error,
            "the disk does not say all that the journal holds: what comes after is as the files have it; the rest is kept aside"
        );
    }
    remove(layout, oldest_first)?;
    Ok(written)
}

/// The records of one fill, in their order; what is behind them is older, or did not come to the disk whole.
fn read(file: &File, segment: usize, found: &mut Vec<(String, At)>) -> io::Result<()> {
    let mut offset = 0;
    loop {
        let mut head = [0; HEAD];
        match file.read_exact_at(&mut head, offset) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let Some(head) = Head::read(&head) else { return Ok(()) };
        let at = At { segment, offset, head };
        if found.first().is_some_and(|(_, first)| first.head.generation != head.generation) {
            return Ok(());
        }
        let body = match body(file, at) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            body => body?,
        };
        match head.word(&body) {
            Some(Word::File(Entry { place, .. }) | Word::Forget(place)) => found.push((place.to_owned(), at)),
            None => return Ok(()),
        }
        offset += head.record_bytes() as u64;
    }
}

fn body(file: &File, at: At) -> io::Result<Vec<u8>> {
    let mut body = vec![0; at.head.body_bytes()];
    file.read_exact_at(&mut body, at.offset + HEAD as u64)?;
    Ok(body)
}

/// Puts a file into its place, over what lies there; aside where the place cannot be had, for it was promised to somebody.
fn write(layout: &Layout, entry: Entry<'_>) -> Result<(), StoreError> {
    let place = Path::new(entry.place);
    let is_ours = place.starts_with(Origin::Received.folder())
        && place.components().all(|component| matches!(component, Component::Normal(_)));
    if !is_ours {
        return Err(StoreError::Damaged(format!("the journal names the place «{}»", entry.place)));
    }
    let path = layout.root().join(place);
    let mut spool = Spool::with(layout, entry.content)?;
    spool.file.set_modified(time(entry.came)).map_err(StoreError::file("set the time of", spool.path()))?;
    match path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::rename(spool.path(), &path)) {
        Ok(()) => {}
        // Something else lies there, which no other attempt changes.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::IsADirectory | ErrorKind::NotADirectory | ErrorKind::AlreadyExists
            ) =>
        {
            let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            let aside = move_aside(spool.path(), &layout.aside(), "unplaced", &name)?;
            tracing::error!(
                path = %path.display(),
                aside = %aside.display(),
                %error,
                "an instance cannot be put where it belongs and is kept aside: make room, move it there and run `overread reindex`"
            );
        }
        Err(error) => return Err(StoreError::file("name", &path)(error)),
    }
    spool.keep();
    Ok(())
}

fn time(at: Timestamp) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
}
