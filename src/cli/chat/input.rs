//! The prompts of a conversation, read from the terminal: with an editor and a history, or on a terminal without control
//! sequences as plain lines. What is pasted is one prompt, however many lines it has: the terminal marks its beginning and
//! its end ("bracketed paste") once it is asked to.

use std::io::{Write, stderr};
use std::sync::{Mutex, PoisonError};

use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};

use super::history::{History, MAX_PROMPTS};
use crate::cli::failure::Failure;
use crate::cli::prompt::{line, mark_read, stty, stty_modes};
use crate::cli::signals::Signals;
use crate::cli::style::RESET;

/// Asks the terminal to mark what is pasted, and not to.
const MARK: &[u8] = b"\x1b[?2004h";
const MARK_NOT: &str = "\x1b[?2004l";
/// The marks.
const BEGIN: &str = "\x1b[200~";
const END: &str = "\x1b[201~";
/// The length at which the system cuts a line off without a word, in bytes: `N_TTY_BUF_SIZE` on Linux, elsewhere at least
/// `MAX_CANON`.
const MAX_LINE: usize = if cfg!(target_os = "linux") { 4095 } else { 1023 };
/// What encloses a text of several lines.
pub const QUOTES: &str = "\"\"\"";
/// What is shown before a prompt, and before each further line of it.
pub const LABEL: &str = "> ";
const NEXT_LABEL: &str = ". ";

/// The modes to which a signal restores the terminal.
static MODES: Mutex<Option<String>> = Mutex::new(None);

/// Reads prompts.
pub struct PromptReader<'s> {
    signals: &'s Signals,
    /// Without it, prompts are read as plain lines.
    editor: Option<Editor<(), MemHistory>>,
    history: History,
}

/// What was read.
#[derive(Debug, PartialEq)]
pub enum Prompt {
    /// A prompt or a command; it may be blank.
    Text(String),
    /// What was enclosed in [`QUOTES`]: a prompt.
    Quoted(String),
    /// A line that the system has cut off, so that the prompt is not what was meant.
    TooLong,
    /// Ctrl-C.
    Interrupted,
    /// The end of input.
    End,
}

impl<'s> PromptReader<'s> {
    /// Reads from the terminal, which may be a dumb one.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub fn open(signals: &'s Signals, is_dumb: bool, history: History) -> Result<Self, Failure> {
        if is_dumb {
            return Ok(PromptReader { signals, editor: None, history });
        }
        let broken = |e| Failure::usage(format!("the terminal cannot be used: {e}"));
        let config = Config::builder().max_history_size(MAX_PROMPTS).map_err(broken)?;
        let config = config.history_ignore_dups(true).map_err(broken)?.build();
        let memory = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, memory).map_err(broken)?;
        for prompt in history.load() {
            editor.add_history_entry(prompt).map_err(broken)?;
        }
        *MODES.lock().unwrap_or_else(PoisonError::into_inner) = stty_modes();
        signals.set_cleanup(Some(restore));
        // What is typed during an answer is not shown, and is there for the next prompt as it was typed.
        stty(&["-echo", "-icanon", "min", "1", "time", "0"]);
        Ok(PromptReader { signals, editor: Some(editor), history })
    }

    /// Reads a prompt.
    pub fn read(&mut self) -> Prompt {
        let prompt = unquote(|label| self.part(label));
        if let Prompt::Text(text) | Prompt::Quoted(text) = &prompt {
            if let Some(editor) = &mut self.editor {
                let _ = editor.add_history_entry(text.trim_end());
            }
            self.history.add(text.trim_end());
        }
        prompt
    }

    /// Reads a line, or several that were pasted.
    fn part(&mut self, label: &str) -> Prompt {
        let Some(editor) = &mut self.editor else {
            // Further lines of a paste have no label.
            let mut label = label;
            return assemble(|| line(std::mem::take(&mut label)));
        };
        mark_read();
        loop {
            let read = editor.readline(label);
            // The editor has ended it. What is pasted before the next prompt is a part of that.
            let _ = stderr().write_all(MARK);
            match read {
                Ok(text) => return Prompt::Text(text),
                Err(ReadlineError::Interrupted) => return Prompt::Interrupted,
                Err(ReadlineError::Signal(_)) => {}
                Err(_) => return Prompt::End,
            }
        }
    }
}

impl Drop for PromptReader<'_> {
    fn drop(&mut self) {
        self.signals.set_cleanup(None);
        if self.editor.is_some() {
            restore();
        }
    }
}

fn restore() {
    let _ = write!(stderr(), "{MARK_NOT}{RESET}");
    if let Some(modes) = &*MODES.lock().unwrap_or_else(PoisonError::into_inner) {
        stty(&[modes]);
    }
}

/// Reads parts of a prompt, given their labels, until the text that [`QUOTES`] begin is complete.
fn unquote(mut next: impl FnMut(&str) -> Prompt) -> Prompt {
    let mut text = match next(LABEL) {
        Prompt::Text(text) => text,
        other => return other,
    };
    let Some(rest) = text.trim_start().strip_prefix(QUOTES) else { return Prompt::Text(text) };
    text = rest.to_owned();
    loop {
        if let Some(inner) = text.trim_end().strip_suffix(QUOTES) {
            let inner = inner.strip_prefix('\n').unwrap_or(inner);
            return Prompt::Quoted(inner.strip_suffix('\n').unwrap_or(inner).to_owned());
        }
        match next(NEXT_LABEL) {
            Prompt::Text(more) => text = text + "\n" + &more,
            other => return other,
        }
    }
}

/// A text without the [`QUOTES`] that are its first and last line, if they are.
pub fn without_quotes(text: &str) -> &str {
    let inner = || text.trim().strip_prefix(QUOTES)?.strip_suffix(QUOTES)?.strip_prefix('\n')?.strip_suffix('\n');
    inner().unwrap_or(text)
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
    #[test]
    fn three_quotes_enclose_a_text_of_several_lines() {
        let read = |lines: &[&str]| {
            let mut lines = lines.iter();
            unquote(|_| lines.next().map_or(Prompt::End, |line| Prompt::Text((*line).to_owned())))
        };
        let quoted = |text: &str| Prompt::Quoted(text.to_owned());
        assert_eq!(read(&["plain"]), Prompt::Text("plain".into()));
        assert_eq!(read(&["\"\"\"", "one", "", "/two", "\"\"\" ", "next"]), quoted("one\n\n/two"));
        assert_eq!(read(&["\"\"\"one", "two\"\"\""]), quoted("one\ntwo"));
        assert_eq!(read(&["\"\"\"/quit\"\"\""]), quoted("/quit"));
        assert_eq!(read(&["\"\"\"\npasted\nwhole\n\"\"\"\n"]), quoted("pasted\nwhole"));
        assert_eq!(read(&["\"\"\"", "never closed"]), Prompt::End);
        assert_eq!(without_quotes("\"\"\"\na\n\nb\n\"\"\"\n"), "a\n\nb");
        for whole in ["a\n", "\"\"\"a\"\"\"", "\"\"\"\na", "\"\"\""] {
            assert_eq!(without_quotes(whole), whole);
        }
    }
}
