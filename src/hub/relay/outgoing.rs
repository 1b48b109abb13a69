//! A request as one participant is sent it: with its model and defaults, in an API that its provider has, over the
//! transport that leads to it.

use crate::hub::context::HubContext;
use crate::hub::relay::adapters::Adapter;
use crate::hub::relay::operation::{RelayRequest, Shape};
use crate::hub::relay::upstream::{OutgoingRequest, Transport, UpstreamError};
use crate::proto::openai::{BadRequest, Members};
use crate::proto::operations;
use crate::proto::translate::{self, ChatTranslator, anthropic};
use crate::state::registry::Picked;
use crate::state::room::Reach;

/// The body for a participant, and the adapter for its response where the body was translated into a chat. `key` makes the
/// ids of a translated answer; `created_at` is in seconds since the epoch.
///
/// # Errors
/// When the request cannot be sent to this participant.
pub fn body(
    request: &RelayRequest<'_>,
    picked: &Picked,
    key: &str,
    created_at: u64,
) -> Result<(Option<String>, Option<Adapter>), BadRequest> {
    let kind = request.kind;
    let Some(original) = &request.body else { return Ok((None, None)) };
    let mut body = original.clone();
    let model = &picked.profile.model;
    kind.fill(&mut body, model, &picked.config)?;
    match kind.shape {
        Shape::Responses if picked.wants_chat => {
            let adapter = Adapter::responses(original, key, created_at, model, request.stream);
            Ok((Some(translate::to_chat(&body)?), Some(adapter)))
        }
        Shape::Messages if picked.no_messages => {
            let chat = anthropic::to_chat(&body)?;
            let mut chat = Members::parse(chat.as_bytes())?;
            chat.fill_chat(&picked.config)?;
            Ok((Some(chat.to_json()), Some(Adapter::messages(key, model, request.stream))))
        }
        _ => Ok((Some(body.to_json()), None)),
    }
}

/// The memory that a translation takes beside the answer's text: a response repeats parts of its request.
pub fn translation_overhead(request: &RelayRequest<'_>, picked: &Picked) -> usize {
    let translates = request.kind.shape == Shape::Responses && picked.wants_chat;
    let body = request.body.as_ref().filter(|_| translates);
    body.map_or(0, ChatTranslator::response_overhead)
}

/// The request with this body. `id` is unique on its tunnel; `chat`: whether the body was translated into a chat.
pub fn outgoing_request<'r>(
    request: &'r RelayRequest<'_>,
    id: String,
    body: Option<String>,
    chat: bool,
) -> OutgoingRequest<'r> {
    let (operation, path) = if chat {
        (operations::CHAT.name, operations::CHAT.path)
    } else {
        (request.kind.operation, request.path.as_str())
    };
    OutgoingRequest {
        id,
        operation,
        method: request.kind.method,
        path,
        headers: &request.headers,
        hops: &request.hops,
        body,
        stream: request.stream,
    }
}

/// The transport to a participant.
///
/// # Errors
/// When its tunnel has closed.
pub fn transport(hub: &HubContext, picked: &Picked) -> Result<Box<dyn Transport>, UpstreamError> {
    if picked.reach != Reach::Tunnel {
        return Ok(Box::new(hub.direct.transport(picked)));
    }
    match hub.tunnels.get(picked.serial) {
        Some(tunnel) => Ok(Box::new(tunnel)),
        None => Err(UpstreamError::tunnel("dispatch", "the participant's tunnel has closed")),
    }
}
