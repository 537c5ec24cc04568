//! The disk space that reception leaves free, and what the log is told of it: once when it falls short, once when there is
//! room again.

use std::sync::atomic::{AtomicBool, Ordering};

use super::error::StoreError;

/// Bytes that must stay free where the data lie.
#[derive(Debug)]
pub(super) struct Reserve {
    bytes: u64,
    is_short: AtomicBool,
}

impl Reserve {
    pub(super) const fn new(bytes: u64) -> Self {
        Self { bytes, is_short: AtomicBool::new(false) }
    }

    /// Whether an instance may come while so many bytes are free.
    ///
    /// # Errors
    /// [`StoreError::DiskReserve`]: the operator must make room.
    pub(super) fn check(&self, free: u64) -> Result<(), StoreError> {
        let (free_mb, reserve_mb) = (free >> 20, self.bytes >> 20);
        match self.change(free) {
            Some(Change::FallsShort) => {
                tracing::error!(
                    free_mb,
                    reserve_mb,
                    "the disk is full up to the reserve: C-STORE is answered A700H; make room"
                );
            }
            Some(Change::HasRoom) => {
                tracing::info!(free_mb, reserve_mb, "there is room on the disk again: instances are taken");
            }
            None => {}
        }
        if free < self.bytes { Err(StoreError::DiskReserve { free, reserve: self.bytes }) } else { Ok(()) }
    }

    /// What is different from the last look.
    fn change(&self, free: u64) -> Option<Change> {
        let is_short = free < self.bytes;
        match (self.is_short.swap(is_short, Ordering::Relaxed), is_short) {
            (false, true) => Some(Change::FallsShort),
            (true, false) => Some(Change::HasRoom),
            _ => None,
        }
    }
}

/// What the log is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    FallsShort,
    HasRoom,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_once_when_room_falls_short_and_once_when_there_is_some_again() {
        let reserve = Reserve::new(100);
        let told: Vec<_> = [500, 100, 99, 98, 0, 101, 101, 1].into_iter().map(|free| reserve.change(free)).collect();
        let (short, room) = (Some(Change::FallsShort), Some(Change::HasRoom));
        assert_eq!(told, [None, None, short, None, None, room, None, short]);
        assert!(matches!(reserve.check(99), Err(StoreError::DiskReserve { free: 99, reserve: 100 })));
        assert!(reserve.check(100).is_ok());
    }
}
