//! gambi as a child process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;

/// A process that is killed when the test ends.
pub struct Process {
    pub child: Child,
    pub first_line: Value,
}

impl Process {
    /// Starts gambi from a shell, after the commands in `before`, and waits for its first line.
    pub fn start(before: &str, args: &str) -> Self {
        let script = format!("{before} exec {} {args} --format ndjson", env!("CARGO_BIN_EXE_gambi"));
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("gambi to run");
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        // Keeps reading, so that the process never blocks on a full pipe.
        thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let first_line = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?} of {script}"));
        Process { child, first_line }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child process that is killed on drop, also when the test panics.
pub struct Killed(pub Child);

impl Killed {
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a participant: its process, and what it has said until its tunnel was open.
pub fn joined(command: &mut Command) -> (Child, Vec<String>) {
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    for line in lines.map_while(Result::ok) {
        seen.push(line);
        if seen.last().is_some_and(|line| line.contains("tunnel_connected")) {
            break;
        }
    }
    (child, seen)
}
