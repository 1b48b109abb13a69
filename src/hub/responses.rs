//! Responses that were made earlier: which participant made each, and the routes that ask for one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::answer::Refused;
use super::hops;
use super::inference::Kind;
use super::place::Place;
use super::relay::{self, Ask};
use super::routes::{Handled, Params, query_param};
use super::shared::Shared;
use crate::http::Exchange;
use crate::proto::management::ErrorCode;
use crate::proto::operations::{self, Operation};

/// Responses that a hub remembers; the oldest are forgotten first.
const REMEMBERED: usize = 10_000;

/// Who made a response.
#[derive(Debug, Clone)]
pub struct Maker {
    /// The member's number: one who left and came back does not know it any more.
    pub serial: u64,
    /// Its id.
    pub participant: String,
    /// Whether the hub put it together from a chat, so that the provider knows nothing of it.
    pub translated: bool,
}

/// Who made which response, by room and response id.
#[derive(Default)]
pub struct Makers {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    makers: HashMap<(String, String), Maker>,
    order: VecDeque<(String, String)>,
}

impl Makers {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers who made a response.
    pub(super) fn remember(&self, room: &str, response: &str, maker: Maker) {
        let key = (room.to_owned(), response.to_owned());
        let mut known = self.lock();
        if known.makers.insert(key.clone(), maker).is_none() {
            known.order.push_back(key);
        }
        while known.order.len() > REMEMBERED {
            if let Some(oldest) = known.order.pop_front() {
                known.makers.remove(&oldest);
            }
        }
    }

    fn of(&self, room: &str, response: &str) -> Option<Maker> {
        self.lock().makers.get(&(room.to_owned(), response.to_owned())).cloned()
    }

    /// Forgets what a member made that has left.
    pub(super) fn forget(&self, serial: u64) {
        let mut known = self.lock();
        let Known { makers, order } = &mut *known;
        makers.retain(|_, maker| maker.serial != serial);
        order.retain(|key| makers.contains_key(key));
    }
}

/// `GET /rooms/{code}/v1/responses/{id}`.
pub fn get(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    ask(shared, exchange, params, operations::RESPONSE_GET)
}

/// `DELETE /rooms/{code}/v1/responses/{id}`.
pub fn delete(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    ask(shared, exchange, params, operations::RESPONSE_DELETE)
}

/// `POST /rooms/{code}/v1/responses/{id}/cancel`.
pub fn cancel(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    ask(shared, exchange, params, operations::RESPONSE_CANCEL)
}

/// `GET /rooms/{code}/v1/responses/{id}/input_items`.
pub fn input_items(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    ask(shared, exchange, params, operations::RESPONSE_INPUT_ITEMS)
}

/// Passes a question about a response to whoever made it. It takes no place: cancelling must not wait for what it
/// cancels.
fn ask(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params, operation: Operation) -> Handled {
    let hops = hops::passed(shared, exchange)?;
    let (code, id) = (&params[0], &params[1]);
    let room = shared.registry().room(code)?.code.clone();
    let not_found = || Refused::new(ErrorCode::InvalidRequest, format!("Response not found: {id}")).status(404);
    let maker = shared.makers.of(room.as_str(), id).ok_or_else(not_found)?;
    if maker.translated {
        let message = "This response was put together from a chat: its participant's provider keeps none";
        return Err(Refused::new(ErrorCode::InvalidRequest, message).status(501));
    }
    let picked = shared.registry().peek(code, &maker.participant, maker.serial)?;
    let query = exchange.query().map(|query| format!("?{query}")).unwrap_or_default();
    let ask = Ask {
        code: room.to_string(),
        model: maker.participant,
        kind: Kind::about_response(operation),
        path: operation.path_for(id) + &query,
        headers: Vec::new(),
        hops,
        body: None,
        stream: query_param(exchange.query(), "stream").as_deref() == Some("true"),
    };
    Ok(relay::pass(shared, exchange, &ask, Place::beside(shared, picked)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker(serial: u64) -> Maker {
        Maker { serial, participant: "ann".into(), translated: false }
    }

    #[test]
    fn the_oldest_are_forgotten_and_those_whose_maker_left() {
        let makers = Makers::default();
        for n in 0..=REMEMBERED {
            makers.remember("ABC234", &format!("resp_{n}"), maker(n as u64 % 2));
        }
        makers.remember("ABC234", "resp_5", maker(7));
        assert!(makers.of("ABC234", "resp_0").is_none());
        assert!(makers.of("XYZ234", "resp_1").is_none(), "rooms do not share responses");
        assert_eq!(makers.of("ABC234", "resp_5").unwrap().serial, 7);
        makers.forget(1);
        assert!(makers.of("ABC234", "resp_1").is_none() && makers.of("ABC234", "resp_2").is_some());
        let known = makers.lock();
        assert_eq!(known.order.len(), known.makers.len());
    }
}
