//! A terminal for tests: tmux with a server of its own.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::wait_for;

/// A terminal that runs a shell. It ends with the test.
pub struct Terminal {
    name: String,
}

impl Terminal {
    /// Opens a terminal of that size; `None` if tmux is not installed. The shell's environment has only these variables
    /// and a prompt.
    pub fn open(columns: usize, rows: usize, variables: &[(&str, &str)]) -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("gambi-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        Command::new("tmux").arg("-V").output().ok().filter(|output| output.status.success())?;
        let terminal = Terminal { name };
        let (columns, rows, path) = (columns.to_string(), rows.to_string(), std::env::var("PATH").unwrap_or_default());
        let mut shell = vec!["env".to_owned(), "-i".into(), format!("PATH={path}"), "PS1=ready> ".into()];
        shell.extend(["TERM=screen-256color".into(), "LANG=C.UTF-8".into()]);
        shell.extend(variables.iter().map(|(name, value)| format!("{name}={value}")));
        shell.push("sh".into());
        let mut args = vec!["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows];
        args.extend(shell.iter().map(String::as_str));
        terminal.tmux(&args);
        terminal.tmux(&["set-option", "-g", "status", "off"]);
        terminal.tmux(&["set-option", "-g", "escape-time", "0"]);
        terminal.resize(columns.parse().unwrap_or(80), rows.parse().unwrap_or(24));
        terminal.wait("ready>");
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> Output {
        // Forces UTF-8, whatever the locale of the test run.
        let output = Command::new("tmux").args(["-u", "-L", &self.name]).args(args).output().expect("tmux to run");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {args:?}: {error}");
        output
    }

    /// The screen's text, without trailing spaces.
    pub fn screen(&self) -> String {
        let output = self.tmux(&["capture-pane", "-p"]);
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The same with colours as escape sequences.
    pub fn colours(&self) -> String {
        let output = self.tmux(&["capture-pane", "-p", "-e"]);
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Whether the alternate screen is active.
    pub fn is_alternate(&self) -> bool {
        self.asked("#{alternate_on}") == "1"
    }

    /// Evaluates a tmux format, such as `#{cursor_flag}`.
    pub fn asked(&self, what: &str) -> String {
        let output = self.tmux(&["display-message", "-p", what]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Types text literally.
    pub fn write(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Presses keys by their tmux names, such as `Enter`.
    pub fn press(&self, keys: &[&str]) {
        let mut args = vec!["send-keys"];
        args.extend(keys);
        self.tmux(&args);
    }

    /// Types a line and Enter.
    pub fn line(&self, text: &str) {
        self.write(text);
        self.press(&["Enter"]);
    }

    /// Pastes text, as a terminal does: marked, if the program has asked for that.
    pub fn paste(&self, text: &str) {
        self.tmux(&["set-buffer", "--", text]);
        self.tmux(&["paste-buffer", "-p"]);
    }

    pub fn resize(&self, columns: usize, rows: usize) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Waits until the screen contains a text. Returns the screen.
    pub fn wait(&self, text: &str) -> String {
        self.wait_until(&format!("\"{text}\""), |screen| screen.contains(text))
    }

    /// Waits until the screen satisfies a condition. Returns the screen.
    pub fn wait_until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let last = std::cell::RefCell::new(String::new());
        let show = Shown(what, &last);
        let screen = wait_for(&format!("{what} on the screen"), || {
            let screen = self.screen();
            last.borrow_mut().clone_from(&screen);
            holds(&screen).then_some(screen)
        });
        std::mem::forget(show);
        screen
    }
}

/// Prints the last screen if a wait fails.
struct Shown<'s>(&'s str, &'s std::cell::RefCell<String>);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        eprintln!("no {} here:\n{}", self.0, self.1.borrow().trim_end());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.name, "kill-server"]).output();
    }
}
