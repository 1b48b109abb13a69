//! The decoder of both ends' text messages.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use serde_json::value::RawValue;

use super::chunk::decode_base64;
use super::constants::{MAX_ERROR_TEXT, MAX_HEAD, MAX_HEAD_LINES, MAX_REQUEST_ID, MAX_STAGE};
use super::message::{BadMessage, FromHub, FromParticipant, Incoming};
use crate::proto::openai::cut;

/// Text that is borrowed unless it contains JSON escapes.
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

/// The fields of all messages together, so that one pass parses a message before its type is known.
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
    body_bytes: Option<usize>,
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
        // The error contains the invalid value, which may be as long as the message.
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

/// The `hops` of a request's metadata. Other members are ignored.
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

/// A participant's request id, limited to [`MAX_REQUEST_ID`].
fn short_id(field: Option<Text<'_>>) -> Result<Cow<'_, str>, BadMessage> {
    let id = need(field, "requestId")?;
    if id.len() > MAX_REQUEST_ID {
        return Err(BadMessage(format!("requestId is longer than {MAX_REQUEST_ID} bytes")));
    }
    Ok(id)
}

/// A copy of a text, truncated to `max` bytes. The participant chooses the text's length.
fn truncated(text: &str, max: usize) -> String {
    cut(text, max).to_owned()
}

/// A provider's head. One beyond the limits becomes an error: if it were dropped, the client would wait in vain.
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

/// Decodes a text message of the hub.
///
/// # Errors
/// If the text is not a JSON object with a `type`, or a known type lacks a field or has one of the wrong type. The caller
/// drops the message and keeps the tunnel.
pub fn decode_from_hub(text: &str) -> Result<FromHub<'_>, BadMessage> {
    let flat = Flat::parse(text)?;
    Ok(match flat.kind.0.as_ref() {
        "tunnel.request" => {
            let headers = flat.headers()?;
            if flat.body.is_some() && flat.body_bytes.is_some() {
                return Err(BadMessage("a request has both a body and bodyBytes".into()));
            }
            FromHub::Request(Incoming {
                request_id: need(flat.request_id, "requestId")?,
                operation: flat.operation.unwrap_or_default().0,
                method: need(flat.method, "method")?,
                path: need(flat.path, "path")?,
                headers,
                hops: hops(flat.metadata),
                body: flat.body,
                body_bytes: flat.body_bytes,
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

/// Decodes a text message of a participant.
///
/// # Errors
/// As [`decode_from_hub`]; also for a chunk that is not base64, and an id over [`MAX_REQUEST_ID`]. A head beyond
/// [`MAX_HEAD`] or [`MAX_HEAD_LINES`] is decoded as an error, which ends its request.
pub fn decode_from_participant(text: &str) -> Result<FromParticipant<'_>, BadMessage> {
    let flat = Flat::parse(text)?;
    Ok(match flat.kind.0.as_ref() {
        "tunnel.response.chunk" => FromParticipant::Chunk {
            bytes: decode_base64(&need(flat.chunk, "chunk")?)?,
            request_id: short_id(flat.request_id)?,
        },
        "tunnel.response.start" => start(flat)?,
        "tunnel.response.end" => FromParticipant::End { request_id: short_id(flat.request_id)? },
        "tunnel.response.error" => FromParticipant::Error {
            request_id: short_id(flat.request_id)?,
            stage: truncated(&flat.stage.unwrap_or_default().0, MAX_STAGE),
            message: truncated(&need(flat.message, "message")?, MAX_ERROR_TEXT),
        },
        "tunnel.ping" => FromParticipant::Ping,
        _ => FromParticipant::Unknown,
    })
}
