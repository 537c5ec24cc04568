//! The memory of the host, as far as this process may use it.

use std::ffi::CString;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};

use super::memory::Memory;

/// What the process may take at most, bytes.
static MOST: AtomicU64 = AtomicU64::new(u64::MAX);

/// Has the process do with `bytes` of memory: models wait for as much as is left of them, and run out of memory beyond.
pub(super) fn limit(bytes: u64) {
    MOST.store(bytes, Ordering::Relaxed);
}

/// What there is, and what can be used now. Nothing where the system does not say. Allocates nothing from the second time on.
pub(super) fn memory() -> Option<Memory> {
    static GROUPS: OnceLock<Groups> = OnceLock::new();
    let groups = GROUPS.get_or_init(|| {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Groups::of(Path::new("/sys/fs/cgroup"), &own)
    });
    let mut text = [0_u8; LONGEST];
    let least = groups.least(machine(read(c"/proc/meminfo", &mut text)?)?);
    let most = MOST.load(Ordering::Relaxed);
    if most == u64::MAX {
        return Some(least);
    }
    let used = kilobytes(read(c"/proc/self/status", &mut text)?, "RssAnon:")?;
    Some(least.within(Memory { free: most.saturating_sub(used), total: most }))
}

/// More than the files of the system hold that are read here.
const LONGEST: usize = 1 << 14;

/// The text of a file, as far as there is room for it.
fn read<'a>(path: &std::ffi::CStr, text: &'a mut [u8]) -> Option<&'a str> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut length = 0;
    while length < text.len() {
        match rustix::io::read(&file, &mut text[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    std::str::from_utf8(&text[..length]).ok()
}

/// The control group of the process and those around it, by the files that tell of each: its limit, what is used of it, of what
/// that is. Those of both versions, for a machine may have both mounted.
struct Groups(Vec<[CString; 3]>);

impl Groups {
    /// `root`: where groups are mounted; `own`: the text of `/proc/self/cgroup`, whose lines
    /// `0::/system.slice/overread.service` and, in version 1, `9:memory:/system.slice/overread.service` name the group.
    fn of(root: &Path, own: &str) -> Self {
        let second = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let first = own.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(":/")?;
            controllers.split(',').any(|controller| controller == "memory").then_some(path)
        });
        let mut groups = along(root, second, ["memory.max", "memory.current", "memory.stat"]);
        let names = ["memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"];
        groups.extend(first.into_iter().flat_map(|path| along(&root.join("memory"), path, names)));
        Self(groups)
    }

    /// The least of what a process may use and of what its groups leave it.
    fn least(&self, of_machine: Memory) -> Memory {
        let mut texts = [[0_u8; 64]; 2];
        let mut statistics = [0_u8; LONGEST];
        let mut least = of_machine;
        for [most, current, statistic] in &self.0 {
            let [first, second] = &mut texts;
            let found = (|| group(read(most, first)?, read(current, second)?, read(statistic, &mut statistics)?))();
            least = found.map_or(least, |found| least.within(found));
        }
        least
    }
}

/// The files of these names of the group at `path` and of those around it.
fn along(root: &Path, path: &str, names: [&str; 3]) -> Vec<[CString; 3]> {
    use std::os::unix::ffi::OsStringExt;
    // What lies outside of what is mounted here is named by `..`: only the mounted root can be read then.
    let path = if path.split('/').any(|part| part == "..") { "" } else { path };
    let file = |group: &Path, name: &str| CString::new(root.join(group).join(name).into_os_string().into_vec()).ok();
    let files = |group: &Path| Some([file(group, names[0])?, file(group, names[1])?, file(group, names[2])?]);
    Path::new(path).ancestors().filter_map(files).collect()
}

/// From the text of `/proc/meminfo`.
fn machine(text: &str) -> Option<Memory> {
    Some(Memory { free: kilobytes(text, "MemAvailable:")?, total: kilobytes(text, "MemTotal:")? })
}

/// The bytes that a line of the kernel tells in kB.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// From the files of a control group that has a limit. Pages of files and caches of the kernel can be had back, as in the
/// machine's `MemAvailable`. Version 1 counts those of the groups inside apart, and has no line for the caches.
fn group(most: &str, current: &str, statistics: &str) -> Option<Memory> {
    let total: u64 = most.trim().parse().ok()?;
    let used: u64 = current.trim().parse().ok()?;
    let bytes = |name: &str| {
        let line = statistics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|bytes| bytes.trim().parse::<u64>().ok())
    };
    let files = |in_all: &str, own: &str| bytes(in_all).or_else(|| bytes(own));
    let files = [files("total_inactive_file", "inactive_file"), files("total_active_file", "active_file")];
    let back = files.into_iter().chain([bytes("slab_reclaimable")]).flatten().fold(0, u64::saturating_add);
    Some(Memory { free: total.saturating_sub(used.saturating_sub(back)), total })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let first = "inactive_file 1\nactive_file 2\ntotal_inactive_file 300\ntotal_active_file 100\n";
        assert_eq!(group("1000\n", "900\n", first), Some(Memory { free: 500, total: 1000 }));
        assert!(memory().is_some_and(|memory| memory.free <= memory.total && memory.free > 0));
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
        let least = |own: &str| Groups::of(root.path(), own).least(machine);
        let own = "12:cpuset:/\n0::/system.slice/overread.service\n";
        assert_eq!(least(own), Memory { free: 1400, total: 2000 });
        limit("system.slice", "1000\n");
        assert_eq!(least(own), Memory { free: 400, total: 1000 });
        assert_eq!((least("0::/\n"), least("0::/../other\n"), least("")), (machine, machine, machine));
        limit("", "1500\n");
        assert_eq!((least("0::/\n"), least("0::/../other\n")), (least(""), Memory { free: 900, total: 1500 }));
    }

    #[test]
    fn groups_of_the_first_version_limit_it_too() {
        let root = tempfile::tempdir().unwrap();
        let machine = Memory { free: 5000, total: 9000 };
        let limit = |group: &str, most: &str, used: &str| {
            let folder = root.path().join("memory").join(group);
            std::fs::create_dir_all(&folder).unwrap();
            for (name, text) in
                [("memory.limit_in_bytes", most), ("memory.usage_in_bytes", used), ("memory.stat", "total_cache 0")]
            {
                std::fs::write(folder.join(name), text).unwrap();
            }
        };
        let least = |own: &str| Groups::of(root.path(), own).least(machine);
        // As a container sees it: its own group is what is mounted.
        limit("", "4000\n", "1000\n");
        let own = "9:memory:/docker/1f2e\n8:cpu,cpuacct:/\n0::/docker/1f2e\n";
        assert_eq!(least(own), Memory { free: 3000, total: 4000 });
        limit("docker/1f2e", "9223372036854771712\n", "900\n");
        assert_eq!(least(own), Memory { free: 3000, total: 4000 }, "no limit is one of all addresses");
        limit("docker/1f2e", "2000\n", "900\n");
        assert_eq!(least(own), Memory { free: 1100, total: 2000 });
        assert_eq!(least("7:hugetlb,memory:/docker/1f2e\n"), Memory { free: 1100, total: 2000 });
        assert_eq!(least("7:hugetlb:/docker/1f2e\n"), machine);
    }
}
