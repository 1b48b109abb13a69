//! The hardware of this machine, as far as it can be read within two seconds. A tool that is missing or slow leaves a field
//! empty; it never fails a join.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use serde_json::Number;

use crate::proto::management::Specs;

/// The time limit of all tools together.
const TOOLS_TIMEOUT: Duration = Duration::from_secs(2);
/// The interval at which a tool's exit is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
const GIB: f64 = (1u64 << 30) as f64;

/// Processor, memory and graphics card of this machine: from `/proc` and `/sys`, `nvidia-smi`, `lspci`; on macOS from
/// `sysctl` and `system_profiler`. Takes up to two seconds where a tool is slow.
pub fn machine_specs() -> Specs {
    let deadline = Instant::now() + TOOLS_TIMEOUT;
    thread::scope(|scope| {
        let card = scope.spawn(move || graphics(deadline));
        let (cpu, ram) = processor_and_memory(deadline);
        let (gpu, vram) = card.join().unwrap_or_default();
        Specs { gpu, vram, ram, memory_gb: None, cpu }
    })
}

fn processor_and_memory(deadline: Instant) -> (Option<String>, Option<Number>) {
    if cfg!(target_os = "macos") {
        let cpu = run("sysctl", &["-n", "machdep.cpu.brand_string"], deadline).map(|text| text.trim().to_owned());
        let ram = run("sysctl", &["-n", "hw.memsize"], deadline).and_then(|text| text.trim().parse().ok());
        return (cpu.filter(|text| !text.is_empty()), ram.and_then(|bytes: f64| gigabytes(bytes)));
    }
    let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| cpu_name(&text));
    let ram = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_memory(&text));
    (cpu, ram)
}

/// Name and memory (GB) of a graphics card.
type Card = (Option<String>, Option<Number>);

fn graphics(deadline: Instant) -> Card {
    let query = ["--query-gpu=name,memory.total", "--format=csv,noheader,nounits"];
    if let Some(card) = run("nvidia-smi", &query, deadline).and_then(|text| nvidia(&text)) {
        return card;
    }
    if cfg!(target_os = "macos") {
        return (run("system_profiler", &["SPDisplaysDataType"], deadline).and_then(|text| apple(&text)), None);
    }
    (run("lspci", &[], deadline).and_then(|text| pci(&text)), amd_memory())
}

/// A tool's output; `None` unless it closes its output and exits successfully before the deadline.
fn run(tool: &str, args: &[&str], deadline: Instant) -> Option<String> {
    let mut command = Command::new(tool);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    let (done, output) = bounded(1);
    // Not a scoped thread: a grandchild may hold the pipe open without limit.
    let reader = thread::Builder::new().spawn(move || {
        let mut text = String::new();
        let read = stdout.by_ref().take(1 << 20).read_to_string(&mut text);
        let _ = done.send(read.is_ok().then_some(text));
    });
    let text = reader.ok().and_then(|_| output.recv_deadline(deadline).ok().flatten());
    let status = if text.is_some() { wait_until(&mut child, deadline) } else { None };
    if status.is_none() {
        let _ = child.kill();
        // On a separate thread: a tool that hangs in a driver does not exit at once even when killed.
        let _ = thread::Builder::new().spawn(move || child.wait());
    }
    text.filter(|_| status.is_some_and(|status| status.success()))
}

/// A child's exit status; `None` if it still runs at the deadline. Polled, since the standard library has no wait with a
/// timeout.
fn wait_until(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => thread::sleep(POLL_INTERVAL),
            ended => return ended.ok().flatten(),
        }
    }
}

fn gigabytes(bytes: f64) -> Option<Number> {
    Number::from_f64((bytes / GIB * 10.0).round() / 10.0).filter(|_| bytes > 0.0)
}

fn after_colon<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.trim_start().starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
}

/// x86 has `model name`, a Raspberry Pi `Model`, other ARM boards `Hardware`.
fn cpu_name(cpuinfo: &str) -> Option<String> {
    ["model name", "Model", "Hardware"].iter().find_map(|key| after_colon(cpuinfo, key)).map(str::to_owned)
}

fn total_memory(meminfo: &str) -> Option<Number> {
    let kib: f64 = after_colon(meminfo, "MemTotal")?.split_whitespace().next()?.parse().ok()?;
    gigabytes(kib * 1024.0)
}

/// The first card of nvidia-smi's list, whose memory is in MiB.
fn nvidia(csv: &str) -> Option<Card> {
    let (name, memory) = csv.lines().next()?.rsplit_once(',')?;
    let memory = memory.trim().parse().ok().and_then(|mib: f64| gigabytes(mib * 1_048_576.0));
    Some((Some(name.trim().to_owned()), memory))
}

fn pci(list: &str) -> Option<String> {
    let kinds = ["VGA compatible controller: ", "3D controller: ", "Display controller: "];
    let name = list.lines().find_map(|line| kinds.iter().find_map(|kind| line.split_once(kind)))?.1;
    Some(name.split(" (rev ").next().unwrap_or(name).trim().to_owned())
}

fn apple(report: &str) -> Option<String> {
    after_colon(report, "Chipset Model").map(str::to_owned)
}

fn amd_memory() -> Option<Number> {
    let cards = fs::read_dir("/sys/class/drm").ok()?;
    let memory = |path: std::path::PathBuf| fs::read_to_string(path.join("device/mem_info_vram_total")).ok();
    let bytes: f64 = cards.flatten().find_map(|card| memory(card.path()))?.trim().parse().ok()?;
    gigabytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_reports_are_parsed() {
        assert_eq!(cpu_name("processor\t: 0\nmodel name\t: AMD EPYC 7763\n").as_deref(), Some("AMD EPYC 7763"));
        assert_eq!(cpu_name("processor: 0\nModel\t\t: Raspberry Pi 4\n").as_deref(), Some("Raspberry Pi 4"));
        assert_eq!(cpu_name("nothing"), None);
        assert_eq!(total_memory("MemTotal:       16384000 kB\n").unwrap().to_string(), "15.6");
        let (name, memory) = nvidia("NVIDIA GeForce RTX 3090, 24576\nother, 1\n").unwrap();
        assert_eq!((name.unwrap().as_str(), memory.unwrap().to_string().as_str()), ("NVIDIA GeForce RTX 3090", "24.0"));
        assert_eq!(
            pci("00:1f.0 ISA bridge: x\n01:00.0 VGA compatible controller: AMD Navi 31 (rev c8)\n").as_deref(),
            Some("AMD Navi 31")
        );
        assert_eq!(apple("  Chipset Model: Apple M2\n").as_deref(), Some("Apple M2"));
    }

    #[test]
    fn a_missing_failing_or_slow_tool_only_leaves_its_fields_empty() {
        let soon = || Instant::now() + Duration::from_millis(200);
        let later = || Instant::now() + Duration::from_secs(60);
        assert_eq!(run("no-such-tool-anywhere", &[], later()), None);
        assert_eq!(run("false", &[], later()), None);
        assert_eq!(run("echo", &["x"], later()).as_deref(), Some("x\n"));
        let start = Instant::now();
        let closes_its_output = "echo x; exec >&-; exec sleep 600";
        for args in [&["-c", "exec sleep 600"], &["-c", closes_its_output]] {
            assert_eq!(run("sh", args, soon()), None, "{args:?}");
        }
        assert!(start.elapsed() < Duration::from_secs(300));
    }
}
