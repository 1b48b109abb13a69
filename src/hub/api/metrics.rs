//! The routes of what the hub counts: for Prometheus, and of one room as JSON.

use crate::http::Exchange;
use crate::hub::access::caller::caller;
use crate::hub::access::credentials::key_holder;
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::observe::metrics::{room, scrape};
use crate::hub::respond::{Rejection, send_data};
use crate::state::selector::Caller;

const PROMETHEUS: (&str, &str) = ("Content-Type", "text/plain; version=0.0.4; charset=utf-8");

/// `GET /metrics`.
pub fn scrape(hub: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    Ok(exchange.respond(200, &[PROMETHEUS], scrape::render(hub).as_bytes()))
}

/// `GET /v1/rooms/{code}/metrics`.
pub fn room_metrics(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let metrics = room::of_room(hub, &params[0])?;
    Ok(send_data(exchange, 200, metrics))
}

/// `GET /v1/rooms/{code}/history`.
pub fn room_history(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let history = room::history_of_room(hub, &params[0])?;
    Ok(send_data(exchange, 200, history))
}

/// `GET /v1/rooms/{code}/queue`.
pub fn room_queue(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let queue = hub.registry().queue(&params[0], &reader(hub, exchange), hub.clock.now())?;
    Ok(send_data(exchange, 200, queue))
}

/// `GET /v1/rooms/{code}/requests/{requestId}`. Events tell ids to all who watch the room, so the id alone does not do.
pub fn request_trace(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let code = hub.registry().room(&params[0])?.code.clone();
    let trace = hub.traces.of(&code, &params[1], &reader(hub, exchange)).ok_or_else(|| {
        Rejection::invalid("No such request of yours is remembered").status(404).hint(
            "The hub remembers recent requests for the one who made them, from the end of their first attempt on.",
        )
    })?;
    Ok(send_data(exchange, 200, trace))
}

/// Whose requests are those of the one who asks.
fn reader(hub: &HubContext, exchange: &Exchange<'_>) -> Caller {
    caller(hub, exchange, key_holder(hub, exchange).as_deref())
}
