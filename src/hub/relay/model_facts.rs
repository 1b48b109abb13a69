//! What the hub itself can say of a model in Ollama's shapes, for providers that are not Ollama.

use std::io;

use serde_json::{Value, json};

use crate::hub::context::HubContext;
use crate::hub::relay::client_response::ClientResponse;
use crate::hub::relay::operation::{OllamaRoute, RelayRequest, Shape};
use crate::hub::relay::passthrough::RelayedHead;
use crate::hub::respond::{JSON, Rejection};
use crate::proto::management::{ErrorCode, Support};
use crate::proto::text::cut;
use crate::proto::time::rfc3339;
use crate::state::missing_routes::ReplaceableRoute;
use crate::state::registry::{Outcome, Picked};
use crate::state::room::Room;

/// The most names of models in an error.
const MAX_NAMED: usize = 8;
/// The most names that are looked at for it, under the registry's lock.
const MAX_LOOKED_AT: usize = 1024;
/// How much of a name is in it, in bytes.
const MAX_NAME: usize = 100;

/// Whether the hub itself answers the request for this participant: its provider cannot show a model.
pub fn is_due(request: &RelayRequest<'_>, picked: &Picked) -> bool {
    request.kind.shape == Shape::Ollama(OllamaRoute::Show) && request.kind.is_missing(picked)
}

/// Answers with what is known of the model. `id` names the request.
pub fn answer(hub: &HubContext, client: &mut ClientResponse<'_, '_>, id: &str, picked: &Picked) -> io::Result<()> {
    hub.registry().record_outcome(picked, Outcome::Lacks(ReplaceableRoute::OllamaShow), hub.clock.now());
    let head = RelayedHead::of_hub(picked, id, JSON.1);
    let facts = shown(&picked.model, picked.profile.capabilities.chat_completions, hub.clock.now().wall);
    client.respond(200, &head.headers, facts.to_string().as_bytes())
}

/// The rejection of a request for a model that no participant has, in the words that Ollama's clients know, with the names of
/// some that are there.
pub fn unknown_model(hub: &HubContext, code: &str, model: &str) -> Rejection {
    let registry = hub.registry();
    let members = registry.room(code).map(Room::members_in_order).unwrap_or_default();
    let up = members.into_iter().filter(|member| member.is_up());
    let mut names: Vec<&str> = Vec::new();
    for name in up.flat_map(|member| member.profile.models.all()).take(MAX_LOOKED_AT) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
        if names.len() > MAX_NAMED {
            break;
        }
    }
    let more = if names.len() > MAX_NAMED { " and others" } else { "" };
    let named: Vec<&str> = names.iter().take(MAX_NAMED).map(|name| cut(name, MAX_NAME)).collect();
    let there = if named.is_empty() {
        "no participant of this room is online".to_owned()
    } else {
        format!("this room has {}{more}", named.join(", "))
    };
    Rejection::new(ErrorCode::ModelNotFound, format!("model '{}' not found: {there}", cut(model, MAX_NAME)))
}

/// The answer of `/api/show`. Nothing tells whether a model calls tools: a provider's chat takes them, so clients may try.
fn shown(model: &str, chat: Support, now: u64) -> Value {
    let capabilities = if chat == Support::Unsupported { json!(["embedding"]) } else { json!(["completion", "tools"]) };
    json!({
        "modelfile": "",
        "parameters": "",
        "template": "",
        "license": "",
        "details": details(),
        "model_info": { "general.architecture": "", "general.basename": model },
        "capabilities": capabilities,
        "modified_at": rfc3339(now),
    })
}

/// The `details` of a model. All are texts that clients may show, and the hub knows none of them.
pub fn details() -> Value {
    json!({
        "parent_model": "",
        "format": "",
        "family": "",
        "families": [],
        "parameter_size": "",
        "quantization_level": "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_said_to_do_what_its_provider_may_do() {
        assert_eq!(shown("m", Support::Unknown, 0)["capabilities"], json!(["completion", "tools"]));
        let embedder = shown("m", Support::Unsupported, 0);
        assert_eq!((&embedder["capabilities"], &embedder["details"]["families"]), (&json!(["embedding"]), &json!([])));
        assert_eq!(embedder["model_info"]["general.basename"], "m");
    }
}
