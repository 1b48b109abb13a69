//! The models of a room, in OpenAI's shape: an entry for each participant, then the names that select one of several
//! participants, for model choosers that show nothing else (PROTOCOL.md, "Inference plane").

use serde::Serialize;
use serde_json::{Value, json};

use crate::http::Exchange;
use crate::hub::api::list::{ListBuffer, ListFrame, send_members};
use crate::hub::api::model_names::{NamePage, NamedModel};
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::respond::send_json;
use crate::proto::openai::bare_model;
use crate::state::registry::PickError;
use crate::state::room::{Member, Room};
use crate::state::selector::{Refusal, Selector};

/// `GET /rooms/{code}/v1/models`.
pub fn list(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let code = &params[0];
    let frame = ListFrame::object(r#"{"object":"list","data":["#, "]}");
    let add_available = |items: &mut ListBuffer, member: &Member| {
        if member.is_up() {
            items.add(&entry(member));
        }
    };
    let mut page = shared_after(hub.registry().room(code)?, "");
    page.reserve(exchange)?;
    send_members(hub, exchange, code, &frame, add_available, |items| {
        page.turn(hub, code, shared_after);
        let next = page.items.pop_front();
        next.iter().for_each(|(name, count)| items.add(&shared_entry(name, *count)));
        next.is_some() || !page.is_last
    })
}

/// The page behind a name of the names that select one of several available participants, or one of several models.
fn shared_after(room: &Room, name: &str) -> NamePage<(String, usize)> {
    let shared = |model: &NamedModel<'_>| {
        let is_shared = model.participants > 1 || model.beside_others;
        let is_listed = is_shared && !is_participant(room, model.name);
        is_listed.then(|| (model.name.to_owned(), model.participants))
    };
    let mut page = NamePage::after(room, name, shared);
    let count = room.members.values().filter(|member| member.is_up()).count();
    if page.is_last && count > 1 && !is_participant(room, "any") {
        page.items.push_back(("any".to_owned(), count));
    }
    page
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
    if let Some(count) = count_shared(room, id) {
        return serde_json::to_value(shared_entry(id, count)).ok();
    }
    match Selector::parse(id) {
        Selector::Any => available(room).next().map(entry),
        Selector::Model(name) | Selector::Name(name) => available(room).find(|m| m.has_model(name)).map(entry),
    }
}

fn available(room: &Room) -> impl Iterator<Item = &Member> {
    room.members_in_order().into_iter().filter(|member| member.is_up())
}

fn is_participant(room: &Room, name: &str) -> bool {
    room.members.contains_key(name)
}

/// How many available participants a name of the list selects, if it is in the list.
fn count_shared(room: &Room, name: &str) -> Option<usize> {
    if is_participant(room, name) {
        return None;
    }
    if name == "any" {
        return Some(available(room).count()).filter(|&count| count > 1);
    }
    let have = |member: &&Member| bare_model(name) == name && member.profile.models.find(name).is_some();
    let (count, several) = available(room)
        .filter(have)
        .fold((0, false), |(count, several), member| (count + 1, several || member.profile.models.are_several()));
    (count > 1 || several).then_some(count)
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

/// A name that selects one of some participants, in the form of OpenAI's model object. A list may have hundreds of
/// thousands of them.
#[derive(Serialize)]
struct SharedEntry<'n> {
    created: u64,
    gambi: SharedFacts<'n>,
    gambiarra: SharedFacts<'n>,
    id: &'n str,
    object: &'static str,
    owned_by: &'static str,
}

#[derive(Serialize)]
struct SharedFacts<'n> {
    model: &'n str,
    nickname: &'n str,
    #[serde(skip_serializing_if = "Option::is_none")]
    participants: Option<usize>,
}

/// A name that selects one of `count` participants.
fn shared_entry(name: &str, count: usize) -> SharedEntry<'_> {
    let facts = |participants| SharedFacts { model: name, nickname: name, participants };
    let (gambi, gambiarra) = (facts(Some(count)), facts(None));
    SharedEntry { created: 0, gambi, gambiarra, id: name, object: "model", owned_by: "gambi" }
}
