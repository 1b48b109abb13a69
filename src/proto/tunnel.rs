//! The tunnel's messages, both directions, and their codec. Shapes only: no sockets, no request tables.
//!
//! The conversation, on one WebSocket (PROTOCOL.md, "Tunnel"):
//!
//! ```text
//! participant                                   hub
//!    | GET .../tunnel?token=T[&frames=binary][&pause=1]
//!    |------------------------------------------->|   the token is spent here
//!    |  101 [Gambi-Frames: binary] [Gambi-Pause: 1]
//!    |<-------------------------------------------|
//!    | tunnel.ping             (every 10 s)       |   any message is a sign of life;
//!    |------------------------------------------->|   30 s without one: close 4001
//!    |                             tunnel.pong    |
//!    |<-------------------------------------------|
//!    |                  tunnel.request  id=A      |   a client asks for something
//!    |<-------------------------------------------|
//!    | tunnel.response.start   id=A status        |   the provider's headers are in
//!    |------------------------------------------->|
//!    | tunnel.response.chunk   id=A base64        |   as often as there is something
//!    |------------------------------------------->|   (or one binary message, see below)
//!    | tunnel.response.end     id=A               |   or tunnel.response.error, at any stage
//!    |------------------------------------------->|
//!    |                  tunnel.pause    id=A      |   the client reads more slowly than the provider
//!    |<-------------------------------------------|   writes: read no more of this answer
//!    |                  tunnel.resume   id=A      |   go on
//!    |<-------------------------------------------|
//!    |                  tunnel.cancel   id=A      |   the client hung up: stop the provider
//!    |<-------------------------------------------|   (while it is paused, too)
//! ```
//!
//! A participant that honours `tunnel.pause` says so with `pause=1`: the hub then queues for a slow client what is still
//! under way, and never waits for it. To any other participant neither message is sent; the hub's reader waits for the
//! client for 200 ms in any 10 s, and a request that falls too far behind ends alone. The hub closes a tunnel that another
//! one of the same participant replaces with 1000 and a reason that begins with `superseded`: whoever reads that removes
//! nothing, and does not come back.
//!
//! Requests overlap freely; only the order of messages with one id means anything. A message of an unknown type, or
//! about an id that nobody waits for, is ignored by both sides.
//!
//! A binary message, where both sides agreed to them, is one chunk: a byte that counts the bytes of the request id,
//! the id, then the chunk itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::openai::cut;

/// The largest message that the hub reads from a participant, in bytes.
pub const MAX_TO_HUB: usize = 16 << 20;
/// The largest message that a participant reads from the hub, in bytes: a request body at its limit, and room around it.
pub const MAX_TO_PARTICIPANT: usize = 64 << 20;
/// The longest request id, in bytes.
pub const MAX_REQUEST_ID: usize = 256;
/// The longest head of a provider's answer, in bytes of the JSON that carries it.
pub const MAX_HEAD: usize = 32 << 10;
/// The most header lines of a provider's answer.
pub const MAX_HEAD_LINES: usize = 100;
/// The longest name of the stage at which a request failed, in bytes; the rest is cut off.
pub const MAX_STAGE: usize = 64;
/// The longest text that tells why a request failed, in bytes; the rest is cut off.
pub const MAX_ERROR_TEXT: usize = 2 << 10;
/// Closed on purpose: removed, superseded, or left.
pub const CLOSE_NORMAL: u16 = 1000;
/// The hub is going down.
pub const CLOSE_GOING_AWAY: u16 = 1001;
/// No message for 30 s.
pub const CLOSE_TIMEOUT: u16 = 4001;
/// The response header, and the query parameter `frames`, that agree on binary chunks.
pub const FRAMES_HEADER: &str = "Gambi-Frames";
/// The value of both.
pub const FRAMES_BINARY: &str = "binary";
/// The response header, and with [`PAUSE_ON`] the query parameter `pause`, that agree on `tunnel.pause`.
pub const PAUSE_HEADER: &str = "Gambi-Pause";
/// The value of both.
pub const PAUSE_ON: &str = "1";
/// How the reason of a close frame with [`CLOSE_NORMAL`] begins when another tunnel has replaced this one.
pub const SUPERSEDED: &str = "superseded";

