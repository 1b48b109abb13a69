//! Answers that the hub makes itself, since the participant's provider has none to the request.

use std::io;

use crate::hub::context::HubContext;
use crate::hub::relay::client_response::ClientResponse;
use crate::hub::relay::operation::RelayRequest;
use crate::hub::relay::passthrough::RelayedHead;
use crate::hub::relay::{model_facts, token_estimate};
use crate::hub::respond::JSON;
use crate::state::registry::Picked;

/// Whether the hub itself answers the request for this participant.
pub fn is_due(request: &RelayRequest<'_>, picked: &Picked) -> bool {
    token_estimate::is_due(request, picked) || model_facts::is_due(request, picked)
}

/// Answers such a request. `id` names it.
pub fn answer(
    hub: &HubContext,
    client: &mut ClientResponse<'_, '_>,
    request: &RelayRequest<'_>,
    id: &str,
    picked: &Picked,
) -> io::Result<()> {
    if token_estimate::is_due(request, picked) {
        token_estimate::answer(hub, client, request, id, picked)
    } else {
        model_facts::answer(hub, client, id, picked)
    }
}

/// Sends an answer that needed no provider, as the only line where the client asked for a stream.
pub fn send(
    client: &mut ClientResponse<'_, '_>,
    request: &RelayRequest<'_>,
    id: &str,
    picked: &Picked,
    mut text: String,
) -> io::Result<()> {
    let kind = if request.stream { client.form().content_type() } else { JSON.1 };
    let head = RelayedHead::of_hub(picked, id, kind);
    text.push_str(if request.stream { client.form().boundary() } else { "" });
    client.respond(200, &head.headers, text.as_bytes())
}
