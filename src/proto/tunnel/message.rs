//! The messages of a tunnel as types.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// A message that does not follow the protocol.
#[derive(Debug)]
pub struct BadMessage(pub(super) String);

impl fmt::Display for BadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tunnel message cannot be read: {}", self.0)
    }
}

impl std::error::Error for BadMessage {}

/// A `tunnel.request` that the hub sends.
#[derive(Debug)]
pub struct Request<'a> {
    /// Identifies the request in every message about it.
    pub request_id: &'a str,
    /// Such as `chat.completions.create`.
    pub operation: &'a str,
    /// `GET`, `POST` or `DELETE`.
    pub method: &'a str,
    /// Appended to the provider's base URL.
    pub path: &'a str,
    /// Those other than `Content-Type`, which a request with a body gets. Each name once.
    pub headers: &'a [(String, String)],
    /// The hubs that it has passed: `metadata.hops`.
    pub hops: &'a str,
    /// How its body is sent.
    pub body: BodyForm,
    /// Whether the client requested a stream.
    pub stream: bool,
}

/// How the body of a `tunnel.request` is sent. It is JSON, which must be valid, as it is not checked again, and is forwarded
/// byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyForm {
    /// There is no body.
    None,
    /// Within the message, as its last member.
    Inline,
    /// As the binary message that follows, of so many bytes.
    Binary(usize),
}

/// The hub's messages other than requests.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub enum ToParticipant<'a> {
    /// The client disconnected.
    #[serde(rename = "tunnel.cancel", rename_all = "camelCase")]
    Cancel {
        /// The request's id.
        request_id: &'a str,
    },
    /// The client is slow: stop reading the provider's answer.
    #[serde(rename = "tunnel.pause", rename_all = "camelCase")]
    Pause {
        /// The request's id.
        request_id: &'a str,
    },
    /// Continue after a pause.
    #[serde(rename = "tunnel.resume", rename_all = "camelCase")]
    Resume {
        /// The request's id.
        request_id: &'a str,
    },
    /// Answer to a ping.
    #[serde(rename = "tunnel.pong")]
    Pong {
        /// Milliseconds since the epoch.
        timestamp: u64,
    },
}

/// A `tunnel.request` that a participant receives.
#[derive(Debug)]
pub struct IncomingRequest<'a> {
    /// Identifies the request in every message about it.
    pub request_id: Cow<'a, str>,
    /// Not validated yet.
    pub method: Cow<'a, str>,
    /// Appended to the provider's base URL.
    pub path: Cow<'a, str>,
    /// Headers for the provider, of the names that are forwarded.
    pub headers: Vec<(String, String)>,
    /// The provider's [`HOPS`](crate::proto::web::HOPS) header, as the provider may be a hub too.
    pub hops: Option<String>,
    /// The body for the provider, forwarded byte for byte.
    pub body: Option<&'a str>,
    /// The length of the body if it follows as a binary message.
    pub body_bytes: Option<usize>,
}

/// A message that a participant receives.
#[derive(Debug)]
pub enum FromHub<'a> {
    /// A request to serve.
    Request(IncomingRequest<'a>),
    /// Stop serving a request.
    Cancel {
        /// The request's id.
        request_id: Cow<'a, str>,
    },
    /// Stop reading the provider's answer.
    Pause {
        /// The request's id.
        request_id: Cow<'a, str>,
    },
    /// Continue after a pause.
    Resume {
        /// The request's id.
        request_id: Cow<'a, str>,
    },
    /// The answer to a ping.
    Pong,
    /// A type that this version does not know; to be ignored.
    Unknown,
}

/// A message that the hub receives.
#[derive(Debug, PartialEq)]
pub enum FromParticipant<'a> {
    /// The provider's head.
    Start {
        /// The request's id.
        request_id: Cow<'a, str>,
        /// HTTP status.
        status: u16,
        /// Headers of the provider's answer.
        headers: Vec<(String, String)>,
    },
    /// A piece of the body.
    Chunk {
        /// The request's id.
        request_id: Cow<'a, str>,
        /// The bytes, decoded.
        bytes: Vec<u8>,
    },
    /// The end of the body.
    End {
        /// The request's id.
        request_id: Cow<'a, str>,
    },
    /// The request failed.
    Error {
        /// The request's id.
        request_id: Cow<'a, str>,
        /// The stage at which it failed.
        stage: String,
        /// One sentence.
        message: String,
    },
    /// A part of a response that cannot be used, which ends its request: without it the answer would be incomplete, or the client
    /// would wait in vain. The participant does not know of it.
    Malformed {
        /// The request's id.
        request_id: Cow<'a, str>,
        /// The stage of the failure.
        stage: &'static str,
        /// One sentence.
        message: String,
    },
    /// A ping, which is answered with a pong.
    Ping,
    /// A type that this version does not know; to be ignored.
    Unknown,
}
