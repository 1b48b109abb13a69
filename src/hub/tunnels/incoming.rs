//! A participant's messages as pieces of responses. Consecutive ones of a response are coalesced into a batch, so that the request
//! is woken once per batch. No I/O.

use crate::proto::tunnel::{FromParticipant, decode_binary, decode_from_participant, plain_chunk, plain_end};
use crate::tunnel::Piece;

/// The bytes of one response after which a batch is handed over. The last message of a batch may exceed it.
const BATCH_BYTES: usize = 64 << 10;

/// The most body bytes that are copied although they could be passed on from where they are: so many come along with others.
const MAX_COPIED: usize = 4 << 10;

/// Takes what belongs to the request with an id.
pub trait Route {
    /// Sends the client body bytes at once. False if that is not possible: then they have to be put into the request's queue.
    fn pass(&mut self, id: &str, bytes: &[u8]) -> bool;

    /// Takes a batch of pieces.
    fn put(&mut self, id: &str, pieces: Vec<Piece>);

    /// Ends the request with this error, and cancels it at the participant, which does not know of the error.
    fn fail(&mut self, id: &str, error: Piece);
}

/// The pieces that have not been handed over yet.
#[derive(Default)]
pub struct Incoming {
    request_id: String,
    pieces: Vec<Piece>,
    /// Memory that the pieces take, in bytes.
    weight: usize,
    /// Body bytes that follow the pieces and are not yet a piece.
    bytes: Vec<u8>,
}

impl Incoming {
    /// Takes in a text message; true if it is a ping. One that cannot be decoded is dropped like one of an unknown type: the
    /// participant may be newer than this hub.
    pub fn text(&mut self, text: &str, route: &mut impl Route) -> bool {
        if let Some(chunk) = plain_chunk(text) {
            if let Err(bad) = chunk.decode(self.chunk(chunk.request_id, route)) {
                self.fail(chunk.request_id, "participant", bad.to_string(), route);
            }
            return false;
        }
        if let Some(id) = plain_end(text) {
            self.add(id, Piece::End, route);
            return false;
        }
        let Ok(message) = decode_from_participant(text) else { return false };
        match message {
            FromParticipant::Start { request_id, status, headers } => {
                self.add(&request_id, Piece::Start { status, headers }, route);
            }
            FromParticipant::Chunk { request_id, bytes } => self.chunk(&request_id, route).extend_from_slice(&bytes),
            FromParticipant::End { request_id } => self.add(&request_id, Piece::End, route),
            FromParticipant::Error { request_id, stage, message } => {
                self.add(&request_id, Piece::Error { stage, message }, route);
            }
            FromParticipant::Malformed { request_id, stage, message } => {
                self.fail(&request_id, stage, message, route);
            }
            FromParticipant::Ping => return true,
            FromParticipant::Unknown => {}
        }
        false
    }

