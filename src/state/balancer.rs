//! Chooses the participant that gets a request (PROTOCOL.md, "Inference plane").

use std::cmp::Ordering;

use super::Random;
use super::conversations::Previous;
use super::room::{Member, Room};
use super::selector::{Need, Refusal, Selector, Want};
use crate::proto::management::Support;
use crate::proto::openai::same_model;

/// A participant that may get a request.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'r> {
    /// The participant.
    pub member: &'r Member,
    /// The index of its model that the request goes out with.
    pub model: u16,
    /// Whether it was named by its id.
    pub named: bool,
}

impl<'r> Choice<'r> {
    /// A participant that a request names by its id.
    pub fn by_id(member: &'r Member) -> Self {
        Choice { member, model: member.default_model(), named: true }
    }
}

/// Who gets a request.
///
/// # Errors
/// When no participant can get it.
pub fn pick<'r>(room: &'r Room, want: &Want, now: u64, random: Random<'_>) -> Result<Choice<'r>, Refusal> {
    let name = match Selector::parse(&want.model) {
        Selector::Any => None,
        Selector::Model(name) => Some(name),
        Selector::Name(name) => match room.members.get(name) {
            Some(member) => return check_named(member, want).map(Choice::by_id),
            None => Some(name),
        },
    };
    let model = |member: &Member| match name {
        Some(name) => member.model_named(name),
        None => Some(member.default_model()),
    };
    let is_owner = |member: &Member| want.owner == Some(member.serial);
    let owned = want.owner.is_some() && room.members.values().any(|member| is_owner(member) && model(member).is_some());
    let may_get_it = |member: &Member| !want.tried.contains(&member.serial) && (!owned || is_owner(member));
    let choice = |member| model(member).map(|model| Choice { member, model, named: false });
    // The models, whose names are compared, come last.
    let free = || {
        let is_free = |member: &&Member| member.is_free() && member.can(want.need) && may_get_it(member);
        room.members.values().filter(is_free).filter_map(choice)
    };
    best_of(free, want, now, random).ok_or_else(|| {
        let is_up = |member: &&Member| member.is_up() && may_get_it(member) && model(member).is_some();
        let mut up = room.members.values().filter(is_up).peekable();
        if up.peek().is_none() {
            Refusal::NoneAvailable
        } else if up.any(|member| member.can(want.need)) {
            Refusal::Busy
        } else {
            Refusal::Unsupported
        }
    })
}

impl Member {
    /// Whether `name` is its model or one of its aliases.
    pub fn has_model(&self, name: &str) -> bool {
        self.model_named(name).is_some()
    }

    /// The index of its model with this name. An alias is a name of its first model.
    fn model_named(&self, name: &str) -> Option<u16> {
        let alias = || self.profile.aliases.iter().any(|alias| same_model(alias, name)).then_some(0);
        self.profile.models.find(name).or_else(alias)
    }

    /// The index of the model for requests that name none: the first one, unless only others are in memory.
    fn default_model(&self) -> u16 {
        self.loaded.as_ref().and_then(|loaded| loaded.first().copied()).unwrap_or(0)
    }

    /// How far a model is from answering: in memory, unknown, or yet to be loaded.
    fn coldness(&self, model: u16) -> u8 {
        match &self.loaded {
            Some(loaded) if loaded.binary_search(&model).is_ok() => 0,
            None => 1,
            Some(_) => 2,
        }
    }

    fn can(&self, need: Need) -> bool {
        let chats = self.profile.capabilities.chat_completions != Support::Unsupported;
        match need {
            Need::Chat => chats,
            Need::ChatOr(route) => chats || !self.missing.contains(route),
            Need::Other => true,
        }
    }
}

fn check_named<'r>(member: &'r Member, want: &Want) -> Result<&'r Member, Refusal> {
    if !member.is_connected() {
        Err(Refusal::NoTunnel)
    } else if member.silent {
        Err(Refusal::Offline)
    } else if member.draining {
        Err(Refusal::Draining)
    } else if member.provider_down {
        Err(Refusal::ProviderDown)
    } else if !member.can(want.need) {
        Err(Refusal::Unsupported)
    } else if !member.is_free() {
        Err(Refusal::Busy)
    } else {
        Ok(member)
    }
}

