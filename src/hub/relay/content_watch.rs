//! What an attempt takes from the content of its response while that passes: token counts, and what they are estimated from.

use crate::hub::relay::allowance::ExchangeSize;
use crate::proto::ollama_counts::CountWatch;
use crate::proto::sequence::SequenceWatch;
use crate::proto::usage::{Tokens, Usage, UsageWatch};

/// Watches the content of a response, piece by piece.
pub struct ContentWatch {
    usage: UsageWatch,
    /// The token counts of an answer in Ollama's shape, where it may be one.
    counts: Option<CountWatch>,
    /// What its tokens are estimated from, where the provider tells none.
    size: ExchangeSize,
    /// The numbers of its events, where it is a stream of Responses.
    sequence: Option<SequenceWatch>,
    tail: Tail,
}

/// The last event of a stream of OpenAI's API.
const DONE: [&[u8]; 2] = [b"data: [DONE]", b"data:[DONE]"];

/// How many of a response's last bytes are kept: the line with [`DONE`], and the line ends around it.
const TAIL: usize = 24;

/// The last bytes of a response, behind a line end that stands for its start.
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(&piece[piece.len().saturating_sub(TAIL)..]);
        self.0.drain(..self.0.len().saturating_sub(TAIL));
    }

    fn is_done(&self) -> bool {
        let kept = self.0.trim_ascii_end();
        let line = kept.rsplit(|byte| b"\r\n".contains(byte)).next();
        // One that is all that is kept may have begun before.
        line.is_some_and(|line| line.len() < kept.len() && DONE.contains(&line))
    }
}

impl ContentWatch {
    /// `of_ollama`: whether the response may be in Ollama's shape.
    pub fn new(size: ExchangeSize, of_ollama: bool) -> Self {
        let counts = of_ollama.then(CountWatch::default);
        ContentWatch { usage: UsageWatch::default(), counts, size, sequence: None, tail: Tail(vec![b'\n']) }
    }

    /// Starts to look for the numbers of events.
    pub fn watch_sequence(&mut self) {
        self.sequence = Some(SequenceWatch::default());
    }

    /// Takes in the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.usage.push(piece);
        self.size.receive(piece);
        self.tail.push(piece);
        if let Some(counts) = &mut self.counts {
            counts.push(piece);
        }
        if let Some(sequence) = &mut self.sequence {
            sequence.push(piece);
        }
    }

    /// Whether the stream has said that nothing follows. Some servers then close the connection without ending the body.
    pub fn is_done(&self) -> bool {
        self.tail.is_done()
    }

    /// The number of the next event of a stream of Responses.
    pub fn next_sequence(&self) -> Option<u64> {
        Some(self.sequence.as_ref()?.next())
    }

    /// The token counts, as far as the answer has stated them.
    pub fn usage(&self) -> Usage {
        let counts = self.counts.as_ref().map(CountWatch::usage).unwrap_or_default();
        if counts == Usage::default() { self.usage.usage() } else { counts }
    }

    /// The tokens.
    pub fn tokens(&self) -> Tokens {
        self.size.tokens(self.usage())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str =
        "data: {\"sequence_number\":7}\n\ndata: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";

    #[test]
    fn what_a_provider_tells_comes_before_an_estimate() {
        let mut watch = ContentWatch::new(ExchangeSize::new(400, true), false);
        watch.push(&ANSWER.as_bytes()[..30]);
        assert_eq!(watch.usage(), Usage::default());
        assert_eq!(
            watch.tokens(),
            Tokens { usage: Usage { input: Some(100), output: Some(1), total: None }, estimated: true }
        );
        watch.push(&ANSWER.as_bytes()[30..]);
        let told = Usage { input: Some(3), output: Some(2), total: None };
        assert_eq!((watch.usage(), watch.tokens()), (told, Tokens { usage: told, estimated: false }));
    }

    #[test]
    fn a_stream_is_done_behind_its_last_event_however_it_is_cut() {
        let stream = "data: {\"x\":1}\n\ndata: [DONE]\r\n\r\n";
        for cut in 0..stream.len() {
            let mut watch = ContentWatch::new(ExchangeSize::default(), false);
            let (before, after) = stream.as_bytes().split_at(cut);
            watch.push(before);
            assert_eq!(watch.is_done(), cut >= stream.trim_end().len(), "{cut}");
            watch.push(after);
            assert!(watch.is_done(), "{cut}");
            watch.push(b"data: {}\n\n");
            assert!(!watch.is_done(), "{cut}");
        }
        for (response, done) in [
            ("data:[DONE]", true),
            ("data: {\"content\":\"data: [DONE]", false),
            ("\ndata: [DONE]\"}", false),
            ("data: {\"content\":\"data: [DONE]            ", false),
        ] {
            let mut watch = ContentWatch::new(ExchangeSize::default(), false);
            watch.push(response.as_bytes());
            assert_eq!(watch.is_done(), done, "{response}");
        }
    }

    #[test]
    fn events_are_numbered_where_that_is_asked_for() {
        let mut watch = ContentWatch::new(ExchangeSize::default(), false);
        watch.push(ANSWER.as_bytes());
        assert_eq!(watch.next_sequence(), None);
        watch.watch_sequence();
        assert_eq!(watch.next_sequence(), Some(0));
        watch.push(ANSWER.as_bytes());
        assert_eq!(watch.next_sequence(), Some(8));
    }

    #[test]
    fn counts_in_ollamas_shape_are_found_where_they_may_be() {
        for (of_ollama, found) in [(true, Some(5)), (false, None)] {
            let mut watch = ContentWatch::new(ExchangeSize::default(), of_ollama);
            watch.push(b"{\"done\":true,\"prompt_eval_count\":4,\"eval_count\":5}\n");
            assert_eq!(watch.usage().output, found);
        }
    }
}
