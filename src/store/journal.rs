//! Small files on their way to the disk: written one after the other into a file of fixed length that is written over, and on the
//! disk with one sync of its content, for all that wait.
//!
//! To make the content, the size and the name of a new file durable takes several writes in different places. For a
//! small file they cost more than its content. So such a file is written as always, but waits for nothing, and a copy of it goes into
//! the journal, which is synced. The journal is two segments: when one is full the other is filled, and what the first holds is
//! settled meanwhile: the file system is synced as a whole, and then the segment is free again. Where neither has room, where
//! the disk's reserve would be touched, or where the journal has failed, files are synced one by one ([`super::durable`]).
//!
//! At the start after a crash ([`replay`]) all that was not settled is written again. The last word about a place counts: where a
//! file is to go away or to be replaced by one that is not in the journal, that is written into it before ([`Journal::forget`]).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::error::StoreError;
use super::layout::{Layout, free_bytes, sync_folder};
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

/// How many segments there are.
pub(super) const SEGMENTS: usize = 2;

/// The journal of a data folder. Nothing is made before the first file comes.
#[derive(Debug)]
pub(super) struct Journal {
    layout: Arc<Layout>,
    reserve_bytes: u64,
    /// Asked by all, also while somebody waits for the disk.
    takes_files: AtomicBool,
    pages: Mutex<Pages>,
}

#[derive(Debug)]
struct Pages {
    state: State,
    segments: [Segment; SEGMENTS],
    /// Which of them is filled now.
    filling: usize,
    /// Of the fill that goes on; none is used twice.
    generation: u64,
    /// Records that are not written yet.
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum State {
    NotBegun,
    /// The data folder, open since before the first file: a sync through it tells of all that could not be written since.
    Open(Arc<File>),
    /// Takes nothing any more.
    Ended,
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
    pub(super) fn new(layout: Arc<Layout>, reserve_bytes: u64) -> Self {
        let pages = Pages {
            state: State::NotBegun,
            segments: Default::default(),
            filling: 0,
            generation: 1,
            buffer: Vec::new(),
        };
        Self { layout, reserve_bytes, takes_files: AtomicBool::new(true), pages: Mutex::new(pages) }
    }

    /// Whether a small file may be left to [`Self::keep`]. It may find no room all the same.
    pub(super) fn takes_files(&self) -> bool {
        self.takes_files.load(Ordering::Relaxed)
    }

    /// Puts the words on the disk, in this order and after all before them. False where there is no room for them, or where
    /// the journal has failed: nothing is promised then. The files of which they speak lie in their places, not synced. Blocks.
    pub(super) fn keep(self: &Arc<Self>, words: &[Word<'_>]) -> bool {
        let mut pages = self.pages();
        if matches!(pages.state, State::Ended) {
            return false;
        }
        match self.append(&mut pages, words) {
            Ok(Appended::OnDisk) => true,
            Ok(Appended::NoRoom) => {
                // Until the one that is full is free.
                self.takes_files.store(!pages.waits(), Ordering::Relaxed);
                false
            }
            Err(error) => {
                tracing::error!(%error, "the journal has failed: small files are synced one by one until the next start");
                if let Err(error) = self.end(&mut pages) {
                    tracing::error!(%error, "what the journal holds is written again at the next start");
                }
                false
            }
        }
    }

    /// Has a start after a crash leave the place alone, whatever came for it before. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn forget(&self, place: &str) -> Result<(), StoreError> {
        let mut pages = self.pages();
        let State::Open(root) = &pages.state else { return Ok(()) };
        if pages.segments.iter().all(|segment| segment.end == 0) {
            return Ok(());
        }
        let root = root.clone();
        let forgotten = pages.append_here(self, &[Word::Forget(place)]);
        if matches!(forgotten, Ok(Appended::OnDisk)) {
            return Ok(());
        }
        // There is no room for it, so there shall be nothing to forget.
        if let Err(error) = self.sync(&root).and_then(|()| pages.free_all(&self.layout)) {
            self.give_up(&mut pages);
            return Err(error);
        }
        self.takes_files.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Makes all files durable by themselves, and the journal go away.
    ///
    /// # Errors
    /// What the disk says; the journal then stays for the next start.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        self.end(&mut self.pages())
    }

    /// Takes nothing any more; where all files can be made durable by themselves nothing is left to write again.
    fn end(&self, pages: &mut Pages) -> Result<(), StoreError> {
        match self.give_up(pages) {
            State::Open(root) => self.sync(&root).and_then(|()| remove(&self.layout, pages.oldest_first())),
            State::NotBegun | State::Ended => Ok(()),
        }
    }

    /// Takes nothing any more and leaves everything to the next start.
    fn give_up(&self, pages: &mut Pages) -> State {
        self.takes_files.store(false, Ordering::Relaxed);
        std::mem::replace(&mut pages.state, State::Ended)
    }

    fn append(self: &Arc<Self>, pages: &mut Pages, words: &[Word<'_>]) -> io::Result<Appended> {
        if matches!(pages.state, State::NotBegun) {
            pages.state = State::Open(Arc::new(File::open(self.layout.root())?));
        }
        if pages.append_here(self, words)? == Appended::OnDisk {
            return Ok(Appended::OnDisk);
        }
        let State::Open(root) = &pages.state else { return Ok(Appended::NoRoom) };
        let root = root.clone();
        if pages.waits() {
            return Ok(Appended::NoRoom);
        }
        let full = pages.turn();
        if pages.segments[full].end > 0 {
            let (journal, generation) = (self.clone(), pages.segments[full].generation);
            let settle = move || journal.settle(&root, full, generation);
            thread::Builder::new().name("overread-journal".to_owned()).spawn(settle)?;
        }
        pages.append_here(self, words)
    }

    /// Frees a full segment when its files are durable by themselves, unless somebody has done so meanwhile.
    fn settle(&self, root: &File, segment: usize, generation: u64) {
        let synced = self.sync(root);
        let mut pages = self.pages();
        if matches!(pages.state, State::Ended) || pages.segments[segment].generation != generation {
            return;
        }
        let path = self.layout.journal(segment);
        let freed = synced.and_then(|()| pages.segments[segment].free().map_err(StoreError::file("free", &path)));
        match freed {
            Ok(()) => self.takes_files.store(true, Ordering::Relaxed),
            Err(error) => {
                tracing::error!(%error, "files of the journal cannot be made durable by themselves: it is kept for the next start");
                self.give_up(&mut pages);
            }
        }
    }

    fn sync(&self, root: &File) -> Result<(), StoreError> {
        let synced = rustix::fs::syncfs(root).map_err(io::Error::from);
        synced.map_err(StoreError::file("sync the file system of", self.layout.root()))
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
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = File::create_new(journal.layout.journal(number))?;
                sync_folder(journal.layout.root()).map_err(io::Error::other)?;
                file
            }
        };
        let zeros = vec![0; usize::try_from(length - self.prepared).unwrap_or(BLOCK)];
        file.write_all_at(&zeros, self.prepared)?;
        file.sync_all()?;
        self.prepared = length;
        self.file = Some(file);
        Ok(true)
    }

    /// Says on the disk that nothing of it is to be written again.
    fn free(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file
            && self.end > 0
        {
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