/// Whether a close frame says that another tunnel has replaced this one.
pub fn is_superseded(code: Option<u16>, reason: &str) -> bool {
    let beginning = reason.get(..SUPERSEDED.len());
    code == Some(CLOSE_NORMAL) && beginning.is_some_and(|text| text.eq_ignore_ascii_case(SUPERSEDED))
}

/// A text message that is not one of the tunnel's.
#[derive(Debug)]
pub struct BadMessage(String);

impl fmt::Display for BadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tunnel message cannot be read: {}", self.0)
    }
}

impl std::error::Error for BadMessage {}

/// A request on its way to a participant.
#[derive(Debug)]
pub struct Request<'a> {
    /// Names the request in every message about it.
    pub request_id: &'a str,
    /// Such as `chat.completions.create`.
    pub operation: &'a str,
    /// `GET`, `POST` or `DELETE`.
    pub method: &'a str,
    /// Appended to the provider's base URL.
    pub path: &'a str,
    /// `Content-Type` with a body, else empty.
    pub headers: BTreeMap<&'a str, &'a str>,
    /// The hubs that it has passed: the `hops` of its metadata.
    pub hops: &'a str,
    /// JSON, passed on byte for byte. It must be sound: nobody looks again.
    pub body: Option<&'a str>,
    /// Whether the client asked for a stream.
    pub stream: bool,
}

/// What the hub says beside requests.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub enum ToParticipant<'a> {
    /// The client hung up.
    #[serde(rename = "tunnel.cancel", rename_all = "camelCase")]
    Cancel {
        /// Which request.
        request_id: &'a str,
    },
    /// The client is slow: read no more of the provider's answer.
    #[serde(rename = "tunnel.pause", rename_all = "camelCase")]
    Pause {
        /// Which request.
        request_id: &'a str,
    },
    /// Go on after a pause.
    #[serde(rename = "tunnel.resume", rename_all = "camelCase")]
    Resume {
        /// Which request.
        request_id: &'a str,
    },
    /// Answer to a ping.
    #[serde(rename = "tunnel.pong")]
    Pong {
        /// Milliseconds since the epoch.
        timestamp: u64,
    },
}

/// A `tunnel.request` as the participant reads it.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Names the request in every message about it.
    pub request_id: Cow<'a, str>,
    /// Such as `chat.completions.create`.
    pub operation: Cow<'a, str>,
    /// As the hub wrote it; to be checked.
    pub method: Cow<'a, str>,
    /// Appended to the provider's base URL.
    pub path: Cow<'a, str>,
    /// To be sent to the provider.
    pub headers: BTreeMap<String, String>,
    /// To be sent to the provider in [`HOPS`](super::web::HOPS): it may be a hub too.
    pub hops: Option<String>,
    /// To be sent to the provider, byte for byte.
    pub body: Option<&'a RawValue>,
    /// Whether the client asked for a stream.
    pub stream: bool,
}

/// What a participant hears.
#[derive(Debug)]
pub enum FromHub<'a> {
    /// Do this.
    Request(Incoming<'a>),
    /// Stop doing this.
    Cancel {
        /// Which request.
        request_id: Cow<'a, str>,
    },
    /// Read no more of the provider's answer.
    Pause {
        /// Which request.
        request_id: Cow<'a, str>,
    },
    /// Go on after a pause.
    Resume {
        /// Which request.
        request_id: Cow<'a, str>,
    },
    /// The hub is alive.
    Pong,
    /// Something newer than this program; to be ignored.
    Unknown,
}

/// What the hub hears.
#[derive(Debug, PartialEq)]
pub enum FromParticipant<'a> {
    /// The provider's head is in.
    Start {
        /// Which request.
        request_id: Cow<'a, str>,
        /// HTTP status.
        status: u16,
        /// Headers of the provider's answer.
        headers: Vec<(String, String)>,
    },
    /// A piece of the body.
    Chunk {
        /// Which request.
        request_id: Cow<'a, str>,
        /// The bytes, decoded.
        bytes: Vec<u8>,
    },
    /// The body is over.
    End {
        /// Which request.
        request_id: Cow<'a, str>,
    },
    /// The request failed.
    Error {
        /// Which request.
        request_id: Cow<'a, str>,
        /// Where it failed.
        stage: String,
        /// One sentence.
        message: String,
    },
    /// A sign of life that wants one back.
    Ping,
    /// Something newer than this program; to be ignored.
    Unknown,
}

