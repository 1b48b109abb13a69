//! The routes of the hub's counters: for Prometheus, and of one room as JSON.

use crate::http::Exchange;
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::observe::metrics::{room, scrape};
use crate::hub::respond::send_data;

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
