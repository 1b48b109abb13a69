//! A count of tokens for a provider that has none of its own.

use std::io;

use serde_json::json;

use crate::hub::context::HubContext;
use crate::hub::relay::client_response::ClientResponse;
use crate::hub::relay::operation::{RelayRequest, Shape};
use crate::hub::relay::passthrough::RelayedHead;
use crate::hub::respond::JSON;
use crate::proto::translate::anthropic;
use crate::state::missing_routes::ReplaceableRoute;
use crate::state::registry::{Outcome, Picked};

/// Whether the hub itself answers the request for this participant.
pub fn is_due(request: &RelayRequest<'_>, picked: &Picked) -> bool {
    request.kind.shape == Shape::CountTokens && request.kind.is_missing(picked)
}

/// Answers with an estimate, marked as one. `id` names the request.
pub fn answer(
    hub: &HubContext,
    client: &mut ClientResponse<'_, '_>,
    request: &RelayRequest<'_>,
    id: &str,
    picked: &Picked,
) -> io::Result<()> {
    hub.registry().record_outcome(picked, Outcome::Lacks(ReplaceableRoute::CountTokens), hub.clock.now());
    let body = request.body.as_ref().map(anthropic::to_chat).transpose();
    match body {
        Ok(chat) => {
            let count = anthropic::estimate_tokens(&chat.unwrap_or_default());
            let mut head = RelayedHead::of_hub(picked, id, JSON.1);
            head.headers.push(("X-Gambi-Estimated".into(), "true".into()));
            client.respond(200, &head.headers, json!({ "input_tokens": count }).to_string().as_bytes())
        }
        Err(bad) => client.reject(bad.into()),
    }
}
