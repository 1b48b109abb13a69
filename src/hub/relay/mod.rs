//! Relays a request from a client to a participant, and the response back. If a participant fails before the client has
//! been sent anything of its response, another one is tried.
//!
//! `slots` and `wait_queue` find a participant, `failover` makes the attempts, `alternatives` finds who else may be tried,
//! `attempt` records one attempt, and `race` waits until a response says something. `allowance` counts what people with keys
//! use, and `conversation` tells who answered a request's earlier turns. `outgoing` makes the request for a participant,
//! which `upstream` sends over a transport (`tunnel_upstream`, `direct_upstream`). A `delivery` writes the response to the
//! client by `passthrough` or `adapters`, through `client_response`, which tells a failure in the form of `stream_error`.

pub mod adapters;
pub mod address_rule;
pub mod allowance;
pub mod alternatives;
pub mod attempt;
pub mod client_response;
pub mod content_coding;
pub mod content_watch;
pub mod conversation;
pub mod delivery;
pub mod direct_connections;
pub mod direct_upstream;
pub mod failover;
pub mod headers;
pub mod hops;
pub mod model_facts;
pub mod operation;
pub mod outgoing;
pub mod own_answer;
pub mod passthrough;
pub mod provider_status;
pub mod race;
pub mod response_owners;
pub mod route_check;
pub mod slots;
pub mod stream_error;
pub mod token_estimate;
pub mod tunnel_upstream;
pub mod upstream;
pub mod verdict;
pub mod wait_queue;

use std::io;

use self::client_response::ClientResponse;
use self::failover::Failover;
use self::operation::{RelayRequest, Shape};
use self::slots::{NoSlot, Slot};
use super::context::HubContext;
use super::respond::Rejection;
use crate::http::Exchange;
use crate::state::registry::PickError;
use crate::state::selector::Refusal;

/// Waits for a free participant and relays its response.
///
/// # Errors
/// When the client's connection is broken.
pub fn serve(hub: &HubContext, exchange: &mut Exchange<'_>, request: &RelayRequest<'_>) -> io::Result<()> {
    relay(hub, exchange, request, |failover, client| match failover.wait_for_slot(client) {
        Ok(slot) => failover.run(client, slot),
        Err(NoSlot::Rejection(error)) => {
            let rejection = rejection(hub, request, error);
            failover.trace_refusal(rejection.code());
            client.reject(rejection)
        }
        Err(NoSlot::Disconnected) => failover.abandon_queue(),
    })
}

/// The rejection of a request that no participant gets.
fn rejection(hub: &HubContext, request: &RelayRequest<'_>, error: PickError) -> Rejection {
    let is_unknown = error == PickError::Refused(Refusal::NoneAvailable);
    match request.kind.shape {
        Shape::Ollama(_) if is_unknown => model_facts::unknown_model(hub, request.code.as_str(), &request.model),
        _ => error.into(),
    }
}

/// Relays a request to the participant whose slot is given.
///
/// # Errors
/// When the client's connection is broken.
pub fn forward<'s>(
    hub: &'s HubContext,
    exchange: &mut Exchange<'_>,
    request: &'s RelayRequest<'s>,
    slot: Slot<'s>,
) -> io::Result<()> {
    relay(hub, exchange, request, |failover, client| failover.run(client, slot))
}

fn relay<'s>(
    hub: &'s HubContext,
    exchange: &mut Exchange<'_>,
    request: &'s RelayRequest<'s>,
    run: impl FnOnce(&mut Failover<'s>, &mut ClientResponse<'_, '_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut failover = Failover::new(hub, exchange, request);
    let form = request.kind.error_form();
    let comments = (request.stream && form.begins_early()).then_some(hub.timeouts.comment);
    let mut client = ClientResponse::new(exchange, comments, form);
    let result = run(&mut failover, &mut client);
    let code = client.error_code();
    drop(client);
    failover.record(exchange, code);
    result
}
