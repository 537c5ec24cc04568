//! Whether there is memory for a run, by the package's own estimate.

use std::path::Path;
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

/// The memory of a device that has one of its own.
pub(super) fn of_device(device: Device) -> Option<Memory> {
    let Device::Cuda(number) = device else { return None };
    libtorch::cuda_memory(number).map(|(free, total)| Memory { free, total })
}

/// The memory of the host, as far as this process may use it.
pub(super) fn host() -> Option<Memory> {
    let of_machine = machine(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(least_of_groups(of_machine, Path::new("/sys/fs/cgroup"), &own))
}

/// The least of what a process may use and of what its control group and those around it leave it. `root`: where groups are
/// mounted; `own`: the text of `/proc/self/cgroup`, whose line `0::/system.slice/overread.service` names the group.
fn least_of_groups(of_machine: Memory, root: &Path, own: &str) -> Memory {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // What lies outside of what is mounted here is named by `..`: only the mounted root can be read then.
    let path = if path.split('/').any(|part| part == "..") { "" } else { path };
    let groups = Path::new(path).ancestors().map(|group| root.join(group));
    groups.fold(of_machine, |least, folder| {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let found = (|| group(&read("memory.max")?, &read("memory.current")?, &read("memory.stat")?))();
        found.map_or(least, |found| Memory { free: found.free.min(least.free), total: found.total.min(least.total) })
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

/// From the files of a control group that has a limit. Pages of files and caches of the kernel can be had back, as in the
/// machine's `MemAvailable`.
fn group(most: &str, current: &str, statistics: &str) -> Option<Memory> {
    let total: u64 = most.trim().parse().ok()?;
    let used: u64 = current.trim().parse().ok()?;
    let bytes = |name: &str| {
        let line = statistics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|bytes| bytes.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let back = ["inactive_file", "active_file", "slab_reclaimable"].map(bytes).into_iter().fold(0, u64::saturating_add);
    Some(Memory { free: total.saturating_sub(used.saturating_sub(back)), total })
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
        let statistics = "anon 1\nfile 500\ninactive_file 300\nactive_file 100\nslab_reclaimable 50\nslab 70\n";
        assert_eq!(group("1000\n", "900\n", statistics), Some(Memory { free: 550, total: 1000 }));
        assert!(host().is_none_or(|memory| memory.free <= memory.total && memory.free > 0));
    }

    #[test]
    fn the_group_of_a_service_and_those_around_it_limit_it() {
        let root = tempfile::tempdir().unwrap();
        let machine = Memory { free: 5000, total: 9000 };
        let limit = |group: &str, most: &str| {
            let folder = root.path().join(group);
            std::fs::create_dir_all(&folder).unwrap();
            for (name, text) in [("memory.max", most), ("memory.current", "900"), ("memory.stat", "inactive_file 300")]
            {
                std::fs::write(folder.join(name), text).unwrap();
            }
        };
        limit("system.slice/overread.service", "2000\n");
        let least = |own: &str| least_of_groups(machine, root.path(), own);
        let own = "12:cpuset:/\n0::/system.slice/overread.service\n";
        assert_eq!(least(own), Memory { free: 1400, total: 2000 });
        limit("system.slice", "1000\n");
        assert_eq!(least(own), Memory { free: 400, total: 1000 });
        assert_eq!((least("0::/\n"), least("0::/../other\n"), least("")), (machine, machine, machine));
        limit("", "1500\n");
        assert_eq!((least("0::/\n"), least("0::/../other\n")), (least(""), Memory { free: 900, total: 1500 }));
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
