//! Prompts on the terminal. Callers check first that stdin and stdout are terminals.

use std::io::{Read, Write, stderr, stdin};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::failure::Failure;
use super::signals::Signals;

/// Whether something has been read from the terminal.
static HAS_READ: AtomicBool = AtomicBool::new(false);

/// Prompts for a line of text.
///
/// # Errors
/// When input ends before a line.
pub fn ask(label: &str) -> Result<String, Failure> {
    line(&format!("{label}: ")).ok_or_else(|| Failure::usage("no answer was given"))
}

/// Prints a prompt on stderr and reads a line; `None` at the end of input.
pub fn line(prompt: &str) -> Option<String> {
    // Not locked while it waits: what restores the terminal after a signal writes to it too.
    let _ = write!(stderr(), "{prompt}");
    let _ = stderr().flush();
    mark_read();
    let mut line = String::new();
    match stdin().read_line(&mut line) {
        Ok(n) if n > 0 => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
        _ => None,
    }
}

/// Records that the terminal is read from, for [`discard_rest`].
pub fn mark_read() {
    HAS_READ.store(true, Ordering::Relaxed);
}

/// Prompts for a line without echo. Echo is restored afterwards, also when a signal ends the process.
///
/// # Errors
/// When input ends, or echo can't be turned off.
pub fn ask_secret(label: &str, signals: &Signals) -> Result<String, Failure> {
    if !set_echo(false) {
        return Err(Failure::usage("the terminal cannot hide the password").hint("Give it with --password-file."));
    }
    signals.set_cleanup(Some(restore_echo));
    let answer = ask(label);
    restore_echo();
    signals.set_cleanup(None);
    eprintln!();
    answer
}

fn restore_echo() {
    let _ = set_echo(true);
}

fn set_echo(on: bool) -> bool {
    stty(&[if on { "echo" } else { "-echo" }])
}

/// Reads what has been typed or pasted and not asked for, if anything was asked for at all: the shell would run it. No other
/// thread may read from the terminal meanwhile.
pub fn discard_rest() {
    if !HAS_READ.load(Ordering::Relaxed) {
        return;
    }
    let Some(modes) = stty_modes() else { return };
    // Reads then return what is there, also an unfinished line, or nothing after a tenth of a second.
    if stty(&["-icanon", "-echo", "min", "0", "time", "1"]) {
        let mut piece = [0; 4096];
        while matches!(stdin().lock().read(&mut piece), Ok(read) if read > 0) {}
    }
    stty(&[&modes]);
}

/// The terminal's modes, as [`stty`] takes them.
pub fn stty_modes() -> Option<String> {
    let output = Command::new("stty").arg("-g").stdin(Stdio::inherit()).output().ok()?;
    let modes = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    Some(modes).filter(|modes| output.status.success() && !modes.is_empty())
}

/// Changes the terminal's modes with `stty`, which every system with a terminal has; the standard library cannot.
pub fn stty(args: &[&str]) -> bool {
    Command::new("stty").args(args).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
