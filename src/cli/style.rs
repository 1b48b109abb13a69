//! Colours and columns for people at a terminal. Whether there are colours is decided once, by [`decide`]: only where the
//! stream is a terminal, `TERM` is neither unset nor `dumb`, and `NO_COLOR` is unset or empty. No I/O.

use std::io::{IsTerminal, stderr, stdout};
use std::sync::OnceLock;

use crate::monitor::clean::multi_line;
use crate::monitor::text::width;

pub const BOLD: &str = "\x1b[1m";
pub const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
pub const CYAN: &str = "\x1b[36m";
pub const RESET: &str = "\x1b[0m";
const SEQUENCES: [&str; 7] = [BOLD, DIM, RED, GREEN, YELLOW, CYAN, RESET];

/// Whether stdout and stderr take colours.
static DECIDED: OnceLock<(bool, bool)> = OnceLock::new();

/// Decides from the environment which streams take colours. Before it is called none does.
pub fn decide(vars: &dyn Fn(&str) -> Option<String>) {
    let plain = is_plain(vars);
    let _ = DECIDED.set((stdout().is_terminal() && !plain, stderr().is_terminal() && !plain));
}

/// Whether the environment says that no colours are wanted, or that the terminal has none.
fn is_plain(vars: &dyn Fn(&str) -> Option<String>) -> bool {
    let set = |name| vars(name).filter(|value| !value.is_empty());
    set("TERM").is_none_or(|term| term == "dumb") || set("NO_COLOR").is_some()
}

/// Paints text for one stream, or returns it as it is where the stream takes no colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

/// For text on stdout.
pub fn out() -> Paint {
    Paint { on: DECIDED.get().is_some_and(|streams| streams.0) }
}

/// For text on stderr.
pub fn err() -> Paint {
    Paint { on: DECIDED.get().is_some_and(|streams| streams.1) }
}

impl Paint {
    /// Whether the stream takes colours.
    pub fn is_on(self) -> bool {
        self.on
    }

    fn with(self, sequence: &str, text: &str) -> String {
        if self.on && !text.is_empty() { format!("{sequence}{text}{RESET}") } else { text.to_owned() }
    }

    /// Headings, and what to notice first.
    pub fn bold(self, text: &str) -> String {
        self.with(BOLD, text)
    }

    /// What is less important than the rest.
    pub fn dim(self, text: &str) -> String {
        self.with(DIM, text)
    }

    /// What is well.
    pub fn green(self, text: &str) -> String {
        self.with(GREEN, text)
    }

    /// What needs attention.
    pub fn yellow(self, text: &str) -> String {
        self.with(YELLOW, text)
    }

    /// What failed.
    pub fn red(self, text: &str) -> String {
        self.with(RED, text)
    }

    /// What can be typed or opened: commands, addresses.
    pub fn cyan(self, text: &str) -> String {
        self.with(CYAN, text)
    }

    /// A participant's state in its colour. `text` may be padded.
    pub fn status(self, text: &str) -> String {
        match text.trim_end() {
            "online" => self.green(text),
            "busy" => self.cyan(text),
            "provider down" | "draining" => self.yellow(text),
            "offline" => self.dim(text),
            _ => text.to_owned(),
        }
    }

    /// Makes text of several lines safe for a terminal, but for the sequences of this module. Text from peers in it has
    /// passed through `one_line` or `multi_line` before.
    pub fn safe(self, text: &str) -> String {
        if !self.on {
            return multi_line(text);
        }
        let (mut safe, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(at) = rest.find('\x1b') {
            safe += &multi_line(&rest[..at]);
            rest = &rest[at..];
            let length = match SEQUENCES.into_iter().find(|sequence| rest.starts_with(sequence)) {
                Some(sequence) => {
                    safe += sequence;
                    sequence.len()
                }
                None => {
                    safe += &multi_line("\x1b");
                    1
                }
            };
            rest = &rest[length..];
        }
        safe + &multi_line(rest)
    }
}

/// Text without colours, padded with spaces to so many columns. Longer text stays as it is.
pub fn pad(text: &str, columns: usize) -> String {
    format!("{text}{:1$}", "", columns.saturating_sub(width(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Paint = Paint { on: true };
    const OFF: Paint = Paint { on: false };

    #[test]
    fn colours_need_a_terminal_that_has_them_and_a_user_who_wants_them() {
        let plain = |term: &'static str, no_color: &'static str| {
            is_plain(&move |name| match name {
                "TERM" => Some(term.to_owned()),
                "NO_COLOR" => Some(no_color.to_owned()),
                _ => None,
            })
        };
        assert!(!plain("xterm", "") && !is_plain(&|name| (name == "TERM").then(|| "screen".to_owned())));
        assert!(plain("dumb", "") && plain("", "") && plain("xterm", "1") && plain("xterm", "0"));
        assert!(is_plain(&|_| None));
    }

    #[test]
    fn text_is_painted_only_where_colours_are_on() {
        assert_eq!((ON.red("x"), OFF.red("x"), ON.red("")), ("\u{1b}[31mx\u{1b}[0m".into(), "x".into(), "".into()));
        assert_eq!(ON.status("online  "), ON.green("online  "));
        assert_eq!(ON.status("unknown"), "unknown");
    }

    #[test]
    fn only_our_own_sequences_reach_the_terminal() {
        let text = format!("{}\u{1b}[2J\n\u{9b}x\u{1b}", ON.bold("a"));
        assert_eq!(ON.safe(&text), "\u{1b}[1ma\u{1b}[0m\u{fffd}[2J\n\u{fffd}x\u{fffd}");
        assert!(!OFF.safe(&text).contains('\u{1b}'));
    }

    #[test]
    fn padding_counts_columns() {
        assert_eq!((pad("日本", 6), pad("abc", 2)), ("日本  ".into(), "abc".into()));
    }
}