/// Encodes a message of the hub.
pub fn encode(message: &ToParticipant<'_>) -> Vec<u8> {
    // Serialising these into memory cannot fail: no map has keys that are not text, and nothing does I/O.
    serde_json::to_vec(message).unwrap_or_default()
}

/// The hub's `tunnel.request`, in three parts: the body, which may be long, is not copied for it.
pub fn encode_request<'a>(request: &Request<'a>) -> (Vec<u8>, &'a str, &'static str) {
    let mut head = br#"{"type":"tunnel.request""#.to_vec();
    let texts = [
        ("requestId", request.request_id),
        ("operation", request.operation),
        ("method", request.method),
        ("path", request.path),
    ];
    for (name, text) in texts {
        head.extend_from_slice(b",\"");
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b"\":");
        push_json(&mut head, text);
    }
    head.extend_from_slice(b",\"headers\":");
    push_json(&mut head, &request.headers);
    if !request.hops.is_empty() {
        head.extend_from_slice(b",\"metadata\":");
        push_json(&mut head, &BTreeMap::from([("hops", request.hops)]));
    }
    head.extend_from_slice(if request.stream { b",\"stream\":true" } else { b",\"stream\":false" });
    if request.body.is_some() {
        head.extend_from_slice(b",\"body\":");
    }
    (head, request.body.unwrap_or_default(), "}")
}

/// Adds a value as JSON.
fn push_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Serialising these into memory cannot fail: no map has keys that are not text, and nothing does I/O.
    let _ = serde_json::to_writer(out, value);
}

/// Text that borrows where JSON's escapes allow it.
#[derive(Debug, Default, Clone, PartialEq)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_borrowed_str<E: de::Error>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(v)))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(v.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Every field that any message may have: one pass over the JSON, whatever its type turns out to be.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Flat<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    request_id: Option<Text<'a>>,
    #[serde(borrow)]
    operation: Option<Text<'a>>,
    #[serde(borrow)]
    method: Option<Text<'a>>,
    #[serde(borrow)]
    path: Option<Text<'a>>,
    #[serde(default, borrow)]
    headers: Option<&'a RawValue>,
    #[serde(default, borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(default, borrow)]
    body: Option<&'a RawValue>,
    stream: Option<bool>,
    status: Option<u16>,
    #[serde(borrow)]
    chunk: Option<Text<'a>>,
    #[serde(borrow)]
    stage: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
}

impl<'a> Flat<'a> {
    fn parse(text: &'a str) -> Result<Self, BadMessage> {
        // An error repeats the value that it is about, which may be as long as the message.
        serde_json::from_str(text).map_err(|e| BadMessage(cut(&e.to_string(), MAX_ERROR_TEXT).to_owned()))
    }

    fn headers(&self) -> Result<BTreeMap<String, String>, BadMessage> {
        match self.headers {
            None => Ok(BTreeMap::new()),
            Some(raw) => serde_json::from_str(raw.get())
                .map_err(|e| BadMessage(cut(&format!("headers: {e}"), MAX_ERROR_TEXT).to_owned())),
        }
    }
}

/// What a request's metadata says of the hubs that it has passed. Whatever else is in there is somebody else's.
fn hops(metadata: Option<&RawValue>) -> Option<String> {
    #[derive(Deserialize)]
    struct Metadata {
        hops: String,
    }
    serde_json::from_str::<Metadata>(metadata?.get()).ok().map(|metadata| metadata.hops)
}

fn need<'a>(field: Option<Text<'a>>, name: &str) -> Result<Cow<'a, str>, BadMessage> {
    field.map(|t| t.0).ok_or_else(|| BadMessage(format!("{name} is missing")))
}

