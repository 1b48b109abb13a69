//! Prompts on the terminal. Callers check first that stdin and stdout are terminals.

use std::io::{Write, stderr, stdin};
use std::process::Command;

use super::failure::Failure;
use super::signals::Signals;

/// Prompts for a line of text.
///
/// # Errors
/// When input ends before a line.
pub fn ask(label: &str) -> Result<String, Failure> {
    line(&format!("{label}: ")).ok_or_else(|| Failure::usage("no answer was given"))
}

/// Prints a prompt on stderr and reads a line; `None` at the end of input.
pub fn line(prompt: &str) -> Option<String> {
    let mut err = stderr().lock();
    let _ = write!(err, "{prompt}");
    let _ = err.flush();
    let mut line = String::new();
    match stdin().read_line(&mut line) {
        Ok(n) if n > 0 => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
        _ => None,
    }
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

/// Uses `stty`, which every system with a terminal has; the standard library cannot change the terminal's modes.
fn set_echo(on: bool) -> bool {
    Command::new("stty").arg(if on { "echo" } else { "-echo" }).status().is_ok_and(|status| status.success())
}
