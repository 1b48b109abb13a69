//! Responses in the format of each plane: envelopes, errors, and their statuses. Does not decide which response is sent.

use std::io;

use serde::Serialize;
use serde_json::{Value, json};

use crate::http::{BodyError, Exchange};
use crate::hub::error_shape::{ErrorShape, is_ollama};
use crate::hub::observe::log::request::RequestLog;
use crate::proto::management::{Envelope, ErrorBody, ErrorCode, ErrorEnvelope, Meta};
use crate::proto::openai::BadRequest;
use crate::state::config::FieldError;
use crate::state::registry::{Denied, Missing, PickError};
use crate::state::selector::Refusal;

pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json; charset=utf-8");

/// Headers of all responses but the dashboard's. Participants control the content of many responses, so a browser that
/// navigates to one must not execute it with the dashboard's origin.
pub const SANDBOX_HEADERS: [(&str, &str); 2] =
    [("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "sandbox; default-src 'none'")];

/// Headers of every event stream: the hub's own events and streamed completions.
pub const STREAM_HEADERS: [(&str, &str); 3] =
    [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no")];

/// The `Retry-After` of a 429 or 503 that names no other time, in seconds: room may be free again at once.
const RETRY_AFTER: u32 = 1;
/// `Retry-After` for an offline participant, in seconds. Participants reconnect after a pause.
const RETRY_AFTER_ABSENCE: u32 = 5;

/// A family of routes with one error format (PROTOCOL.md, "Common rules").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// `/v1/...`: `{"error": {code, message, hint?, details?}, "meta"}`.
    Management,
    /// `/rooms/{code}/v1/...` and Ollama's API: the shape that the client reads ([`ErrorShape`]).
    Inference,
    /// All other paths: `{"error": text}`.
    Legacy,
}

impl Plane {
    /// The plane that a path belongs to.
    pub fn of(path: &str) -> Self {
        let mut parts = path.split('/').skip(1);
        match (parts.next(), parts.nth(1)) {
            (Some("v1"), _) => Plane::Management,
            (Some("rooms"), Some("v1")) => Plane::Inference,
            _ if is_ollama(path) => Plane::Inference,
            _ => Plane::Legacy,
        }
    }
}

/// An error response, independent of the plane's format.
#[derive(Debug)]
pub struct Rejection {
    status: u16,
    code: ErrorCode,
    message: String,
    /// The stable text of this error on the management plane, if it differs from `message`.
    v1_message: Option<&'static str>,
    hint: Option<String>,
    details: Option<Value>,
    retry_after: Option<u32>,
}

impl Rejection {
    /// A rejection with the usual status of its code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Rejection {
            status: code.status(),
            code,
            message: message.into(),
            v1_message: None,
            hint: None,
            details: None,
            retry_after: None,
        }
    }

    /// A 400 for an invalid request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// Overrides the status.
    pub fn status(self, status: u16) -> Self {
        Rejection { status, ..self }
    }

    /// Sets the stable text of this error on the management plane. There the message becomes the hint, unless
    /// there is one.
    pub fn v1_message(self, text: &'static str) -> Self {
        Rejection { v1_message: Some(text), ..self }
    }

    /// Adds a hint: what the caller can do. Not sent where errors are a bare text.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Rejection { hint: Some(hint.into()), ..self }
    }

    /// Adds machine-readable details. Sent on the management plane only.
    pub fn details(self, details: Value) -> Self {
        Rejection { details: Some(details), ..self }
    }

    /// Sets `Retry-After`. Each 429 and 503 has it, [`RETRY_AFTER`] by default.
    pub fn retry_after(self, seconds: u32) -> Self {
        Rejection { retry_after: Some(seconds), ..self }
    }

    /// The code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The message and the code.
    pub fn into_message(self) -> (String, ErrorCode) {
        (self.message, self.code)
    }

    /// Sends the rejection in a plane's format.
    pub fn send(self, exchange: &mut Exchange<'_>, plane: Plane) -> io::Result<()> {
        let status = self.status;
        RequestLog::of(exchange).code = Some(self.code);
        if status == 401 {
            exchange.add_header("WWW-Authenticate", "Bearer");
        }
        if let Some(seconds) = self.retry_after.or(matches!(status, 429 | 503).then_some(RETRY_AFTER)) {
            exchange.add_header("Retry-After", &seconds.to_string());
        }
        match plane {
            Plane::Management => {
                let (message, hint) = match self.v1_message {
                    Some(known) => (known.to_owned(), self.hint.or(Some(self.message))),
                    None => (self.message, self.hint),
                };
                let error = ErrorBody { code: self.code, message, hint, details: self.details };
                let meta = meta(exchange);
                send_json(exchange, status, &ErrorEnvelope { error, meta })
            }
            Plane::Inference => {
                let id = exchange.id().clone();
                exchange.add_header("X-Gambi-Request-Id", &id);
                let shape = ErrorShape::of(exchange);
                send_json(exchange, status, &shape.body(status, self.code, &self.message, self.hint.as_deref()))
            }
            Plane::Legacy => send_json(exchange, status, &json!({ "error": self.message })),
        }
    }
}