/// A participant's request id, which is kept and looked up.
fn short_id(field: Option<Text<'_>>) -> Result<Cow<'_, str>, BadMessage> {
    let id = need(field, "requestId")?;
    if id.len() > MAX_REQUEST_ID {
        return Err(BadMessage(format!("requestId is longer than {MAX_REQUEST_ID} bytes")));
    }
    Ok(id)
}

/// The beginning of a text that a participant may have made as long as it likes. What is cut off is not kept.
fn shortened(text: &str, max: usize) -> String {
    cut(text, max).to_owned()
}

/// A provider's head. One beyond its limits ends its request: dropped, it would leave the client waiting.
fn start(flat: Flat<'_>) -> Result<FromParticipant<'_>, BadMessage> {
    let status =
        flat.status.filter(|s| (100..600).contains(s)).ok_or_else(|| BadMessage("status is not 100 to 599".into()))?;
    let fits = flat.headers.is_none_or(|raw| raw.get().len() <= MAX_HEAD);
    let headers = if fits { flat.headers()? } else { BTreeMap::new() };
    let request_id = short_id(flat.request_id)?;
    if !fits || headers.len() > MAX_HEAD_LINES {
        let message = format!("the provider's head is over {MAX_HEAD} bytes or {MAX_HEAD_LINES} lines");
        return Ok(FromParticipant::Error { request_id, stage: "response".into(), message });
    }
    Ok(FromParticipant::Start { status, headers: headers.into_iter().collect(), request_id })
}

/// Reads what the hub said.
///
/// # Errors
/// When the text is no JSON object with a `type`, or a known type lacks a field or has one of the wrong type. A peer
/// is not punished for it: the message is dropped.
pub fn decode_from_hub(text: &str) -> Result<FromHub<'_>, BadMessage> {
    let flat = Flat::parse(text)?;
    Ok(match flat.kind.0.as_ref() {
        "tunnel.request" => {
            let headers = flat.headers()?;
            FromHub::Request(Incoming {
                request_id: need(flat.request_id, "requestId")?,
                operation: flat.operation.unwrap_or_default().0,
                method: need(flat.method, "method")?,
                path: need(flat.path, "path")?,
                headers,
                hops: hops(flat.metadata),
                body: flat.body,
                stream: flat.stream.unwrap_or(false),
            })
        }
        "tunnel.cancel" => FromHub::Cancel { request_id: need(flat.request_id, "requestId")? },
        "tunnel.pause" => FromHub::Pause { request_id: need(flat.request_id, "requestId")? },
        "tunnel.resume" => FromHub::Resume { request_id: need(flat.request_id, "requestId")? },
        "tunnel.pong" => FromHub::Pong,
        _ => FromHub::Unknown,
    })
}

/// Reads what a participant said.
///
/// # Errors
/// As [`decode_from_hub`]; also for a chunk that is not base64, and an id over [`MAX_REQUEST_ID`]. A head beyond
/// [`MAX_HEAD`] or [`MAX_HEAD_LINES`] reads as the error that ends its request.
pub fn decode_from_participant(text: &str) -> Result<FromParticipant<'_>, BadMessage> {
    let flat = Flat::parse(text)?;
    Ok(match flat.kind.0.as_ref() {
        "tunnel.response.chunk" => FromParticipant::Chunk {
            bytes: decode_chunk(&need(flat.chunk, "chunk")?)?,
            request_id: short_id(flat.request_id)?,
        },
        "tunnel.response.start" => start(flat)?,
        "tunnel.response.end" => FromParticipant::End { request_id: short_id(flat.request_id)? },
        "tunnel.response.error" => FromParticipant::Error {
            request_id: short_id(flat.request_id)?,
            stage: shortened(&flat.stage.unwrap_or_default().0, MAX_STAGE),
            message: shortened(&need(flat.message, "message")?, MAX_ERROR_TEXT),
        },
        "tunnel.ping" => FromParticipant::Ping,
        _ => FromParticipant::Unknown,
    })
}

/// Standard alphabet, with or without padding: runtimes in other languages differ there.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn decode_chunk(base64: &str) -> Result<Vec<u8>, BadMessage> {
    LENIENT.decode(base64).map_err(|e| BadMessage(format!("chunk is not base64: {e}")))
}

