//! Small files on their way to the disk: written one after the other into a file of fixed length that is written over, and on the
//! disk with one sync of its content, for all that wait.
//!
//! To make the content, the size and the name of a new file durable takes several writes in different places. For a
//! small file they cost more than its content. So such a file is written as always, but waits for nothing, and a copy of it goes into
//! the journal, which is synced. The journal is two segments: when one is full the other is filled, and what the first holds is
//! settled meanwhile: the file system is synced as a whole, and then the segment is free again. Where neither has room, where
//! the disk's reserve would be touched, or where the journal has failed, files are synced one by one ([`super::durable`]).
//!
//! At the start after a crash ([`replay()`]) all that was not settled is written again. The last word about a place counts: where a
//! file is to go away or to be replaced by one that is not in the journal, that is written into it before ([`Journal::forget`]).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::error::StoreError;
use super::file_system::FileSystem;
use super::layout::{Layout, Origin, free_bytes, sync_folder};
use super::portion::BLOCK;

mod record;

mod replay;

pub(super) use record::{Entry, Word};
pub(super) use replay::replay;

/// Files up to this length go into the journal: for longer ones a second copy costs more than syncs in several places.
pub(super) const LONGEST: usize = 64 * 1024;

/// How long a segment becomes. Longer ones are settled more rarely, and more of what is settled is on the disk by then.
const SEGMENT_BYTES: u64 = 64 << 20;

/// By how much a segment grows: a sync of what was written before has nothing but content to put on the disk.
const STEP: u64 = 1 << 20;

/// Where there is no room, so many files are synced by themselves before the journal is asked again.
const RESTS: u32 = 64;

/// How many segments there are.
pub(super) const SEGMENTS: usize = 2;

/// The journal of a data folder. Nothing is made before the first file comes.
#[derive(Debug)]
pub(super) struct Journal {
    layout: Arc<Layout>,
    reserve_bytes: u64,
    /// How many files are not left to it yet. Asked by all, also while somebody waits for the disk.
    rests: AtomicU32,
    pages: Mutex<Pages>,
}

#[derive(Debug)]
struct Pages {
    state: State,
    segments: [Segment; SEGMENTS],
    /// Which of them is filled now.
    filling: usize,
    /// Of the fill that goes on; none is used twice, and no sender can guess it: what a peer sends lies behind the last
    /// record, and must be none itself.
    generation: u64,
    /// Records that are not written yet.
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Open(Arc<FileSystem>),
    /// It takes nothing any more, and the next start writes again what it holds.
    Left,
    /// It takes nothing, and holds nothing.
    Gone,
}

#[derive(Debug, Default)]
struct Segment {
    file: Option<File>,
    /// How much of it has been written once.
    prepared: u64,
    /// Where the records end; 0 where all that it holds is settled.
    end: u64,
    generation: u64,
}

/// Where there is no room, the files are to be synced by themselves.
#[derive(Debug, PartialEq, Eq)]
enum Appended {
    OnDisk,
    NoRoom,
}

impl Journal {
    /// To be made before any instance is received.
    pub(super) fn new(layout: Arc<Layout>, reserve_bytes: u64) -> Self {
        let instances = FileSystem::of(layout.folder(Origin::Received));
        let pages = Pages {
            state: instances.map_or(State::Gone, |instances| State::Open(Arc::new(instances))),
            segments: Default::default(),
            filling: 0,
            generation: uuid::Uuid::new_v4().as_u64_pair().0 >> 1,
            buffer: Vec::new(),
        };
        Self { layout, reserve_bytes, rests: AtomicU32::new(0), pages: Mutex::new(pages) }
    }

