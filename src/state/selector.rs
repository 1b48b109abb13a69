//! What a request's `model` selects, and why a selection fails (PROTOCOL.md, "Inference plane").

use crate::proto::management::ErrorCode;

/// The parsed `model` of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector<'a> {
    /// `*` or `any`.
    Any,
    /// `model:NAME`.
    Model(&'a str),
    /// Anything else: first an id, then the name of a model.
    Name(&'a str),
}

impl<'a> Selector<'a> {
    /// Parses a selector; every text is valid.
    pub fn parse(model: &'a str) -> Self {
        match model {
            "*" | "any" => Selector::Any,
            _ => match model.strip_prefix("model:") {
                Some(name) => Selector::Model(name),
                None => Selector::Name(model),
            },
        }
    }
}

/// The API that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Chat completions.
    Chat,
    /// Responses, natively or translated to chat completions.
    Responses,
    /// Ollama's chat or completion, natively or translated to chat completions.
    OllamaChat,
    /// An operation that no capability describes.
    Other,
}

/// What a request requires of a participant.
#[derive(Debug, Clone)]
pub struct Want {
    /// The request's `model`.
    pub model: String,
    /// The API that it needs.
    pub need: Need,
    /// Serials of the participants that have been tried already.
    pub tried: Vec<u64>,
}

/// Why no participant gets a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No participant that matches is up.
    NoneAvailable,
    /// All participants that match are at their concurrency limit.
    Busy,
    /// The named participant has no tunnel.
    NoTunnel,
    /// The named participant's heartbeats have stopped.
    Offline,
    /// No participant that matches supports the API.
    Unsupported,
}

impl Refusal {
    /// The status, the message and the code of the answer (PROTOCOL.md, "Inference plane").
    pub fn answer(self) -> (u16, &'static str, ErrorCode) {
        match self {
            Refusal::NoneAvailable => {
                (404, "No available participant for the requested model", ErrorCode::ModelNotFound)
            }
            Refusal::Busy => (409, "Participant is already handling another request.", ErrorCode::ParticipantBusy),
            Refusal::NoTunnel => {
                (503, "Participant tunnel is not connected.", ErrorCode::ParticipantTunnelNotConnected)
            }
            Refusal::Offline => (503, "Participant is offline", ErrorCode::EndpointNotReachable),
            Refusal::Unsupported => {
                let message = "Participant supports neither this request nor the chat/completions fallback for it.";
                (501, message, ErrorCode::InvalidRequest)
            }
        }
    }
}
