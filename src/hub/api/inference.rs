//! Handlers of the inference plane (PROTOCOL.md, "Inference plane"): they validate requests. `relay`
//! selects the participant and passes its response on.

use std::sync::Arc;

use serde_json::json;

use crate::http::Exchange;
use crate::hub::access::caller::caller;
use crate::hub::access::credentials::key_holder;
use crate::hub::access::keys::KeyHolder;
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::relay;
use crate::hub::relay::allowance::RequestPermit;
use crate::hub::relay::headers::Headers;
use crate::hub::relay::hops;
use crate::hub::relay::operation::{RelayRequest, route_of};
use crate::hub::respond::{Rejection, no_route, send_json};

/// Request headers that go on to the provider: those of Anthropic's API.
const FORWARDED_HEADERS: [&str; 2] = ["anthropic-version", "anthropic-beta"];

/// `GET` and `HEAD` of a room's base URL: clients look there whether the server is up.
pub fn base(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let code = hub.registry().room(&params[0])?.code.to_string();
    Ok(send_json(exchange, 200, &json!({ "room": code, "models": format!("/rooms/{code}/v1/models") })))
}

/// Admits a request of a person within their limits. The response tells what is left of these.
fn admit(hub: &HubContext, exchange: &mut Exchange<'_>, holder: &KeyHolder) -> Result<Arc<RequestPermit>, Rejection> {
    let (admitted, headers) = hub.allowances.admit(&holder.name, &holder.limits, hub.clock.now());
    headers.iter().for_each(|(name, value)| exchange.add_header(name, value));
    admitted.map(Arc::new)
}

/// Every `POST` of the inference plane: its body names a model.
pub fn create(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    // Checked first: a loop must not be hidden by a rejection on which the previous hub would retry.
    let hops = hops::check(hub, exchange)?;
    let _active = hub.drain.admit()?;
    let kind = route_of(exchange.path()).ok_or_else(no_route)?;
    let holder = key_holder(hub, exchange);
    let permit = holder.as_deref().map(|holder| admit(hub, exchange, holder)).transpose()?;
    let (code, room) = hub.registry().room(&params[0]).map(|room| (room.code.clone(), room.number))?;
    let header = |name: &str| exchange.header(name).map(|value| (name.to_owned(), value.to_owned()));
    let headers: Headers = FORWARDED_HEADERS.iter().filter_map(|name| header(name)).collect();
    let body = exchange.body()?;
    // The attempt sends a modified copy, while the original is retained for a retry.
    exchange.reserve(body.len() as u64)?;
    let (body, messages) = kind.parse(&body)?;
    let (model, stream) = (kind.model(&body)?.into(), kind.stream(&body)?);
    kind.check(&body, messages.as_deref())?;
    let (path, caller) = (kind.path.into(), caller(hub, exchange, holder.as_deref()));
    let priority = holder.as_ref().map_or(0, |holder| holder.priority);
    let conversation =
        kind.messages().and_then(|members| hub.conversations.of(room, &caller, members, (&body, messages)));
    let continued = kind.continued(&body).and_then(|id| hub.response_owners.of(code.as_str(), &id));
    let request = RelayRequest {
        code,
        model,
        caller,
        permit,
        priority,
        kind,
        path,
        headers,
        hops,
        continued,
        body: Some(body),
        stream,
        conversation,
    };
    Ok(relay::serve(hub, exchange, &request))
}
