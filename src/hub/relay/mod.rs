//! A request's way from the client to a participant, and to another one if the first fails before it has said anything.

pub mod adapters;
pub mod address_rule;
pub mod attempt;
pub mod client_response;
pub mod direct_connections;
pub mod direct_upstream;
pub mod failover;
pub mod hops;
pub mod operation;
pub mod passthrough;
pub mod response_owners;
pub mod slots;
pub mod tunnel_upstream;
pub mod upstream;
pub mod wait_queue;

use std::io;

use self::client_response::{ClientResponse, cut_short};
use self::failover::Failover;
use self::operation::RelayRequest;
use self::slots::{NoSlot, Slot};
use super::context::HubContext;
use super::observe::metrics::HangUpPhase;
use crate::http::Exchange;

/// Finds a participant for a request, waiting for one if need be, and passes its answer on.
///
/// # Errors
/// When the client's connection is broken.
pub fn serve(hub: &HubContext, exchange: &mut Exchange<'_>, ask: &RelayRequest<'_>) -> io::Result<()> {
    answer(hub, exchange, ask, |tries, out| match Slot::wait(hub, &ask.code, &tries.want, out) {
        Ok(slot) => tries.run(out, slot),
        Err(NoSlot::Rejection(error)) => out.refuse(error.into()),
        Err(NoSlot::HungUp) => {
            hub.metrics.hung_up(HangUpPhase::Queue);
            tries.emit_queue_abandoned();
            Err(cut_short())
        }
    })
}

/// Passes a request to somebody who is known already.
///
/// # Errors
/// When the client's connection is broken.
pub fn pass<'s>(
    hub: &'s HubContext,
    exchange: &mut Exchange<'_>,
    ask: &RelayRequest<'_>,
    slot: Slot<'s>,
) -> io::Result<()> {
    answer(hub, exchange, ask, |tries, out| tries.run(out, slot))
}

fn answer<'s, 'a>(
    hub: &'s HubContext,
    exchange: &mut Exchange<'_>,
    ask: &'a RelayRequest<'a>,
    run: impl FnOnce(&mut Failover<'s, 'a>, &mut ClientResponse<'_, '_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut tries = Failover::new(hub, exchange, ask);
    let mut out = ClientResponse::new(exchange, ask.stream.then_some(hub.timeouts.comment));
    let served = run(&mut tries, &mut out);
    let told = out.told();
    drop(out);
    tries.note(exchange, told);
    served
}
