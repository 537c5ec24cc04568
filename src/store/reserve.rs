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
        let (is_short, reserve) = (free < self.bytes, self.bytes);
        let was_short = self.is_short.swap(is_short, Ordering::Relaxed);
        let (free_mb, reserve_mb) = (free >> 20, reserve >> 20);
        match (was_short, is_short) {
            (false, true) => {
                tracing::error!(
                    free_mb,
                    reserve_mb,
                    "the disk is full up to the reserve: C-STORE is answered A700H; make room"
                );
            }
            (true, false) => {
                tracing::info!(free_mb, reserve_mb, "there is room on the disk again: instances are taken")
            }
            _ => {}
        }
        if is_short { Err(StoreError::DiskReserve { free, reserve }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is logged on this thread.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_log_is_told_once_when_room_falls_short_and_once_when_there_is_some_again() {
        let (reserve, log) = (Reserve::new(100 << 20), Log::default());
        let writer = log.clone();
        let logging = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _logging = tracing::subscriber::set_default(logging);
        let at = |free_mb: u64| {
            let taken = reserve.check(free_mb << 20).is_ok();
            (taken, String::from_utf8(std::mem::take(&mut *log.0.lock().unwrap())).unwrap())
        };
        for free_mb in [500, 100] {
            assert_eq!(at(free_mb), (true, String::new()));
        }
        let (taken, log) = at(99);
        assert!(!taken && log.contains("ERROR") && log.contains("free_mb=99 reserve_mb=100"), "{log}");
        for free_mb in [98, 0] {
            assert_eq!(at(free_mb), (false, String::new()));
        }
        let (taken, log) = at(101);
        assert!(taken && log.contains("INFO") && log.contains("room on the disk again"), "{log}");
        assert_eq!(at(101), (true, String::new()));
        assert!(at(1).1.contains("ERROR"), "told anew");
    }
}
