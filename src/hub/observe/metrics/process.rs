//! What the system tells of this process, where it is Linux.

use std::fs;

/// The process, as `/proc` has it.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Process {
    /// Threads.
    pub threads: Option<u64>,
    /// Memory that is in use and not swapped out, bytes.
    pub resident: Option<u64>,
    /// Time on processors, seconds.
    pub cpu: Option<f64>,
    /// Open file descriptors.
    pub descriptors: Option<u64>,
}

/// Ticks of `/proc/self/stat` a second: the same on every Linux, whatever its kernel's own clock does (proc(5)).
const TICKS: f64 = 100.0;

impl Process {
    /// How it is now.
    pub fn now() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let descriptors = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        Process { descriptors, ..parse(&read("status"), &read("stat")) }
    }
}

fn parse(status: &str, stat: &str) -> Process {
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    let number = |name: &str| line(name).and_then(|text| text.parse::<u64>().ok());
    // The second field is the program's name in brackets, and may hold anything.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<f64>().ok());
    let cpu = ticks().and_then(|user| Some((user + ticks()?) / TICKS));
    let resident = number("VmRSS:").map(|kib| kib * 1024);
    Process { threads: number("Threads:"), resident, cpu, descriptors: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_tells_is_read() {
        let status = "Name:\tgambi\nVmRSS:\t    4096 kB\nThreads:\t7\n";
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 7 0 100 1 1";
        let told = parse(status, stat);
        assert_eq!((told.threads, told.resident, told.cpu), (Some(7), Some(4096 * 1024), Some(3.0)));
        assert_eq!(parse("", ""), Process::default());
    }
}
