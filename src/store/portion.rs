//! A piece of a file in memory, at an address and of a size that a write past the page cache takes.

use std::sync::{Arc, Mutex, PoisonError};

/// Addresses, offsets and lengths of direct writes are multiples of this: the largest block of the usual disks.
pub(super) const BLOCK: usize = 4096;

/// How much is written at a time: enough that a disk is busy, little enough that a hundred associations hold little; and a
/// slice of 512x512 is one, which is written at once by the thread that ends the file. It comes faster than it is written: to
/// begin with half of it would gain less than a second write costs.
pub(super) const PORTION: usize = 640 * 1024;

/// How many portions are kept for the next instances.
const MOST_KEPT: usize = 16;

/// At most [`PORTION`] bytes. Goes back to its [`Portions`] when it is dropped.
#[derive(Debug)]
pub(super) struct Portion {
    /// A block larger than a portion, so that an aligned one fits; its memory never moves.
    memory: Vec<u8>,
    start: usize,
    length: usize,
    home: Arc<Portions>,
}

impl Portion {
    /// Takes as many of the bytes as there is room for and gives those back that are left.
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let room = self.room();
        let (taken, left) = bytes.split_at(bytes.len().min(room.len()));
        room[..taken.len()].copy_from_slice(taken);
        self.filled(taken.len());
        left
    }

    /// What is not filled yet.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.memory[self.start + self.length..self.start + PORTION]
    }

    /// Says that so many bytes of [`Self::room`] have been filled, and gives them back.
    pub(super) fn filled(&mut self, count: usize) -> &[u8] {
        let count = count.min(PORTION - self.length);
        let begin = self.start + self.length;
        self.length += count;
        &self.memory[begin..begin + count]
    }

    /// Puts other bytes, for which there must be room, in the place of the first `count`.
    pub(super) fn replace_front(&mut self, count: usize, by: &[u8]) {
        let kept = self.start + count..self.start + self.length;
        self.memory.copy_within(kept, self.start + by.len());
        self.memory[self.start..self.start + by.len()].copy_from_slice(by);
        self.length = self.length - count + by.len();
    }

    /// What was taken; begins at a multiple of [`BLOCK`].
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let mut kept = self.home.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_KEPT {
            kept.push(memory);
        }
    }
}

/// Portions that are not in use: memory that was touched once is not asked of the system again for each instance.
#[derive(Debug, Default)]
pub(super) struct Portions {
    kept: Mutex<Vec<Vec<u8>>>,
}

impl Portions {
    /// An empty portion.
    pub(super) fn next(self: &Arc<Self>) -> Portion {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let memory = kept.unwrap_or_else(|| vec![0; PORTION + BLOCK]);
        let start = memory.as_ptr().align_offset(BLOCK);
        Portion { memory, start, length: 0, home: Arc::clone(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_is_aligned_and_takes_no_more_than_it_holds() {
        let portions = Arc::new(Portions::default());
        for _ in 0..2 {
            let mut portion = portions.next();
            assert!(portion.bytes().is_empty(), "nothing of the last one is left");
            assert_eq!(portion.bytes().as_ptr().align_offset(BLOCK), 0);
            let bytes: Vec<u8> = (0..=255).cycle().take(PORTION + 10).collect();
            assert!(portion.take(&bytes[..100]).is_empty());
            assert_eq!(portion.take(&bytes[100..]).len(), 10);
            assert_eq!(portion.bytes(), &bytes[..PORTION]);
            assert_eq!(portion.take(&[1]), &[1]);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let portions = Arc::new(Portions::default());
        let many: Vec<_> = (0..MOST_KEPT * 2).map(|_| portions.next()).collect();
        drop(many);
        assert_eq!(portions.kept.lock().unwrap().len(), MOST_KEPT);
    }
}