/// The free candidate that answered the request's conversation before (`previous_if_best`), or else the best one: those that
/// failed recently rank last, then fallbacks, then by requests in flight over weight. Among equals with different weights, one is
/// drawn in proportion to them; among others, a model in memory and then the lowest time to first token decide. Ties are
/// broken at random. `None` if none is free.
fn best_of<'r, F>(free: impl Fn() -> F, want: &Want, now: u64, random: Random<'_>) -> Option<Choice<'r>>
where
    F: Iterator<Item = Choice<'r>>,
{
    if let Some(choice) = want.previous.and_then(|previous| previous_if_best(&free, previous, now)) {
        return Some(choice);
    }
    let alike = best(free(), |c| InitialRank::of(c.member, now), InitialRank::cmp);
    let first = alike.first()?;
    if alike.len() == 1 {
        return Some(*first);
    }
    let weight = |c: &Choice<'_>| c.member.profile.weight.max(1);
    if alike.iter().any(|c| weight(c) != weight(first)) {
        return Some(draw(&alike, weight, random));
    }
    let coldness_and_ttft = |c: &Choice<'_>| (c.member.coldness(c.model), c.member.health.ttft());
    let order = |a: &(u8, f64), b: &(u8, f64)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
    Some(draw(&best(alike.iter().copied(), coldness_and_ttft, order), |_| 1, random))
}

/// The candidate that answered the request's conversation before, if that was with the same model, and no other one has
/// failed less recently, is less of a fallback, or is nearer to having its model in memory. Requests in flight and weights
/// do not count: reading the conversation anew takes longer than a free slot beside other requests, and weights have
/// decided where it began.
fn previous_if_best<'r, F>(free: impl Fn() -> F, previous: Previous, now: u64) -> Option<Choice<'r>>
where
    F: Iterator<Item = Choice<'r>>,
{
    let rank = |c: &Choice<'_>| (failure_and_fallback(c.member, now), c.member.coldness(c.model));
    let is_previous =
        |c: &Choice<'_>| previous == Previous::new(c.member.serial, c.member.profile.models.name(c.model));
    let choice = free().find(is_previous)?;
    let choices_rank = rank(&choice);
    free().all(|other| choices_rank <= rank(&other)).then_some(choice)
}

/// What comes before a participant's load: whether it has just failed, and whether it is a fallback.
fn failure_and_fallback(member: &Member, now: u64) -> (bool, bool) {
    (member.health.is_avoided(now, member.in_flight), member.profile.fallback)
}

/// What a participant ranks by at first.
#[derive(PartialEq)]
struct InitialRank {
    failure_and_fallback: (bool, bool),
    in_flight: u32,
    weight: u32,
}

impl InitialRank {
    fn of(member: &Member, now: u64) -> Self {
        InitialRank {
            failure_and_fallback: failure_and_fallback(member, now),
            in_flight: member.in_flight,
            weight: member.profile.weight.max(1),
        }
    }

    fn cmp(&self, other: &Self) -> Ordering {
        // Of an idle room, all are equal.
        if self == other {
            return Ordering::Equal;
        }
        // Requests over weight, without a division.
        let load = |a: &Self, b: &Self| u64::from(a.in_flight) * u64::from(b.weight);
        self.failure_and_fallback
            .cmp(&other.failure_and_fallback)
            .then_with(|| load(self, other).cmp(&load(other, self)))
    }
}

/// Those that come first in an order of ranks, in one pass.
fn best<'r, R>(
    choices: impl Iterator<Item = Choice<'r>>,
    rank: impl Fn(&Choice<'r>) -> R,
    order: impl Fn(&R, &R) -> Ordering,
) -> Vec<Choice<'r>> {
    let (mut best, mut first) = (Vec::new(), None);
    for choice in choices {
        let rank = rank(&choice);
        let place = first.as_ref().map_or(Ordering::Less, |first| order(&rank, first));
        if place.is_lt() {
            best.clear();
            first = Some(rank);
        }
        if place.is_le() {
            best.push(choice);
        }
    }
    best
}

/// One of some, by lot in proportion to a weight of at least 1.
fn draw<'r>(choices: &[Choice<'r>], weight: impl Fn(&Choice<'r>) -> u32, random: Random<'_>) -> Choice<'r> {
    let sizes = || choices.iter().map(|choice| weight(choice) as usize);
    let mut left = draw_below(sizes().sum(), random);
    let drawn = sizes().position(|size| match left.checked_sub(size) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    choices[drawn.unwrap_or(0)]
}

/// A number below `n`. The bias of taking a remainder of 64 bits is too small to matter for lists that fit in memory.
fn draw_below(n: usize, random: Random<'_>) -> usize {
    if n == 1 {
        return 0;
    }
    let mut bytes = [0; 8];
    random(&mut bytes);
    usize::try_from(u64::from_le_bytes(bytes) % n as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_parse_as_documented() {
        assert_eq!(Selector::parse("*"), Selector::Any);
        assert_eq!(Selector::parse("any"), Selector::Any);
        assert_eq!(Selector::parse("model:llama3:8b"), Selector::Model("llama3:8b"));
        assert_eq!(Selector::parse("Any"), Selector::Name("Any"));
    }
}