impl From<Missing> for Rejection {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Room => {
                Rejection::new(ErrorCode::RoomNotFound, "Room not found").v1_message("Room not found.").hint(
                    "Check the room code: `gambi room list` shows the rooms that are not private. Rooms do not survive a \
                     restart of their hub, unless it declares them.",
                )
            }
            Missing::Participant => Rejection::new(ErrorCode::ParticipantNotFound, "Participant not found")
                .v1_message("Participant not found.")
                .hint("Register the participant again: it may have been removed, or the hub restarted."),
        }
    }
}

/// The rejection of a path that no route has.
pub fn no_route() -> Rejection {
    Rejection::invalid("Not found")
        .status(404)
        .v1_message("Route not found.")
        .hint("The hub's routes are listed by `gambi openapi`, and at /openapi.json of the hub.")
}

impl From<Denied> for Rejection {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Missing(missing) => missing.into(),
            Denied::NotTheirs => token_required(),
        }
    }
}

/// The rejection of a request that acts for a participant without its token.
pub fn token_required() -> Rejection {
    Rejection::invalid("The participantToken for this participant id is missing or wrong")
        .status(401)
        .hint("Send the token that the registration returned in X-Gambi-Participant-Token, or choose another id.")
}

impl From<FieldError> for Rejection {
    fn from(error: FieldError) -> Self {
        Rejection::invalid(error.to_string()).details(error.details())
    }
}

impl From<BodyError> for Rejection {
    fn from(error: BodyError) -> Self {
        Rejection::invalid(error.to_string()).status(error.status())
    }
}

impl From<BadRequest> for Rejection {
    fn from(error: BadRequest) -> Self {
        Rejection::invalid(error.message)
    }
}

impl From<PickError> for Rejection {
    fn from(error: PickError) -> Self {
        match error {
            PickError::Missing(missing) => missing.into(),
            PickError::Refused(refusal) => {
                let (status, message, code) = refusal.answer();
                let retry_after = matches!(refusal, Refusal::NoTunnel | Refusal::Offline | Refusal::Draining)
                    .then_some(RETRY_AFTER_ABSENCE);
                Rejection { retry_after, ..Rejection::new(code, message).status(status) }
            }
            PickError::QueueFull => {
                let message = "Too many requests wait for a participant of this room already.";
                Rejection::new(ErrorCode::ParticipantBusy, message).status(503)
            }
        }
    }
}

fn meta(exchange: &Exchange<'_>) -> Meta {
    Meta { request_id: exchange.id().to_string() }
}

/// Sends a success of the management plane: `data` in an envelope.
pub fn send_data<T: Serialize>(exchange: &mut Exchange<'_>, status: u16, data: T) -> io::Result<()> {
    let meta = meta(exchange);
    send_json(exchange, status, &Envelope { data, meta })
}

/// Sends a value as JSON, without an envelope.
pub fn send_json<T: Serialize>(exchange: &mut Exchange<'_>, status: u16, value: &T) -> io::Result<()> {
    let body = serde_json::to_vec(value).map_err(io::Error::other)?;
    exchange.respond(status, &[JSON], &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_determines_the_plane() {
        assert_eq!(Plane::of("/v1/rooms"), Plane::Management);
        assert_eq!(Plane::of("/rooms/ABC234/v1/models"), Plane::Inference);
        assert_eq!([Plane::of("/rooms/ABC234/api/chat"), Plane::of("/api/tags")], [Plane::Inference; 2]);
        assert_eq!(Plane::of("/rooms/ABC234/events"), Plane::Legacy);
        assert_eq!(Plane::of("/rooms"), Plane::Legacy);
        assert_eq!(Plane::of("/"), Plane::Legacy);
    }
}
