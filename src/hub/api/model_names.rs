//! The names of the models in a room, in alphabetical order and page by page, so that a long list neither locks the registry
//! for long nor takes memory for as long as its reader is slow.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};

use crate::http::{BodyError, Exchange};
use crate::hub::context::HubContext;
use crate::proto::management::Support;
use crate::proto::openai::bare_model;
use crate::state::room::{Member, Room};

/// Names of all participants after which a page ends, so that the registry is not locked for long.
const PAGE_NAMES: usize = 8192;
/// Bytes of names after which a page ends. A page waits for as long as its reader is slow.
const PAGE_BYTES: usize = 16 << 10;

/// A model of one or several available participants.
pub struct NamedModel<'m> {
    /// Without `:latest`.
    pub name: &'m str,
    /// As a provider spells it, with its tag where one does.
    pub spelled: &'m str,
    /// How many participants have it.
    pub participants: usize,
    /// Whether one of them has other models too.
    pub beside_others: bool,
    /// Whether the provider of one of them is Ollama.
    pub is_ollama: bool,
    /// Whether one of them has it in memory.
    pub is_loaded: bool,
    /// When the first of them joined, milliseconds since the epoch.
    pub since: u64,
}

/// A page of items that were made of models.
pub struct NamePage<T> {
    /// The items.
    pub items: VecDeque<T>,
    /// The last name that was looked at.
    end: String,
    /// Whether no page follows.
    pub is_last: bool,
    bytes: usize,
}

impl<T> NamePage<T> {
    /// The page behind a name; the first one behind the empty name, which no model has. `item` makes an item of a model that
    /// belongs in the list.
    pub fn after(room: &Room, name: &str, mut item: impl FnMut(&NamedModel<'_>) -> Option<T>) -> Self {
        let members: Vec<&Member> = room.members.values().filter(|member| member.is_up()).collect();
        let mut merged = MergedNames::after(&members, name);
        let (mut items, mut bytes) = (VecDeque::new(), 0);
        while bytes < PAGE_BYTES && merged.taken < PAGE_NAMES {
            let Some(model) = merged.next() else { break };
            if let Some(item) = item(&model) {
                bytes += model.spelled.len() + size_of::<T>();
                items.push_back(item);
            }
        }
        NamePage { items, end: merged.last.to_owned(), is_last: merged.next.is_empty(), bytes }
    }

    /// Goes on to the next page once this one is used up. A room that is gone has none.
    pub fn turn(&mut self, hub: &HubContext, code: &str, after: impl Fn(&Room, &str) -> Self) {
        if self.items.is_empty() && !self.is_last {
            let registry = hub.registry();
            match registry.room(code) {
                Ok(room) => *self = after(room, &self.end),
                Err(_) => self.is_last = true,
            }
        }
    }

    /// Reserves memory for the pages of a list that begins with this one.
    ///
    /// # Errors
    /// [`BodyError::NoMemory`].
    pub fn reserve(&self, exchange: &mut Exchange<'_>) -> Result<(), BodyError> {
        exchange.reserve(if self.is_last { self.bytes } else { PAGE_BYTES } as u64)
    }
}

/// The names of the participants' models in alphabetical order. The sorted names of all are merged, so that a long list
/// needs no copy of them.
struct MergedNames<'m> {
    members: &'m [&'m Member],
    /// The next name of each participant, with the participant's index and the name's place there.
    next: BinaryHeap<Reverse<(&'m str, usize, usize)>>,
    taken: usize,
    last: &'m str,
}

impl<'m> MergedNames<'m> {
    fn after(members: &'m [&'m Member], name: &str) -> Self {
        let first = |(index, member): (usize, &&'m Member)| {
            let place = member.profile.models.place_after(name);
            Some(Reverse((member.profile.models.bare_at(place)?, index, place)))
        };
        let next = members.iter().enumerate().filter_map(first).collect();
        MergedNames { members, next, taken: 0, last: "" }
    }

    fn next(&mut self) -> Option<NamedModel<'m>> {
        let name = self.next.peek()?.0.0;
        let mut model = NamedModel {
            name,
            spelled: name,
            participants: 0,
            beside_others: false,
            is_ollama: false,
            is_loaded: false,
            since: u64::MAX,
        };
        while let Some(member) = self.take(name) {
            let models = &member.profile.models;
            model.participants += 1;
            model.beside_others |= models.are_several();
            model.is_ollama |= member.profile.capabilities.ollama == Support::Supported;
            model.is_loaded |= member.loaded.iter().flatten().any(|&index| bare_model(models.name(index)) == name);
            model.since = model.since.min(member.joined_at);
            let spelled = models.find(name).map_or(name, |index| models.name(index));
            model.spelled = if spelled.len() > model.spelled.len() { spelled } else { model.spelled };
        }
        self.last = name;
        Some(model)
    }

    /// Takes a name of one participant, where it is the first of those that are left. `NAME` and `NAME:latest` are one.
    fn take(&mut self, name: &str) -> Option<&'m Member> {
        let mut top = self.next.peek_mut().filter(|top| top.0.0 == name)?;
        let (_, index, place) = top.0;
        let models = &self.members[index].profile.models;
        let following = (place + 1..).map_while(|place| Some((models.bare_at(place)?, index, place)));
        match following.into_iter().find(|(next, ..)| *next != name) {
            Some(next) => *top = Reverse(next),
            None => drop(PeekMut::pop(top)),
        }
        self.taken += 1;
        Some(self.members[index])
    }
}
