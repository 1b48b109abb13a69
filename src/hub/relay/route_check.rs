//! Looks at the start of a successful answer before it is passed on: some servers answer 200 on routes that they lack.

use std::collections::VecDeque;

use crate::hub::options::Timeouts;
use crate::hub::relay::client_response::{ClientResponse, Headers};
use crate::hub::relay::content_coding::ContentCoding;
use crate::hub::relay::upstream::{UpstreamError, UpstreamRequest};
use crate::proto::api_answer::{self, MAX_PEEK, is_event_stream};
use crate::tunnel::Piece;

/// Whether the answer shows that the provider lacks the route. What was looked at stays in `upstream`.
///
/// # Errors
/// When the answer broke off meanwhile, or the client disconnected.
pub fn lacks_route(
    client: &mut ClientResponse<'_, '_>,
    upstream: &mut UpstreamRequest,
    timeouts: &Timeouts,
    headers: &Headers,
) -> Result<bool, UpstreamError> {
    let kind = content_type(headers);
    let Ok(mut coding) = ContentCoding::of(headers) else { return Ok(false) };
    if is_event_stream(kind) {
        return Ok(false);
    }
    let (mut pieces, mut length, mut text) = (VecDeque::new(), 0, Vec::new());
    // An error is a short object, so only a complete short body can be one.
    let is_open = |text: &[u8]| text.len() <= MAX_PEEK && text.trim_ascii_start().first().is_none_or(|&b| b == b'{');
    let mut readable = true;
    // A compressed body may hold no text at all, however long it is.
    while readable && is_open(&text) && length <= MAX_PEEK && client.reserve(text.len() + length) {
        let piece = upstream.next("stream", client, timeouts)?;
        readable = match &piece {
            Piece::Chunk(bytes) => peek(&mut coding, bytes, &mut text),
            Piece::End => false,
            _ => true,
        };
        length += piece.weight();
        pieces.push_back(piece);
    }
    upstream.give_back(pieces);
    Ok(api_answer::lacks_route(kind, &text))
}

/// Adds what a piece holds to the text. False where that cannot be read, or is enough.
fn peek(coding: &mut ContentCoding, bytes: &[u8], text: &mut Vec<u8>) -> bool {
    let taken = coding.decode(bytes.to_vec(), &mut |block| {
        text.extend_from_slice(&block);
        if text.len() <= MAX_PEEK { Ok(()) } else { Err(UpstreamError::provider("enough has been read")) }
    });
    taken.is_ok()
}

/// The content type of an answer with these headers.
pub fn content_type(headers: &Headers) -> Option<&str> {
    headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type")).map(|(_, kind)| kind.as_str())
}
