//! Looks at the start of an answer before it is passed on: some servers answer 200 on routes that they lack, and an error may
//! be one that another participant, or another API, does without.

use std::collections::VecDeque;

use crate::hub::options::Timeouts;
use crate::hub::relay::client_response::ClientResponse;
use crate::hub::relay::content_coding::ContentCoding;
use crate::hub::relay::headers::content_type;
use crate::hub::relay::passthrough::RelayedHead;
use crate::hub::relay::upstream::{UpstreamError, UpstreamRequest};
use crate::proto::api_answer::{self, MAX_PEEK, is_event_stream, is_ndjson};
use crate::proto::openai::bare_model;
use crate::tunnel::Piece;

/// A response of which nothing but its head has been taken.
pub struct ResponseStart<'r, 'e, 'c> {
    /// Who waits for it.
    pub client: &'r mut ClientResponse<'e, 'c>,
    /// Where it comes from, and stays to be passed on.
    pub upstream: &'r mut UpstreamRequest,
    /// Its head.
    pub head: &'r RelayedHead,
    /// How long it may take.
    pub timeouts: &'r Timeouts,
}

impl ResponseStart<'_, '_, '_> {
    /// Whether the answer shows that the provider lacks the route. What was looked at stays to be passed on.
    ///
    /// # Errors
    /// When the answer broke off meanwhile, or the client disconnected.
    pub fn lacks_route(&mut self) -> Result<bool, UpstreamError> {
        let text = self.start_of_error()?;
        Ok(text.is_some_and(|text| api_answer::lacks_route(content_type(&self.head.headers), &text)))
    }

    /// Whether the answer to a request of Ollama's API shows that the provider lacks it: as [`ResponseStart::lacks_route`], or by
    /// an answer in the shape of OpenAI's API.
    ///
    /// # Errors
    /// As [`ResponseStart::lacks_route`].
    pub fn lacks_ollama(&mut self) -> Result<bool, UpstreamError> {
        let kind = content_type(&self.head.headers);
        if is_event_stream(kind) {
            return Ok(true);
        }
        let text = self.start_of_error()?;
        Ok(text.is_some_and(|text| api_answer::lacks_route(kind, &text) || api_answer::is_openai(&text)))
    }

    /// Whether a 404 is about the model, and not about the route: its text names it.
    ///
    /// # Errors
    /// Why the answer broke off.
    pub fn lacks_model(&mut self, model: &str) -> Result<bool, UpstreamError> {
        if self.head.status != 404 {
            return Ok(false);
        }
        let text = self.start_of_body(|_| true)?;
        Ok(text.is_some_and(|text| api_answer::names(&String::from_utf8_lossy(&text), bare_model(model))))
    }

    /// Whether the provider's error is about the request's tools.
    ///
    /// # Errors
    /// Why the answer broke off.
    pub fn refuses_tools(&mut self) -> Result<bool, UpstreamError> {
        let text = self.start_of_body(|_| true)?;
        Ok(text.is_some_and(|text| api_answer::refuses_tools(&text)))
    }

    /// The start of an answer that may be an error. An error is short, and an object: nothing else has to be whole to be told.
    fn start_of_error(&mut self) -> Result<Option<Vec<u8>>, UpstreamError> {
        let is_open = |text: &[u8]| text.trim_ascii_start().first().is_none_or(|&b| b == b'{');
        self.start_of_body(is_open)
    }

    /// The start of an answer's body, for as long as `is_open` says that more is needed; `None` where it can't be read. The body
    /// stays to be passed on.
    fn start_of_body(&mut self, is_open: impl Fn(&[u8]) -> bool) -> Result<Option<Vec<u8>>, UpstreamError> {
        let Ok(mut coding) = ContentCoding::of(&self.head.headers) else { return Ok(None) };
        // Streams must not be held back, and no server sends one from a route that it lacks.
        let kind = content_type(&self.head.headers);
        if is_event_stream(kind) || is_ndjson(kind) {
            return Ok(None);
        }
        let (mut pieces, mut length, mut text) = (VecDeque::new(), 0, Vec::new());
        let mut readable = true;
        // A compressed body may hold no text at all, however long it is.
        while readable
            && text.len().max(length) <= MAX_PEEK
            && is_open(&text)
            && self.client.reserve(text.len() + length)
        {
            let piece = self.upstream.next(self.client, self.timeouts)?;
            readable = match &piece {
                Piece::Chunk(bytes) => peek(&mut coding, bytes, &mut text),
                Piece::End => false,
                _ => true,
            };
            length += piece.weight();
            pieces.push_back(piece);
        }
        self.upstream.give_back(pieces);
        Ok(Some(text))
    }
}

fn peek(coding: &mut ContentCoding, bytes: &[u8], text: &mut Vec<u8>) -> bool {
    let taken = coding.decode(bytes.to_vec(), &mut |block| {
        text.extend_from_slice(&block);
        if text.len() <= MAX_PEEK { Ok(()) } else { Err(UpstreamError::provider("enough has been read")) }
    });
    taken.is_ok()
}