/// A `tunnel.response.chunk`: its request's id, and the base64 of its bytes.
#[derive(Debug, PartialEq)]
pub struct PlainChunk<'a> {
    /// Which request.
    pub request_id: &'a str,
    base64: &'a str,
}

/// Reads a chunk that is written as [`encode_chunk`] writes it, which takes less time than any JSON would. `None` where the
/// message is another one, or says the same in other words: then it is [`decode_from_participant`]'s business.
pub fn plain_chunk(text: &str) -> Option<PlainChunk<'_>> {
    let rest = text.strip_prefix(CHUNK[0])?.strip_suffix(CHUNK[2])?;
    let (request_id, base64) = rest.split_once(CHUNK[1])?;
    // An id that needs escaping is none of ours; and whatever is no base64 is found when it is decoded.
    let plain = request_id.len() <= MAX_REQUEST_ID
        && request_id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    plain.then_some(PlainChunk { request_id, base64 })
}

impl PlainChunk<'_> {
    /// Adds its bytes to `out`. False, and nothing added, where they are no base64.
    #[must_use]
    pub fn decode(&self, out: &mut Vec<u8>) -> bool {
        let from = out.len();
        let decoded = LENIENT.decode_vec(self.base64, out).is_ok();
        if !decoded {
            out.truncate(from);
        }
        decoded
    }
}

