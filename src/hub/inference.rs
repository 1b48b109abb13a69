//! The inference plane's routes: which participant a request goes to, and with what in it. How the answer comes back
//! is `relay`'s business.

use serde_json::{Value, json};

use super::answer::{Refused, send_json};
use super::relay::{self, Call};
use super::routes::{Handled, Params};
use super::shared::{Shared, fresh_uuid, random};
use crate::http::Exchange;
use crate::proto::management::ErrorCode;
use crate::proto::openai::{BadRequest, Members, json_text};
use crate::state::event::Dispatch;
use crate::state::registry::{PickError, Picked};
use crate::state::room::{Member, Room};

/// `GET /rooms/{code}/v1/models`.
pub fn models(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    let list = |room: &Room| room.members_in_order().into_iter().filter(|m| m.is_up()).map(model).collect::<Vec<_>>();
    let data = shared.registry().room(&params[0]).map(list)?;
    Ok(send_json(exchange, 200, &json!({ "object": "list", "data": data })))
}

/// A participant as one of OpenAI's models.
fn model(member: &Member) -> Value {
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

/// `POST /rooms/{code}/v1/chat/completions`.
pub fn chat(shared: &Shared, exchange: &mut Exchange<'_>, params: &Params) -> Handled {
    shared.registry().room(&params[0])?;
    let body = exchange.body()?;
    let (place, call) = prepare_chat(shared, &params[0], &body)?;
    // It is as large as a prompt can be, and is not needed while the model thinks.
    drop(body);
    Ok(relay::relay(shared, exchange, place, call))
}

/// Finds a participant for a chat, and makes the request that it gets.
fn prepare_chat<'s>(shared: &'s Shared, code: &str, body: &[u8]) -> Result<(Place<'s>, Call), Refused> {
    let mut members = Members::parse(body)?;
    let asked = members.model()?;
    let stream = members.stream()?;
    members.check_chat()?;
    let place = Place::take(shared, code, &asked)?;
    members.fill_chat(&place.picked.config)?;
    members.set("model", json_text(&place.picked.profile.model));
    let dispatch = Dispatch {
        request_id: fresh_uuid(),
        participant_id: place.picked.id.to_string(),
        model: asked,
        protocol: "chatCompletions",
    };
    let (operation, path) = ("chat.completions.create", "/v1/chat/completions");
    let call = Call { dispatch, operation, path, body: members.to_json(), stream };
    Ok((place, call))
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
        }
    }
}

/// A participant's place, held for one request and given back once: when the answer is over, or on drop.
pub struct Place<'s> {
    shared: &'s Shared,
    /// Who was picked.
    pub picked: Picked,
    held: bool,
}

impl<'s> Place<'s> {
    fn take(shared: &'s Shared, code: &str, model: &str) -> Result<Self, PickError> {
        let picked = shared.registry().pick(code, model, &mut random)?;
        Ok(Place { shared, picked, held: true })
    }

    /// Gives the place back before the answer's last byte is sent: a client that has its answer may ask again at once.
    pub fn free(&mut self) {
        if std::mem::take(&mut self.held) {
            self.shared.registry().release(&self.picked);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.free();
    }
}
