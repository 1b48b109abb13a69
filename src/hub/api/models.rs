//! The models of a room, in OpenAI's shape: an entry for each participant, then the names that select one of several
//! participants, for model choosers that show nothing else (PROTOCOL.md, "Inference plane").

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};

use serde::Serialize;
use serde_json::{Value, json};

use crate::http::Exchange;
use crate::hub::api::list::{ListBuffer, ListFrame, send_members};
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};
use crate::hub::respond::send_json;
use crate::proto::openai::bare_model;
use crate::state::id::ParticipantId;
use crate::state::models::Models;
use crate::state::registry::PickError;
use crate::state::room::{Member, Room};
use crate::state::selector::{Refusal, Selector};

/// Names of all participants after which a page ends, so that the registry is not locked for long.
const PAGE_NAMES: usize = 8192;
/// Bytes of names after which a page ends. A page waits for as long as its reader is slow.
const PAGE_BYTES: usize = 64 << 10;

/// `GET /rooms/{code}/v1/models`.
pub fn list(hub: &HubContext, exchange: &mut Exchange<'_>, params: &PathParams) -> HandlerResult {
    let code = &params[0];
    let frame = ListFrame::object(r#"{"object":"list","data":["#, "]}");
    let add_available = |items: &mut ListBuffer, member: &Member| {
        if member.is_up() {
            items.add(&entry(member));
        }
    };
    let mut page = NamePage::after(hub.registry().room(code)?, "");
    exchange.reserve(if page.is_last { page.bytes } else { PAGE_BYTES } as u64)?;
    send_members(hub, exchange, code, &frame, add_available, |items| {
        if page.names.is_empty() && !page.is_last {
            let registry = hub.registry();
            let gone = || NamePage { is_last: true, ..NamePage::default() };
            page = registry.room(code).map_or_else(|_| gone(), |room| NamePage::after(room, &page.end));
        }
        let next = page.names.pop_front();
        next.iter().for_each(|(name, count)| items.add(&shared_entry(name, *count)));
        next.is_some() || !page.is_last
    })
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
    ParticipantId::parse(name).is_some_and(|id| room.members.contains_key(&id))
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

/// A page of the names that select one of several available participants, or one of several models.
#[derive(Default)]
struct NamePage {
    /// With the number of participants that each selects.
    names: VecDeque<(String, usize)>,
    /// The last name that was looked at.
    end: String,
    is_last: bool,
    bytes: usize,
}

impl NamePage {
    /// The page behind a name; the first one behind the empty name, which no model has.
    fn after(room: &Room, name: &str) -> Self {
        let members: Vec<&Member> = room.members.values().filter(|member| member.is_up()).collect();
        let lists = Models::counted(members.iter().map(|member| &member.profile.models));
        let mut shared = SharedNames::after(&lists, name);
        let (mut names, mut bytes) = (VecDeque::new(), 0);
        while bytes < PAGE_BYTES && shared.taken < PAGE_NAMES {
            let Some((name, count, is_shared)) = shared.next() else { break };
            if is_shared && !is_participant(room, name) {
                bytes += name.len() + size_of::<(String, usize)>();
                names.push_back((name.to_owned(), count));
            }
        }
        let is_last = shared.next.is_empty();
        if is_last && members.len() > 1 && !is_participant(room, "any") {
            names.push_back(("any".to_owned(), members.len()));
        }
        NamePage { names, end: shared.last.to_owned(), is_last, bytes }
    }
}

/// The names of the participants' models in alphabetical order. The sorted names of all are merged, so that a long list
/// needs no copy of them. Participants with the same models count as one list.
struct SharedNames<'m> {
    /// The different lists of models, each with the number of its participants.
    lists: &'m [(&'m Models, usize)],
    /// The next name of each list, with the list's index and the name's place there.
    next: BinaryHeap<Reverse<(&'m str, usize, usize)>>,
    taken: usize,
    last: &'m str,
}

impl<'m> SharedNames<'m> {
    fn after(lists: &'m [(&'m Models, usize)], name: &str) -> Self {
        let first = |(index, (models, _)): (usize, &(&'m Models, usize))| {
            let place = models.place_after(name);
            Some(Reverse((models.bare_at(place)?, index, place)))
        };
        let next = lists.iter().enumerate().filter_map(first).collect();
        SharedNames { lists, next, taken: 0, last: "" }
    }

    /// The next name, the number of participants that have it, and whether it belongs in the list: more than one has it, or
    /// one that has several models.
    fn next(&mut self) -> Option<(&'m str, usize, bool)> {
        let (name, mut count, mut several) = (self.next.peek()?.0.0, 0, false);
        while let Some(index) = self.take(name) {
            let (models, participants) = self.lists[index];
            count += participants;
            several |= models.are_several();
        }
        self.last = name;
        Some((name, count, count > 1 || several))
    }

    /// Takes a name of one list, where it is the first of those that are left. `NAME` and `NAME:latest` are one.
    fn take(&mut self, name: &str) -> Option<usize> {
        let mut top = self.next.peek_mut().filter(|top| top.0.0 == name)?;
        let (_, index, place) = top.0;
        let models = self.lists[index].0;
        let following = (place + 1..).map_while(|place| Some((models.bare_at(place)?, index, place)));
        match following.into_iter().find(|(next, ..)| *next != name) {
            Some(next) => *top = Reverse(next),
            None => drop(PeekMut::pop(top)),
        }
        self.taken += 1;
        Some(index)
    }
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