/// What stands around a chunk's id and its base64.
const CHUNK: [&str; 3] = [r#"{"type":"tunnel.response.chunk","requestId":""#, r#"","chunk":""#, "\"}"];

/// A participant's `tunnel.response.start`.
pub fn encode_start(request_id: &str, status: u16, headers: &BTreeMap<String, String>) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Start<'a> {
        r#type: &'a str,
        request_id: &'a str,
        status: u16,
        headers: &'a BTreeMap<String, String>,
    }
    serde_json::to_vec(&Start { r#type: "tunnel.response.start", request_id, status, headers }).unwrap_or_default()
}

/// Adds a participant's `tunnel.response.chunk` to `out`, with the bytes as base64.
pub fn encode_chunk(out: &mut Vec<u8>, request_id: &str, bytes: &[u8]) {
    out.extend_from_slice(&CHUNK[0].as_bytes()[..CHUNK[0].len() - 1]);
    push_json(out, request_id);
    out.extend_from_slice(&CHUNK[1].as_bytes()[1..]);
    let from = out.len();
    out.resize(from + bytes.len().div_ceil(3) * 4, 0);
    // There is room for it: that is all that could fail.
    let _ = STANDARD.encode_slice(bytes, &mut out[from..]);
    out.extend_from_slice(CHUNK[2].as_bytes());
}

/// A participant's `tunnel.response.end`.
pub fn encode_end(request_id: &str) -> String {
    let mut out = String::from(r#"{"type":"tunnel.response.end","requestId":"#);
    push_json_text(&mut out, request_id);
    out.push('}');
    out
}

/// A participant's `tunnel.response.error`.
pub fn encode_error(request_id: &str, stage: &str, message: &str) -> String {
    let mut out = String::from(r#"{"type":"tunnel.response.error","requestId":"#);
    push_json_text(&mut out, request_id);
    out.push_str(r#","stage":"#);
    push_json_text(&mut out, stage);
    out.push_str(r#","message":"#);
    push_json_text(&mut out, message);
    out.push('}');
    out
}

/// A participant's `tunnel.ping`; `timestamp` in milliseconds since the epoch.
pub fn encode_ping(timestamp: u64) -> String {
    format!(r#"{{"type":"tunnel.ping","timestamp":{timestamp}}}"#)
}

fn push_json_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// The head of a binary chunk: what comes before the bytes themselves. `None` where the id is over 255 bytes long, and
/// the chunk has to go as JSON.
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
/// When it is shorter than its head says, or the id is no UTF-8.
pub fn decode_binary(message: &[u8]) -> Result<(&str, &[u8]), BadMessage> {
    let (length, rest) = message.split_first().ok_or_else(|| BadMessage("an empty binary message".into()))?;
    let (id, bytes) = rest
        .split_at_checked(usize::from(*length))
        .ok_or_else(|| BadMessage("a binary message is cut short".into()))?;
    let id = std::str::from_utf8(id).map_err(|_| BadMessage("a binary message's id is no UTF-8".into()))?;
    Ok((id, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_its_body_byte_for_byte() {
        let body = r#"{"z":1,"a":12345678901234567890123, "model" : "m"}"#;
        let request = Request {
            request_id: "r1",
            operation: "chat.completions.create",
            method: "POST",
            path: "/v1/chat/completions",
            headers: BTreeMap::from([("Content-Type", "application/json")]),
            hops: "a, b",
            body: Some(body),
            stream: true,
        };
        let (head, between, tail) = encode_request(&request);
        let text = String::from_utf8(head).unwrap() + between + tail;
        assert!(text.starts_with(r#"{"type":"tunnel.request","requestId":"r1","#), "{text}");
        let FromHub::Request(read) = decode_from_hub(&text).unwrap() else { panic!("{text}") };
        assert_eq!(read.body.unwrap().get(), body);
        assert_eq!(read.headers["Content-Type"], "application/json");
        assert!(read.stream);
        assert_eq!(read.hops.as_deref(), Some("a, b"));
        let other = r#"{"type":"tunnel.request","requestId":"r","method":"GET","path":"/","metadata":{"hops":7}}"#;
        let FromHub::Request(read) = decode_from_hub(other).unwrap() else { panic!("{other}") };
        assert_eq!(read.hops, None, "what somebody else puts there stops no request");
    }

    #[test]
    fn what_the_hub_says_beside_requests_reads_back() {
        let text = String::from_utf8(encode(&ToParticipant::Cancel { request_id: "r1" })).unwrap();
        assert_eq!(text, r#"{"type":"tunnel.cancel","requestId":"r1"}"#);
        assert!(matches!(decode_from_hub(&text).unwrap(), FromHub::Cancel { request_id } if request_id == "r1"));
        let text = String::from_utf8(encode(&ToParticipant::Pause { request_id: "r1" })).unwrap();
        assert!(matches!(decode_from_hub(&text).unwrap(), FromHub::Pause { request_id } if request_id == "r1"));
        let text = String::from_utf8(encode(&ToParticipant::Resume { request_id: "r1" })).unwrap();
        assert!(matches!(decode_from_hub(&text).unwrap(), FromHub::Resume { request_id } if request_id == "r1"));
        let text = String::from_utf8(encode(&ToParticipant::Pong { timestamp: 7 })).unwrap();
        assert!(matches!(decode_from_hub(&text).unwrap(), FromHub::Pong));
    }

    #[test]
    fn what_a_participant_says_reads_back() {
        let headers = BTreeMap::from([("content-type".to_owned(), "text/event-stream".to_owned())]);
        let start = String::from_utf8(encode_start("r", 200, &headers)).unwrap();
        assert_eq!(
            decode_from_participant(&start).unwrap(),
            FromParticipant::Start { request_id: "r".into(), status: 200, headers: headers.into_iter().collect() }
        );
        let bytes: Vec<u8> = (0..=255).collect();
        for (id, is_plain) in [("r-1.2", true), ("r\"1", false)] {
            let mut text = Vec::new();
            encode_chunk(&mut text, id, &bytes);
            let text = String::from_utf8(text).unwrap();
            let read = decode_from_participant(&text).unwrap();
            assert_eq!(read, FromParticipant::Chunk { request_id: id.into(), bytes: bytes.clone() });
            let mut decoded = b"before".to_vec();
            assert_eq!(
                plain_chunk(&text).is_some_and(|chunk| chunk.request_id == id && chunk.decode(&mut decoded)),
                is_plain
            );
            assert_eq!(decoded.strip_prefix(b"before"), Some(if is_plain { &*bytes } else { &[] }));
        }
        assert!(
            !plain_chunk(r#"{"type":"tunnel.response.chunk","requestId":"r","chunk":"YQ","x":"y"}"#)
                .is_some_and(|chunk| chunk.decode(&mut Vec::new()))
        );
        assert_eq!(decode_from_participant(&encode_end("r")).unwrap(), FromParticipant::End { request_id: "r".into() });
        assert_eq!(
            decode_from_participant(&encode_error("r", "connect", "it \"broke\"")).unwrap(),
            FromParticipant::Error { request_id: "r".into(), stage: "connect".into(), message: "it \"broke\"".into() }
        );
        assert_eq!(decode_from_participant(&encode_ping(5)).unwrap(), FromParticipant::Ping);
    }

    #[test]
    fn unknown_types_are_ignored_and_bad_messages_named() {
        assert_eq!(decode_from_participant(r#"{"type":"tunnel.new","x":[]}"#).unwrap(), FromParticipant::Unknown);
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"tunnel.response.start","requestId":"r","status":99}"#,
            r#"{"type":"tunnel.response.start","requestId":"r","status":200,"headers":{"a":1}}"#,
            r#"{"type":"tunnel.response.chunk","requestId":"r","chunk":"!!"}"#,
            r#"{"type":"tunnel.response.chunk","requestId":"r"}"#,
            r#"{"type":"tunnel.response.end"}"#,
        ] {
            assert!(decode_from_participant(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn base64_is_read_with_and_without_padding_and_with_escaped_slashes() {
        let chunk = |c: &str| {
            let text = format!(r#"{{"type":"tunnel.response.chunk","requestId":"r","chunk":"{c}"}}"#);
            match decode_from_participant(&text) {
                Ok(FromParticipant::Chunk { bytes, .. }) => bytes,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(chunk("YQ=="), b"a");
        assert_eq!(chunk("YQ"), b"a");
        assert_eq!(chunk(r"\/\/8="), [0xff, 0xff]);
    }

    #[test]
    fn what_a_participant_may_make_long_is_cut_or_refused() {
        let start = |headers: BTreeMap<String, String>| {
            let text = String::from_utf8(encode_start("r", 200, &headers)).unwrap();
            matches!(decode_from_participant(&text).unwrap(), FromParticipant::Start { .. })
        };
        let lines = |count: usize| (0..count).map(|n| (format!("x-{n}"), "v".to_owned())).collect();
        assert!(start(lines(MAX_HEAD_LINES)) && !start(lines(MAX_HEAD_LINES + 1)));
        let long = |bytes: usize| BTreeMap::from([("x".to_owned(), "v".repeat(bytes))]);
        assert!(start(long(MAX_HEAD - 10)) && !start(long(MAX_HEAD)));

        let text = encode_error("r", &"s".repeat(1000), &"é".repeat(MAX_ERROR_TEXT));
        let Ok(FromParticipant::Error { stage, message, .. }) = decode_from_participant(&text) else {
            panic!("{text}")
        };
        assert_eq!((stage.len(), message.len()), (MAX_STAGE, MAX_ERROR_TEXT));
        let text = encode_error("r", "s", &format!("x{}", "é".repeat(MAX_ERROR_TEXT)));
        assert!(
            matches!(decode_from_participant(&text), Ok(FromParticipant::Error { message, .. }) if message.len() == MAX_ERROR_TEXT - 1)
        );

        let id = |bytes: usize| decode_from_participant(&encode_end(&"i".repeat(bytes))).is_ok();
        assert!(id(MAX_REQUEST_ID) && !id(MAX_REQUEST_ID + 1));
        let mut chunk = Vec::new();
        encode_chunk(&mut chunk, &"i".repeat(MAX_REQUEST_ID + 1), b"x");
        let chunk = String::from_utf8(chunk).unwrap();
        assert!(plain_chunk(&chunk).is_none() && decode_from_participant(&chunk).is_err());
        let wrong = format!(r#"{{"type":"tunnel.ping","status":"{}"}}"#, "x".repeat(1 << 20));
        assert!(decode_from_participant(&wrong).unwrap_err().to_string().len() < 2 * MAX_ERROR_TEXT);
    }

    #[test]
    fn binary_chunks_carry_their_id() {
        let mut message = binary_head("r1").unwrap();
        message.extend_from_slice(b"\x00\xff");
        assert_eq!(decode_binary(&message).unwrap(), ("r1", &b"\x00\xff"[..]));
        assert!(decode_binary(b"").is_err());
        assert!(decode_binary(b"\x05abc").is_err());
        assert!(decode_binary(b"\x01\xff").is_err());
        assert!(binary_head(&"x".repeat(256)).is_none());
    }
}
