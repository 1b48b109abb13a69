//! Asking a person. Called only where stdin and stdout are terminals.

use std::io::{Write, stderr, stdin};
use std::process::Command;

use super::failure::Failure;
use super::signals::Signals;

/// Asks for a line.
///
/// # Errors
/// When there is no answer.
pub fn ask(label: &str) -> Result<String, Failure> {
    line(&format!("{label}: ")).ok_or_else(|| Failure::usage("no answer was given"))
}

/// Reads a line behind a prompt; `None` at the end of input.
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

/// Asks for a line that is not shown. The terminal shows again what is typed afterwards, Ctrl-C included.
///
/// # Errors
/// When there is no answer, or the terminal can't be told to show nothing: a password must not be seen by accident.
pub fn ask_secret(label: &str, signals: &Signals) -> Result<String, Failure> {
    if !echo(false) {
        return Err(Failure::usage("the terminal cannot be told to hide the password").hint("Give it with --password."));
    }
    signals.before_death(Some(show));
    let answer = ask(label);
    show();
    signals.before_death(None);
    eprintln!();
    answer
}

fn show() {
    let _ = echo(true);
}

/// The standard library can't do it, and every system that has a terminal has `stty`.
fn echo(on: bool) -> bool {
    Command::new("stty").arg(if on { "echo" } else { "-echo" }).status().is_ok_and(|status| status.success())
}