    /// Takes in a binary message.
    pub fn binary(&mut self, message: &[u8], route: &mut impl Route) {
        let Ok((request_id, bytes)) = decode_binary(message) else { return };
        self.switch_to(request_id, route);
        let is_alone = self.pieces.is_empty() && self.bytes.is_empty();
        if !(is_alone && bytes.len() > MAX_COPIED && route.pass(request_id, bytes)) {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn fail(&mut self, request_id: &str, stage: &str, message: String, route: &mut impl Route) {
        // What came before it is passed on.
        self.hand_over(route);
        route.fail(request_id, Piece::Error { stage: stage.to_owned(), message });
    }

    /// Adds a piece other than a chunk.
    fn add(&mut self, request_id: &str, piece: Piece, route: &mut impl Route) {
        self.switch_to(request_id, route);
        self.seal();
        self.push(piece);
    }

    /// The buffer to which a chunk of a request's response is appended.
    fn chunk(&mut self, request_id: &str, route: &mut impl Route) -> &mut Vec<u8> {
        self.switch_to(request_id, route);
        &mut self.bytes
    }

    /// Passes the batch on if it belongs to another request, or is large enough.
    fn switch_to(&mut self, request_id: &str, route: &mut impl Route) {
        if self.request_id != request_id {
            self.hand_over(route);
            request_id.clone_into(&mut self.request_id);
        } else if self.weight + self.bytes.len() >= BATCH_BYTES {
            self.hand_over(route);
        }
    }

    /// Makes a piece of the body bytes.
    fn seal(&mut self) {
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            self.push(Piece::Chunk(bytes));
        }
    }

    fn push(&mut self, piece: Piece) {
        self.weight += piece.weight();
        self.pieces.push(piece);
    }

    /// Hands the batch over, if there is one.
    pub fn hand_over(&mut self, route: &mut impl Route) {
        if self.pieces.is_empty() && !self.bytes.is_empty() && route.pass(&self.request_id, &self.bytes) {
            self.bytes.clear();
            self.bytes.shrink_to(MAX_COPIED);
            return;
        }
        self.seal();
        self.weight = 0;
        if !self.pieces.is_empty() {
            route.put(&self.request_id, std::mem::take(&mut self.pieces));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tunnel::{binary_head, encode_end};

    /// What has been passed on, and what has been put into queues, as text.
    #[derive(Default)]
    struct Log {
        passes: bool,
        events: Vec<String>,
    }

    impl Route for Log {
        fn pass(&mut self, id: &str, bytes: &[u8]) -> bool {
            if self.passes {
                self.events.push(format!("{id} sent {}", bytes.len()));
            }
            self.passes
        }

        fn put(&mut self, id: &str, pieces: Vec<Piece>) {
            let pieces = pieces.iter().map(|piece| match piece {
                Piece::Chunk(bytes) => bytes.len().to_string(),
                other => format!("{other:?}"),
            });
            self.events.push(format!("{id} put {}", pieces.collect::<Vec<_>>().join(" ")));
        }

        fn fail(&mut self, id: &str, error: Piece) {
            self.events.push(format!("{id} failed {error:?}"));
        }
    }

    fn binary(id: &str, bytes: usize) -> Vec<u8> {
        [binary_head(id).unwrap(), vec![b'x'; bytes]].concat()
    }

    fn events(passes: bool, take_in: impl FnOnce(&mut Incoming, &mut Log)) -> Vec<String> {
        let (mut incoming, mut log) = (Incoming::default(), Log { passes, ..Log::default() });
        take_in(&mut incoming, &mut log);
        incoming.hand_over(&mut log);
        log.events
    }

    #[test]
    fn what_comes_together_is_handed_over_together() {
        let take_in = |incoming: &mut Incoming, log: &mut Log| {
            for id in ["a", "a", "b"] {
                incoming.binary(&binary(id, 10), log);
            }
            incoming.text(&encode_end("b"), log);
            incoming.binary(&binary("c", 1), log);
        };
        assert_eq!(events(false, take_in), ["a put 20", "b put 10 End", "c put 1"]);
        assert_eq!(events(true, take_in), ["a sent 20", "b put 10 End", "c sent 1"]);
    }

    #[test]
    fn a_chunk_that_is_no_base64_ends_its_request_behind_what_came_before() {
        let take_in = |incoming: &mut Incoming, log: &mut Log| {
            for chunk in ["YQ==", "!", "Yg=="] {
                let text = format!(r#"{{"type":"tunnel.response.chunk","requestId":"a","chunk":"{chunk}"}}"#);
                assert!(!incoming.text(&text, log));
            }
        };
        let seen = events(false, take_in);
        assert!(
            seen[0] == "a put 1" && seen[1].starts_with("a failed Error") && seen[1].contains("base64"),
            "{seen:?}"
        );
    }

    #[test]
    fn long_messages_are_passed_on_from_where_they_are() {
        let long = MAX_COPIED + 1;
        let take_in = |incoming: &mut Incoming, log: &mut Log| {
            for bytes in [long, long, 1, long] {
                incoming.binary(&binary("a", bytes), log);
            }
        };
        assert_eq!(
            events(true, take_in),
            [format!("a sent {long}"), format!("a sent {long}"), format!("a sent {}", long + 1)]
        );
        assert_eq!(events(false, take_in), [format!("a put {}", 3 * long + 1)]);
    }

    #[test]
    fn memory_for_long_pieces_is_not_kept() {
        let (mut incoming, mut log) = (Incoming::default(), Log { passes: true, ..Log::default() });
        incoming.binary(&binary("a", 1), &mut log);
        incoming.binary(&binary("a", 60_000), &mut log);
        incoming.hand_over(&mut log);
        assert!(incoming.bytes.is_empty() && incoming.bytes.capacity() <= MAX_COPIED, "{}", incoming.bytes.capacity());
    }
}
