//! A request as one participant is sent it: with its model and defaults, in an API that its provider has, over the
//! transport that leads to it.

use std::sync::Arc;
use std::time::Duration;

use memchr::{memchr_iter, memchr2_iter};

use crate::http::BodyError;
use crate::hub::context::HubContext;
use crate::hub::relay::adapters::Adapter;
use crate::hub::relay::operation::{OllamaRoute, RelayRequest, Shape};
use crate::hub::relay::upstream::{OutgoingRequest, Transport, UpstreamError};
use crate::hub::respond::Rejection;
use crate::proto::json_parts::JsonParts;
use crate::proto::openai::{BadRequest, Members};
use crate::proto::operations::Operation;
use crate::proto::stage::Stage;
use crate::proto::translate::ollama::{self, Translated};
use crate::proto::translate::{self, ChatTranslator, anthropic};
use crate::proto::tunnel::MAX_TO_PARTICIPANT;
use crate::state::registry::Picked;
use crate::state::room::Reach;

/// The longest body for a tunnel, in bytes: what else is in the message is shorter than the rest of its limit.
const MAX_TUNNEL_BODY: usize = MAX_TO_PARTICIPANT - (1 << 20);
/// How many copies of a request exist while it is translated, beside the two that are reserved for every request.
const COPIES: usize = 3;
/// The most memory that an object of a request takes in its translation beside its text, in bytes: the longest is a call of a
/// tool, with the id that it gets.
const OBJECT: usize = 256;

/// What a participant is sent.
pub enum Body<'a> {
    /// The body, if the request has one, and the adapter for the response where the body was translated.
    Request(Option<JsonParts<'a>>, Option<Adapter>),
    /// Nothing: the request asks for something that only Ollama does, and this is the answer.
    Nothing(String),
}

/// The body for a participant. `key` makes the ids of a translated answer; `now` is the time since the epoch.
///
/// # Errors
/// When the request cannot be sent to this participant.
pub fn body<'a>(
    request: &RelayRequest<'a>,
    picked: &Picked,
    key: &dyn Fn() -> String,
    now: Duration,
) -> Result<Body<'a>, Box<Rejection>> {
    let body = put(request, picked, key, now).map_err(|bad| Box::new(bad.into()))?;
    // A participant ends its tunnel at a longer message, and with it all other requests there.
    match &body {
        Body::Request(Some(text), _) if picked.reach == Reach::Tunnel && text.len() > MAX_TUNNEL_BODY => {
            Err(Box::new(BodyError::TooLarge { limit: MAX_TUNNEL_BODY as u64 }.into()))
        }
        _ => Ok(body),
    }
}

fn put<'a>(
    request: &RelayRequest<'a>,
    picked: &Picked,
    key: &dyn Fn() -> String,
    now: Duration,
) -> Result<Body<'a>, BadRequest> {
    let kind = request.kind;
    let Some(original) = &request.body else { return Ok(Body::Request(None, None)) };
    let mut body = original.clone();
    let model = &picked.model;
    kind.fill(&mut body, model, &picked.config)?;
    let translates = request.is_translated_for(picked);
    match kind.shape {
        Shape::Responses if translates => {
            let adapter = Adapter::responses(original, &key(), now.as_secs(), model, request.stream);
            Ok(Body::Request(Some(translate::to_chat(&body)?.into()), Some(adapter)))
        }
        Shape::Messages if translates => {
            let chat = filled_chat(&anthropic::to_chat(&body)?, picked)?;
            Ok(Body::Request(Some(chat), Some(Adapter::messages(&key(), model, request.stream))))
        }
        Shape::Ollama(OllamaRoute::Text(form)) if translates => match ollama::to_chat(form, &body)? {
            Translated::Request(chat) => {
                let adapter = Adapter::ollama(form, &request.model, now, request.stream);
                Ok(Body::Request(Some(filled_chat(&chat, picked)?), Some(adapter)))
            }
            Translated::Nothing => Ok(Body::Nothing(ollama::load_answer(form, &body, &request.model, now))),
        },
        Shape::Ollama(OllamaRoute::Vectors(form)) if translates => match ollama::to_embeddings(form, &body)? {
            Translated::Request(body) => {
                Ok(Body::Request(Some(body.into()), Some(Adapter::embeddings(form, &request.model))))
            }
            Translated::Nothing => Ok(Body::Nothing(ollama::no_embeddings(form, &request.model))),
        },
        _ => Ok(Body::Request(Some(body.to_parts()), None)),
    }
}

/// A translated chat with the participant's defaults.
fn filled_chat<'a>(chat: &str, picked: &Picked) -> Result<JsonParts<'a>, BadRequest> {
    let mut chat = Members::parse(chat.as_bytes())?;
    chat.fill_chat(&picked.config)?;
    Ok(chat.to_json().into())
}

/// The memory that a translation takes beside the answer's text: a response repeats parts of its request.
pub fn response_translation_bytes(request: &RelayRequest<'_>, picked: &Picked) -> usize {
    let translates = request.kind.shape == Shape::Responses && request.is_translated_for(picked);
    let body = request.body.as_ref().filter(|_| translates);
    body.map_or(0, ChatTranslator::response_overhead)
}

/// The memory that translating the request takes, until it has been sent. Objects are counted within texts too.
pub fn request_translation_bytes(request: &RelayRequest<'_>, picked: &Picked) -> usize {
    let Some(body) = request.body.as_ref().filter(|_| request.is_translated_for(picked)) else { return 0 };
    let objects = |text: &str| memchr_iter(b'{', text.as_bytes()).count();
    // JSON that becomes a text gets a backslash for each of these.
    let escapes = |text: &str| memchr2_iter(b'"', b'\\', text.as_bytes()).count();
    let bytes = |text: &str| {
        let copies = text.len().saturating_add(escapes(text)).saturating_mul(COPIES);
        copies.saturating_add(objects(text).saturating_mul(OBJECT))
    };
    let names = if request.kind.shape == Shape::Responses { translate::tool_name_bytes(body) } else { 0 };
    body.iter().map(|(_, text)| bytes(text)).sum::<usize>().saturating_add(names)
}

/// The request with this body. `id` is unique on its tunnel; `translated`: the operation into which it was translated.
pub fn outgoing_request<'r>(
    request: &'r RelayRequest<'_>,
    id: Arc<str>,
    body: Option<JsonParts<'r>>,
    translated: Option<Operation>,
) -> OutgoingRequest<'r> {
    let (operation, path) =
        translated.map_or((request.kind.operation, &*request.path), |other| (other.name, other.path));
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
        None => Err(UpstreamError::tunnel(Stage::Dispatch, "the participant's tunnel has closed")),
    }
}
