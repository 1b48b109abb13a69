//! Figures of this process from Linux's `/proc`. On other systems all of them are missing.

use std::fs;

/// The process at one moment; `None` for what the system does not report.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Process {
    /// The number of threads.
    pub threads: Option<u64>,
    /// Resident memory, bytes.
    pub resident: Option<u64>,
    /// User and system CPU time since the start, seconds.
    pub cpu: Option<f64>,
    /// The number of open file descriptors.
    pub descriptors: Option<u64>,
}

/// Clock ticks a second in `/proc/self/stat`: 100 on every Linux, whatever the kernel's timer frequency (proc(5)).
const TICKS: f64 = 100.0;

impl Process {
    /// Reads the present figures.
    pub fn now() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let descriptors = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        Process { descriptors, ..parse(&read("status"), &read("stat")) }
    }
}

fn parse(status: &str, stat: &str) -> Process {
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    let number = |name: &str| line(name).and_then(|text| text.parse::<u64>().ok());
    // The second field is the program's name in parentheses, and may itself hold parentheses and spaces.
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
    fn process_values_are_parsed_from_proc() {
        let status = "Name:\tgambi\nVmRSS:\t    4096 kB\nThreads:\t7\n";
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 7 0 100 1 1";
        let process = parse(status, stat);
        assert_eq!((process.threads, process.resident, process.cpu), (Some(7), Some(4096 * 1024), Some(3.0)));
        assert_eq!(parse("", ""), Process::default());
    }
}
