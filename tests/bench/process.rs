//! The hub and its participants as processes, and what /proc reports about them.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Target, call, call_with};

/// How long a process may take to be ready.
const READY: Duration = Duration::from_secs(20);
/// A clock tick of /proc, in microseconds. `USER_HZ` is 100 on every Linux.
const TICK: f64 = 10_000.0;

/// How long a process may take to end.
const END: Duration = Duration::from_secs(5);

/// A child process, ended on drop.
pub struct Process(Child);

impl Process {
    /// Starts a program.
    pub fn spawn(program: &Path, args: &[&str]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map(Process)
    }

    /// What it prints. To be taken once.
    pub fn stdout(&mut self) -> io::Result<ChildStdout> {
        self.0.stdout.take().ok_or_else(|| io::Error::other("no standard output"))
    }

    /// CPU time so far, user and system, in microseconds.
    pub fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        // The name in parentheses may contain anything; utime and stime are the 12th and 13th field after it.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * TICK
    }

    /// Resident memory in KiB, and the number of threads.
    pub fn memory(&self) -> (f64, f64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN)
        };
        (field("VmRSS:"), field("Threads:"))
    }
}

impl Drop for Process {
    /// As a service manager ends it: one that counts what it does (tests/dist/pgo.sh) writes that down at its end.
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let deadline = Instant::now() + END;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A hub with declared rooms.
pub struct Hub {
    pub process: Process,
    pub addr: SocketAddr,
    /// The fingerprint of its certificate, if it serves TLS.
    fingerprint: Option<String>,
}

impl Hub {
    /// Starts a hub with its log off.
    pub fn start(gambi: &Path, rooms: &[&str]) -> io::Result<Self> {
        let help = Command::new(gambi).args(["hub", "serve", "--help"]).output()?;
        let quiet = String::from_utf8_lossy(&help.stdout).contains("--log-level");
        Self::start_with(gambi, rooms, if quiet { &["--log-level", "off"] } else { &[] })
    }

    /// Starts a hub that serves TLS, with its log off.
    pub fn over_tls(gambi: &Path, rooms: &[&str]) -> io::Result<Self> {
        let key = std::env::temp_dir().join(format!("gambi-bench-{}.pem", std::process::id()));
        let path = key.to_string_lossy();
        let hub = Self::start_with(gambi, rooms, &["--log-level", "off", "--tls", "self", "--tls-key", &path]);
        let _ = fs::remove_file(&key);
        hub
    }

    /// Starts a hub with its default log.
    pub fn logging(gambi: &Path, rooms: &[&str]) -> io::Result<Self> {
        Self::start_with(gambi, rooms, &[])
    }

    fn start_with(gambi: &Path, rooms: &[&str], more: &[&str]) -> io::Result<Self> {
        let rooms: Vec<String> = rooms.iter().map(|room| format!("{room}={room}")).collect();
        let mut args = vec!["hub", "serve", "--host", "127.0.0.1", "--port", "0", "--format", "ndjson"];
        args.extend(["--max-connections", "4096"]);
        args.extend(more);
        rooms.iter().for_each(|room| args.extend(["--room", room]));
        let mut process = Process::spawn(gambi, &args)?;
        let mut line = String::new();
        BufReader::new(process.stdout()?).read_line(&mut line)?;
        let started: serde_json::Value = serde_json::from_str(&line)?;
        let url = started["data"]["hubUrl"].as_str().or(started["hubUrl"].as_str()).unwrap_or_default();
        let addr = url.trim_start_matches("https://").trim_start_matches("http://").parse();
        let addr = addr.map_err(|_| io::Error::other(format!("the hub did not say where it listens: {line}")))?;
        let fingerprint = started["data"]["fingerprint"].as_str().map(str::to_owned);
        Ok(Hub { process, addr, fingerprint })
    }

    /// Where a room's chats are sent.
    pub fn room(&self, code: &str) -> Target {
        Target { addr: self.addr, base: format!("/rooms/{code}"), tls: self.fingerprint.is_some() }
    }

    /// Joins a room with one provider, as several participants.
    pub fn join(&self, gambi: &Path, room: &str, provider: SocketAddr, spec: JoinSpec) -> io::Result<Vec<Process>> {
        let scheme = if self.fingerprint.is_some() { "https" } else { "http" };
        let (hub, endpoint) = (format!("{scheme}://{}", self.addr), format!("http://{provider}"));
        let concurrency = spec.concurrency.to_string();
        let one = |n: usize| {
            let id = format!("{room}-{n}");
            let mut args = vec!["participant", "join", "--hub", &hub, "--room", room, "--endpoint", &endpoint];
            args.extend(["--model", "bench", "--participant-id", &id, "--concurrency", &concurrency, "--no-specs"]);
            args.extend(spec.json_frames.then_some("--json-frames"));
            args.extend(self.fingerprint.iter().flat_map(|text| ["--hub-fingerprint", text]));
            Process::spawn(gambi, &args)
        };
        let processes = (0..spec.count).map(one).collect::<io::Result<_>>()?;
        let deadline = Instant::now() + READY;
        loop {
            let models = call_with(self.addr, scheme == "https", "GET", &format!("/rooms/{room}/v1/models"), "")?;
            if models.matches(r#""object":"model""#).count() >= spec.count {
                return Ok(processes);
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("the participants did not come into their room"));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// How to join.
#[derive(Debug, Clone, Copy)]
pub struct JoinSpec {
    pub count: usize,
    pub concurrency: usize,
    pub json_frames: bool,
}

/// Time from starting a hub until it answers, in milliseconds.
pub fn start_up(gambi: &Path) -> io::Result<f64> {
    let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let port = addr.port().to_string();
    let start = Instant::now();
    let _hub = Process::spawn(gambi, &["hub", "serve", "--host", "127.0.0.1", "--port", &port])?;
    loop {
        match call(addr, "GET", "/v1/health", "") {
            Ok(answer) if answer.contains(" 200 ") => return Ok(start.elapsed().as_secs_f64() * 1000.0),
            _ if start.elapsed() > READY => return Err(io::Error::other("the hub does not answer")),
            _ => thread::sleep(Duration::from_micros(100)),
        }
    }
}
