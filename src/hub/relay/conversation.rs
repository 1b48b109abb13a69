//! The conversation that a request belongs to: who answered the earlier turns. What counts as the same is in
//! `state/conversations.rs`.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Mutex;

use crate::proto::openai::{MAX_LIST, Members};
use crate::proto::scan;
use crate::state::conversations::{Conversations, Previous, Turns};
use crate::state::registry::Picked;
use crate::state::selector::Caller;
use crate::sync::lock;

/// A request's messages, as far as they tell its conversation.
pub struct Conversation {
    /// The room's number.
    room: u64,
    turns: Turns,
}

/// Who answered the conversations of all rooms.
#[derive(Default)]
pub struct ConversationMemory {
    answered: Mutex<Conversations>,
    /// Keyed, so that clients cannot search for texts with the same hash.
    hasher: RandomState,
}

impl ConversationMemory {
    /// The conversation of a caller's request in the room with this number: `list` is the name of the member that holds its
    /// messages, `before` of what providers put in front of them; `messages` are those, where they have been found already.
    /// `None` where the request has no such member.
    pub fn of(
        &self,
        room: u64,
        caller: &Caller,
        (list, before): (&'static str, Option<&'static str>),
        (body, messages): (&Members<'_>, Option<Vec<&str>>),
    ) -> Option<Conversation> {
        let mut hasher = self.hasher.build_hasher();
        (caller, list, before.and_then(|key| body.get(key))).hash(&mut hasher);
        let list = body.get(list)?;
        // What is no list, or one that is too long, has no turns.
        let messages = messages.or_else(|| scan::items(list, MAX_LIST)).unwrap_or_default();
        Some(Conversation { room, turns: Turns::of(&messages, hasher) })
    }

    /// Who answered it last.
    pub(crate) fn previous(&self, conversation: &Conversation) -> Option<Previous> {
        lock(&self.answered).previous(conversation.room, &conversation.turns)
    }

    /// Records who answers it now.
    pub(crate) fn record(&self, conversation: &Conversation, picked: &Picked) {
        let by = Previous::new(picked.serial, &picked.model);
        lock(&self.answered).record(conversation.room, &conversation.turns, by);
    }
}
