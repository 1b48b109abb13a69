//! The inference plane's routes: what each is called, what it needs, and what is put into it. How a request finds its
//! participant, and the answer its way back, is `relay`'s business.

use serde_json::{Value, json};

use crate::http::Exchange;
use crate::hub::api::list::{Around, send_members};
use crate::hub::context::HubContext;
use crate::hub::handler::{Handled, Params};
use crate::hub::relay;
use crate::hub::relay::client_response::Headers;
use crate::hub::relay::hops;
use crate::hub::relay::operation::{RelayRequest, route_of};
use crate::hub::respond::{Rejection, send_json};
use crate::proto::openai::Members;
use crate::state::registry::PickError;
use crate::state::room::{Member, Room};
use crate::state::selector::{Refusal, Selector};

/// What Anthropic's clients say beside the body.
const PASSED_ON: [&str; 2] = ["anthropic-version", "anthropic-beta"];

/// Any `POST` of the inference plane that takes a model.
pub fn ask(hub: &HubContext, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    // Before all that may be refused with an answer that has another participant asked.
    let hops = hops::passed(hub, exchange)?;
    let _active = hub.drain.admit()?;
    let kind = route_of(exchange.path()).ok_or_else(|| Rejection::invalid("Not found").status(404))?;
    let code = hub.registry().room(&params[0])?.code.to_string();
    let header = |name: &str| exchange.header(name).map(|value| (name.to_owned(), value.to_owned()));
    let headers: Headers = PASSED_ON.iter().filter_map(|name| header(name)).collect();
    let body = exchange.body()?;
    // It goes on in another form while this one is kept for the next try.
    exchange.reserve(body.len() as u64)?;
    let body = Members::parse(&body)?;
    let (model, stream) = (body.model()?, body.stream()?);
    kind.check(&body)?;
    let ask = RelayRequest { code, model, kind, path: kind.path.to_owned(), headers, hops, body: Some(body), stream };
    Ok(relay::serve(hub, exchange, &ask))
}

/// `GET /rooms/{code}/v1/models`.
pub fn models(hub: &HubContext, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let around = Around::object(r#"{"object":"list","data":["#, "]}");
    send_members(hub, exchange, &params[0], &around, |items, member| {
        if member.is_up() {
            items.add(&shown(member));
        }
    })
}

/// `GET /rooms/{code}/v1/models/{id}`: by any selector, the first that matches.
pub fn model(hub: &HubContext, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let found = {
        let registry = hub.registry();
        let room = registry.room(&params[0])?;
        let by_model = |name: &str| up(room).find(|member| member.has_model(name));
        let member = match Selector::parse(&params[1]) {
            Selector::Any => up(room).next(),
            Selector::Model(name) => by_model(name),
            Selector::Name(name) => up(room).find(|member| member.id.as_str() == name).or_else(|| by_model(name)),
        };
        member.map(shown)
    };
    let found = found.ok_or(PickError::Refused(Refusal::NoneAvailable))?;
    Ok(send_json(exchange, 200, &found))
}

fn up(room: &Room) -> impl Iterator<Item = &Member> {
    room.members_in_order().into_iter().filter(|member| member.is_up())
}

/// A participant as one of OpenAI's models.
fn shown(member: &Member) -> Value {
    let shown = member.shown();
    json!({
        "id": shown.id,
        "object": "model",
        "created": shown.joined_at / 1000,
        "owned_by": shown.nickname,
        "gambi": {
            "nickname": shown.nickname,
            "model": shown.model,
            "endpoint": shown.endpoint,
            "capabilities": shown.capabilities,
            "connection": shown.connection,
        },
        "gambiarra": { "nickname": shown.nickname, "model": shown.model, "endpoint": shown.endpoint },
    })
}
