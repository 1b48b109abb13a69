//! Responses that were made earlier: which participant made each, and the routes that ask for one.

use crate::http::Exchange;
use crate::hub::context::Shared;
use crate::hub::handler::{Handled, Params, query_param};
use crate::hub::relay::hops;
use crate::hub::relay::operation::Kind;
use crate::hub::relay::slots::Place;
use crate::hub::relay::{self, operation::Ask};
use crate::hub::respond::Refused;
use crate::proto::management::ErrorCode;
use crate::proto::operations::{self, Operation};

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
    let _active = shared.drain.admit()?;
    let (code, id) = (&params[0], &params[1]);
    let room = shared.registry().room(code)?.code.clone();
    let not_found = || Refused::new(ErrorCode::InvalidRequest, format!("Response not found: {id}")).status(404);
    let maker = shared.makers.of(room.as_str(), id).ok_or_else(not_found)?;
    if maker.translated {
        let message = "This response was put together from a chat: its participant's provider keeps none";
        return Err(Refused::new(ErrorCode::InvalidRequest, message).status(501));
    }
    let picked = shared.registry().peek(code, &maker.participant, maker.serial)?;
    if !shared.makers.is_by(&maker, &picked) {
        return Err(not_found());
    }
    let query = exchange.query().map(|query| format!("?{query}")).unwrap_or_default();
    let ask = Ask {
        code: room.to_string(),
        model: maker.participant.to_string(),
        kind: Kind::about_response(operation),
        path: operation.path_for(id) + &query,
        headers: Vec::new(),
        hops,
        body: None,
        stream: query_param(exchange.query(), "stream").as_deref() == Some("true"),
    };
    Ok(relay::pass(shared, exchange, &ask, Place::beside(shared, picked)))
}
