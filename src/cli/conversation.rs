//! The prompts of a conversation, read from the terminal. What is pasted is one prompt, however many lines it has: the
//! terminal marks its beginning and its end ("bracketed paste") once it is asked to.

use std::io::{Write, stderr};
use std::sync::{Mutex, PoisonError};

use super::prompt::{line, stty, stty_modes};
use super::signals::Signals;

/// Asks the terminal to mark what is pasted, and not to.
const MARK: &[u8] = b"\x1b[?2004h";
const MARK_NOT: &[u8] = b"\x1b[?2004l";
/// The marks.
const BEGIN: &str = "\x1b[200~";
const END: &str = "\x1b[201~";
/// The length at which the system cuts a line off without a word, in bytes: `N_TTY_BUF_SIZE` on Linux, elsewhere at least
/// `MAX_CANON`.
const MAX_LINE: usize = if cfg!(target_os = "linux") { 4095 } else { 1023 };

/// The modes to which the terminal is restored.
static MODES: Mutex<Option<String>> = Mutex::new(None);

/// A terminal that marks what is pasted. It is restored on drop, and when a signal ends the process.
pub struct PromptReader<'s>(&'s Signals);

/// What was read.
#[derive(Debug, PartialEq)]
pub enum Prompt {
    /// A prompt; it may be blank.
    Text(String),
    /// A line that the system has cut off, so that the prompt is not what was meant.
    TooLong,
    /// The end of input.
    End,
}

impl<'s> PromptReader<'s> {
    /// Sets the terminal up, unless it is a dumb one.
    pub fn open(signals: &'s Signals, is_dumb: bool) -> Self {
        // Without `echoctl` the marks are echoed as they are, which shows nothing.
        if !is_dumb
            && let Some(modes) = stty_modes()
            && stty(&["-echoctl"])
        {
            *MODES.lock().unwrap_or_else(PoisonError::into_inner) = Some(modes);
            signals.set_cleanup(Some(restore));
            let _ = stderr().write_all(MARK);
        }
        PromptReader(signals)
    }

    /// Shows `label` and reads a prompt.
    pub fn read(&self, label: &str) -> Prompt {
        let mut label = label;
        // Further lines of a paste have no label.
        assemble(|| line(std::mem::take(&mut label)))
    }
}

impl Drop for PromptReader<'_> {
    fn drop(&mut self) {
        self.0.set_cleanup(None);
        restore();
    }
}

fn restore() {
    if let Some(modes) = MODES.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = stderr().write_all(MARK_NOT);
        stty(&[&modes]);
    }
}

/// Reads lines until one ends outside of a paste.
fn assemble(mut next: impl FnMut() -> Option<String>) -> Prompt {
    let (mut text, mut pasting) = (String::new(), false);
    loop {
        let Some(line) = next() else {
            return if text.is_empty() { Prompt::End } else { Prompt::Text(text) };
        };
        if line.len() >= MAX_LINE {
            return Prompt::TooLong;
        }
        let mut rest = line.as_str();
        while let Some((part, after)) = rest.split_once(if pasting { END } else { BEGIN }) {
            push(&mut text, part, pasting);
            (rest, pasting) = (after, !pasting);
        }
        push(&mut text, rest, pasting);
        if !pasting {
            return Prompt::Text(text);
        }
        text.push('\n');
    }
}

/// Adds what was pasted as it is, and what was typed without the sequences of keys such as the arrows.
fn push(text: &mut String, part: &str, pasted: bool) {
    if pasted {
        return text.push_str(part);
    }
    let mut chars = part.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            // ESC O and one character, or ESC [ and parameters up to a final character (ECMA-48, section 5.4).
            if chars.next() == Some('[') {
                chars.by_ref().find(|c| ('@'..='~').contains(c));
            } else {
                chars.next();
            }
        } else if c == '\t' || !c.is_control() {
            text.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All prompts that these lines make.
    fn prompts(lines: &str) -> Vec<Prompt> {
        let mut lines = lines.lines().map(str::to_owned);
        let mut prompts = Vec::new();
        loop {
            match assemble(|| lines.next()) {
                Prompt::End => return prompts,
                prompt => prompts.push(prompt),
            }
        }
    }

    fn texts(lines: &str) -> Vec<String> {
        let text = |prompt| match prompt {
            Prompt::Text(text) => text,
            other => panic!("{other:?}"),
        };
        prompts(lines).into_iter().map(text).collect()
    }

    #[test]
    fn lines_are_prompts_and_a_paste_is_part_of_one() {
        assert_eq!(texts("one\n\ntwo"), ["one", "", "two"]);
        assert_eq!(texts("\x1b[200~one\n\n\ttwo\x1b[201~\nnext"), ["one\n\n\ttwo", "next"]);
        assert_eq!(texts("Sum up: \x1b[200~a\nb\n\x1b[201~ please\nnext"), ["Sum up: a\nb\n please", "next"]);
        assert_eq!(texts("\x1b[200~a\x1b[201~ and \x1b[200~b\nc\x1b[201~"), ["a and b\nc"]);
        assert_eq!(texts("\x1b[200~never\nended"), ["never\nended\n"]);
        assert_eq!(texts("\x1b[Aup\x1bOB \x1b[1;5Cdown\u{7}"), ["up down"]);
    }

    #[test]
    fn a_line_that_the_system_has_cut_off_is_no_prompt() {
        let lines = format!("{}\nnext\n{}", "x".repeat(MAX_LINE), "y".repeat(MAX_LINE - 1));
        let [Prompt::TooLong, Prompt::Text(next), Prompt::Text(rest)] = &prompts(&lines)[..] else { panic!("{lines}") };
        assert_eq!((next.as_str(), rest.len()), ("next", MAX_LINE - 1));
    }
}
