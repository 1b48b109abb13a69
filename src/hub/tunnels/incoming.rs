//! A participant's messages as pieces of responses. Consecutive ones of a response are coalesced into a batch, so that the request
//! is woken once per batch. No I/O.

use crate::proto::tunnel::{FromParticipant, decode_binary, decode_from_participant, plain_chunk, plain_end};
use crate::tunnel::Piece;

/// The bytes of one response after which a batch is handed over. The last message of a batch may exceed it.
const BATCH_BYTES: usize = 64 << 10;

/// Takes a batch of pieces of the request with this id.
pub type Route<'r> = &'r mut dyn FnMut(&str, Vec<Piece>);

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
    pub fn text(&mut self, text: &str, route: Route<'_>) -> bool {
        if let Some(chunk) = plain_chunk(text) {
            let _sound = chunk.decode(self.chunk(chunk.request_id, route));
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
            FromParticipant::Ping => return true,
            FromParticipant::Unknown => {}
        }
        false
    }

    /// Takes in a binary message.
    pub fn binary(&mut self, message: &[u8], route: Route<'_>) {
        if let Ok((request_id, bytes)) = decode_binary(message) {
            self.chunk(request_id, route).extend_from_slice(bytes);
        }
    }

    /// Adds a piece other than a chunk.
    fn add(&mut self, request_id: &str, piece: Piece, route: Route<'_>) {
        self.switch_to(request_id, route);
        self.seal();
        self.push(piece);
    }

    /// The buffer to which a chunk of a request's response is appended.
    fn chunk(&mut self, request_id: &str, route: Route<'_>) -> &mut Vec<u8> {
        self.switch_to(request_id, route);
        &mut self.bytes
    }

    /// Passes the batch on if it belongs to another request, or is large enough.
    fn switch_to(&mut self, request_id: &str, route: Route<'_>) {
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
    pub fn hand_over(&mut self, route: Route<'_>) {
        self.seal();
        self.weight = 0;
        if !self.pieces.is_empty() {
            route(&self.request_id, std::mem::take(&mut self.pieces));
        }
    }
}
