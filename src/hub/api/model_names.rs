//! The names of the models in a room, in alphabetical order and page by page, so that a long list neither locks the registry
//! for long nor takes memory for as long as its reader is slow.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashSet, VecDeque};

use crate::http::{BodyError, Exchange};
use crate::hub::context::HubContext;
use crate::proto::management::Support;
use crate::state::models::Models;
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
        let lists: Vec<ModelList<'_>> = Models::grouped(members.iter().map(|member| (&member.profile.models, *member)))
            .into_iter()
            .map(|(models, members)| ModelList::new(models, &members))
            .collect();
        let mut merged = MergedNames::after(&lists, name);
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

/// The participants with the same models.
struct ModelList<'m> {
    models: &'m Models,
    participants: usize,
    is_ollama: bool,
    /// Indexes of the models that one of them has in memory.
    loaded: HashSet<u16>,
    since: u64,
}

impl<'m> ModelList<'m> {
    fn new(models: &'m Models, members: &[&Member]) -> Self {
        ModelList {
            models,
            participants: members.len(),
            is_ollama: members.iter().any(|member| member.profile.capabilities.ollama == Support::Supported),
            loaded: members.iter().flat_map(|member| member.loaded.iter().flatten().copied()).collect(),
            since: members.iter().map(|member| member.joined_at).min().unwrap_or_default(),
        }
    }
}

/// The names of the participants' models in alphabetical order. The sorted names of all are merged, so that a long list
/// needs no copy of them. Participants with the same models count as one list.
struct MergedNames<'m> {
    lists: &'m [ModelList<'m>],
    /// The next name of each list, with the list's index and the name's place there.
    next: BinaryHeap<Reverse<(&'m str, usize, usize)>>,
    taken: usize,
    last: &'m str,
}

impl<'m> MergedNames<'m> {
    fn after(lists: &'m [ModelList<'m>], name: &str) -> Self {
        let first = |(index, list): (usize, &ModelList<'m>)| {
            let place = list.models.place_after(name);
            Some(Reverse((list.models.bare_at(place)?, index, place)))
        };
        let next = lists.iter().enumerate().filter_map(first).collect();
        MergedNames { lists, next, taken: 0, last: "" }
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
        while let Some((list, index)) = self.take(name) {
            model.participants += list.participants;
            model.beside_others |= list.models.are_several();
            model.is_ollama |= list.is_ollama;
            model.is_loaded |= list.loaded.contains(&index);
            model.since = model.since.min(list.since);
            let spelled = list.models.name(index);
            model.spelled = if spelled.len() > model.spelled.len() { spelled } else { model.spelled };
        }
        self.last = name;
        Some(model)
    }

    /// Takes a name of one list, where it is the first of those that are left: the list, and the name's index in it. `NAME`
    /// and `NAME:latest` are one.
    fn take(&mut self, name: &str) -> Option<(&'m ModelList<'m>, u16)> {
        let mut top = self.next.peek_mut().filter(|top| top.0.0 == name)?;
        let (_, index, place) = top.0;
        let list = &self.lists[index];
        let following = (place + 1..).map_while(|place| Some((list.models.bare_at(place)?, index, place)));
        match following.into_iter().find(|(next, ..)| *next != name) {
            Some(next) => *top = Reverse(next),
            None => drop(PeekMut::pop(top)),
        }
        self.taken += 1;
        Some((list, list.models.index_at(place)?))
    }
}
