//! Reads the events of an answer: the model's thinking, its text, and the facts about it. Pure: the time is an argument.

use std::time::Duration;

use serde::Deserialize;

use super::thinking::{Kind, ThinkingSplitter};
use crate::monitor::clean;
use crate::monitor::words::WAITING_IN_LINE;

/// What is told while a request waits for a free participant.
pub fn place_in_line(place: usize, of: usize) -> String {
    format!("{WAITING_IN_LINE}: {place} of {of}")
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

/// Reads one answer.
#[derive(Debug, Default)]
pub struct AnswerReader {
    splitter: ThinkingSplitter,
    pub facts: Facts,
}

impl AnswerReader {
    /// Reads an event, `passed` after the question was sent: its parts in their order, none of them empty.
    pub fn read(&mut self, json: &str, passed: Duration) -> Vec<(Kind, String)> {
        let chunk: Chunk = serde_json::from_str(json).unwrap_or_default();
        if let Some(model) = chunk.model.filter(|model| !model.is_empty()) {
            self.facts.model = clean::name(&model);
        }
        self.facts.tokens = chunk.usage.and_then(|usage| usage.completion_tokens).or(self.facts.tokens);
        let delta = chunk.choices.and_then(|choices| choices.into_iter().next()?.delta).unwrap_or_default();
        let reasoning = delta.reasoning_content.or(delta.reasoning).unwrap_or_default();
        let content = delta.content.unwrap_or_default();
        if reasoning.is_empty() && content.is_empty() {
            return Vec::new();
        }
        let first = *self.facts.first.get_or_insert(passed);
        self.facts.rest = passed.saturating_sub(first);
        let (thinking, answer) = self.splitter.push(&content);
        let parts = [(Kind::Thinking, reasoning), (Kind::Thinking, thinking), (Kind::Answer, answer)];
        parts.into_iter().filter(|(_, text)| !text.is_empty()).collect()
    }

    /// What was held back until the end; may be empty.
    pub fn finish(&mut self) -> (Kind, String) {
        self.splitter.finish()
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
    fn an_answer_is_read_with_its_facts() {
        let mut reader = AnswerReader::default();
        let millis = Duration::from_millis;
        let said = |text: &str| format!(r#"{{"model":"llama3","choices":[{{"delta":{{"content":"{text}"}}}}]}}"#);
        assert_eq!(reader.read(&said("<think>Hm"), millis(400)), [(Kind::Thinking, "Hm".to_owned())]);
        let both = [(Kind::Thinking, ".".to_owned()), (Kind::Answer, "Yes".to_owned())];
        assert_eq!(reader.read(&said(".</think>Yes"), millis(1400)), both);
        assert_eq!(reader.read(r#"{"choices":[],"usage":{"completion_tokens":11}}"#, millis(1500)), []);
        assert_eq!(reader.finish(), (Kind::Answer, String::new()));
        assert_eq!(reader.facts.line("ann"), "ann · llama3 · 11 tokens · 10.0 tokens/s · first token 0.40 s");
        assert_eq!(place_in_line(2, 7), "Waiting in line: 2 of 7");
    }

    #[test]
    fn chunks_of_other_shapes_are_read_as_far_as_possible() {
        let parts = |json: &str| AnswerReader::default().read(json, Duration::ZERO);
        let answer = |text: &str| vec![(Kind::Answer, text.to_owned())];
        assert_eq!(parts(r#"{"choices":[{"delta":{"content":"a","role":"x"}}]}"#), answer("a"));
        let thought = vec![(Kind::Thinking, "b".to_owned())];
        assert_eq!(parts(r#"{"choices":[{"delta":{"content":null,"reasoning":"b"}}]}"#), thought);
        assert_eq!(parts(r#"{"choices":[{"message":{"content":"a"}}]}"#), answer("a"));
        for other in [r#"{"choices":[],"usage":null}"#, r#"{"choices":[{"delta":null}]}"#, "[]", "{}"] {
            assert_eq!(parts(other), [], "{other}");
        }
    }
}