    /// Whether the next small file may be left to [`Self::keep`]. It may find no room all the same.
    pub(super) fn takes_next(&self) -> bool {
        self.rests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |rests| rests.checked_sub(1)).is_err()
    }

    /// Puts the words on the disk, in this order and after all before them. False where there is no room for them, or where
    /// the journal has failed: nothing is promised then. The files of which they speak lie in their places, not synced. Blocks.
    pub(super) fn keep(self: &Arc<Self>, words: &[Word<'_>]) -> bool {
        let mut pages = self.pages();
        let kept = match &pages.state {
            State::Open(files) => self.append(files.clone(), &mut pages, words),
            State::Left | State::Gone => Ok(Appended::NoRoom),
        };
        match kept {
            Ok(Appended::OnDisk) => return true,
            Ok(Appended::NoRoom) => {}
            Err(error) => {
                tracing::error!(%error, "the journal has failed: small files are synced one by one until the next start");
                if let Err(error) = self.end(&mut pages) {
                    tracing::error!(%error, "restart the node: what the journal holds is written again at its start");
                }
            }
        }
        self.rests.store(RESTS, Ordering::Relaxed);
        false
    }

    /// Has a start after a crash leave the place alone, whatever came for it before. Blocks.
    ///
    /// # Errors
    /// What the disk says; also where the next start will write again what it holds of the place.
    pub(super) fn forget(&self, place: &str) -> Result<(), StoreError> {
        let mut pages = self.pages();
        if pages.segments.iter().all(|segment| segment.end == 0) {
            return Ok(());
        }
        let files = match &pages.state {
            State::Gone => return Ok(()),
            State::Left => {
                let error = io::Error::other("it is left for the next start: restart the node");
                return Err(StoreError::file("write", &self.layout.journal(pages.filling))(error));
            }
            State::Open(files) => files.clone(),
        };
        if matches!(pages.append_here(self, &[Word::Forget(place)]), Ok(Appended::OnDisk)) {
            return Ok(());
        }
        // There is no room for it, so there shall be nothing to forget.
        let freed = files.sync().and_then(|()| pages.free_all(&self.layout));
        if freed.is_err() {
            pages.state = State::Left;
        }
        freed
    }

    /// Makes all files durable by themselves, and the journal go away.
    ///
    /// # Errors
    /// What the disk says; the journal then stays for the next start.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        self.end(&mut self.pages())
    }

    fn end(&self, pages: &mut Pages) -> Result<(), StoreError> {
        let State::Open(files) = std::mem::replace(&mut pages.state, State::Left) else { return Ok(()) };
        // Where none was made here, one that is there is another process's.
        if pages.segments.iter().any(|segment| segment.file.is_some()) {
            files.sync()?;
            remove(&self.layout, pages.oldest_first())?;
        }
        pages.state = State::Gone;
        Ok(())
    }

    fn append(self: &Arc<Self>, files: Arc<FileSystem>, pages: &mut Pages, words: &[Word<'_>]) -> io::Result<Appended> {
        if pages.append_here(self, words)? == Appended::OnDisk {
            return Ok(Appended::OnDisk);
        }
        if pages.waits() {
            return Ok(Appended::NoRoom);
        }
        let full = pages.turn();
        if pages.segments[full].end > 0 {
            let (journal, generation) = (self.clone(), pages.segments[full].generation);
            let settle = move || journal.settle(&files, full, generation);
            thread::Builder::new().name("overread-journal".to_owned()).spawn(settle)?;
        }
        pages.append_here(self, words)
    }

    /// Frees a full segment when its files are durable by themselves, unless somebody has done so meanwhile.
    fn settle(&self, files: &FileSystem, segment: usize, generation: u64) {
        let synced = files.sync();
        let mut pages = self.pages();
        if !matches!(pages.state, State::Open(_)) {
            return;
        }
        let path = self.layout.journal(segment);
        let freed = synced.and_then(|()| match pages.segments[segment].generation == generation {
            true => pages.segments[segment].free().map_err(StoreError::file("free", &path)),
            false => Ok(()),
        });
        match freed {
            Ok(()) => self.rests.store(0, Ordering::Relaxed),
            Err(error) => {
                tracing::error!(
                    %error,
                    "small files could not be written: restart the node, which writes them again from the journal"
                );
                pages.state = State::Left;
            }
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// Whether one waits to be settled.
    fn waits(&self) -> bool {
        self.segments[self.other()].end > 0
    }

    fn other(&self) -> usize {
        (self.filling + 1) % SEGMENTS
    }

    /// In the order in which they go away: a word must not outlive one that came after it.
    fn oldest_first(&self) -> [usize; SEGMENTS] {
        [self.other(), self.filling]
    }

    /// Fills the other segment from now on, and gives the one that was filled.
    fn turn(&mut self) -> usize {
        let full = self.filling;
        self.filling = self.other();
        self.generation += 1;
        full
    }

    /// Frees both segments, all of whose files are durable by themselves.
    fn free_all(&mut self, layout: &Layout) -> Result<(), StoreError> {
        for number in self.oldest_first() {
            self.segments[number].free().map_err(StoreError::file("free", &layout.journal(number)))?;
        }
        // What lies behind the beginning is still there.
        self.generation += 1;
        Ok(())
    }

    /// Writes and syncs the words in the segment that is being filled.
    fn append_here(&mut self, journal: &Journal, words: &[Word<'_>]) -> io::Result<Appended> {
        let bytes = words.iter().map(Word::record_bytes).sum();
        let segment = &mut self.segments[self.filling];
        if !segment.prepare(journal, self.filling, bytes)? {
            return Ok(Appended::NoRoom);
        }
        let Some(file) = &segment.file else { return Ok(Appended::NoRoom) };
        let mut at = segment.end;
        self.buffer.clear();
        for word in words {
            word.encode(self.generation, &mut self.buffer);
            if self.buffer.len() as u64 >= STEP {
                file.write_all_at(&self.buffer, at)?;
                at += self.buffer.len() as u64;
                self.buffer.clear();
            }
        }
        file.write_all_at(&self.buffer, at)?;
        file.sync_data()?;
        segment.end += bytes;
        segment.generation = self.generation;
        Ok(Appended::OnDisk)
    }
}

impl Segment {
    /// Sees to it that so many bytes can be written over; false where they would be too many, or touch the disk's reserve.
    fn prepare(&mut self, journal: &Journal, number: usize, bytes: u64) -> io::Result<bool> {
        let needed = self.end + bytes;
        if needed <= self.prepared {
            return Ok(true);
        }
        let length = needed.next_multiple_of(STEP);
        let free = free_bytes(journal.layout.root()).map_err(io::Error::other)?;
        if length > SEGMENT_BYTES || free.saturating_sub(length - self.prepared) < journal.reserve_bytes {
            return Ok(false);
        }
        let file = match &self.file {
            Some(file) => file,
            None => {
                let file = File::create_new(journal.layout.journal(number))?;
                sync_folder(journal.layout.root()).map_err(io::Error::other)?;
                self.file.insert(file)
            }
        };
        let zeros = vec![0; usize::try_from(length - self.prepared).unwrap_or(BLOCK)];
        file.write_all_at(&zeros, self.prepared)?;
        file.sync_all()?;
        self.prepared = length;
        Ok(true)
    }

    /// Says on the disk that nothing of it is to be written again.
    fn free(&mut self) -> io::Result<()> {
        if self.end > 0 {
            let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
            // Empties the disk's cache of all that the file system was synced with, before its copies may go.
            file.sync_all()?;
            file.write_all_at(&[0; BLOCK], 0)?;
            file.sync_data()?;
        }
        self.end = 0;
        Ok(())
    }
}

/// Removes the journal, all of whose files are durable by themselves, in this order. Blocks.
fn remove(layout: &Layout, numbers: impl IntoIterator<Item = usize>) -> Result<(), StoreError> {
    for number in numbers {
        let path = layout.journal(number);
        match fs::remove_file(&path) {
            Ok(()) => sync_folder(layout.root())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::file("remove", &path)(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
