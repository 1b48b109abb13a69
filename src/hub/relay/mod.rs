//! A request's way from the client to a participant, and to another one if the first fails before it has said anything.

pub mod adapters;
pub mod attempt;
pub mod client_response;
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

use self::client_response::{Out, cut_short};
use self::failover::Tries;
use self::operation::Ask;
use self::slots::{NoPlace, Place};
use super::context::Shared;
use super::observe::metrics::Left;
use crate::http::Exchange;

/// Finds a participant for a request, waiting for one if need be, and passes its answer on.
///
/// # Errors
/// When the client's connection is broken.
pub fn serve(shared: &Shared, exchange: &mut Exchange<'_>, ask: &Ask<'_>) -> io::Result<()> {
    answer(shared, exchange, ask, |tries, out| match Place::wait(shared, &ask.code, &tries.want, out) {
        Ok(place) => tries.run(out, place),
        Err(NoPlace::Refused(error)) => out.refuse(error.into()),
        Err(NoPlace::HungUp) => {
            shared.metrics.hung_up(Left::Queue);
            tries.left_the_line();
            Err(cut_short())
        }
    })
}

/// Passes a request to somebody who is known already.
///
/// # Errors
/// When the client's connection is broken.
pub fn pass<'s>(shared: &'s Shared, exchange: &mut Exchange<'_>, ask: &Ask<'_>, place: Place<'s>) -> io::Result<()> {
    answer(shared, exchange, ask, |tries, out| tries.run(out, place))
}

fn answer<'s, 'a>(
    shared: &'s Shared,
    exchange: &mut Exchange<'_>,
    ask: &'a Ask<'a>,
    run: impl FnOnce(&mut Tries<'s, 'a>, &mut Out<'_, '_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut tries = Tries::new(shared, exchange, ask);
    let mut out = Out::new(exchange, ask.stream.then_some(shared.patience.comment));
    let served = run(&mut tries, &mut out);
    let told = out.told();
    drop(out);
    tries.note(exchange, told);
    served
}
