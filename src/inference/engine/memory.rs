//! Whether there is memory for a run, by the package's own estimate.

use std::time::{Duration, Instant};

use tch::Device;

use crate::inference::libtorch;

/// How long a run waits for memory that others use.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// What can be used now.
    pub(super) free: u64,
    /// What there is.
    pub(super) total: u64,
}

/// Waits until `needed` bytes are free, for at most half a minute and not beyond `until`; `look` says what there is, or
/// nothing where that cannot be known, and then the run may try.
///
/// # Errors
/// What is needed and what there is, in words.
pub(super) fn admit(needed: u64, until: Instant, look: impl Fn() -> Option<Memory>) -> Result<(), String> {
    let patience = until.min(Instant::now() + PATIENCE);
    let megabytes = |bytes: u64| bytes / 1_000_000;
    loop {
        let Some(Memory { free, total }) = look() else { return Ok(()) };
        if needed <= free {
            return Ok(());
        }
        if needed > total {
            let (needed, total) = (megabytes(needed), megabytes(total));
            return Err(format!("by its estimate it needs {needed} MB, there are {total} MB in all"));
        }
        if Instant::now() >= patience {
            let (needed, free) = (megabytes(needed), megabytes(free));
            return Err(format!("by its estimate it needs {needed} MB, {free} MB are free"));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The memory of a device that has one of its own.
pub(super) fn of_device(device: Device) -> Option<Memory> {
    let Device::Cuda(number) = device else { return None };
    libtorch::cuda_memory(number).map(|(free, total)| Memory { free, total })
}

/// The memory of the host, as far as this process may use it.
pub(super) fn host() -> Option<Memory> {
    let of_machine = machine(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let read = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let of_group = (|| group(&read("memory.max")?, &read("memory.current")?, &read("memory.stat")?))();
    Some(match of_group {
        Some(group) => Memory { free: group.free.min(of_machine.free), total: group.total.min(of_machine.total) },
        None => of_machine,
    })
}

/// From the text of `/proc/meminfo`.
fn machine(text: &str) -> Option<Memory> {
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
    };
    Some(Memory { free: line("MemAvailable:")?, total: line("MemTotal:")? })
}

/// From the files of a control group that has a limit. File pages that were not used lately can be had back.
fn group(most: &str, current: &str, statistics: &str) -> Option<Memory> {
    let total: u64 = most.trim().parse().ok()?;
    let used: u64 = current.trim().parse().ok()?;
    let idle = statistics.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let idle: u64 = idle.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
    Some(Memory { free: total.saturating_sub(used.saturating_sub(idle)), total })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn the_least_of_machine_and_group_is_read() {
        let text = "MemTotal:       24576 kB\nMemFree:        1 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(machine(text), Some(Memory { free: 2 << 20, total: 24 << 20 }));
        assert_eq!(machine("MemTotal: 1 kB"), None);
        assert_eq!(group("max\n", "5\n", ""), None);
        let found = group("1000\n", "900\n", "anon 1\ninactive_file 300\n");
        assert_eq!(found, Some(Memory { free: 400, total: 1000 }));
        assert!(host().is_none_or(|memory| memory.free <= memory.total && memory.free > 0));
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
        assert_eq!(never.unwrap_err(), "by its estimate it needs 10 MB, there are 9 MB in all");
        let late = admit(5_000_000, Instant::now(), || Some(Memory { free: 1_000_000, total: 9_000_000 }));
        assert_eq!(late.unwrap_err(), "by its estimate it needs 5 MB, 1 MB are free");
        assert_eq!(admit(u64::MAX, soon, || None), Ok(()));
    }
}
