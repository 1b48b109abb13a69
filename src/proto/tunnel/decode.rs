//! The decoder of both ends' text messages.

use std::borrow::Cow;

use serde::Deserialize;

use super::chunk::decode_base64;
use super::constants::{MAX_ERROR_TEXT, MAX_HEAD, MAX_HEAD_LINES, MAX_REQUEST_ID, MAX_STAGE};
use super::message::{BadMessage, FromHub, FromParticipant, IncomingRequest};
use crate::proto::members::text_of;
use crate::proto::operations::passes_header;
use crate::proto::scan;
use crate::proto::text::cut;

/// The fields of all messages together, so that one pass parses a message before its type is known. A `null` counts as absent.
/// Text is borrowed unless it has escapes; `headers`, `metadata` and `body` are kept as JSON. `operation` and `stream` are only
/// checked: the path and the body say the same.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<Cow<'a, str>>,
    request_id: Option<Cow<'a, str>>,
    operation: Option<Cow<'a, str>>,
    method: Option<Cow<'a, str>>,
    path: Option<Cow<'a, str>>,
    headers: Option<&'a str>,
    metadata: Option<&'a str>,
    body: Option<&'a str>,
    body_bytes: Option<usize>,
    stream: Option<bool>,
    status: Option<u16>,
    chunk: Option<Cow<'a, str>>,
    stage: Option<Cow<'a, str>>,
    message: Option<Cow<'a, str>>,
    /// The first field that has another type, or has been there before.
    bad: Option<String>,
}

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Result<Self, BadMessage> {
        let (mut fields, mut last) = (Fields::default(), "");
        let read = scan::members(text, |key, value| {
            last = key;
            let key = text_of(key)?;
            if fields.set(&key, value.text()?).is_none() {
                fields.bad.get_or_insert_with(|| key.into_owned());
            }
            Some(())
        });
        let refused = || format!("it is no JSON object, after {last:?}");
        read.map(|()| fields).ok_or_else(|| BadMessage(cut(&refused(), MAX_ERROR_TEXT).to_owned()))
    }

    /// Checks that no field has another type, or appears twice.
    fn check(&mut self) -> Result<(), BadMessage> {
        self.bad.take().map_or(Ok(()), |key| Err(BadMessage(format!("{key} appears twice, or cannot be read"))))
    }

    /// Takes a field in. `None` if it has another type, or has been there before.
    fn set(&mut self, key: &str, value: &'a str) -> Option<()> {
        fn put<T>(field: &mut Option<T>, value: Option<T>) -> Option<()> {
            field.replace(value?).is_none().then_some(())
        }
        match key {
            _ if value == "null" => Some(()),
            "type" => put(&mut self.kind, text_of(value)),
            "requestId" => put(&mut self.request_id, text_of(value)),
            "operation" => put(&mut self.operation, text_of(value)),
            "method" => put(&mut self.method, text_of(value)),
            "path" => put(&mut self.path, text_of(value)),
            "headers" => put(&mut self.headers, Some(value)),
            "metadata" => put(&mut self.metadata, Some(value)),
            "body" => put(&mut self.body, Some(value)),
            "bodyBytes" => put(&mut self.body_bytes, value.parse().ok()),
            "stream" => put(&mut self.stream, value.parse().ok()),
            "status" => put(&mut self.status, value.parse().ok()),
            "chunk" => put(&mut self.chunk, text_of(value)),
            "stage" => put(&mut self.stage, text_of(value)),
            "message" => put(&mut self.message, text_of(value)),
            _ => Some(()),
        }
    }

    /// Names and values of the headers that count, as far as one more than [`MAX_HEAD_LINES`]. Of a name that appears twice, the
    /// last value is taken.
    fn headers(&self, counts: impl Fn(&str) -> bool) -> Result<Vec<(String, String)>, BadMessage> {
        let mut headers: Vec<(String, String)> = Vec::new();
        let read = scan::members(self.headers.unwrap_or("{}"), |name, value| {
            let (name, value) = (text_of(name)?, text_of(value.text()?)?);
            if !counts(&name) {
                return Some(());
            }
            match headers.iter_mut().find(|(known, _)| *known == name) {
                Some(header) => header.1 = value.into_owned(),
                None => headers.push((name.into_owned(), value.into_owned())),
            }
            (headers.len() <= MAX_HEAD_LINES).then_some(())
        });
        let is_read = read.is_some() || headers.len() > MAX_HEAD_LINES;
        is_read.then_some(headers).ok_or_else(|| BadMessage("headers is not an object of texts".into()))
    }
}

/// The `hops` of a request's metadata. Other members are ignored.
fn hops(metadata: Option<&str>) -> Option<String> {
    #[derive(Deserialize)]
    struct Metadata {
        hops: String,
    }
    serde_json::from_str::<Metadata>(metadata?).ok().map(|metadata| metadata.hops)
}

