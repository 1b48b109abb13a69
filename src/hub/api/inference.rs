//! Handlers of the inference plane (PROTOCOL.md, "Inference plane"): they validate requests and list models. `relay`
//! selects the participant and passes its response on.

use serde_json::{Value, json};

use crate::http::Exchange;
use crate::hub::api::list::{ListFrame, send_members};
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::relay;
use crate::hub::relay::client_response::Headers;
use crate::hub::relay::hops;
use crate::hub::relay::operation::{RelayRequest, route_of};
use crate::hub::respond::{no_route, send_json};
use crate::proto::openai::Members;
use crate::state::registry::PickError;
use crate::state::room::{Member, Room};
use crate::state::selector::{Refusal, Selector};

/// Request headers that go on to the provider: those of Anthropic's API.
const FORWARDED_HEADERS: [&str; 2] = ["anthropic-version", "anthropic-beta"];

/// Every `POST` of the inference plane: its body names a model.
pub fn create(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    // Checked first: a loop must not be hidden by a rejection on which the previous hub would retry.
    let hops = hops::check(hub, exchange)?;
    let _active = hub.drain.admit()?;
    let kind = route_of(exchange.path()).ok_or_else(no_route)?;
    let code = hub.registry().room(&params[0])?.code.to_string();
    let header = |name: &str| exchange.header(name).map(|value| (name.to_owned(), value.to_owned()));
    let headers: Headers = FORWARDED_HEADERS.iter().filter_map(|name| header(name)).collect();
    let body = exchange.body()?;
    // The attempt sends a modified copy, while the original is retained for a retry.
    exchange.reserve(body.len() as u64)?;
    let body = Members::parse(&body)?;
    let (model, stream) = (body.model()?, body.stream()?);
    kind.check(&body)?;
    let request =
        RelayRequest { code, model, kind, path: kind.path.to_owned(), headers, hops, body: Some(body), stream };
    Ok(relay::serve(hub, exchange, &request))
}

/// `GET /rooms/{code}/v1/models`.
pub fn models(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let frame = ListFrame::object(r#"{"object":"list","data":["#, "]}");
    send_members(hub, exchange, &params[0], &frame, |items, member| {
        if member.is_up() {
            items.add(&model_of(member));
        }
    })
}

/// `GET /rooms/{code}/v1/models/{id}`: the first available participant that the selector `id` matches.
pub fn model(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let model = {
        let registry = hub.registry();
        let room = registry.room(&params[0])?;
        let by_model = |name: &str| available(room).find(|member| member.has_model(name));
        let member = match Selector::parse(&params[1]) {
            Selector::Any => available(room).next(),
            Selector::Model(name) => by_model(name),
            Selector::Name(name) => {
                available(room).find(|member| member.id.as_str() == name).or_else(|| by_model(name))
            }
        };
        member.map(model_of)
    };
    let model = model.ok_or(PickError::Refused(Refusal::NoneAvailable))?;
    Ok(send_json(exchange, 200, &model))
}

fn available(room: &Room) -> impl Iterator<Item = &Member> {
    room.members_in_order().into_iter().filter(|member| member.is_up())
}

/// A participant in the form of OpenAI's model object.
fn model_of(member: &Member) -> Value {
    let participant = member.shown();
    json!({
        "id": participant.id,
        "object": "model",
        "created": participant.joined_at / 1000,
        "owned_by": participant.nickname,
        "gambi": {
            "nickname": participant.nickname,
            "model": participant.model,
            "endpoint": participant.endpoint,
            "capabilities": participant.capabilities,
            "connection": participant.connection,
        },
        "gambiarra": { "nickname": participant.nickname, "model": participant.model, "endpoint": participant.endpoint },
    })
}
