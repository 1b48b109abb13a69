//! Prints an answer as it arrives: the wait before it, the model's thinking, its text, and the facts about it. Only the text
//! goes to stdout.

use std::time::Instant;

use gambi::client::{Chat, ChatEvent, ChatStream};

use crate::chat::answer::{AnswerReader, Facts, place_in_line};
use crate::chat::thinking::Kind;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Output, Progress};
use crate::cli::style::{self, DIM, RESET};
use crate::monitor::clean::multi_line;

/// The most bytes of an answer that are kept as context for the next prompt. Longer answers are printed in full.
const MAX_KEPT_BYTES: usize = 4 << 20;

/// How answers are printed.
#[derive(Debug, Clone, Copy)]
pub struct AnswerStyle {
    pub out: Output,
    /// Whether thinking and facts may be dimmed.
    pub styled: bool,
    /// Whether thinking is shown.
    pub shows_thinking: bool,
}

impl AnswerStyle {
    /// What `--thinking`, the terminal and the environment ask for.
    ///
    /// # Errors
    /// When `--thinking` has another value.
    pub fn of(context: &Context<'_>, is_terminal: bool) -> Result<Self, Failure> {
        let parse = |text: &str| match text {
            "show" => Some(true),
            "hide" => Some(false),
            _ => None,
        };
        let shows_thinking = context.parsed("thinking", parse, "show or hide")?.unwrap_or(is_terminal);
        Ok(AnswerStyle { out: context.out, styled: style::err().is_on(), shows_thinking })
    }
}

/// An answer that has been printed, whole or in part.
pub struct Printed {
    /// Its first [`MAX_KEPT_BYTES`], to within a piece, without the thinking.
    pub text: String,
    pub facts: Facts,
    /// How it ended.
    pub end: Result<(), Failure>,
}

/// Sends a chat and prints its answer.
pub fn print(style: AnswerStyle, chat: Chat) -> Printed {
    let asked = Instant::now();
    let progress = style.out.progress("Waiting for a participant...");
    let mut printer = Printer::new(style, progress, asked);
    let end = chat.with_usage().stream().map_err(Failure::from).and_then(|stream| printer.print(stream));
    printer.finish(end)
}

/// Prints one answer.
struct Printer {
    style: AnswerStyle,
    /// Until something is printed.
    progress: Option<Progress>,
    asked: Instant,
    reader: AnswerReader,
    /// Whether the last text was thinking, and whether it ended a line.
    thinks: bool,
    at_line_start: bool,
    text: String,
}

impl Printer {
    fn new(style: AnswerStyle, progress: Progress, asked: Instant) -> Self {
        Printer {
            style,
            progress: Some(progress),
            asked,
            reader: AnswerReader::default(),
            thinks: false,
            at_line_start: true,
            text: String::new(),
        }
    }

    fn print(&mut self, mut stream: ChatStream) -> Result<(), Failure> {
        self.wait_for("Waiting for the answer...");
        while let Some(event) = stream.next_event() {
            stream.participant().clone_into(&mut self.reader.facts.participant);
            match event? {
                ChatEvent::Waiting { place, of } => {
                    if let Some(progress) = &self.progress {
                        progress.show(&format!("{}...", place_in_line(place, of)));
                    }
                }
                ChatEvent::Json(json) => {
                    for (kind, text) in self.reader.read(&json, self.asked.elapsed()) {
                        self.show(kind, &text)?;
                    }
                }
                _ => {}
            }
        }
        let (kind, rest) = self.reader.finish();
        self.show(kind, &rest)
    }

    fn wait_for(&self, what: &str) {
        if let Some(progress) = &self.progress {
            progress.set(what);
        }
    }

    fn show(&mut self, kind: Kind, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        if kind == Kind::Thinking && !self.style.shows_thinking {
            self.wait_for("Thinking...");
            return Ok(());
        }
        self.progress = None;
        self.set_thinking(kind == Kind::Thinking);
        let clean = multi_line(text);
        self.at_line_start = clean.ends_with('\n') || (clean.is_empty() && self.at_line_start);
        if kind == Kind::Thinking {
            output::beside(&clean);
            return Ok(());
        }
        if self.text.len() < MAX_KEPT_BYTES {
            self.text.push_str(text);
        }
        self.style.out.piece(&clean)
    }

    /// Begins or ends a part of thinking. Where it cannot be dimmed, it has a line before it and one after it.
    fn set_thinking(&mut self, thinks: bool) {
        if std::mem::replace(&mut self.thinks, thinks) == thinks {
            return;
        }
        self.end_line();
        output::beside(match (thinks, self.style.styled) {
            (true, true) => DIM,
            (true, false) => "[thinking]\n",
            (false, true) => "\n",
            (false, false) => "[answer]\n",
        });
        self.at_line_start = true;
    }

    /// Ends the line that thinking may be in, and its style.
    fn end_line(&mut self) {
        if !self.at_line_start {
            output::beside("\n");
        }
        if !self.thinks && self.style.styled {
            output::beside(RESET);
        }
    }

    fn finish(mut self, end: Result<(), Failure>) -> Printed {
        self.progress = None;
        let was_thinking = std::mem::take(&mut self.thinks);
        if was_thinking {
            self.end_line();
        }
        // What follows, such as an error, must not continue the answer's last line.
        let closed = match &end {
            _ if was_thinking || self.at_line_start && !self.text.is_empty() => Ok(()),
            Err(_) if self.text.is_empty() => Ok(()),
            _ => output::line(""),
        };
        Printed { text: self.text, facts: self.reader.facts, end: end.and(closed) }
    }
}