fn need<'a>(field: Option<Cow<'a, str>>, name: &str) -> Result<Cow<'a, str>, BadMessage> {
    field.ok_or_else(|| BadMessage(format!("{name} is missing")))
}

/// A request id, limited to [`MAX_REQUEST_ID`].
fn short_id(field: Option<Cow<'_, str>>) -> Result<Cow<'_, str>, BadMessage> {
    let id = need(field, "requestId")?;
    if id.len() > MAX_REQUEST_ID {
        return Err(BadMessage(format!("requestId is longer than {MAX_REQUEST_ID} bytes")));
    }
    Ok(id)
}

/// A provider's head.
fn start(fields: Fields<'_>) -> Result<FromParticipant<'_>, BadMessage> {
    let status = fields
        .status
        .filter(|s| (100..600).contains(s))
        .ok_or_else(|| BadMessage("status is not 100 to 599".into()))?;
    let fits = fields.headers.is_none_or(|raw| raw.len() <= MAX_HEAD);
    let headers = if fits { fields.headers(|_| true)? } else { Vec::new() };
    let request_id = short_id(fields.request_id)?;
    if !fits || headers.len() > MAX_HEAD_LINES {
        let message = format!("the provider's head is over {MAX_HEAD} bytes or {MAX_HEAD_LINES} lines");
        return Ok(FromParticipant::Malformed { request_id, stage: "response", message });
    }
    Ok(FromParticipant::Start { status, headers, request_id })
}

/// Decodes a text message of the hub.
///
/// # Errors
/// If the text is not a JSON object with a `type`, or a known type lacks a field, has one of the wrong type, or an id over
/// [`MAX_REQUEST_ID`]. The caller drops the message and keeps the tunnel.
pub fn decode_from_hub(text: &str) -> Result<FromHub<'_>, BadMessage> {
    let mut fields = Fields::parse(text)?;
    fields.check()?;
    Ok(match need(fields.kind.take(), "type")?.as_ref() {
        "tunnel.request" => {
            // Few names are forwarded, so that the length of the list needs no limit of its own.
            let headers = fields.headers(passes_header)?;
            if fields.body.is_some() && fields.body_bytes.is_some() {
                return Err(BadMessage("a request has both a body and bodyBytes".into()));
            }
            FromHub::Request(IncomingRequest {
                request_id: short_id(fields.request_id)?,
                method: need(fields.method, "method")?,
                path: need(fields.path, "path")?,
                headers,
                hops: hops(fields.metadata),
                body: fields.body,
                body_bytes: fields.body_bytes,
            })
        }
        "tunnel.cancel" => FromHub::Cancel { request_id: short_id(fields.request_id)? },
        "tunnel.pause" => FromHub::Pause { request_id: short_id(fields.request_id)? },
        "tunnel.resume" => FromHub::Resume { request_id: short_id(fields.request_id)? },
        "tunnel.pong" => FromHub::Pong,
        _ => FromHub::Unknown,
    })
}

/// Decodes a text message of a participant.
///
/// # Errors
/// As [`decode_from_hub`]. A part of a response that cannot be decoded, such as a chunk that is
/// not base64 or a head beyond [`MAX_HEAD`] or [`MAX_HEAD_LINES`], is [`FromParticipant::Malformed`] if its request's id can be.
pub fn decode_from_participant(text: &str) -> Result<FromParticipant<'_>, BadMessage> {
    let mut fields = Fields::parse(text)?;
    let kind = need(fields.kind.take(), "type")?;
    let request_id = fields.request_id.clone();
    match fields.check().and_then(|()| decode(&kind, fields)) {
        Err(bad) if kind.starts_with("tunnel.response.") => {
            let message = cut(&bad.to_string(), MAX_ERROR_TEXT).to_owned();
            Ok(FromParticipant::Malformed { request_id: short_id(request_id)?, stage: "participant", message })
        }
        decoded => decoded,
    }
}

fn decode<'a>(kind: &str, fields: Fields<'a>) -> Result<FromParticipant<'a>, BadMessage> {
    Ok(match kind {
        "tunnel.response.chunk" => FromParticipant::Chunk {
            bytes: decode_base64(&need(fields.chunk, "chunk")?)?,
            request_id: short_id(fields.request_id)?,
        },
        "tunnel.response.start" => start(fields)?,
        "tunnel.response.end" => FromParticipant::End { request_id: short_id(fields.request_id)? },
        "tunnel.response.error" => FromParticipant::Error {
            request_id: short_id(fields.request_id)?,
            stage: cut(&fields.stage.unwrap_or_default(), MAX_STAGE).to_owned(),
            message: cut(&need(fields.message, "message")?, MAX_ERROR_TEXT).to_owned(),
        },
        "tunnel.ping" => FromParticipant::Ping,
        _ => FromParticipant::Unknown,
    })
}
