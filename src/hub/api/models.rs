//! The models of a room, in OpenAI's shape: an entry for each participant, then the names that select one of several
//! participants, for model choosers that show nothing else (PROTOCOL.md, "Inference plane").

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::http::Exchange;
use crate::hub::api::list::{ListBuffer, ListFrame, send_members};
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::respond::send_json;
use crate::state::id::ParticipantId;
use crate::state::registry::PickError;
use crate::state::room::{Member, Room};
use crate::state::selector::{Refusal, Selector};

/// `GET /rooms/{code}/v1/models`.
pub fn list(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let names = shared_names(hub.registry().room(&params[0])?);
    // They are held until a reader, who may be slow, has read all before them.
    let bytes: usize = names.iter().map(|name| size_of_val(name) + name.0.len()).sum();
    exchange.reserve(bytes as u64)?;
    let names = names.into_iter().map(|(name, count)| shared_entry(&name, count));
    let frame = ListFrame::object(r#"{"object":"list","data":["#, "]}");
    let add_available = |items: &mut ListBuffer, member: &Member| {
        if member.is_up() {
            items.add(&entry(member));
        }
    };
    send_members(hub, exchange, &params[0], &frame, add_available, names)
}

/// `GET /rooms/{code}/v1/models/{id}`: the list's entry of that id, or else the first available participant that the
/// selector `id` matches.
pub fn get(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let found = find(hub.registry().room(&params[0])?, &params[1]);
    let found = found.ok_or(PickError::Refused(Refusal::NoneAvailable))?;
    Ok(send_json(exchange, 200, &found))
}

fn find(room: &Room, id: &str) -> Option<Value> {
    if let Some(member) = available(room).find(|member| member.id.as_str() == id) {
        return Some(entry(member));
    }
    if let Some((name, count)) = shared_names(room).into_iter().find(|(name, _)| name == id) {
        return Some(shared_entry(&name, count));
    }
    match Selector::parse(id) {
        Selector::Any => available(room).next().map(entry),
        Selector::Model(name) | Selector::Name(name) => available(room).find(|m| m.has_model(name)).map(entry),
    }
}

fn available(room: &Room) -> impl Iterator<Item = &Member> {
    room.members_in_order().into_iter().filter(|member| member.is_up())
}

/// The names that select one of several available participants, and how many each selects: models that more than one
/// has, in alphabetical order, then `any`. A name that is a participant's id selects that participant alone.
fn shared_names(room: &Room) -> Vec<(String, usize)> {
    let mut models = BTreeMap::<&str, usize>::new();
    let (mut members, mut names) = (0, Vec::new());
    for member in available(room) {
        members += 1;
        let model = member.profile.model.as_str();
        *models.entry(model.strip_suffix(":latest").unwrap_or(model)).or_default() += 1;
    }
    let is_id = |name: &str| ParticipantId::parse(name).is_some_and(|id| room.members.contains_key(&id));
    for (model, count) in models {
        if count > 1 && !is_id(model) {
            names.push((model.to_owned(), count));
        }
    }
    if members > 1 && !is_id("any") {
        names.push(("any".to_owned(), members));
    }
    names
}

/// A participant in the form of OpenAI's model object.
fn entry(member: &Member) -> Value {
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

/// A name that selects one of `count` participants.
fn shared_entry(name: &str, count: usize) -> Value {
    json!({
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "gambi",
        "gambi": { "nickname": name, "model": name, "participants": count },
        "gambiarra": { "nickname": name, "model": name },
    })
}
