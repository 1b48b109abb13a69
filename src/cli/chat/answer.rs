//! Prints an answer as it arrives: the wait before it, the model's thinking, its text, and the facts about it. Only the text
//! goes to stdout.

use std::time::{Duration, Instant};

use serde::Deserialize;

use gambi::client::{Chat, ChatEvent, ChatStream};

use super::thinking::{Kind, ThinkingSplitter};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Output, Progress};
use crate::cli::style::{self, DIM, RESET};
use crate::monitor::clean::{self, multi_line};

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

/// What is known of an answer besides its text.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Facts {
    /// The participant's id; empty if it is not known.
    pub participant: String,
    /// As the provider calls it; empty if it does not say.
    pub model: String,
    /// The number of tokens of the answer.
    pub tokens: Option<u64>,
    /// The time until the first token.
    pub first: Option<Duration>,
    /// The time from the first token to the last.
    pub rest: Duration,
}

impl Facts {
    /// One line, with a name for the participant.
    pub fn line(&self, name: &str) -> String {
        let mut parts =
            vec![if name.is_empty() { "a participant that the hub does not name" } else { name }.to_owned()];
        if !self.model.is_empty() {
            parts.push(self.model.clone());
        }
        if let Some(tokens) = self.tokens {
            parts.push(format!("{tokens} token{}", if tokens == 1 { "" } else { "s" }));
            parts.extend(self.rate(tokens).map(|rate| format!("{rate:.1} tokens/s")));
        }
        if let Some(first) = self.first {
            parts.push(format!("first token {:.2} s", first.as_secs_f64()));
        }
        parts.join(" · ")
    }

    /// Tokens per second after the first; `None` where too few came to tell.
    fn rate(&self, tokens: u64) -> Option<f64> {
        let seconds = self.rest.as_secs_f64();
        // A precision that no rate needs is lost.
        #[allow(clippy::cast_precision_loss)]
        (tokens > 1 && seconds >= 0.01).then(|| (tokens - 1) as f64 / seconds)
    }
}

/// An event of a stream, as far as it is of interest here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Chunk {
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    /// A whole answer has a message.
    #[serde(alias = "message")]
    delta: Option<Delta>,
}

/// Providers differ in the name of a thinking's text.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    completion_tokens: Option<u64>,
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
    splitter: ThinkingSplitter,
    /// Whether the last text was thinking, and whether it ended a line.
    thinks: bool,
    at_line_start: bool,
    text: String,
    facts: Facts,
}

impl Printer {
    fn new(style: AnswerStyle, progress: Progress, asked: Instant) -> Self {
        Printer {
            style,
            progress: Some(progress),
            asked,
            splitter: ThinkingSplitter::default(),
            thinks: false,
            at_line_start: true,
            text: String::new(),
            facts: Facts::default(),
        }
    }

    fn print(&mut self, mut stream: ChatStream) -> Result<(), Failure> {
        self.wait_for("Waiting for the answer...");
        while let Some(event) = stream.next_event() {
            stream.participant().clone_into(&mut self.facts.participant);
            match event? {
                ChatEvent::Waiting { place, of } => {
                    if let Some(progress) = &self.progress {
                        progress.show(&format!("Waiting in line, {place} of {of}..."));
                    }
                }
                ChatEvent::Json(json) => self.chunk(serde_json::from_str(&json).unwrap_or_default())?,
                _ => {}
            }
        }
        let (kind, rest) = self.splitter.finish();
        self.show(kind, &rest)
    }

    fn wait_for(&self, what: &str) {
        if let Some(progress) = &self.progress {
            progress.set(what);
        }
    }

    fn chunk(&mut self, chunk: Chunk) -> Result<(), Failure> {
        if let Some(model) = chunk.model.filter(|model| !model.is_empty()) {
            self.facts.model = clean::name(&model);
        }
        self.facts.tokens = chunk.usage.and_then(|usage| usage.completion_tokens).or(self.facts.tokens);
        let Some(delta) = chunk.choices.and_then(|choices| choices.into_iter().next()?.delta) else { return Ok(()) };
        let reasoning = delta.reasoning_content.or(delta.reasoning).unwrap_or_default();
        let content = delta.content.unwrap_or_default();
        if reasoning.is_empty() && content.is_empty() {
            return Ok(());
        }
        let first = *self.facts.first.get_or_insert_with(|| self.asked.elapsed());
        self.facts.rest = self.asked.elapsed().saturating_sub(first);
        self.show(Kind::Thinking, &reasoning)?;
        let (thinking, answer) = self.splitter.push(&content);
        self.show(Kind::Thinking, &thinking)?;
        self.show(Kind::Answer, &answer)
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
        Printed { text: self.text, facts: self.facts, end: end.and(closed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_are_one_line() {
        let mut facts = Facts { participant: "ann".into(), ..Facts::default() };
        assert_eq!(facts.line(""), "a participant that the hub does not name");
        assert_eq!(facts.line("ann"), "ann");
        facts.model = "llama3".into();
        facts.first = Some(Duration::from_millis(420));
        facts.tokens = Some(1);
        assert_eq!(facts.line("ann"), "ann · llama3 · 1 token · first token 0.42 s");
        facts.tokens = Some(31);
        facts.rest = Duration::from_secs(2);
        assert_eq!(facts.line("ann"), "ann · llama3 · 31 tokens · 15.0 tokens/s · first token 0.42 s");
    }

    #[test]
    fn chunks_of_other_shapes_are_read_as_far_as_possible() {
        let delta = |json: &str| {
            let chunk: Chunk = serde_json::from_str(json).unwrap_or_default();
            chunk.choices.and_then(|choices| choices.into_iter().next()?.delta).unwrap_or_default()
        };
        assert_eq!(delta(r#"{"choices":[{"delta":{"content":"a","role":"x"}}]}"#).content.as_deref(), Some("a"));
        assert_eq!(
            delta(r#"{"choices":[{"delta":{"content":null,"reasoning":"b"}}]}"#).reasoning.as_deref(),
            Some("b")
        );
        assert_eq!(delta(r#"{"choices":[{"message":{"content":"a"}}]}"#).content.as_deref(), Some("a"));
        for other in [r#"{"choices":[],"usage":null}"#, r#"{"choices":[{"delta":null}]}"#, "[]", "{}"] {
            assert_eq!(delta(other).content, None, "{other}");
        }
    }
}
