//! A line on stderr that says what is waited for. It goes away when the wait is over.

use std::io::{Write, stderr};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::terminal;

/// The time after which a wait is shown, and between updates of its time.
const TICK: Duration = Duration::from_secs(1);

/// A wait. Dropping it ends it.
pub struct Progress(Option<(Sender<Step>, JoinHandle<()>)>);

/// What is waited for next.
struct Step {
    what: String,
    /// Whether it is shown without waiting for a second.
    at_once: bool,
}

impl Progress {
    /// A wait; it is shown only on a terminal.
    pub fn start(what: &str, is_shown: bool) -> Self {
        if !is_shown {
            return Progress(None);
        }
        let (sender, steps) = unbounded();
        let what = what.to_owned();
        let started = thread::Builder::new().name("progress".into()).spawn(move || show(what, &steps));
        Progress(started.ok().map(|thread| (sender, thread)))
    }

    /// Waits for something else, which is shown once the wait has lasted a second.
    pub fn set(&self, what: &str) {
        self.send(what, false);
    }

    /// Waits for something else, which is shown at once.
    pub fn show(&self, what: &str) {
        self.send(what, true);
    }

    fn send(&self, what: &str, at_once: bool) {
        if let Some((sender, _)) = &self.0 {
            let _ = sender.send(Step { what: what.to_owned(), at_once });
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

/// Shows the wait until no step can come any more.
fn show(mut what: String, steps: &Receiver<Step>) {
    let (begun, mut shown) = (Instant::now(), 0);
    let mut is_shown = false;
    loop {
        match steps.recv_timeout(TICK) {
            Ok(step) => {
                what = step.what;
                is_shown |= step.at_once;
            }
            Err(RecvTimeoutError::Timeout) => is_shown = true,
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if is_shown {
            let text = line(&what, begun.elapsed().as_secs(), terminal::columns(stderr()));
            // Spaces: not every terminal can erase a line.
            let _ = write!(stderr(), "\r{text:shown$}");
            shown = text.chars().count();
        }
    }
    if shown > 0 {
        let _ = write!(stderr(), "\r{:shown$}\r", "");
    }
}

/// The line: one that fills the last column would not go away.
fn line(what: &str, seconds: u64, columns: usize) -> String {
    let time = if seconds > 0 { format!(" {seconds} s") } else { String::new() };
    (what.to_owned() + &time).chars().take(columns.saturating_sub(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_time_and_fits_the_terminal() {
        assert_eq!(line("Waiting in line: 2 of 7...", 0, 80), "Waiting in line: 2 of 7...");
        assert_eq!(line("Waiting...", 65, 80), "Waiting... 65 s");
        assert_eq!(line("Waiting...", 65, 8), "Waiting");
        assert_eq!(line("Waiting...", 65, 0), "");
    }
}
