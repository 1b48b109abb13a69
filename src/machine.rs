//! How much memory this machine has for us: its own, or what its control group (cgroup v2 or v1) allows if that is less.
//! The default bounds of a hub follow from it.

use std::fs;
use std::path::Path;

/// The most that is taken by default for what peers make a hub hold, bytes.
const MOST: u64 = 256 << 20;
/// The same for rooms and participants.
const MOST_REGISTRY: u64 = 64 << 20;
/// The part of the memory that is taken at most; the registry has a quarter of that.
const PART: u64 = 4;

/// The default budget for what peers make a hub hold: a quarter of the memory, 256 MiB at most. Where the memory is not
/// known, as on systems without `/proc`, it is 256 MiB.
pub fn budget() -> u64 {
    budget_of(memory())
}

/// The default bound on rooms and participants: a sixteenth of the memory, 64 MiB at most.
pub fn registry_budget() -> u64 {
    registry_budget_of(memory())
}

fn budget_of(memory: Option<u64>) -> u64 {
    memory.map_or(MOST, |memory| (memory / PART).min(MOST))
}

fn registry_budget_of(memory: Option<u64>) -> u64 {
    (budget_of(memory) / 4).min(MOST_REGISTRY)
}

/// The memory that this process may use, bytes.
fn memory() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let groups = limit_files(&read("/proc/self/cgroup"));
    let limits = groups.iter().filter_map(|file| limit_in(&fs::read_to_string(Path::new(file)).ok()?));
    limits.chain(total_in(&read("/proc/meminfo"))).min()
}

/// The machine's memory, as `/proc/meminfo` tells it.
fn total_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// A control group's limit; v2 writes `max` where it has none, v1 a number beyond any machine's memory.
fn limit_in(file: &str) -> Option<u64> {
    file.trim().parse().ok()
}

/// The files that may hold a limit, for a process whose `/proc/self/cgroup` is given: those of its group and of all groups
/// above it. Within a container the path may be that of the host, so that only the topmost file is there.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            v1 if v1.split(',').any(|controller| controller == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let above = Path::new(path).ancestors().filter_map(Path::to_str);
        files.extend(above.map(|group| format!("{root}{}/{name}", group.trim_end_matches('/'))));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_memory_is_taken_and_256_mib_at_most() {
        assert_eq!((budget_of(Some(128 << 20)), registry_budget_of(Some(128 << 20))), (32 << 20, 8 << 20));
        for plenty in [Some(1 << 30), Some(u64::MAX), None] {
            assert_eq!((budget_of(plenty), registry_budget_of(plenty)), (256 << 20, 64 << 20));
        }
    }

    #[test]
    fn the_memory_is_the_machines_or_what_its_groups_allow() {
        assert_eq!(total_in("MemFree: 1 kB\nMemTotal:       4026532 kB\n"), Some(4_026_532 << 10));
        assert_eq!(total_in("MemTotal: lots"), None);
        assert_eq!((limit_in("134217728\n"), limit_in("max\n"), limit_in("")), (Some(128 << 20), None, None));
        assert_eq!(
            limit_files("0::/a/b\n"),
            ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"]
        );
        assert_eq!(
            limit_files("5:cpu,cpuacct:/x\n4:memory:/docker\n"),
            ["/sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
        assert!(limit_files("nonsense\n").is_empty());
    }
}
