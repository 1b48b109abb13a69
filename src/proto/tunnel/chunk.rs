//! The codec of body chunks: base64 in a text message, or bytes in a binary message.

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::{DecodeError, Engine as _};

use super::constants::{END, MAX_REQUEST_ID};
use super::encode::push_json;
use super::message::BadMessage;

/// The standard alphabet, with or without padding: participants in other languages differ there.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn decode_base64(base64: &str) -> Result<Vec<u8>, BadMessage> {
    LENIENT.decode(base64).map_err(|e| not_base64(&e))
}

fn not_base64(error: &DecodeError) -> BadMessage {
    BadMessage(format!("chunk is not base64: {error}"))
}

/// A `tunnel.response.chunk`, not decoded yet.
#[derive(Debug, PartialEq)]
pub struct PlainChunk<'a> {
    /// The request's id.
    pub request_id: &'a str,
    base64: &'a str,
}

/// Parses a chunk in the exact form of [`encode_chunk`], which is faster than parsing JSON. `None` for other messages
/// and other spellings, which are left to `decode_from_participant`.
pub fn plain_chunk(text: &str) -> Option<PlainChunk<'_>> {
    let rest = text.strip_prefix(CHUNK[0])?.strip_suffix(CHUNK[2])?;
    let (request_id, base64) = rest.split_once(CHUNK[1])?;
    // Invalid base64 is found when it is decoded.
    is_plain_id(request_id).then_some(PlainChunk { request_id, base64 })
}

/// The request's id in a `tunnel.response.end` in the exact form of `encode_end`, as [`plain_chunk`].
pub fn plain_end(text: &str) -> Option<&str> {
    let id = text.strip_prefix(END)?.strip_prefix('"')?.strip_suffix("\"}")?;
    is_plain_id(id).then_some(id)
}

/// The hub's ids need no escapes.
fn is_plain_id(id: &str) -> bool {
    id.len() <= MAX_REQUEST_ID && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl PlainChunk<'_> {
    /// Appends its bytes to `out`.
    ///
    /// # Errors
    /// If they are not base64; then nothing is appended.
    pub fn decode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let from = out.len();
        LENIENT.decode_vec(self.base64, out).map_err(|error| {
            out.truncate(from);
            not_base64(&error)
        })
    }
}

/// The text around a chunk's id and its base64.
const CHUNK: [&str; 3] = [r#"{"type":"tunnel.response.chunk","requestId":""#, r#"","chunk":""#, "\"}"];

/// Appends a participant's `tunnel.response.chunk` to `out`, with the bytes as base64.
pub fn encode_chunk(out: &mut Vec<u8>, request_id: &str, bytes: &[u8]) {
    out.extend_from_slice(&CHUNK[0].as_bytes()[..CHUNK[0].len() - 1]);
    push_json(out, request_id);
    out.extend_from_slice(&CHUNK[1].as_bytes()[1..]);
    let from = out.len();
    out.resize(from + bytes.len().div_ceil(3) * 4, 0);
    // It fails only without room in `out`, which has been made.
    let _ = STANDARD.encode_slice(bytes, &mut out[from..]);
    out.extend_from_slice(CHUNK[2].as_bytes());
}

/// The prefix of a binary chunk: the id's length and the id. `None` where the id is longer than 255 bytes, and the
/// chunk must be sent as JSON.
pub fn binary_head(request_id: &str) -> Option<Vec<u8>> {
    let length = u8::try_from(request_id.len()).ok()?;
    let mut head = Vec::with_capacity(1 + request_id.len());
    head.push(length);
    head.extend_from_slice(request_id.as_bytes());
    Some(head)
}

/// Splits a binary message into request id and chunk.
///
/// # Errors
/// If it is shorter than the id's length, or the id is not UTF-8.
pub fn decode_binary(message: &[u8]) -> Result<(&str, &[u8]), BadMessage> {
    let (length, rest) = message.split_first().ok_or_else(|| BadMessage("an empty binary message".into()))?;
    let (id, bytes) = rest
        .split_at_checked(usize::from(*length))
        .ok_or_else(|| BadMessage("a binary message is cut short".into()))?;
    let id = std::str::from_utf8(id).map_err(|_| BadMessage("a binary message's id is no UTF-8".into()))?;
    Ok((id, bytes))
}
