//! Finding the id of a Responses answer that passes by, whole or streamed.

use serde_json::Value;

use super::openai::Members;
use super::sse::Decoder;

/// How much of an answer is looked at. The first event of a stream repeats the request, prompt included.
const MAX: usize = 1 << 20;

/// Watches an answer go by until its id is known.
#[derive(Debug)]
pub enum IdWatch {
    /// A stream: its first event tells.
    Stream(Box<Decoder>, usize),
    /// A whole answer, kept until it is whole.
    Whole(Vec<u8>),
    /// There is nothing to look for any more.
    Over,
}

impl IdWatch {
    /// For an answer of a stream or a whole one.
    pub fn new(stream: bool) -> Self {
        if stream { IdWatch::Stream(Box::default(), 0) } else { IdWatch::Whole(Vec::new()) }
    }

    /// Looks at the next piece; the id, once, when it is known.
    pub fn push(&mut self, piece: &[u8]) -> Option<String> {
        match self {
            IdWatch::Over => return None,
            IdWatch::Stream(decoder, seen) => {
                decoder.push(piece);
                *seen += piece.len();
                while let Some(event) = decoder.next_event() {
                    if let Some(id) = serde_json::from_str::<Value>(&event.data).ok().and_then(|v| id_in_event(&v)) {
                        *self = IdWatch::Over;
                        return Some(id);
                    }
                }
                if *seen <= MAX {
                    return None;
                }
            }
            IdWatch::Whole(body) => {
                body.extend_from_slice(piece);
                if body.len() <= MAX {
                    return None;
                }
            }
        }
        *self = IdWatch::Over;
        None
    }

    /// The answer is over: the id of a whole one.
    pub fn end(&mut self) -> Option<String> {
        let IdWatch::Whole(body) = std::mem::replace(self, IdWatch::Over) else { return None };
        Members::parse(&body).ok()?.get("id").and_then(|raw| serde_json::from_str(raw).ok())
    }
}

fn id_in_event(event: &Value) -> Option<String> {
    event["response"]["id"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answers_id_is_its_own_and_no_items() {
        let mut watch = IdWatch::new(false);
        let body = br#"{"output":[{"id":"msg_1"}],"id":"resp_1"}"#;
        assert_eq!(watch.push(&body[..10]), None);
        assert_eq!(watch.push(&body[10..]), None);
        assert_eq!(watch.end().as_deref(), Some("resp_1"));
        assert_eq!(watch.end(), None);
        for bad in ["", "[]", r#"{"id":5}"#, "x"] {
            let mut watch = IdWatch::new(false);
            watch.push(bad.as_bytes());
            assert_eq!(watch.end(), None, "{bad}");
        }
    }

    #[test]
    fn a_streams_id_is_in_its_first_event() {
        let stream = b"event: response.created\ndata: {\"response\":{\"id\":\"resp_2\"}}\n\nevent: x\ndata: {\"response\":{\"id\":\"no\"}}\n\n";
        for cut in 0..stream.len() {
            let mut watch = IdWatch::new(true);
            let found = [watch.push(&stream[..cut]), watch.push(&stream[cut..])];
            assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), ["resp_2"], "cut at {cut}");
        }
    }

    #[test]
    fn an_endless_answer_is_not_kept() {
        for stream in [true, false] {
            let mut watch = IdWatch::new(stream);
            for _ in 0..3 {
                watch.push(&vec![b'x'; MAX]);
            }
            assert!(matches!(watch, IdWatch::Over));
        }
    }
}
