//! Whether there is memory for a run, by the package's own estimate; what libtorch may take of the host's while it goes on.

use std::sync::Once;
use std::time::{Duration, Instant};

use tch::Device;

use super::host;
use crate::inference::{heap, libtorch};

/// How long a run waits for memory that others use.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// What modules leave of the host's memory is a sixteenth of it, and no more than this.
const MOST_RESERVED: u64 = 1 << 30;
/// Of what is taken in smaller pieces only half as much is left.
const SMALL: usize = 1 << 21;
/// And no more than this.
const LAST: u64 = 1 << 26;

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// What can be used now.
    pub(super) free: u64,
    /// What there is.
    pub(super) total: u64,
}

impl Memory {
    /// The less of both.
    pub(super) fn within(self, other: Self) -> Self {
        Self { free: self.free.min(other.free), total: self.total.min(other.total) }
    }
}

/// What is lacking, in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// Others use it.
    Now(String),
    /// There is not as much.
    Ever(String),
}

/// Whether there could ever be `needed` bytes.
///
/// # Errors
/// What is needed and what there is, in words.
pub(super) fn enough_in_all(needed: u64, memory: Memory) -> Result<(), Lack> {
    if needed <= memory.total {
        return Ok(());
    }
    let (needed, total) = (megabytes(needed), megabytes(memory.total));
    Err(Lack::Ever(format!("by its estimate it needs {needed} MB, there are {total} MB in all")))
}

/// Whether `needed` bytes fit a device of its own memory. What libtorch has once taken of it, it keeps for later runs, so that
/// what is free now may be too little; so may be what was free `at_start`, less the weights that were `loaded` since, where
/// others have let go of some.
pub(super) const fn fits(needed: u64, now: Memory, at_start: Memory, loaded: u64) -> bool {
    needed <= now.free || needed <= at_start.free.saturating_sub(loaded)
}

const fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}

/// Waits until `needed` bytes are free, for at most half a minute and not beyond `until`; `look` says what there is, or
/// nothing where that cannot be known, and then the run may try.
///
/// # Errors
/// What is needed and what there is, in words.
pub(super) fn admit(needed: u64, until: Instant, look: impl Fn() -> Option<Memory>) -> Result<(), Lack> {
    let patience = until.min(Instant::now() + PATIENCE);
    loop {
        let Some(memory) = look() else { return Ok(()) };
        enough_in_all(needed, memory)?;
        if needed <= memory.free {
            return Ok(());
        }
        if Instant::now() >= patience {
            let (needed, free) = (megabytes(needed), megabytes(memory.free));
            return Err(Lack::Now(format!("by its estimate it needs {needed} MB, {free} MB are free")));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Calls into libtorch, which fails there as where memory runs out before the machine has none left: the system would end the
/// whole process over it. `call` is one call of libtorch, is given no number (`tch` panics where such a call fails), and allocates
/// nothing for itself, for which that would be the end.
pub(in crate::inference) fn kept_within<T>(call: impl FnOnce() -> T) -> T {
    static FIRST: Once = Once::new();
    // The first look allocates, which it may not do where it is asked for.
    FIRST.call_once(|| {
        host::memory();
    });
    heap::asking(leaves_room, call)
}

/// What has to be left of so much in all where `bytes` of it are taken.
fn kept(bytes: usize, total: u64) -> u64 {
    let kept = reserve(total);
    // What is small may be needed to say that there is no more, and may be ours: then it would be the end after all.
    if bytes < SMALL { LAST.min(kept / 2) } else { kept }
}

/// What a module has to leave: the next series is decoded meanwhile, the one before written, and a node receives.
const fn reserve(total: u64) -> u64 {
    let share = total / 16;
    if share > MOST_RESERVED { MOST_RESERVED } else { share }
}

/// The memory of a device that has one of its own.
pub(super) fn of_device(device: Device) -> Option<Memory> {
    let Device::Cuda(number) = device else { return None };
    libtorch::cuda_memory(number).map(|(free, total)| Memory { free, total })
}

/// Whether libtorch may take `bytes` more of the host's memory. Asked within the allocator: nothing may be allocated here.
fn leaves_room(bytes: usize) -> bool {
    #[cfg(test)]
    if bytes >= tests::MOST.get() {
        return false;
    }
    let Some(memory) = host::memory() else { return true };
    (bytes as u64).saturating_add(kept(bytes, memory.total)) <= memory.free
}

#[cfg(test)]
pub(in crate::inference) mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        /// As if there were no stretch of so many bytes, for this thread.
        pub(super) static MOST: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// What `call` says, within which libtorch is given stretches of less than 16 MiB.
    pub(in crate::inference) fn in_little_memory<T>(call: impl FnOnce() -> T) -> T {
        MOST.set(16 << 20);
        let said = call();
        MOST.set(usize::MAX);
        said
    }

    #[test]
    fn a_module_leaves_a_sixteenth_and_a_gigabyte_at_most() {
        assert_eq!((reserve(16 << 30), reserve(8 << 30), reserve(512 << 30)), (1 << 30, 512 << 20, 1 << 30));
        assert!(leaves_room(1) && !leaves_room(1 << 50));
    }

    #[test]
    fn less_is_left_of_what_is_taken_in_small_pieces_however_little_there_is() {
        let (small, large) = (1 << 12, 1 << 24);
        assert_eq!((kept(small, 16 << 30), kept(large, 16 << 30)), (64 << 20, 1 << 30));
        for total in [16 << 20, 256 << 20, 1 << 30, 2 << 30, 1 << 40] {
            assert!(kept(small, total) < kept(large, total), "{total}");
        }
    }

    #[test]
    fn what_fits_a_device_is_seen_now_and_from_the_start() {
        let memory = |free| Memory { free, total: 24 };
        assert!(fits(6, memory(4), memory(24), 0), "what a run before has used is used again");
        assert!(!fits(10, memory(4), memory(24), 20), "the weights of other packages are there");
        assert!(!fits(6, memory(4), memory(4), 0), "another process has the rest");
        assert!(fits(6, memory(24), memory(4), 0), "it has let go of it since");
    }

    #[test]
    fn a_run_waits_for_memory_and_is_refused_where_there_will_never_be_enough() {
        let soon = Instant::now() + Duration::from_secs(60);
        let looks = Cell::new(0);
        let freed_at_the_third_look = || {
            looks.set(looks.get() + 1);
            Some(Memory { free: if looks.get() < 3 { 1_000_000 } else { 5_000_000 }, total: 9_000_000 })
        };
        assert_eq!(admit(5_000_000, soon, freed_at_the_third_look), Ok(()));
        assert_eq!(looks.get(), 3);
        let never = admit(10_000_000, soon, || Some(Memory { free: 1, total: 9_000_000 }));
        let message = "by its estimate it needs 10 MB, there are 9 MB in all";
        assert_eq!(never.unwrap_err(), Lack::Ever(message.to_owned()));
        let late = admit(5_000_000, Instant::now(), || Some(Memory { free: 1_000_000, total: 9_000_000 }));
        assert_eq!(late.unwrap_err(), Lack::Now("by its estimate it needs 5 MB, 1 MB are free".to_owned()));
        assert_eq!(admit(u64::MAX, soon, || None), Ok(()));
    }
}
