//! What a request's `model` selects, and why a selection fails (PROTOCOL.md, "Inference plane").

use std::net::IpAddr;
use std::sync::Arc;

use super::conversations::Previous;
use super::missing_routes::ReplaceableRoute;
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
    /// Chat completions, or this route, whose requests can be translated to them.
    ChatOr(ReplaceableRoute),
    /// An operation that no capability describes.
    Other,
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A client without a key of its own, by its network.
    Network(IpAddr),
    /// A person with a key of their own, by name.
    Person(Arc<str>),
}

/// What a request requires of a participant.
#[derive(Debug, Clone)]
pub struct Want {
    /// The request's `model`.
    pub model: Arc<str>,
    /// The API that it needs.
    pub need: Need,
    /// Who sent it.
    pub caller: Caller,
    /// Requests of a higher priority get slots first.
    pub priority: i32,
    /// Serials of the participants that have been tried already.
    pub tried: Vec<u64>,
    /// Who answered the conversation that it continues.
    pub previous: Option<Previous>,
    /// The serial of the participant that stores the response that it continues: no other one can.
    pub owner: Option<u64>,
}

impl Want {
    /// Whether a participant that is busy for one of the two requests is busy for the other too.
    pub fn has_same_candidates(&self, other: &Want) -> bool {
        self.model == other.model && self.need == other.need && self.tried == other.tried && self.owner == other.owner
    }
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
    /// The named participant is about to leave.
    Draining,
    /// The named participant's provider does not answer.
    ProviderDown,
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
            Refusal::Draining => {
                let message = "Participant is draining: it finishes its answers and leaves the room";
                (503, message, ErrorCode::EndpointNotReachable)
            }
            Refusal::ProviderDown => {
                let message =
                    "The participant's provider does not answer: it must be started on the participant's machine";
                (503, message, ErrorCode::EndpointNotReachable)
            }
            Refusal::Unsupported => {
                let message = "Participant supports neither this request nor the chat/completions fallback for it.";
                (501, message, ErrorCode::InvalidRequest)
            }
        }
    }
}
