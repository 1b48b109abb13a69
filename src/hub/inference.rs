//! The inference plane's routes: what each is called, what it needs, and what is put into it. How a request finds its
//! participant, and the answer its way back, is `relay`'s business.

use serde_json::{Value, json};

use super::answer::{Refused, send_json};
use super::hops;
use super::list::{Around, send_members};
use super::out::Headers;
use super::relay::{self, Ask};
use super::routes::{Handled, Params};
use super::shared::Shared;
use crate::http::Exchange;
use crate::proto::management::{ErrorCode, RuntimeConfig};
use crate::proto::openai::{BadRequest, Members, json_text};
use crate::proto::operations::{self, Operation};
use crate::state::pick::{Need, Refusal, Selector};
use crate::state::registry::PickError;
use crate::state::room::{Member, Room};

/// What a route is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Chat Completions.
    Chat,
    /// Responses: of the provider's own, or put together from a chat.
    Responses,
    /// Passed through as it is, but for the model.
    Plain,
    /// A question about an earlier response.
    AboutResponse,
}

/// A route of the inference plane.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// What the tunnel calls it.
    pub operation: &'static str,
    /// How the provider is asked.
    pub method: &'static str,
    /// The provider's path, and the end of the hub's.
    pub path: &'static str,
    /// What events call it.
    pub protocol: &'static str,
    /// What is asked for.
    pub shape: Shape,
}

impl Kind {
    const fn of(operation: Operation, protocol: &'static str, shape: Shape) -> Self {
        Kind { operation: operation.name, method: operation.method, path: operation.path, protocol, shape }
    }

    /// A question about an earlier response.
    pub fn about_response(operation: Operation) -> Self {
        Kind::of(operation, "openResponses", Shape::AboutResponse)
    }

    /// What the participant must be able to do.
    pub fn need(self) -> Need {
        match self.shape {
            Shape::Chat => Need::Chat,
            Shape::Responses => Need::Responses,
            Shape::Plain | Shape::AboutResponse => Need::Other,
        }
    }

    fn check(self, body: &Members<'_>) -> Result<(), BadRequest> {
        match self.shape {
            Shape::Chat => body.check_chat(),
            Shape::Responses => body.check_responses(),
            Shape::Plain | Shape::AboutResponse => Ok(()),
        }
    }

    /// The body as a participant gets it: its model, and what the request leaves out.
    pub fn fill(self, body: &mut Members<'_>, model: &str, config: &RuntimeConfig) -> Result<(), BadRequest> {
        body.set("model", json_text(model));
        match self.shape {
            Shape::Chat => body.fill_chat(config)?,
            Shape::Responses => body.fill_responses(config),
            Shape::Plain | Shape::AboutResponse => {}
        }
        Ok(())
    }
}

/// The routes that a request is posted to.
const KINDS: [Kind; 7] = [
    Kind::of(operations::CHAT, "chatCompletions", Shape::Chat),
    Kind::of(operations::RESPONSES, "openResponses", Shape::Responses),
    Kind::of(operations::EMBEDDINGS, "embeddings", Shape::Plain),
    Kind::of(operations::COMPLETIONS, "completions", Shape::Plain),
    Kind::of(operations::RERANK, "rerank", Shape::Plain),
    Kind::of(operations::MESSAGES, "messages", Shape::Plain),
    Kind::of(operations::COUNT_TOKENS, "messages", Shape::Plain),
];

/// What Anthropic's clients say beside the body.
const PASSED_ON: [&str; 2] = ["anthropic-version", "anthropic-beta"];

/// Any `POST` of the inference plane that takes a model.
pub fn ask(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    // Before all that may be refused with an answer that has another participant asked.
    let hops = hops::passed(shared, exchange)?;
    let _active = shared.drain.admit()?;
    let kind = kind_of(exchange.path()).ok_or_else(|| Refused::invalid("Not found").status(404))?;
    let code = shared.registry().room(&params[0])?.code.to_string();
    let header = |name: &str| exchange.header(name).map(|value| (name.to_owned(), value.to_owned()));
    let headers: Headers = PASSED_ON.iter().filter_map(|name| header(name)).collect();
    let body = exchange.body()?;
    // It goes on in another form while this one is kept for the next try.
    exchange.reserve(body.len() as u64)?;
    let body = Members::parse(&body)?;
    let (model, stream) = (body.model()?, body.stream()?);
    kind.check(&body)?;
    let ask = Ask { code, model, kind, path: kind.path.to_owned(), headers, hops, body: Some(body), stream };
    Ok(relay::serve(shared, exchange, &ask))
}

fn kind_of(path: &str) -> Option<Kind> {
    let rest = path.strip_prefix("/rooms/")?;
    let path = &rest[rest.find('/')?..];
    KINDS.into_iter().find(|kind| kind.path == path)
}

/// `GET /rooms/{code}/v1/models`.
pub fn models(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let around = Around::object(r#"{"object":"list","data":["#, "]}");
    send_members(shared, exchange, &params[0], &around, |items, member| {
        if member.is_up() {
            items.add(&shown(member));
        }
    })
}

/// `GET /rooms/{code}/v1/models/{id}`: by any selector, the first that matches.
pub fn model(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let found = {
        let registry = shared.registry();
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

impl From<BadRequest> for Refused {
    fn from(error: BadRequest) -> Self {
        Refused::invalid(error.message)
    }
}

impl From<PickError> for Refused {
    fn from(error: PickError) -> Self {
        match error {
            PickError::Missing(missing) => missing.into(),
            PickError::Refused(refusal) => {
                let (status, message, code): (u16, &str, ErrorCode) = refusal.answer();
                Refused::new(code, message).status(status)
            }
            PickError::LineFull => {
                let message = "Too many requests wait for a participant of this room already.";
                Refused::new(ErrorCode::ParticipantBusy, message).status(503).retry_after(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_told_by_what_follows_the_room() {
        let operation = |path| kind_of(path).map(|kind| kind.operation);
        assert_eq!(operation("/rooms/ABC234/v1/messages/count_tokens"), Some("messages.count_tokens"));
        assert_eq!(operation("/rooms/v1/v1/completions"), Some("completions.create"));
        assert_eq!(operation("/rooms/ABC234/v1/chat/completions"), Some("chat.completions.create"));
        assert_eq!(operation("/rooms/ABC234/v1/models"), None);
    }
}
