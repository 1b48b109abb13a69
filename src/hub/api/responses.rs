//! Handlers for stored responses of the Responses API: get, delete, cancel, input items. Each request goes to the
//! participant that created the response.

use crate::http::Exchange;
use crate::hub::access::caller::caller;
use crate::hub::access::credentials::key_holder;
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams, query_param};
use crate::hub::relay::hops;
use crate::hub::relay::operation::InferenceRoute;
use crate::hub::relay::slots::Slot;
use crate::hub::relay::{self, operation::RelayRequest};
use crate::hub::respond::Rejection;
use crate::proto::management::ErrorCode;
use crate::proto::operations::{self, Operation};

/// `GET /rooms/{code}/v1/responses/{id}`.
pub fn get(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    relay_to_owner(hub, exchange, params, operations::RESPONSE_GET)
}

/// `DELETE /rooms/{code}/v1/responses/{id}`.
pub fn delete(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    relay_to_owner(hub, exchange, params, operations::RESPONSE_DELETE)
}

/// `POST /rooms/{code}/v1/responses/{id}/cancel`.
pub fn cancel(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    relay_to_owner(hub, exchange, params, operations::RESPONSE_CANCEL)
}

/// `GET /rooms/{code}/v1/responses/{id}/input_items`.
pub fn input_items(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    relay_to_owner(hub, exchange, params, operations::RESPONSE_INPUT_ITEMS)
}

/// Relays a request about a response to the participant that created it. The request takes no slot: a cancellation must
/// not wait for the request that it cancels.
fn relay_to_owner(
    hub: &HubContext,
    exchange: &mut Exchange<'_>,
    params: &PathParams,
    operation: Operation,
) -> HandlerResult {
    let hops = hops::check(hub, exchange)?;
    let _active = hub.drain.admit()?;
    let (code, id) = (&params[0], &params[1]);
    let room = hub.registry().room(code)?.code.clone();
    let not_found = || Rejection::new(ErrorCode::InvalidRequest, format!("Response not found: {id}")).status(404);
    let owner = hub.response_owners.of(room.as_str(), id).ok_or_else(not_found)?;
    if owner.translated {
        let message = "This response was made by the chat/completions fallback, which stores no responses: it cannot be read, \
                       cancelled or deleted";
        return Err(Rejection::new(ErrorCode::InvalidRequest, message).status(501));
    }
    let caller = caller(hub, exchange, key_holder(hub, exchange).as_deref());
    let picked = hub.registry().peek(code, &owner.participant, owner.serial, &caller)?;
    if !hub.response_owners.is_by(&owner, &picked) {
        return Err(not_found());
    }
    let query = exchange.query().map(|query| format!("?{query}")).unwrap_or_default();
    let request = RelayRequest {
        code: room,
        model: owner.participant.clone(),
        caller,
        permit: None,
        priority: 0,
        kind: InferenceRoute::about_response(operation),
        path: (operation.path_for(id) + &query).into(),
        headers: Vec::new(),
        hops,
        body: None,
        stream: query_param(exchange.query(), "stream").as_deref() == Some("true"),
        continued: None,
        conversation: None,
    };
    Ok(relay::forward(hub, exchange, &request, Slot::unlimited(hub, picked)))
}
