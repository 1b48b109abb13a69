//! What this machine allows the process: memory (the machine's own, or the limit of its control group, cgroup v2 or v1)
//! and open file descriptors. The default bounds of a hub follow from both. Values are read from `/proc` and `/sys`; where
//! these do not exist, nothing is known and fixed defaults apply.

use std::fs;
use std::path::Path;

/// The largest default budget for data that peers make a hub hold, in bytes.
const MAX_BUDGET: u64 = 256 << 20;
/// The largest default budget for rooms and participants, in bytes.
const MAX_REGISTRY_BUDGET: u64 = 64 << 20;
/// The default budget is the memory divided by this; the registry's budget is a quarter of that.
const BUDGET_DIVISOR: u64 = 4;

/// Bounds on the descriptors reserved for everything but clients' connections: standard streams, the listening socket,
/// files, mDNS, calls to direct participants, and connections that are being refused or closed.
const MIN_RESERVED: u64 = 32;
const MAX_RESERVED: u64 = 1024;
/// Between these bounds, one descriptor in so many is reserved.
const RESERVED_DIVISOR: u64 = 8;

/// The default budget in bytes for data that peers make a hub hold: a quarter of the memory, at most 256 MiB. 256 MiB if
/// the memory is not known.
pub fn budget() -> u64 {
    budget_of(memory())
}

/// The default budget in bytes for rooms and participants: a sixteenth of the memory, at most 64 MiB.
pub fn registry_budget() -> u64 {
    registry_budget_of(memory())
}

/// How many of the wanted connections the process may have: each takes a descriptor (a tunnel takes no second one), and
/// some descriptors are reserved for other uses. All of them if the descriptor limit is not known.
pub fn max_connections(wanted: usize) -> usize {
    max_connections_of(wanted, descriptor_limit())
}

fn budget_of(memory: Option<u64>) -> u64 {
    memory.map_or(MAX_BUDGET, |memory| (memory / BUDGET_DIVISOR).min(MAX_BUDGET))
}

fn registry_budget_of(memory: Option<u64>) -> u64 {
    (budget_of(memory) / 4).min(MAX_REGISTRY_BUDGET)
}

fn max_connections_of(wanted: usize, descriptors: Option<u64>) -> usize {
    let Some(descriptors) = descriptors else { return wanted };
    // At most half is reserved, so that a hub with very few descriptors still serves.
    let reserved = (descriptors / RESERVED_DIVISOR).clamp(MIN_RESERVED, MAX_RESERVED).min(descriptors / 2);
    usize::try_from(descriptors - reserved).map_or(wanted, |available| wanted.min(available))
}

/// The number of descriptors that this process may have open: the soft limit of `RLIMIT_NOFILE`.
fn descriptor_limit() -> Option<u64> {
    soft_descriptor_limit(&fs::read_to_string("/proc/self/limits").ok()?)
}

/// The soft limit in the text of `/proc/self/limits`, whose columns are name, soft limit, hard limit and unit. `None` if
/// there is none, or it is `unlimited`.
fn soft_descriptor_limit(limits: &str) -> Option<u64> {
    let values = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    values.split_whitespace().next()?.parse().ok()
}

/// The memory that this process may use, in bytes.
fn memory() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let groups = limit_files(&read("/proc/self/cgroup"));
    let limits = groups.iter().filter_map(|file| limit_in(&fs::read_to_string(Path::new(file)).ok()?));
    limits.chain(total_in(&read("/proc/meminfo"))).min()
}

/// The machine's memory in the text of `/proc/meminfo`, in bytes.
fn total_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// A control group's limit in bytes. Without a limit, v2 writes `max`, and v1 a number larger than any machine's memory.
fn limit_in(file: &str) -> Option<u64> {
    file.trim().parse().ok()
}

/// The files that may hold a memory limit, given the text of `/proc/self/cgroup`: those of the process's group and of all
/// groups above it. In a container the path may be the host's, so that only the topmost file exists.
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
    fn the_budget_is_a_quarter_of_the_memory_and_at_most_256_mib() {
        assert_eq!((budget_of(Some(128 << 20)), registry_budget_of(Some(128 << 20))), (32 << 20, 8 << 20));
        for plenty in [Some(1 << 30), Some(u64::MAX), None] {
            assert_eq!((budget_of(plenty), registry_budget_of(plenty)), (256 << 20, 64 << 20));
        }
    }

    #[test]
    fn connections_leave_descriptors_for_other_uses() {
        for (descriptors, allowed) in [(1024, 896), (256, 224), (64, 32), (48, 24), (1, 1), (1 << 20, (1 << 20) - 1024)]
        {
            assert_eq!(max_connections_of(usize::MAX, Some(descriptors)), allowed, "{descriptors}");
            assert_eq!(max_connections_of(allowed, Some(descriptors)), allowed);
            assert_eq!(max_connections_of(1, Some(descriptors)), 1);
        }
        assert_eq!(max_connections_of(5000, None), 5000, "the limit is not known");
    }

    #[test]
    fn the_descriptor_limit_is_the_soft_one() {
        let head = "Limit                     Soft Limit           Hard Limit           Units     \n";
        let line = |soft: &str| format!("{head}Max open files            {soft:<20} 524288               files     \n");
        assert_eq!(soft_descriptor_limit(&line("1024")), Some(1024));
        assert_eq!(soft_descriptor_limit(&line("unlimited")), None);
        assert_eq!(soft_descriptor_limit(head), None);
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
